"""Checks that a DAG's references exist before the DAG is accepted: content, secrets, webhooks.

The checks touch the content, so that garbage collection spares it until the run is in the state.
"""

from __future__ import annotations

from titan.content.blobs import BlobStore
from titan.core.state.content_references import content_of
from titan.errors import CallerError, NotFound
from titan.master.handlers.secrets import SecretHandler
from titan.master.webhooks.targets import Targets
from titan.model.dag import DagSpec, JobTemplate
from titan.model.values import BY_CONTENT_BYTES, artifact_of


class DagChecks:
    """Checks of a DAG. A method raises NotFound or CallerError if a check fails."""

    def __init__(self, content: BlobStore, secrets: SecretHandler, webhooks: Targets) -> None:
        self._content = content
        self.secrets = secrets.check
        self._webhooks = webhooks

    def whole(self, dag: DagSpec) -> None:
        self.payloads(dag.payloads)
        self.artifacts(dag.templates)
        self.secrets(dag.templates)
        self.webhooks(dag.templates)

    def webhooks(self, templates: list[JobTemplate]) -> None:
        """Check the hosts in webhook URLs.

        Host names are not resolved here. Each delivery resolves the name and checks the addresses.
        """
        for template in templates:
            gate = template.gate
            if gate is not None and gate.webhook and (problem := self._webhooks.problem(gate.webhook)):
                raise CallerError(f"the webhook of a gate cannot be called: {problem}")

    def artifacts(self, templates: list[JobTemplate]) -> None:
        for template in templates:
            for hash_ in content_of(template):
                if hash_ and not self._content.touch(hash_):
                    name = template.file or ("a function" if hash_ == template.function else "an artifact")
                    raise NotFound(f"{name} ({hash_[:12]}) is not on the master: stage it before you submit")

    def payloads(self, payloads: list[bytes]) -> None:
        for payload in [p for p in payloads if len(p) == BY_CONTENT_BYTES]:
            arguments = artifact_of(payload)
            if arguments is not None and not self._content.touch(arguments):
                raise NotFound(f"the arguments of a call ({arguments[:12]}) are not on the master: stage them before you submit")
