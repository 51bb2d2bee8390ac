"""What a job says of secrets: the names of those that it is given. `secret_values` sets them."""

from __future__ import annotations

from collections.abc import Iterable

from titan.model.secrets import both_problem, names_problem


def secrets_of(value: object) -> object:
    """A list of names as a tuple; anything else as it is."""
    if isinstance(value, (str, bytes, dict)) or not isinstance(value, Iterable):
        return value
    return tuple(value)


def secrets_problem(value: object) -> str:
    """What is wrong with the secrets of a job, for after a colon; "" if nothing is."""
    if not isinstance(value, (list, tuple)):
        return "must be a list of names of secrets, [API_TOKEN]"
    wrong = next((item for item in value if not isinstance(item, str)), None)
    return names_problem(value) if wrong is None else f"each item must be the name of a secret, not {wrong!r}"[:200]


def both(secrets: tuple[str, ...], env: tuple[tuple[str, str], ...]) -> str:
    """What is wrong with naming a variable in both, for after a colon."""
    return both_problem(secrets, [name for name, _ in env]).removeprefix("secrets: ") if secrets and env else ""
