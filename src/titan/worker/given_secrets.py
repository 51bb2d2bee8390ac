"""The secrets of the attempts that are here: in memory, from before their dispatch until the master has all of them."""

from __future__ import annotations

from collections.abc import Container

from titan.protocol.messages import GiveSecrets
from titan.worker.words import Assignment


class NotGiven(Exception):
    """An attempt lacks a secret. `final`: there is none of that name any more."""

    def __init__(self, message: str, *, final: bool) -> None:
        super().__init__(message)
        self.final = final


class GivenSecrets:
    def __init__(self) -> None:
        self._given: dict[int, dict[str, bytes]] = {}

    def take(self, it: GiveSecrets) -> None:
        for lease, positions in zip(it.leases, it.given, strict=True):
            self._given[lease] = {it.names[at]: it.values[at] for at in positions}

    def of(self, it: Assignment) -> dict[str, bytes]:
        """Name to value, for an attempt whose template names any. Raises NotGiven."""
        given = self._given.get(it.lease, {})
        for name in it.template.secrets:
            if name not in given:
                raise NotGiven(f"the secret {name} did not come with its dispatch", final=False)
            if not given[name]:
                told = f"the secret {name} was removed after it was submitted: set it with `titan secret set {name}`"
                raise NotGiven(f"{told}, then `titan dlq retry {it.run}/{it.job}`", final=True)
        return {name: given[name] for name in it.template.secrets}

    def forget(self, lease: int) -> None:
        self._given.pop(lease, None)

    def keep(self, held: Container[int]) -> None:
        """Of those whose dispatch never came nothing stays."""
        for lease in [lease for lease in self._given if lease not in held]:
            del self._given[lease]
