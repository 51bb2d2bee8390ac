"""How a script runs and ends in a process that was forked from the warden, as far as it can tell
like in one of its own.

Like `warm` it imports nothing of Titan and runs in an interpreter that need not have it.

How the script gets an empty stack. The frames of the warden would show in `traceback.print_stack`,
in `warnings` and in the depth of a recursion. So the child returns out of all of them, and out of
the -c code that started the warden; that code object is freed then, and two weak references to it
have callbacks. The first is `reversed`, of all things: it calls a method of the reference, in C and
outside the count of recursions, and that method is the script. So there is no frame below it. The
second is `end`. It always comes, gets what the script raised through `sys.unraisablehook`, and
leaves by os._exit.

Why there is no real finalization: it writes to each object and so copies all memory of the warden.
What can be seen of it is done here: threads, atexit, the streams, and the globals of the script and
of the modules that it imported.
"""

from __future__ import annotations

import _weakref
import atexit
import gc
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from types import CodeType, ModuleType, TracebackType
    from typing import Any, NoReturn
else:
    import _signal as signal

LOST_CODE = 70


# -- its beginning ---------------------------------------------------------------------------------
class Hook(_weakref.ref):  # type: ignore[type-arg]
    """A weak reference whose `__reversed__` is to be run."""

    __reversed__: Any = None


class Ending:
    """What `end` needs of the script's run, and what must outlive it."""

    kept: list[Any] = []
    main: list[ModuleType] = []
    modules: frozenset[str] = frozenset()  # imported before the script was there
    raised: list[BaseException] = []
    hook: Any = None
    collections = 0  # of the oldest generation, before the script


function: Any = type(lambda: None)


def arrange(code: CodeType, main: ModuleType, boot: CodeType, modules: frozenset[str]) -> None:
    """Have the script run, and then `end`, when `boot` is freed. Of the references the later one is
    called first.

    `modules` are the names of those that were there before it."""
    Ending.hook = sys.unraisablehook
    sys.unraisablehook = sys.__unraisablehook__ = on_unraisable
    atexit.register(lost)
    Ending.main = [main]
    Ending.modules = modules
    Ending.collections = gc.get_stats()[2]["collections"]
    Hook.__reversed__ = staticmethod(function(code, main.__dict__))
    Ending.kept += [_weakref.ref(boot, end), Hook(boot, reversed), _weakref.ref(boot, found)]


def found(_reference: object) -> None:
    atexit.unregister(lost)


def lost() -> None:
    """The interpreter goes down and the script has not run: no release of Python that is known
    frees its -c code so late."""
    os.write(2, b"titan: this Python cannot run a script in a forked process\n")
    os._exit(LOST_CODE)


def on_unraisable(args: Any) -> None:
    """Takes what ended the script; all else goes where it went before."""
    if args.object is reversed:
        Ending.raised.append(args.exc_value)
    else:
        Ending.hook(args)


# -- its end ---------------------------------------------------------------------------------------
def end(_reference: object) -> NoReturn:
    """What Python does after a script, as far as it can be seen, and then os._exit."""
    status = 1
    try:
        status = finish()
    except BaseException as error:
        os.write(2, f"titan: the end of the script failed: {type(error).__name__}: {error}\n".encode("utf-8", "replace"))
    finally:
        os._exit(status & 0xFF)


def finish() -> int:
    if sys.unraisablehook is on_unraisable:
        sys.unraisablehook = Ending.hook
    sys.__unraisablehook__ = Ending.hook
    Hook.__reversed__ = None
    flush_quietly()
    error = Ending.raised.pop() if Ending.raised else None
    interrupted = isinstance(error, KeyboardInterrupt)
    status = report(error) if error is not None else 0
    if not isinstance(error, SystemExit):
        for name in ("__file__", "__cached__"):
            Ending.main[0].__dict__.pop(name, None)
    error = None
    if "threading" in sys.modules:
        end_threads()
    try:
        # Before 3.10 each copy of the module has functions of its own, and this also raises what it
        # has printed.
        sys.modules.get("atexit", atexit)._run_exitfuncs()
    except Exception:
        pass
    if not flush_streams():
        status = 120
    clear_modules()
    if not flush_streams():
        status = 120
    if interrupted:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    return status


def report(error: BaseException) -> int:
    """Print what the script raised; returns its exit code."""
    if isinstance(error, SystemExit):
        return exit_code(error)
    below = error.__traceback__
    sys.last_type, sys.last_value, sys.last_traceback = type(error), error, below
    if sys.version_info >= (3, 12):
        sys.last_exc = error
    hook = getattr(sys, "excepthook", None)
    if hook is None:
        complain("sys.excepthook is missing\n")
        hook = sys.__excepthook__
    try:
        hook(type(error), error, below)
    except SystemExit as wish:
        return exit_code(wish)
    except BaseException as second:
        complain("Error in sys.excepthook:\n")
        show(second, second.__traceback__.tb_next if second.__traceback__ is not None else None)
        complain("\nOriginal exception was:\n")
        show(error, below)
    return 1


def show(error: BaseException, below: TracebackType | None) -> None:
    error.__traceback__ = below
    sys.__excepthook__(type(error), error, below)


def exit_code(error: SystemExit) -> int:
    wish = error.code
    if wish is None:
        return 0
    if isinstance(wish, int):
        return wish if -(2**63) <= wish < 2**63 else -1
    complain(f"{wish}\n")
    return 1


def complain(text: str) -> None:
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except Exception:  # closed, or None
        pass


def end_threads() -> None:
    """Wait for the threads that are no daemons."""
    threading = sys.modules["threading"]
    try:
        threading._shutdown()
    except BaseException as error:
        unraisable(error, threading)


def unraisable(error: BaseException, where: object) -> None:
    below = error.__traceback__.tb_next if error.__traceback__ is not None else None
    details: Any = type("UnraisableHookArgs", (), {})()
    details.exc_type, details.exc_value, details.exc_traceback = type(error), error, below
    details.err_msg, details.object = "Exception ignored in", where
    try:
        sys.unraisablehook(details)
    except TypeError:  # the built-in hook takes its own type only
        complain(f"Exception ignored in: {where!r}\n")
        show(error, below)


def flush_quietly() -> None:
    for stream in (sys.stderr, sys.stdout):
        try:
            stream.flush()
        except Exception:  # said at the last flush
            pass


def flush_streams() -> bool:
    """False if what the script printed could not be written."""
    clean = True
    for stream in (getattr(sys, "stdout", None), getattr(sys, "stderr", None)):
        if stream is None or getattr(stream, "closed", False):
            continue
        try:
            stream.flush()
        except BaseException as error:
            if stream is sys.stdout:
                unraisable(error, stream)
            clean = False
    return clean


def clear_modules() -> None:
    """Free the script's globals and those of the modules that it imported, so that files are
    flushed and `__del__` is called."""
    sys.last_type = sys.last_value = sys.last_traceback = None
    if sys.version_info >= (3, 12):
        sys.last_exc = None  # type: ignore[assignment]
    gc.collect(0 if gc.get_count()[1] == 0 and nothing_old() else 2)
    sys.stdin, sys.stdout, sys.stderr = sys.__stdin__, sys.__stdout__, sys.__stderr__
    fresh = [name for name in sys.modules if name == "__main__" or name not in Ending.modules]
    alive = []
    Ending.main.clear()
    for name in fresh:
        module = sys.modules[name]
        if isinstance(module, type(sys)):
            alive.append(_weakref.ref(module))
        sys.modules[name] = None  # type: ignore[assignment]
        del module
    for name in fresh:
        sys.modules.pop(name, None)
    gc.collect(1 if nothing_old() else 2)
    for reference in alive:
        left = reference()
        if left is not None:
            clear_names(left.__dict__)
        del left


def nothing_old() -> bool:
    """Whether the oldest generation is empty. A collection without it finds as much then, and does
    not write to free memory."""
    return gc.get_count()[2] == 0 and gc.get_stats()[2]["collections"] == Ending.collections


def clear_names(names: dict[str, Any]) -> None:
    """As Python clears a module: private names first, then the others, by None and in their order."""
    for private in (True, False):
        for name in list(names):
            if isinstance(name, str) and name != "__builtins__" and (name[:1] == "_" and name[:2] != "__") is private:
                names[name] = None
