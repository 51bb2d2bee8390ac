"""Checks over several fields of a message, before it becomes an input: it is refused whole, and
nothing of it is applied.

The range of each field by itself is the decoder's (`titan.protocol.ranges`).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Annotated, Any, get_args, get_origin

import msgspec

from titan.errors import CallerError, ProtocolError
from titan.model.disk import FREE_DISK
from titan.model.files import FILE, FOLDER, StoredFile, name_problem
from titan.model.names import CAPABILITY_RULE, NAME_RULE, is_capability, is_name
from titan.model.plain import plain
from titan.model.states import Outcome
from titan.protocol import messages as msg

MAX_SLOTS = 65_536
MAX_CAPABILITIES = 256
MAX_FILE_SIZE = 1 << 60
MAX_INLINE = 1 << 20
"""Bytes of a result that comes in a message; larger ones are artifacts (`titan.model.values`)."""
_OUTCOMES = frozenset(int(outcome) for outcome in Outcome)
_HOST = re.compile(r"[A-Za-z0-9:][A-Za-z0-9.:_-]{0,252}")
_HASH = re.compile(r"[0-9a-f]{64}")


def check_columns(message: msg.Message) -> None:
    """All columns are equally long; those with a default may be empty. Raises ProtocolError."""
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
    """The fields that are lists: those without and those with a default."""
    fields = [f for f in msgspec.structs.fields(kind) if _is_list(f.type)]
    needed = tuple(f.name for f in fields if f.required)
    return needed, tuple(f.name for f in fields if not f.required)


def _is_list(of: Any) -> bool:
    return get_origin(get_args(of)[0] if get_origin(of) is Annotated else of) is list


def check_results(message: msg.Results) -> None:
    check_columns(message)
    if not _OUTCOMES.issuperset(message.outcomes):
        raise ProtocolError("a result with an outcome that does not exist")
    if any(len(value) > MAX_INLINE for value in message.values):
        raise ProtocolError(f"a result of more than {MAX_INLINE:,} bytes in a message: larger ones are artifacts")
    for outputs in message.outputs:
        for output in outputs:
            if problem := _file_problem(output):
                raise ProtocolError(f"an output {output.name[:80]!r}: {problem}")


def _file_problem(stored: StoredFile) -> str:
    if not _HASH.fullmatch(stored.hash):
        return "its hash is no SHA-256"
    if not 0 <= stored.size <= MAX_FILE_SIZE or not FILE <= stored.kind <= FOLDER:
        return "its size or kind cannot be"
    return name_problem(stored.name)


def check_registration(message: msg.Register) -> None:
    """Raises CallerError, ProtocolError."""
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
    """Raises ProtocolError if an attempt is said to be of a draw that is not there."""
    if message.draw_of and not max(message.draw_of) < len(message.draws):
        raise ProtocolError("an attempt of a draw that is not in the message")


def changed_facts(message: msg.Heartbeat) -> dict[str, str | int | float]:
    """The facts in a heartbeat that may change while a worker is connected; others, of later
    Titans, are passed over.

    Raises ProtocolError.
    """
    if FREE_DISK not in message.facts:
        return {}
    free = message.facts[FREE_DISK]
    if not isinstance(free, int) or free < 0:
        raise ProtocolError(f"{FREE_DISK} is a number of bytes, not {str(free)[:40]!r}")
    return {FREE_DISK: free}


def facts_of(message: msg.Register, host: str) -> dict[str, str | int | float]:
    """What a worker says of itself, in plain text, and its address: what it advertises, else
    `host`. Raises CallerError."""
    address = str(message.facts.get("advertise") or host)
    if not _HOST.fullmatch(address):
        raise CallerError(f"--advertise {address[:80]!r} is no host: give a name or an address, without a port")
    facts = {plain(key, 256): plain(value, 4096) if isinstance(value, str) else value for key, value in message.facts.items()}
    return {**facts, "address": address}
