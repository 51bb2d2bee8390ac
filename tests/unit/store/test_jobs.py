"""The session of a job cannot administer the store or leave its database. No password is stored or
shown in clear text."""

from __future__ import annotations

import pytest

from support.store import Talk, check
from titan.store.command import Command
from titan.store.context import SPACES
from titan.store.replies import OK, Error, Status
from titan.store.settings import HIDDEN, Settings, hashed
from titan.store.table import COMMANDS

EVERY = [found for command in COMMANDS.values() for found in (command, *command.sub.values())]
REFUSED = {
    *(
        "BGREWRITEAOF",
        "BGSAVE",
        "CLIENT|KILL",
        "CLIENT|LIST",
        "CLIENT|NO-EVICT",
        "CLIENT|UNBLOCK",
        "CONFIG|GET",
        "CONFIG|RESETSTAT",
    ),
    *(
        "CONFIG|REWRITE",
        "CONFIG|SET",
        "FLUSHALL",
        "LATENCY|HISTORY",
        "LATENCY|LATEST",
        "LATENCY|RESET",
        "SAVE",
        "SELECT",
        "SHUTDOWN",
    ),
    *("SLOWLOG|GET", "SLOWLOG|LEN", "SLOWLOG|RESET", "SWAPDB"),
}
"""Commands that a job may not run at all. A new command with the flag `a` or `j` must be added
here."""


def jobs(database: int) -> Talk:
    talk = Talk()
    talk.store.bind_job(talk.session(), database)
    return talk


def call(command: Command) -> list[bytes]:
    """Return a call of the command with the number of arguments that it needs."""
    words = command.name.split(b"|")
    return [*words, *[b"0"] * (abs(command.arity) - len(words))]


def test_the_table_marks_the_commands_that_jobs_cannot_use() -> None:
    assert {command.name.decode().upper() for command in EVERY if command.administers} == REFUSED
    assert [command.name for command in EVERY if command.empties] == [b"flushdb"]


@pytest.mark.parametrize("database", [0, SPACES + 7])
@pytest.mark.parametrize("queued", [False, True])
def test_administrative_commands_are_refused_in_the_session_of_a_job(database: int, *, queued: bool) -> None:
    for command in EVERY:
        if command.run is None:
            continue
        talk = jobs(database)
        if queued:
            talk("MULTI")
        reply = talk.say(call(command))
        refused = isinstance(reply, Error) and reply.startswith(b"NOPERM")
        if queued and command.not_in_transaction:
            assert isinstance(reply, Error), command.name
        else:
            expected = command.administers or (command.empties and not database) or (command.name == b"move" and not queued)
            assert refused == expected, command.name
        if refused and queued:
            assert bytes(talk("EXEC")).startswith(b"EXECABORT"), command.name  # type: ignore[arg-type]
        assert talk.session().db.index == database
        assert not refused or not talk.store.take_changes()
        check(talk.store)


def test_administrative_commands_are_allowed_in_other_sessions() -> None:
    for command in EVERY:
        if command.run is not None:
            reply = Talk().say(call(command))
            assert not (isinstance(reply, Error) and reply.startswith(b"NOPERM")), command.name


def test_a_job_empties_the_space_of_its_run_alone() -> None:
    talk = jobs(SPACES + 7)
    talk("SET k own")
    talk("SET k everyone", 2)
    assert talk("FLUSHDB") == OK
    assert (talk("GET k"), talk("GET k", 2)) == (None, b"everyone")
    shared = jobs(0)
    shared("SET k everyone")
    assert shared("FLUSHDB") == Error(
        b"NOPERM a job may not run FLUSHDB: it administers the store. Use `titan store` or a connection to the store's port"
    )
    assert shared("GET k") == b"everyone"


@pytest.mark.parametrize("database", [0, SPACES + 7])
def test_a_job_stays_in_its_database(database: int) -> None:
    talk = jobs(database)
    talk("SET k own")
    for line in ("MOVE k 1", "COPY k l DB 1", "SELECT 1", "SWAPDB 0 1", f"SELECT {SPACES + 8}"):
        assert bytes(talk(line)).startswith(b"NOPERM"), line  # type: ignore[arg-type]
    assert talk("RESET") == Status(b"RESET")
    assert talk("GET k") == b"own", "also after RESET"
    assert talk("COPY k l") == 1
    assert bytes(talk("CONFIG GET *")).startswith(b"NOPERM")  # type: ignore[arg-type]


def test_a_password_in_the_session_of_a_job_makes_it_no_administrator() -> None:
    talk = jobs(0)
    assert talk("CONFIG SET requirepass secret", 2) == OK
    assert talk("AUTH secret") == OK
    assert bytes(talk("FLUSHALL")).startswith(b"NOPERM")  # type: ignore[arg-type]
    talk("RESET")
    assert talk("PING") == b"PONG", "the session of a job needs no password"


def test_no_command_shows_the_password_and_only_its_hash_is_kept() -> None:
    talk = Talk(requirepass="secret")
    assert talk("AUTH secret") == OK
    assert talk("CONFIG GET requirepass") == {b"requirepass": HIDDEN.encode()}
    for line in ("CONFIG SET requirepass other", "CONFIG GET *", "CLIENT LIST", "INFO"):
        assert b"other" not in repr(talk(line)).encode()
    assert talk.store.settings.password == hashed(b"other")
    assert "other" not in repr(vars(talk.store.settings))
    assert talk.store.take_changes() == []
    assert bytes(talk("AUTH secret", 2)).startswith(b"WRONGPASS")  # type: ignore[arg-type]
    assert talk("AUTH other", 2) == OK
    assert bytes(talk(f"CONFIG SET requirepass {HIDDEN}")).startswith(b"ERR CONFIG SET failed")  # type: ignore[arg-type]
    assert talk("CONFIG SET requirepass ''") == OK
    assert talk("CONFIG GET requirepass") == {b"requirepass": b""}
    assert Settings({"requirepass": "x"}).shown("requirepass") == HIDDEN
