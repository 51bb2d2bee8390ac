"""Commands about the connection: HELLO, AUTH, SELECT, CLIENT, PING, QUIT, RESET."""

from __future__ import annotations

import hmac

from titan.store import blocking, pubsub, transactions
from titan.store.context import Context
from titan.store.parsing import bounded, integer
from titan.store.replies import NO_REPLY, OK, PONG, SYNTAX, Error, Refusal, Reply, Status, Verbatim, misused, shown
from titan.store.session import Session
from titan.store.settings import hashed

VERSION = b"7.0.15"
"""Version of Redis that the store imitates and reports to clients."""
_WRONG_PASS = Error(b"WRONGPASS invalid username-password pair or user is disabled.")
_NO_PASSWORD = Error(
    b"ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?"
)
_BAD_NAME = Error(b"ERR Client names cannot contain spaces, newlines or special characters.")
_NO_CLIENT = Error(b"ERR No such client")


def ping(ctx: Context, args: list[bytes]) -> Reply:
    if len(args) > 2:
        raise Refusal(b"ERR wrong number of arguments for 'ping' command")
    session = ctx.session
    if session.resp == 2 and (session.channels or session.patterns):
        return [b"pong", args[1] if len(args) == 2 else b""]
    return args[1] if len(args) == 2 else PONG


def echo(ctx: Context, args: list[bytes]) -> Reply:
    return args[1]


def select(ctx: Context, args: list[bytes]) -> Reply:
    index = bounded(args[1], -(1 << 31), (1 << 31) - 1)
    if not 0 <= index < ctx.settings.number("databases"):
        raise Refusal(b"ERR DB index is out of range")
    ctx.session.db = ctx.databases[index]
    return OK


def auth(ctx: Context, args: list[bytes]) -> Reply:
    if len(args) > 3:
        raise Refusal(SYNTAX)
    if len(args) == 2 and not ctx.settings.password:
        raise Refusal(_NO_PASSWORD)
    _log_in(ctx, args[1] if len(args) == 3 else b"default", args[-1])
    return OK


def _log_in(ctx: Context, user: bytes, password: bytes) -> None:
    right = ctx.settings.password
    if user != b"default" or (right and not hmac.compare_digest(hashed(password), right)):
        raise Refusal(_WRONG_PASS)
    ctx.session.authenticated = True
    ctx.session.review()


def hello(ctx: Context, args: list[bytes]) -> Reply:
    session = ctx.session
    version = session.resp
    at = 1
    if len(args) > 1:
        version = integer(args[1], Error(b"ERR Protocol version is not an integer or out of range"))
        if version not in (2, 3):
            raise Refusal(b"NOPROTO unsupported protocol version")
        at = 2
    name: bytes | None = None
    login: tuple[bytes, bytes] | None = None
    while at < len(args):
        option, more = args[at].upper(), len(args) - at - 1
        if option == b"AUTH" and more >= 2:
            login = args[at + 1], args[at + 2]
            at += 3
        elif option == b"SETNAME" and more:
            name = args[at + 1]
            _check_name(name)
            at += 2
        else:
            raise Refusal(b"ERR Syntax error in HELLO option '%b'" % shown(args[at]))
    if login is not None:
        _log_in(ctx, *login)
    if not session.authenticated:
        raise Refusal(
            b"NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO AUTH <user> <pass> "
            b"option can be used to authenticate the client and select the RESP protocol version at the same time"
        )
    if name is not None:
        session.name = name
    session.resp = version
    session.review()
    return {
        b"server": b"redis",
        b"version": VERSION,
        b"proto": version,
        b"id": session.id,
        b"mode": b"standalone",
        b"role": b"master",
        b"modules": [],
    }


def quit_(ctx: Context, args: list[bytes]) -> Reply:
    close(ctx, ctx.session)
    return OK


def reset(ctx: Context, args: list[bytes]) -> Reply:
    session = ctx.session
    transactions.end(ctx, session)
    pubsub.leave_everything(ctx, session)
    session.resp = 2
    session.db = session.home
    session.name = b""
    session.flags = {}
    session.muted = False
    session.skip_next = 0
    session.authenticated = session.job or not ctx.settings.password
    session.review()
    return Status(b"RESET")


def close(ctx: Context, session: Session) -> None:
    """Close a session. The shell closes the connection after it has written the replies. Until then
    the store sends the session no messages of channels and no elements of lists."""
    if not session.closed:
        session.closed = session.halted = True
        blocking.release(ctx, session)
        transactions.end(ctx, session)
        pubsub.leave_everything(ctx, session)
        ctx.closing.append(session)


# -- CLIENT ----------------------------------------------------------------------------------------
def client_id(ctx: Context, args: list[bytes]) -> Reply:
    return ctx.session.id


def client_getname(ctx: Context, args: list[bytes]) -> Reply:
    return ctx.session.name or None


def client_setname(ctx: Context, args: list[bytes]) -> Reply:
    _check_name(args[2])
    ctx.session.name = args[2]
    return OK


def client_setinfo(ctx: Context, args: list[bytes]) -> Reply:
    attribute, value = args[2].upper(), args[3]
    if any(not 33 <= byte <= 126 for byte in value):
        raise Refusal(b"ERR %b cannot contain spaces, newlines or special characters." % args[2].lower())
    if attribute == b"LIB-NAME":
        ctx.session.library = value
    elif attribute == b"LIB-VER":
        ctx.session.library_version = value
    else:
        raise Refusal(b"ERR Unrecognized option '%b'" % shown(args[2]))
    return OK


def client_reply(ctx: Context, args: list[bytes]) -> Reply:
    session, mode = ctx.session, args[2].upper()
    if mode == b"ON":
        session.muted = False
        session.skip_next = 0
        session.review()
        return OK
    if mode == b"OFF":
        session.muted = True
    elif mode == b"SKIP":
        if not session.muted:
            session.skip_next = 2
    else:
        raise Refusal(SYNTAX)
    session.review()
    return NO_REPLY


def client_no_evict(ctx: Context, args: list[bytes]) -> Reply:
    return _flag(ctx, args[2], "no-evict")


def client_no_touch(ctx: Context, args: list[bytes]) -> Reply:
    return _flag(ctx, args[2], "no-touch")


def client_info(ctx: Context, args: list[bytes]) -> Reply:
    return Verbatim(describe(ctx, ctx.session) + b"\n")


def client_list(ctx: Context, args: list[bytes]) -> Reply:
    sessions = list(ctx.sessions.values())
    option = args[2].upper() if len(args) > 2 else b""
    if option == b"ID" and len(args) > 3:
        wanted = dict.fromkeys(integer(arg, Error(b"ERR Invalid client ID")) for arg in args[3:])
        sessions = [session for session in sessions if session.id in wanted]
    elif option == b"TYPE" and len(args) == 4:
        kind = _kind_named(args[3])
        sessions = [session for session in sessions if _kind(session) == kind]
    elif option:
        raise Refusal(SYNTAX)
    return Verbatim(b"".join(describe(ctx, session) + b"\n" for session in sessions))


def client_kill(ctx: Context, args: list[bytes]) -> Reply:
    if len(args) == 3:
        found = [session for session in ctx.sessions.values() if session.address.encode() == args[2]]
        if not found:
            raise Refusal(_NO_CLIENT)
        close(ctx, found[0])
        return OK
    if len(args) % 2:
        raise Refusal(SYNTAX)
    sessions, spare_me = list(ctx.sessions.values()), True
    for option, value in zip(args[2::2], args[3::2], strict=True):
        filter_name = option.upper()
        if filter_name == b"ID":
            number = integer(value, Error(b"ERR client-id should be greater than 0"))
            if number < 1:
                raise Refusal(b"ERR client-id should be greater than 0")
            sessions = [session for session in sessions if session.id == number]
        elif filter_name == b"TYPE":
            kind = _kind_named(value)
            sessions = [session for session in sessions if _kind(session) == kind]
        elif filter_name == b"ADDR":
            sessions = [session for session in sessions if session.address.encode() == value]
        elif filter_name == b"LADDR":
            sessions = [session for session in sessions if session.local_address.encode() == value]
        elif filter_name == b"USER":
            if value != b"default":
                raise Refusal(b"ERR No such user '%b'" % shown(value))
        elif filter_name == b"SKIPME" and value.lower() in (b"yes", b"no"):
            spare_me = value.lower() == b"yes"
        else:
            raise Refusal(SYNTAX)
    sessions = [session for session in sessions if not (spare_me and session is ctx.session)]
    for session in sessions:
        close(ctx, session)
    return len(sessions)


def client_unblock(ctx: Context, args: list[bytes]) -> Reply:
    reason = args[3].upper() if len(args) == 4 else b"TIMEOUT"
    if len(args) > 4:
        raise Refusal(misused(args))
    if reason not in (b"TIMEOUT", b"ERROR"):
        raise Refusal(b"ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")
    session = ctx.sessions.get(integer(args[2]))
    if session is None or session.blocked is None:
        return 0
    error = Error(b"UNBLOCKED client unblocked via CLIENT UNBLOCK")
    blocking.answer(ctx, session, session.blocked.empty if reason == b"TIMEOUT" else error)
    return 1


def describe(ctx: Context, session: Session) -> bytes:
    """Return the line of a session in CLIENT LIST."""
    letters = ("x" if session.queue is not None else "") + ("P" if session.channels or session.patterns else "")
    letters += "b" if session.blocked is not None else ""
    facts: dict[str, object] = {
        "id": session.id,
        "addr": session.address,
        "laddr": session.local_address,
        "fd": session.id,
        "name": session.name.decode("latin-1"),
        "age": max(0, ctx.now - session.created_ms) // 1000,
        "idle": max(0, ctx.now - session.last_ms) // 1000,
        "flags": letters or "N",
        "db": session.db.index,
        "sub": len(session.channels),
        "psub": len(session.patterns),
        "multi": -1 if session.queue is None else len(session.queue),
        "cmd": session.last_command.decode("latin-1").lower(),
        "user": "default",
        "resp": session.resp,
        "lib-name": session.library.decode("latin-1"),
        "lib-ver": session.library_version.decode("latin-1"),
    }
    return " ".join(f"{name}={value}" for name, value in facts.items()).encode("latin-1", "replace")


def _check_name(name: bytes) -> None:
    if any(not 33 <= byte <= 126 for byte in name):
        raise Refusal(_BAD_NAME)


def _flag(ctx: Context, value: bytes, name: str) -> Reply:
    if value.lower() == b"on":
        ctx.session.flags[name] = None
    elif value.lower() == b"off":
        ctx.session.flags.pop(name, None)
    else:
        raise Refusal(SYNTAX)
    return OK


def _kind(session: Session) -> bytes:
    return b"pubsub" if session.channels or session.patterns else b"normal"


def _kind_named(text: bytes) -> bytes:
    if text.lower() not in (b"normal", b"pubsub", b"master", b"replica", b"slave"):
        raise Refusal(b"ERR Unknown client type '%b'" % shown(text))
    return text.lower()
