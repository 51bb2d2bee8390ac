"""Pickles of what travels with a call: functions, arguments, defaults, closures, values and what
was raised, all by one rule.

A worker has the installed modules and not the caller's own. So what a module of the caller's own
defines travels by value, and all else by reference. Two processes then have two copies of one
class; when a value comes back its class is the caller's own again.

Most values hold nothing of the caller's own, and those are pickled in C alone: only a pickle that
refers to some class or function, and has the name of one of the caller's own packages in it, is
looked at twice.
"""

from __future__ import annotations

import io
import pickle
import site
import sys
import sysconfig
import threading
from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import Any, BinaryIO

PROTOCOL = 5
BY_REFERENCE = b"\x93"
"""STACK_GLOBAL: without this byte a pickle refers to no class and no function."""
BY_VALUE = b"cloudpickle"
"""What rebuilds a class in a pickle; without it there is none by value."""


# -- whose it is -----------------------------------------------------------------------------------
def _installed() -> tuple[str, ...]:
    places = {*sysconfig.get_paths().values(), *site.getsitepackages(), site.getusersitepackages()}
    return tuple(f"{place}/" for place in places if place)


_INSTALLED = _installed()
_lock = threading.Lock()
_verdicts: dict[str, tuple[ModuleType, bool]] = {}
_own: tuple[tuple[int, str], list[ModuleType], tuple[bytes, ...]] = ((0, ""), [], ())


def is_own(name: str | None) -> bool:
    """Whether the module of this name is the caller's own: the main one, or one that is not
    installed."""
    if name == "__main__":
        return True
    module = sys.modules.get(name) if name else None
    if name is None or module is None:
        return False
    known = _verdicts.get(name)
    if known is None or known[0] is not module:
        known = _verdicts[name] = (module, _is_own_module(name, module))
    return known[1]


def _is_own_module(name: str, module: ModuleType) -> bool:
    if name.partition(".")[0] == "titan" or not isinstance(module, ModuleType) or module.__name__ != name:
        return False
    file = getattr(module, "__file__", None)
    return isinstance(file, str) and not file.startswith(_INSTALLED)


def _own_modules() -> list[ModuleType]:
    """Those that cloudpickle has to be told of."""
    return _look_for_own()[1]


def _may_name_own(data: bytes) -> bool:
    """Whether a pickle has the name of a package of the caller's own in it, as it has if it refers
    to something there."""
    return any(name in data for name in _look_for_own()[2])


def _look_for_own() -> tuple[tuple[int, str], list[ModuleType], tuple[bytes, ...]]:
    """As of the modules that are loaded now: (what tells that they are others, the caller's own,
    the names of their packages)."""
    global _own
    own = _own
    now = (len(sys.modules), next(reversed(sys.modules)))
    if own[0] != now:
        modules = {name: module for name, module in list(sys.modules.items()) if name != "__main__" and is_own(name)}
        packages = {name.partition(".")[0] for name in modules}
        own = _own = (now, list(modules.values()), (b"__main__", *(name.encode("utf-8", "surrogatepass") for name in packages)))
    return own


# -- writing ---------------------------------------------------------------------------------------
def dumps(what: object, place_of: Callable[[Any], int | None] | None = None) -> bytes:
    """The pickle of anything. `place_of(object)`: the persistent id of what stands for something
    else, or None.

    Raises whatever an object raises that cannot be pickled.
    """
    try:
        data = pickle.dumps(what, PROTOCOL) if place_of is None else _dumped(_Plain, what, place_of)
        if BY_REFERENCE not in data or not _may_name_own(data) or not _refers_to_own(what, place_of):
            return data
    except Exception:  # a local class, a lambda, ...
        pass
    return dumps_by_value(what, place_of)


def dumps_by_value(what: object, place_of: Callable[[Any], int | None] | None = None) -> bytes:
    import cloudpickle

    with _lock:
        known = cloudpickle.list_registry_pickle_by_value()
        registered = [module for module in _own_modules() if module.__name__ not in known]
        for module in registered:
            cloudpickle.register_pickle_by_value(module)
        try:
            if place_of is None:
                data: bytes = cloudpickle.dumps(what, PROTOCOL)
                return data
            return _dumped(_by_value(), what, place_of)
        finally:
            for module in registered:
                cloudpickle.unregister_pickle_by_value(module)


class _Plain(pickle.Pickler):
    place_of: Callable[[Any], int | None]

    def persistent_id(self, value: Any) -> int | None:
        return self.place_of(value)


def _by_value() -> Any:
    import cloudpickle

    class ByValue(cloudpickle.Pickler):  # type: ignore[misc]
        persistent_id = _Plain.persistent_id

    return ByValue


def _dumped(kind: Any, what: object, place_of: Callable[[Any], int | None]) -> bytes:
    into = io.BytesIO()
    pickler = kind(into, protocol=PROTOCOL)
    pickler.place_of = place_of
    pickler.dump(what)
    return into.getvalue()


class _Own(Exception):
    pass


class _Nowhere:
    def write(self, _data: object) -> int:
        return 0


class _Look(pickle.Pickler):
    """Pickles to nowhere until it meets something of the caller's own."""

    def reducer_override(self, value: Any) -> Any:
        kind = type(value)
        if (kind is FunctionType or issubclass(kind, type)) and is_own(getattr(value, "__module__", None)):
            raise _Own
        return NotImplemented


class _LookPlaced(_Look):
    place_of: Callable[[Any], int | None]
    persistent_id = _Plain.persistent_id


def _refers_to_own(what: object, place_of: Callable[[Any], int | None] | None) -> bool:
    if place_of is None:
        pickler = _Look(_Nowhere(), protocol=PROTOCOL)
    else:
        pickler = _LookPlaced(_Nowhere(), protocol=PROTOCOL)
        pickler.place_of = place_of
    try:
        pickler.dump(what)
    except _Own:
        return True
    return False


# -- reading ---------------------------------------------------------------------------------------
def loads(data: bytes | bytearray | memoryview) -> Any:
    """What was pickled. A class that came by value is the one of this process again, if it was sent
    from here or has its name here.

    Whoever wrote the pickle can execute code here.
    """
    whole = bytes(data) if isinstance(data, memoryview) else data
    if BY_VALUE not in whole:
        return pickle.loads(whole)
    return _Unpickler(io.BytesIO(whole)).load()


def load(file: BinaryIO) -> Any:
    """As `loads`, from where the file stands."""
    return _Unpickler(file).load()


class _Unpickler(pickle.Unpickler):
    """cloudpickle rebuilds a class and then sets all its attributes, also of one that it has
    already. Those that are this process's own are left as they are: their methods see the module's
    globals, and their state is what it is."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self._here: list[type] = []

    def find_class(self, module: str, name: str, /) -> Any:
        found = super().find_class(module, name)
        if module.partition(".")[0] == BY_VALUE.decode():
            if name in ("_make_skeleton_class", "_make_skeleton_enum"):
                return lambda *of: self._class_of(found, name == "_make_skeleton_enum", *of)
            if name == "_class_setstate":
                return lambda kind, state: kind if any(kind is here for here in self._here) else found(kind, state)
        return found

    def _class_of(self, make: Any, is_enum: bool, *of: Any) -> Any:
        if is_enum:
            bases, name, qualname, _, module, tracked = of[:6]
        else:
            _, name, bases, namespace, tracked = of[:5]
            qualname, module = name, namespace.get("__module__")
        here = _tracked().get(tracked) or _named(module, qualname, name, bases)
        if here is None:
            return make(*of)
        self._here.append(here)
        return here


def _tracked() -> Any:
    """Classes that this process has sent or received by value, by cloudpickle's ids of them."""
    from cloudpickle import cloudpickle

    return getattr(cloudpickle, "_DYNAMIC_CLASS_TRACKER_BY_ID", {})


def _named(module: Any, qualname: str, name: str, bases: tuple[type, ...]) -> type | None:
    """The class of this process that an equal program has sent, after it was started anew or from
    another machine."""
    found: Any = sys.modules.get(module) if isinstance(module, str) else None
    for part in qualname.split("."):
        found = getattr(found, part, None)
    fits = isinstance(found, type) and (found.__module__, found.__qualname__, found.__bases__) == (module, qualname, bases)
    return found if fits and found.__name__ == name else None


PLAIN_BYTES = 256 * 1024
_PLAIN_CODES = frozenset(
    {
        *("PROTO", "FRAME", "STOP", "MARK", "MEMOIZE", "BINGET", "LONG_BINGET", "NONE", "NEWTRUE", "NEWFALSE"),
        *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
        *("SHORT_BINUNICODE", "BINUNICODE", "SHORT_BINBYTES", "BINBYTES"),
        *("EMPTY_LIST", "APPEND", "APPENDS", "EMPTY_DICT", "SETITEM", "SETITEMS", "EMPTY_SET", "ADDITEMS", "FROZENSET"),
        *("EMPTY_TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "TUPLE"),
    }
)


def is_plain(data: bytes | bytearray | memoryview) -> bool:
    """Whether a pickle is numbers, text and containers of such alone: to open it executes nothing.
    At most 256 KiB."""
    import pickletools

    if len(data) > PLAIN_BYTES:
        return False
    try:
        return all(code.name in _PLAIN_CODES for code, _, _ in pickletools.genops(bytes(data)))
    except Exception:  # no pickle
        return False
