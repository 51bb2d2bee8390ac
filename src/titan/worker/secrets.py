"""Secrets of the attempts on this worker. The worker keeps them in memory only, from the moment
just before the dispatch until the master has the attempt's result and output.

The warden masks secrets in the output of an attempt. This module masks them in the attempt's
progress and status texts.
"""

from __future__ import annotations

from collections.abc import Container

from titan.protocol.messages import GiveSecrets
from titan.worker.isolated.masking import Masker, Patterns
from titan.worker.secret_forms import forms_of
from titan.worker.state_machine.messages import Assignment


class MissingSecret(Exception):
    """An attempt lacks a secret. `final` is True if somebody removed the secret from the master, so
    that a retry does not help."""

    def __init__(self, message: str, *, final: bool) -> None:
        super().__init__(message)
        self.final = final


class AttemptSecrets:
    def __init__(self) -> None:
        self._secrets: dict[int, dict[str, bytes]] = {}
        self._patterns: dict[int, Patterns] = {}
        """lease -> masking patterns, for the attempts that have used them."""

    def take(self, message: GiveSecrets) -> None:
        for lease, positions in zip(message.leases, message.given, strict=True):
            self._secrets[lease] = {message.names[at]: message.values[at] for at in positions}
            self._patterns.pop(lease, None)

    def of(self, assignment: Assignment) -> dict[str, bytes]:
        """Return the secrets of an attempt as name -> value. Raises MissingSecret."""
        secrets = self._secrets.get(assignment.lease, {})
        for name in assignment.template.secrets:
            if name not in secrets:
                raise MissingSecret(f"the secret {name} did not come with the dispatch of the attempt", final=False)
            if not secrets[name]:
                text = f"the secret {name} was removed after it was submitted: set it with `titan secret set {name}`"
                raise MissingSecret(f"{text}, then `titan dlq retry {assignment.run}/{assignment.job}`", final=True)
        return {name: secrets[name] for name in assignment.template.secrets}

    def masked(self, lease: int, text: str) -> str:
        """Return the text with `***` in place of the attempt's secrets, in the same forms that are
        masked in the attempt's output."""
        patterns = self.patterns_of(lease)
        if patterns is None:
            return text
        masker = Masker(patterns)
        return (masker.feed(text.encode("utf-8", "surrogateescape")) + masker.flush()).decode("utf-8", "replace")

    def patterns_of(self, lease: int) -> Patterns | None:
        """Return the masking patterns of the attempt's secrets, None if the attempt has no
        secrets."""
        if lease not in self._secrets:
            return None
        if lease not in self._patterns:
            self._patterns[lease] = Patterns(forms_of(self._secrets[lease].values()))
        return self._patterns[lease]

    def forget(self, lease: int) -> None:
        self._secrets.pop(lease, None)
        self._patterns.pop(lease, None)

    def keep(self, held: Container[int]) -> None:
        """Drop the secrets of all attempts that this worker does not hold. The dispatch of such an
        attempt was lost with a connection."""
        for lease in [lease for lease in self._secrets if lease not in held]:
            self.forget(lease)
