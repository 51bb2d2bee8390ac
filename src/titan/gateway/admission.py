"""Checks over several fields of a message, before it becomes an input.

No part of a rejected message is applied. The decoder has already checked the range of each single
field (`titan.protocol.ranges`).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Annotated, Any, get_args, get_origin

import msgspec

from titan.errors import CallerError, ProtocolError
from titan.model.disk import FREE_DISK
from titan.model.files import FILE, FOLDER, StoredFile, name_problem, path_problem
from titan.model.names import CAPABILITY_RULE, NAME_RULE, is_capability, is_name
from titan.model.plain import plain
from titan.model.states import Outcome
from titan.protocol import messages as msg

MAX_SLOTS = 65_536
MAX_CAPABILITIES = 256
MAX_FILE_SIZE = 1 << 60
MAX_INLINE = 1 << 20
"""Maximum bytes of a result in a message; a larger result is an artifact (`titan.model.values`)."""
_OUTCOMES = frozenset(int(outcome) for outcome in Outcome)
_HOST = re.compile(r"[A-Za-z0-9:][A-Za-z0-9.:_-]{0,252}")
_HASH = re.compile(r"[0-9a-f]{64}")


def check_columns(message: msg.Message) -> None:
    """Raise ProtocolError unless all columns are equally long. Columns with a default may be
    empty."""
    needed, optional = _columns(type(message))
    length = len(getattr(message, needed[0]))
    for name in needed:
        if len(getattr(message, name)) != length:
            raise ProtocolError(f"the columns of a {type(message).__name__} differ in length")
    for name in optional:
        column = getattr(message, name)
        if column and len(column) != length:
            raise ProtocolError(f"the columns of a {type(message).__name__} differ in length")


@lru_cache(64)
def _columns(kind: type[msg.Message]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of the list fields without a default, and of those with a default."""
    fields = [f for f in msgspec.structs.fields(kind) if _is_list(f.type)]
    needed = tuple(f.name for f in fields if f.required)
    return needed, tuple(f.name for f in fields if not f.required)


def _is_list(of: Any) -> bool:
    return get_origin(get_args(of)[0] if get_origin(of) is Annotated else of) is list


def check_results(message: msg.Results) -> None:
    check_columns(message)
    if not _OUTCOMES.issuperset(message.outcomes):
        raise ProtocolError("a result has an outcome that does not exist")
    if any(len(value) > MAX_INLINE for value in message.values):
        raise ProtocolError(f"a result in a message exceeds {MAX_INLINE:,} bytes: send a larger result as an artifact")
    for outputs in message.outputs:
        for output in outputs:
            if problem := _file_problem(output):
                raise ProtocolError(f"output {output.name[:80]!r}: {problem}")


def _file_problem(stored: StoredFile) -> str:
    if not _HASH.fullmatch(stored.hash):
        return "its hash is not a SHA-256"
    if not 0 <= stored.size <= MAX_FILE_SIZE or not FILE <= stored.kind <= FOLDER:
        return "its size or kind is out of range"
    if stored.of and (problem := path_problem(stored.name)):
        return problem
    return name_problem(stored.name)


def check_registration(message: msg.Register) -> None:
    """Raise CallerError or ProtocolError if a worker's registration is invalid."""
    if not is_name(message.name):
        raise CallerError(f"worker name {message.name[:128]!r} is malformed: a name is {NAME_RULE}")
    if not message.incarnation.isprintable():
        raise CallerError("the incarnation of a worker holds control characters")
    bad = [c for c in message.capabilities if not is_capability(c)]
    if bad or not message.capabilities:
        raise CallerError(f"capability {(bad or [''])[0][:64]!r} is malformed: a capability is {CAPABILITY_RULE}")
    if len(message.capabilities) > MAX_CAPABILITIES:
        raise CallerError(f"a worker has at most {MAX_CAPABILITIES} capabilities, not {len(message.capabilities):,}")
    if not 1 <= message.slots <= MAX_SLOTS:
        raise CallerError(f"a worker has 1 to {MAX_SLOTS} slots, not {message.slots}")
    check_columns(message)
    check_draws(message)


def check_draws(message: msg.Register | msg.Heartbeat) -> None:
    """Raise ProtocolError if an attempt refers to a draw that the message does not list.

    A draw is the random id of one start of a master.
    """
    if message.draw_of and not max(message.draw_of) < len(message.draws):
        raise ProtocolError("an attempt refers to a draw that the message does not list")


def changed_facts(message: msg.Heartbeat) -> dict[str, str | int | float]:
    """Return the facts in a heartbeat that may change while a worker is connected.

    Other facts are ignored, because a newer worker may send them. Raises ProtocolError.
    """
    if FREE_DISK not in message.facts:
        return {}
    free = message.facts[FREE_DISK]
    if not isinstance(free, int) or free < 0:
        raise ProtocolError(f"{FREE_DISK} is a number of bytes, not {str(free)[:40]!r}")
    return {FREE_DISK: free}


def facts_of(message: msg.Register, host: str) -> dict[str, str | int | float]:
    """Return a worker's facts in plain text, with its address: `advertise` if set, else `host`.

    Raises CallerError.
    """
    address = str(message.facts.get("advertise") or host)
    if not _HOST.fullmatch(address):
        raise CallerError(f"--advertise {address[:80]!r} is not a host: give a name or an address, without a port")
    facts = {plain(key, 256): plain(value, 4096) if isinstance(value, str) else value for key, value in message.facts.items()}
    return {**facts, "address": address}
