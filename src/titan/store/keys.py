"""Commands for keys of any type, and for whole databases.

    del_ unlink exists type_ rename renamenx copy move keys randomkey touch
    object_encoding object_refcount object_idletime object_freq memory_usage
    dbsize flushdb flushall swapdb

The database of a run, whose number is at least `SPACES`, is isolated. There FLUSHALL empties only
this database. In other databases FLUSHALL empties those that SELECT can choose.
"""

from __future__ import annotations

from collections import deque
from itertools import islice

from titan.store.context import SPACES, Context
from titan.store.guarding import check_job_stays
from titan.store.keyspace import Database
from titan.store.memory import SAMPLES, size_of_key
from titan.store.parsing import bounded, integer, is_integer
from titan.store.patterns import is_literal, matcher
from titan.store.replies import NO_SUCH_KEY, OK, SYNTAX, Error, Refusal, Reply, Status, shown
from titan.store.settings import Settings
from titan.store.stream_log import Stream
from titan.store.values import TYPE_NAMES, SetValue, Value, copy_of, size_of

_SAME = Error(b"ERR source and destination objects are the same")
_NO_SUCH_DB = Error(b"ERR DB index is out of range")
_EMBEDDED = 44
"""Maximum bytes of a string that Redis stores next to its header."""
_INT_BITS = 31
_SHARED = (1 << 31) - 1
"""Reference count that Redis reports for integers below 10,000, because they are shared objects."""
_SHORT = 32
"""Maximum bytes of a short pattern. For a longer one, `keys` also counts the work of comparing
bytes."""
_TRIES = 100
"""Number of random keys that RANDOMKEY tries. If all of them have expired, it visits all keys in
order."""


def del_(ctx: Context, args: list[bytes]) -> Reply:
    db = ctx.db
    gone = []
    for key in args[1:]:
        if db.find(key) is not None:
            db.remove(key)
            ctx.touch(key)
            gone.append(key)
    if gone:
        ctx.log([b"DEL", *gone])
    return len(gone)


unlink = del_


def exists(ctx: Context, args: list[bytes]) -> Reply:
    return sum(ctx.db.find(key) is not None for key in args[1:])


touch = exists


def type_(ctx: Context, args: list[bytes]) -> Reply:
    value = ctx.db.find(args[1])
    return Status(b"none" if value is None else TYPE_NAMES[value.__class__])


# -- moving ----------------------------------------------------------------------------------------
def rename(ctx: Context, args: list[bytes]) -> Reply:
    _rename(ctx, args, replace=True)
    return OK


def renamenx(ctx: Context, args: list[bytes]) -> Reply:
    return int(_rename(ctx, args, replace=False))


def _rename(ctx: Context, args: list[bytes], *, replace: bool) -> bool:
    """Rename a key, and return whether it was renamed. Raises Refusal(NO_SUCH_KEY)."""
    db, source, target = ctx.db, args[1], args[2]
    value = db.find(source)
    if value is None:
        raise Refusal(NO_SUCH_KEY)
    if source == target or (not replace and db.find(target) is not None):
        return False
    at = db.expires.get(source)
    db.remove(source)
    _place(ctx, db, target, value, at)
    ctx.touch(target)
    ctx.changed(source, [b"RENAME", source, target])
    return True


def copy(ctx: Context, args: list[bytes]) -> Reply:
    source, target = args[1], args[2]
    db, replace = ctx.db, False
    at = 3
    while at < len(args):
        option = args[at].upper()
        if option == b"REPLACE":
            replace = True
        elif option == b"DB" and at + 1 < len(args):
            at += 1
            db = _numbered(ctx, args[at])
        else:
            raise Refusal(SYNTAX)
        at += 1
    if db is ctx.db and source == target:
        raise Refusal(_SAME)
    value = ctx.db.find(source)
    if value is None:
        return 0
    _check_mount(db, target)
    if db.find(target) is not None and not replace:
        return 0
    ctx.strain(size_of(value) if not isinstance(value, bytes | bytearray) else len(value) // 256)
    _place(ctx, db, target, copy_of(value), ctx.db.expires.get(source))
    ctx.touch(target, db)
    ctx.log([b"COPY", source, target, *((b"DB", b"%d" % db.index) if db is not ctx.db else ()), b"REPLACE"])
    return 1


def move(ctx: Context, args: list[bytes]) -> Reply:
    db, key = _numbered(ctx, args[2]), args[1]
    if db is ctx.db:
        raise Refusal(_SAME)
    value = ctx.db.find(key)
    if value is None:
        return 0
    _check_mount(db, key)
    if db.find(key) is not None:
        return 0
    at = ctx.db.expires.get(key)
    ctx.db.remove(key)
    _place(ctx, db, key, value, at)
    ctx.touch(key, db)
    ctx.changed(key, [b"MOVE", key, b"%d" % db.index])
    return 1


def _place(ctx: Context, db: Database, key: bytes, value: Value, at: int | None) -> None:
    db.put(key, value)
    _notice_created(ctx, db, key)
    if at is not None:
        db.expire_at(key, at)


def _numbered(ctx: Context, text: bytes) -> Database:
    """Return a database that SELECT could choose. Raises Refusal."""
    check_job_stays(ctx)
    index = bounded(text, -(1 << _INT_BITS), (1 << _INT_BITS) - 1)
    if not 0 <= index < ctx.settings.number("databases"):
        raise Refusal(_NO_SUCH_DB)
    return ctx.databases[index]


def _check_mount(db: Database, key: bytes) -> None:
    """Raise Refusal for a derived key of another database. `guarding` checks only the current
    database."""
    if db.mounts and db.mount_of(key) is not None:
        raise Refusal(b"ERR '%b' belongs to the cluster and can only be read" % shown(key))


# -- all keys --------------------------------------------------------------------------------------
def keys(ctx: Context, args: list[bytes]) -> Reply:
    db, pattern = ctx.db, args[1]
    if is_literal(pattern):
        return [pattern] if db.find(pattern) is not None else []
    ctx.strain(len(db.data))
    matches = None if pattern == b"*" else matcher(pattern)
    if len(pattern) > _SHORT:  # each byte of a key may be compared with each byte of the pattern
        ctx.strain(sum(map(len, db.data)) * len(pattern) // 256)
    found = [key for key in db.data if matches is None or matches(key)]
    if db.expires:
        found = [key for key in found if not db.has_expired(key)]
    if db.mounts:
        found += [key for key in db.mounted_keys() if matches is None or matches(key)]
    return list(found)


def randomkey(ctx: Context, args: list[bytes]) -> Reply:
    """Return a random stored key, never a derived key. The time is proportional to the number of
    keys: about 5 ms for a million."""
    db = ctx.db
    ctx.strain(len(db.data) // 100)
    for _ in range(_TRIES):
        if not db.data:
            return None
        key = next(islice(db.data, ctx.dice.below(len(db.data)), None))
        if not db.has_expired(key):
            return key
        ctx.expire(db, key)
    return next((key for key in db.data if not db.has_expired(key)), None)


def dbsize(ctx: Context, args: list[bytes]) -> Reply:
    return len(ctx.db.data)


# -- emptying --------------------------------------------------------------------------------------
def flushdb(ctx: Context, args: list[bytes]) -> Reply:
    _check_flush(args)
    if ctx.db.data:
        _wipe(ctx, ctx.db)
        ctx.log([b"FLUSHDB"])
    return OK


def flushall(ctx: Context, args: list[bytes]) -> Reply:
    _check_flush(args)
    space = ctx.db.index >= SPACES
    full = [db for db in ctx.databases.values() if db.data and (db is ctx.db if space else db.index < SPACES)]
    for db in full:
        _wipe(ctx, db)
    if full:
        ctx.log([b"FLUSHALL"])
    return OK


def _check_flush(args: list[bytes]) -> None:
    if len(args) > 2 or (len(args) == 2 and args[1].upper() not in (b"ASYNC", b"SYNC")):
        raise Refusal(SYNTAX)


def _wipe(ctx: Context, db: Database) -> None:
    gone = [key for key in ctx.observed.of(db.index) if key in db.data]
    ctx.session.halted = True
    db.wipe()
    for key in gone:
        ctx.touch(key, db)
    _remeasure(ctx)


def swapdb(ctx: Context, args: list[bytes]) -> Reply:
    first, second = integer(args[1], Error(b"ERR invalid first DB index")), integer(args[2], Error(b"ERR invalid second DB index"))
    for index, position in ((first, b"first"), (second, b"second")):
        if not -(1 << _INT_BITS) <= index < 1 << _INT_BITS:
            raise Refusal(b"ERR invalid %b DB index" % position)
    if any(not 0 <= index < ctx.settings.number("databases") for index in (first, second)):
        raise Refusal(_NO_SUCH_DB)
    if first == second:
        return OK
    first_db, second_db = ctx.databases[first], ctx.databases[second]
    first_db.swap(second_db)
    for db in (first_db, second_db):
        for key in ctx.observed.of(db.index):
            if key in first_db.data or key in second_db.data:
                _notice_created(ctx, db, key)
                ctx.touch(key, db)
    _remeasure(ctx)
    ctx.log([b"SWAPDB", b"%d" % first, b"%d" % second])
    return OK


def _notice_created(ctx: Context, db: Database, key: bytes) -> None:
    observers = ctx.observed.get((db.index, key))
    if observers is not None:
        observers.suppressed = False


def _remeasure(ctx: Context) -> None:
    if ctx.meter is not None:
        ctx.meter.measure(list(ctx.databases.values()))


# -- storage of keys -------------------------------------------------------------------------------
def object_encoding(ctx: Context, args: list[bytes]) -> Reply:
    value = ctx.db.find(args[2])
    return None if value is None else _encoding(value, ctx.settings)


def object_refcount(ctx: Context, args: list[bytes]) -> Reply:
    value = ctx.db.find(args[2])
    if value is None:
        return None
    return _SHARED if isinstance(value, bytes) and len(value) <= 4 and value.isdigit() and is_integer(value) else 1


def object_idletime(ctx: Context, args: list[bytes]) -> Reply:
    return None if ctx.db.find(args[2]) is None else 0


def object_freq(ctx: Context, args: list[bytes]) -> Reply:
    if ctx.db.find(args[2]) is None:
        return None
    raise Refusal(
        b"ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching between "
        b"policies at runtime LRU and LFU data will take some time to adjust."
    )


def memory_usage(ctx: Context, args: list[bytes]) -> Reply:
    samples = SAMPLES
    at = 3
    while at < len(args):
        if args[at].upper() != b"SAMPLES" or at + 1 == len(args):
            raise Refusal(SYNTAX)
        samples = integer(args[at + 1])
        if samples < 0:
            raise Refusal(SYNTAX)
        at += 2
    value = ctx.db.find(args[2])
    return None if value is None else size_of_key(args[2], value, expires=args[2] in ctx.db.expires, samples=samples)


def _encoding(value: Value, settings: Settings) -> bytes:
    """Return the name of the encoding that Redis would use for a new value like this one."""
    if isinstance(value, bytes):
        if is_integer(value):
            return b"int"
        return b"embstr" if len(value) <= _EMBEDDED else b"raw"
    if isinstance(value, bytearray):
        return b"raw"
    if isinstance(value, deque):
        return b"quicklist"
    if isinstance(value, Stream):
        return b"stream"
    if isinstance(value, SetValue):
        if len(value) <= settings.number("set-max-intset-entries") and all(is_integer(member) for member in value):
            return b"intset"
        return b"hashtable"
    if isinstance(value, dict):
        longest = settings.number("hash-max-listpack-value")
        few = len(value) <= settings.number("hash-max-listpack-entries")
        return b"listpack" if few and all(len(k) <= longest and len(v) <= longest for k, v in value.items()) else b"hashtable"
    longest = settings.number("zset-max-listpack-value")
    few = len(value) <= settings.number("zset-max-listpack-entries")
    return b"listpack" if few and all(len(member) <= longest for member in value.scores) else b"skiplist"
