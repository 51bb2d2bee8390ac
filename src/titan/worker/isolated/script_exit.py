"""Run and exit of a script in a process that was forked from the warden. The script sees no
difference from a new interpreter.

Like `warm` this module imports nothing of Titan, and runs in an interpreter that need not have
Titan.

The script needs an empty stack: frames of the warden would show in `traceback.print_stack`, in
`warnings` and in the recursion depth. So the child returns from all frames, including the -c code
that started the warden. The return frees the code object of the -c code, and then Python calls the
callbacks of weak references to this object. One callback is `reversed`. It calls a method of its
reference in C, without a frame and without counting a recursion. That method is the script. So
there is no frame below the script. The next callback is `end`. It is always called, gets the
script's exception through `sys.unraisablehook`, and exits with os._exit.

The child skips the finalization of the interpreter, which writes to every object and so would copy
all memory of the warden. This module reproduces its visible effects: it waits for threads, runs
atexit handlers, flushes the streams, and frees the globals of the script and of the modules that
the script imported.
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


# -- the run ---------------------------------------------------------------------------------------
class Hook(_weakref.ref):  # type: ignore[type-arg]
    """Weak reference whose `__reversed__` runs the script."""

    __reversed__: Any = None


class Ending:
    """State that `end` needs, and objects that must outlive the script's run."""

    kept: list[Any] = []
    main: list[ModuleType] = []
    modules: frozenset[str] = frozenset()  # names of the modules that were imported before the script
    raised: list[BaseException] = []
    hook: Any = None
    collections = 0  # number of garbage collections of the oldest generation before the script


function: Any = type(lambda: None)


def arrange(code: CodeType, main: ModuleType, boot: CodeType, modules: frozenset[str]) -> None:
    """Arrange that the script runs, and then `end`, when the code object `boot` is freed. Python
    calls the callback of the newest reference first.

    `modules` are the names of the modules that were imported before the script.
    """
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
    """Exit with an error, because the interpreter shuts down before the script has run. This would
    happen if Python freed the -c code only after its atexit handlers. No known release does."""
    os.write(2, b"titan: this Python cannot run a script in a forked process\n")
    os._exit(LOST_CODE)


def on_unraisable(args: Any) -> None:
    """Record the exception that ended the script. Pass all other exceptions to the previous
    hook."""
    if args.object is reversed:
        Ending.raised.append(args.exc_value)
    else:
        Ending.hook(args)


# -- the exit --------------------------------------------------------------------------------------
def end(_reference: object) -> NoReturn:
    """Reproduce the visible effects of Python's exit after a script, then call os._exit."""
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
        # Before Python 3.10 each copy of the atexit module has handlers of its own, and this call
        # also raises errors that it has printed.
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
    """Print the script's exception and return its exit code."""
    if isinstance(error, SystemExit):
        return exit_code(error)
    below = error.__traceback__
    sys.last_type, sys.last_value, sys.last_traceback = type(error), error, below
    if sys.version_info >= (3, 12):
        sys.last_exc = error
    hook = getattr(sys, "excepthook", None)
    if hook is None:
        write_stderr("sys.excepthook is missing\n")
        hook = sys.__excepthook__
    try:
        hook(type(error), error, below)
    except SystemExit as exit_error:
        return exit_code(exit_error)
    except BaseException as hook_error:
        write_stderr("Error in sys.excepthook:\n")
        show(hook_error, hook_error.__traceback__.tb_next if hook_error.__traceback__ is not None else None)
        write_stderr("\nOriginal exception was:\n")
        show(error, below)
    return 1


def show(error: BaseException, below: TracebackType | None) -> None:
    error.__traceback__ = below
    sys.__excepthook__(type(error), error, below)


def exit_code(error: SystemExit) -> int:
    code = error.code
    if code is None:
        return 0
    if isinstance(code, int):
        return code if -(2**63) <= code < 2**63 else -1
    write_stderr(f"{code}\n")
    return 1


def write_stderr(text: str) -> None:
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except Exception:  # stderr is closed, or is None
        pass


def end_threads() -> None:
    """Wait for the threads that are not daemon threads."""
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
    except TypeError:  # the built-in hook takes only its own type
        write_stderr(f"Exception ignored in: {where!r}\n")
        show(error, below)


def flush_quietly() -> None:
    for stream in (sys.stderr, sys.stdout):
        try:
            stream.flush()
        except Exception:  # `flush_streams` reports the error later
            pass


def flush_streams() -> bool:
    """Flush stdout and stderr. Return False if output of the script could not be written."""
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
    """Free the globals of the script and of the modules that the script imported. This flushes open
    files and calls `__del__` methods."""
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
    """Return whether the oldest generation of the garbage collector is empty. If it is, a
    collection of the younger generations finds the same objects, and writes to less memory."""
    return gc.get_count()[2] == 0 and gc.get_stats()[2]["collections"] == Ending.collections


def clear_names(names: dict[str, Any]) -> None:
    """Set the names of a module to None in the order in which Python does: private names first,
    then the others."""
    for private in (True, False):
        for name in list(names):
            if isinstance(name, str) and name != "__builtins__" and (name[:1] == "_" and name[:2] != "__") is private:
                names[name] = None
