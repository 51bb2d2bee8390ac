"""A command that raises an unexpected exception gets an error reply and ends no process. The
journal then has the current values of the keys."""

from __future__ import annotations

import pytest

from support.store import Talk, check, replayed, snapshot
from titan.store.context import Context
from titan.store.hooks import Hooks
from titan.store.replies import Error, Reply
from titan.store.table import COMMANDS


class Log(Hooks):
    def __init__(self) -> None:
        self.said: list[str] = []

    def broke(self, command: str, error: Exception) -> None:
        self.said.append(f"{command}: {error}")


def half(ctx: Context, args: list[bytes]) -> Reply:
    """Append to a string, and raise before the change is recorded."""
    value = ctx.db.data[args[1]]
    assert isinstance(value, bytes)
    ctx.db.data[args[1]] = value + args[2]
    raise ValueError("planted")


@pytest.mark.parametrize("transaction", [False, True])
@pytest.mark.parametrize("word", ["APPEND", "aPPend"])
def test_the_partial_effect_of_a_failed_command_is_journaled(
    monkeypatch: pytest.MonkeyPatch, word: str, *, transaction: bool
) -> None:
    talk, log = Talk(), Log()
    talk.store.attach(log, 1)
    talk("SET k v PX 100000")
    monkeypatch.setattr(COMMANDS[b"append"], "run", half)
    told = Error(b"ERR internal error: APPEND failed; the log of the store has the details")
    if transaction:
        talk("MULTI")
        talk(f"{word} k w")
        talk("SET l 1")
        assert talk("EXEC") == [told, b"OK"]
    else:
        assert talk(f"{word} k w") == told
        talk("SET l 1")
    assert log.said == ["append: planted"]
    assert talk("GET k") == b"vw"
    check(talk.store)
    monkeypatch.undo()
    assert replayed(talk.store.take_changes()).digest() == snapshot(talk.store).digest() == talk.store.digest()


def test_a_failed_memory_allocation_is_an_error_reply(monkeypatch: pytest.MonkeyPatch) -> None:
    def short(ctx: Context, args: list[bytes]) -> Reply:
        raise MemoryError

    talk = Talk()
    monkeypatch.setattr(COMMANDS[b"setrange"], "run", short)
    assert talk("SETRANGE k 100 x") == Error(b"OOM the machine does not have enough memory for this command")
    assert talk("PING") == b"PONG"
