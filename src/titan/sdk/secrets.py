"""Field `secrets` of a job: names of secrets. `secret_values` sets their values."""

from __future__ import annotations

from collections.abc import Iterable

from titan.model.secrets import both_problem, names_problem
from titan.sdk.field_table import BadField


def secrets_of(value: object) -> tuple[str, ...]:
    """Convert names of secrets. Raises BadField."""
    if isinstance(value, (str, bytes, dict)) or not isinstance(value, Iterable):
        raise BadField("must be a list of names of secrets, [API_TOKEN]")
    names = tuple(value)
    wrong = next((item for item in names if not isinstance(item, str)), None)
    if problem := names_problem(names) if wrong is None else f"each item must be the name of a secret, not {wrong!r}"[:200]:
        raise BadField(problem)
    return names


def both(secrets: tuple[str, ...], env: tuple[tuple[str, str], ...]) -> str:
    """Return the problem if a variable is in both `env` and `secrets`, to be put after a colon;
    else ""."""
    return both_problem(secrets, [name for name, _ in env]).removeprefix("secrets: ") if secrets and env else ""
