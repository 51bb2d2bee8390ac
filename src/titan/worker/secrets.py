"""Secrets of the attempts on this worker. They are kept in memory, from before the dispatch until
the master has everything of the attempt.

The warden masks the output of an attempt. Its reports are masked here.
"""

from __future__ import annotations

from collections.abc import Container

from titan.protocol.messages import GiveSecrets
from titan.worker.isolated.masking import Masker, Patterns
from titan.worker.secret_forms import forms_of
from titan.worker.state_machine.messages import Assignment


class NotGiven(Exception):
    """An attempt lacks a secret. `final`: the secret of that name was removed."""

    def __init__(self, message: str, *, final: bool) -> None:
        super().__init__(message)
        self.final = final


class AttemptSecrets:
    def __init__(self) -> None:
        self._given: dict[int, dict[str, bytes]] = {}
        self._patterns: dict[int, Patterns] = {}
        """lease -> masking patterns, for attempts that needed them."""

    def take(self, message: GiveSecrets) -> None:
        for lease, positions in zip(message.leases, message.given, strict=True):
            self._given[lease] = {message.names[at]: message.values[at] for at in positions}
            self._patterns.pop(lease, None)

    def of(self, assignment: Assignment) -> dict[str, bytes]:
        """Return the secrets of an attempt, name to value. Raises NotGiven."""
        given = self._given.get(assignment.lease, {})
        for name in assignment.template.secrets:
            if name not in given:
                raise NotGiven(f"the secret {name} did not come with the dispatch of the attempt", final=False)
            if not given[name]:
                told = f"the secret {name} was removed after it was submitted: set it with `titan secret set {name}`"
                raise NotGiven(f"{told}, then `titan dlq retry {assignment.run}/{assignment.job}`", final=True)
        return {name: given[name] for name in assignment.template.secrets}

    def masked(self, lease: int, text: str) -> str:
        """Return the text with `***` in place of the attempt's secrets, in every form that is masked
        in its output."""
        patterns = self.patterns_of(lease)
        if patterns is None:
            return text
        masker = Masker(patterns)
        return (masker.feed(text.encode("utf-8", "surrogateescape")) + masker.flush()).decode("utf-8", "replace")

    def patterns_of(self, lease: int) -> Patterns | None:
        """Return the patterns of the attempt's secrets, None if it has none."""
        if lease not in self._given:
            return None
        if lease not in self._patterns:
            self._patterns[lease] = Patterns(forms_of(self._given[lease].values()))
        return self._patterns[lease]

    def forget(self, lease: int) -> None:
        self._given.pop(lease, None)
        self._patterns.pop(lease, None)

    def keep(self, held: Container[int]) -> None:
        """Drop the secrets of all attempts that are not held, as their dispatch never came."""
        for lease in [lease for lease in self._given if lease not in held]:
            self.forget(lease)
