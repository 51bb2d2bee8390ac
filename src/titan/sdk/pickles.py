"""Pickles of functions, arguments, defaults, closures, values and exceptions, all by one rule.

A worker has the installed modules, but not the caller's own. So the definitions of the caller's own
modules travel by value, and all others by reference. Two processes then have two copies of a class.
When a value comes back, its class is the caller's own again.

Most values contain nothing of the caller's own, and are pickled by C code alone. A pickle needs a
second pass only under two conditions: it refers to a class or function, and it contains the name of
one of the caller's own packages.
"""

from __future__ import annotations

import io
import pickle
import site
import sys
import sysconfig
import threading
from collections.abc import Callable
from types import CodeType, FunctionType, ModuleType
from typing import Any, BinaryIO

from titan.errors import CallerError
from titan.sdk.by_value import LRU_WRAPPER, reduced

PROTOCOL = 5
BY_REFERENCE = b"\x93"
"""STACK_GLOBAL: a pickle without this byte refers to no class and no function."""
BY_VALUE = b"cloudpickle"
"""Module that rebuilds classes: a pickle without this name contains no class by value."""


# -- the caller's own modules ----------------------------------------------------------------------
def _installed() -> tuple[str, ...]:
    folders = {*sysconfig.get_paths().values(), *site.getsitepackages(), site.getusersitepackages()}
    return tuple(f"{folder}/" for folder in folders if folder)


_INSTALLED = _installed()
_lock = threading.Lock()
_registered: dict[str, None] = {}
"""Modules that `register_by_value` named."""
_verdicts: dict[str, tuple[ModuleType, bool]] = {}
_own: tuple[tuple[int, str], list[ModuleType], tuple[bytes, ...]] = ((0, ""), [], ())


def register_by_value(module: ModuleType | str) -> None:
    """Let a module, with its submodules, travel to workers by value, as your own modules do.

    Titan takes modules outside of the folders of installed packages for your own. Register a module
    that is installed here but not on the workers, or there in another version. Raises CallerError
    for a module that is not imported.

    >>> import json
    >>> register_by_value(json)            # doctest: +SKIP
    """
    global _own
    name = module if isinstance(module, str) else getattr(module, "__name__", None)
    if not isinstance(name, str) or not isinstance(sys.modules.get(name), ModuleType):
        raise CallerError(f"register_by_value: {module!r} is no imported module: import it first")
    if name.partition(".")[0] in ("titan", *sys.builtin_module_names):
        raise CallerError(f"register_by_value: {name} is on every worker")
    _registered[name] = None
    _verdicts.clear()
    _own = ((0, ""), [], ())


def is_own(name: str | None) -> bool:
    """Return True if the module is the caller's own.

    Such are the main module, modules that are not installed, and registered ones.
    """
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
    if any(name == own or name.startswith(f"{own}.") for own in _registered):
        return True
    if name.partition(".")[0] == "titan" or not isinstance(module, ModuleType) or module.__name__ != name:
        return False
    file = getattr(module, "__file__", None)
    return isinstance(file, str) and not file.startswith(_INSTALLED)


def _own_modules() -> list[ModuleType]:
    """Return the modules that must be registered with cloudpickle."""
    return _find_own()[1]


def _may_name_own(data: bytes) -> bool:
    """Return True if the pickle contains the name of one of the caller's own packages.

    Every pickle that refers to such a package does.
    """
    return any(name in data for name in _find_own()[2])


def _find_own() -> tuple[tuple[int, str], list[ModuleType], tuple[bytes, ...]]:
    """Return (key, own modules, names of their packages) for the modules that are loaded now.

    The key changes when other modules are loaded.
    """
    global _own
    own = _own
    now = (len(sys.modules), next(reversed(sys.modules)))
    if own[0] != now:
        modules = {name: module for name, module in list(sys.modules.items()) if name != "__main__" and is_own(name)}
        packages = {name.partition(".")[0] for name in modules}
        own = _own = (now, list(modules.values()), (b"__main__", *(name.encode("utf-8", "surrogatepass") for name in packages)))
    return own


# -- writing ---------------------------------------------------------------------------------------
def dumps(value: object, persistent_id_of: Callable[[Any], int | None] | None = None) -> bytes:
    """Return the pickle of a value.

    `persistent_id_of(object)` returns the persistent id of an object to replace, or None. Raises
    the errors of objects that cannot be pickled.
    """
    try:
        data = pickle.dumps(value, PROTOCOL) if persistent_id_of is None else _dumped(_Plain, value, persistent_id_of)
        if BY_REFERENCE not in data or not _may_name_own(data) or not _refers_to_own(value, persistent_id_of):
            return data
    except Exception:  # a local class, a lambda, ...
        pass
    return dumps_by_value(value, persistent_id_of)


def dumps_by_value(value: object, persistent_id_of: Callable[[Any], int | None] | None = None) -> bytes:
    import cloudpickle

    with _lock:
        known = cloudpickle.list_registry_pickle_by_value()
        registered = [module for module in _own_modules() if module.__name__ not in known]
        for module in registered:
            cloudpickle.register_pickle_by_value(module)
        try:
            return _dumped(_by_value(), value, persistent_id_of)
        finally:
            for module in registered:
                cloudpickle.unregister_pickle_by_value(module)


class _Plain(pickle.Pickler):
    persistent_id_of: Callable[[Any], int | None]

    def persistent_id(self, value: Any) -> int | None:
        return self.persistent_id_of(value)


def _by_value() -> Any:
    import cloudpickle

    class ByValue(cloudpickle.Pickler):  # type: ignore[misc]
        persistent_id = _Plain.persistent_id
        persistent_id_of = staticmethod(_no_id)

        def reducer_override(self, value: Any) -> Any:
            found = reduced(value, self.dispatch_table[CodeType], is_own=_is_own_object)
            return super().reducer_override(value) if found is NotImplemented else found

    return ByValue


def _no_id(_value: Any) -> None:
    return None


def _is_own_object(value: Any) -> bool:
    """Return True if a worker cannot find a function or class by its name."""
    return is_own(getattr(value, "__module__", None)) or "<locals>" in getattr(value, "__qualname__", "")


def _dumped(kind: Any, value: object, persistent_id_of: Callable[[Any], int | None] | None) -> bytes:
    into = io.BytesIO()
    pickler = kind(into, protocol=PROTOCOL)
    if persistent_id_of is not None:
        pickler.persistent_id_of = persistent_id_of
    pickler.dump(value)
    return into.getvalue()


class _OwnFound(Exception):
    pass


class _NullFile:
    def write(self, _data: object) -> int:
        return 0


class _OwnFinder(pickle.Pickler):
    """Pickler without output that stops at the first object of the caller's own."""

    def reducer_override(self, value: Any) -> Any:
        kind = type(value)
        named = kind is FunctionType or kind is LRU_WRAPPER or issubclass(kind, type)
        if named and is_own(getattr(value, "__module__", None)):
            raise _OwnFound
        return NotImplemented


class _OwnFinderWithIds(_OwnFinder):
    persistent_id_of: Callable[[Any], int | None]
    persistent_id = _Plain.persistent_id


def _refers_to_own(value: object, persistent_id_of: Callable[[Any], int | None] | None) -> bool:
    if persistent_id_of is None:
        pickler = _OwnFinder(_NullFile(), protocol=PROTOCOL)
    else:
        pickler = _OwnFinderWithIds(_NullFile(), protocol=PROTOCOL)
        pickler.persistent_id_of = persistent_id_of
    try:
        pickler.dump(value)
    except _OwnFound:
        return True
    return False


# -- reading ---------------------------------------------------------------------------------------
def loads(data: bytes | bytearray | memoryview) -> Any:
    """Return the unpickled value.

    A class that travelled by value becomes the class of this process again. The class is found if
    this process has sent it, or has a class of the same name. The writer of the pickle can execute
    code here.
    """
    whole = bytes(data) if isinstance(data, memoryview) else data
    if BY_VALUE not in whole:
        return pickle.loads(whole)
    return _Unpickler(io.BytesIO(whole)).load()


def load(file: BinaryIO) -> Any:
    """Return the unpickled value, read from the file's current position. See `loads`."""
    return _Unpickler(file).load()


class _Unpickler(pickle.Unpickler):
    """Unpickler that leaves existing classes unchanged.

    cloudpickle rebuilds a class and then sets all its attributes, even those of an existing class.
    Classes of this process stay as they are: their methods refer to the globals of the module, and
    they keep their state.
    """

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self._existing: list[type] = []

    def find_class(self, module: str, name: str, /) -> Any:
        found = super().find_class(module, name)
        if module.partition(".")[0] == BY_VALUE.decode():
            if name in ("_make_skeleton_class", "_make_skeleton_enum"):
                return lambda *arguments: self._class_of(found, name == "_make_skeleton_enum", *arguments)
            if name == "_class_setstate":
                return lambda kind, state: kind if any(kind is own for own in self._existing) else found(kind, state)
        return found

    def _class_of(self, make: Any, is_enum: bool, *arguments: Any) -> Any:
        if is_enum:
            bases, name, qualname, _, module, tracked = arguments[:6]
        else:
            _, name, bases, namespace, tracked = arguments[:5]
            qualname, module = name, namespace.get("__module__")
        existing = _tracked().get(tracked) or _named(module, qualname, name, bases)
        if existing is None:
            return make(*arguments)
        self._existing.append(existing)
        return existing


def _tracked() -> Any:
    """Return the classes that this process sent or received by value, by cloudpickle's ids."""
    from cloudpickle import cloudpickle

    return getattr(cloudpickle, "_DYNAMIC_CLASS_TRACKER_BY_ID", {})


def _named(module: Any, qualname: str, name: str, bases: tuple[type, ...]) -> type | None:
    """Return the class of this name in this process, if it has the same bases.

    The pickled class then comes from the same program, which was restarted or runs on another
    machine.
    """
    found: Any = sys.modules.get(module) if isinstance(module, str) else None
    for part in qualname.split("."):
        found = getattr(found, part, None)
    matches = isinstance(found, type) and (found.__module__, found.__qualname__, found.__bases__) == (module, qualname, bases)
    return found if matches and found.__name__ == name else None


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
    """Return True if a pickle contains only numbers, texts and containers of them.

    Opening such a pickle executes no code. The limit is 256 KiB.
    """
    import pickletools

    if len(data) > PLAIN_BYTES:
        return False
    try:
        return all(code.name in _PLAIN_CODES for code, _, _ in pickletools.genops(bytes(data)))
    except Exception:  # not a pickle
        return False
