"""`titan context`: the functions of `titan.context` for shell scripts and all other programs.

It parses its command line without click and imports little, because a loop may call it often.
"""

from __future__ import annotations

import os
import sys

from titan.errors import CallerError, TitanError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

USAGE = """Usage: titan context COMMAND [ARGS]...

  Use in a job: report its progress, status and result, and access the store of its run.

Commands:
  progress FRACTION [MESSAGE]     Report progress: 0 to 1, 40%, 3/8, or - if it is not known.
  status TEXT                     Set the status text, up to 1 KiB; "" clears it.
  result JSON|-                   Set the result, which counts if the job ends with 0; - reads it from stdin. Text: '"like this"'.
  value JOB                       Print the result of another job of the run, as JSON. It must be COMPLETED: depend on it.
  publish KEY PATH                Publish a file or folder under a key of the run, or with --shared for all runs.
  fetch KEY PATH                  Download an artifact: of the run, a shared one, or of another run as RUN/KEY.
  submit FILE|-                   Add the jobs of a pipeline to the run; - reads it from stdin. With --before JOB (repeatable) or
                                  --before-children these jobs wait for the addition. --key KEY: an idempotency key.
  submit-saved NAME [PREFIX]      Add the jobs of a saved pipeline, as PREFIX.ID. --before-children as above.
  run | job | attempt             Print the id of the run, the id of the job, or the number of the attempt.
  get KEY                         Print a key from the store of the run. Exit code 1 if it does not exist.
  set KEY VALUE [--ttl SECONDS]   Set a key.
  incr KEY [N]                    Add N (default 1) to a number, and print the sum.
  store COMMAND [ARGS]...         Execute any command of Redis, such as hset, lpush, expire.

Options, before or behind the arguments of a command; with store only before them:
  --shared    With get, set, incr, store, publish: use the keys that all runs and clients share.
  --json      With get, incr, store, publish, submit, submit-saved: print the answer as JSON.

  titan context progress 4/10 "epoch 4"; titan context result '{"accuracy": 0.93}'
"""


def main(arguments: list[str]) -> int:
    """Execute the command and return its exit code.

    0: done; 1: no such key; 2: wrong usage or input; 74: worker or master unreachable.
    """
    as_json = False
    try:
        flags: list[str] = []
        if not arguments or arguments[0] in ("-h", "--help"):
            print(USAGE, end="")
            return 0 if arguments else 2
        while arguments and arguments[0] in ("--shared", "--json"):
            flags.append(arguments.pop(0))
        name, rest = arguments[0] if arguments else "", arguments[1:]
        while name in _WITH_FLAGS and rest and rest[0] in ("--shared", "--json"):
            flags.append(rest.pop(0))
        while len(rest) > _WITH_FLAGS.get(name, len(rest)) and rest[-1] in ("--shared", "--json"):
            flags.append(rest.pop())
        as_json = "--json" in flags
        command = _COMMANDS.get(name)
        if command is None:
            known = ", ".join(_COMMANDS)
            raise CallerError(f"context: unknown command {name!r}: use one of {known} (`titan context --help`)")
        if flags and name not in _WITH_FLAGS:
            raise CallerError(f"context {name}: {flags[0]} is for {', '.join(_WITH_FLAGS)}")
        if "--shared" in flags and name not in _SHARED:
            raise CallerError(f"context {name}: --shared is for {', '.join(_SHARED)}")
        if rest[:1] in (["-h"], ["--help"]) and name not in _SHARED:
            print(USAGE, end="")
            return 0
        return command(rest, flags)
    except TitanError as e:
        from titan.cli.exits import exit_code, print_error

        print_error(e, as_json=as_json)
        return exit_code(e)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _progress(arguments: list[str], flags: list[str]) -> int:
    from titan import context

    fraction, message = _checked("progress", arguments, 1, 2)[0], " ".join(arguments[1:])
    context.progress(_fraction(fraction), message)
    return 0


def _fraction(text: str) -> float | None:
    if text == "-":
        return None
    try:
        if text.endswith("%"):
            return float(text[:-1]) / 100
        part, slash, whole = text.partition("/")
        return float(part) / float(whole) if slash else float(text)
    except (ValueError, ZeroDivisionError):
        raise CallerError(f"context progress: {text!r} is not a fraction: write 0.4, 40%, 4/10, or - if it is not known") from None


def _status(arguments: list[str], flags: list[str]) -> int:
    from titan import context

    context.status(" ".join(_checked("status", arguments, 1, 1)))
    return 0


def _result(arguments: list[str], flags: list[str]) -> int:
    import json

    from titan import context
    from titan.net.job_link import first_lease

    (text,) = _checked("result", arguments, 1, 1)
    first_lease()
    data = sys.stdin.buffer.read() if text == "-" else os.fsencode(text)
    try:
        json.loads(data, parse_constant=_no_constant)
    except ValueError as e:
        hint = "" if text == "-" else """; quote text twice, as '"done"'"""
        raise CallerError(f"context result: this is not JSON: {e}{hint}") from None
    context.set_result(data, as_json=True)
    return 0


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _value(arguments: list[str], flags: list[str]) -> int:
    from titan import context
    from titan.model.values import JSON

    (job,) = _checked("value", arguments, 1, 1)
    kind, data = context.raw_value_of(job)
    if kind not in (b"", JSON):
        raise CallerError(
            f"context value: the result of {job} is a pickled Python object: read it in Python by context.value_of({job!r})"
        )
    sys.stdout.buffer.write((data or b"null") + b"\n")
    return 0


def _publish(arguments: list[str], flags: list[str]) -> int:
    from titan import context

    key, path = _checked("publish", arguments, 2, 2)
    artifact = context.publish(key, path, shared="--shared" in flags)
    if "--json" in flags:
        import json

        print(json.dumps({"key": artifact.key, "hash": artifact.hash, "size": artifact.size}))
    else:
        print(artifact.key)
    return 0


def _fetch(arguments: list[str], flags: list[str]) -> int:
    from titan import context

    key, path = _checked("fetch", arguments, 2, 2)
    context.artifact(key).download(path)
    return 0


def _identity(name: str) -> Callable[[list[str], list[str]], int]:
    def print_identity(arguments: list[str], flags: list[str]) -> int:
        from titan import context

        _checked(name, arguments, 0, 0)
        print(getattr(context, name))
        return 0

    return print_identity


def _get(arguments: list[str], flags: list[str]) -> int:
    return _execute(["GET", *_checked("get", arguments, 1, 1)], flags)


def _set(arguments: list[str], flags: list[str]) -> int:
    ttl: list[str] = []
    if len(arguments) == 4 and arguments[2] == "--ttl":
        try:
            ttl = ["PX", str(max(1, round(float(arguments[3]) * 1000)))]
        except (ValueError, OverflowError):
            raise CallerError(f"context set: --ttl {arguments[3]!r} is not a number of seconds") from None
        arguments = arguments[:2]
    _store(flags).execute("SET", *map(os.fsencode, _checked("set", arguments, 2, 2)), *ttl)
    return 0


def _incr(arguments: list[str], flags: list[str]) -> int:
    key, *by = _checked("incr", arguments, 1, 2)
    return _execute(["INCRBY", key, *(by or ["1"])], flags)


def _any(arguments: list[str], flags: list[str]) -> int:
    if not arguments:
        raise CallerError("context store: the command is missing: titan context store hset scores ann 3")
    return _execute(arguments, flags)


def _store(flags: list[str]) -> Any:
    from titan import context

    return context.shared_store if "--shared" in flags else context.store


def _execute(arguments: list[str], flags: list[str]) -> int:
    from titan.cli.replies import json_value, lines

    reply = _store(flags).execute(*map(os.fsencode, arguments))
    if "--json" in flags:
        import json

        print(json.dumps(json_value(reply)))
    else:
        sys.stdout.buffer.write(b"".join([line + b"\n" for line in lines(reply)]))
    return 1 if reply is None else 0


def _checked(name: str, arguments: list[str], least: int, most: int) -> list[str]:
    """Return the arguments. Raises CallerError if there are too few or too many."""
    if not least <= len(arguments) <= most:
        raise CallerError(
            f"context {name}: wrong number of arguments ({len(arguments)}): use `titan context {_synopsis(name)}`"
            " (quote an argument that has blanks)"
        )
    return arguments


def _synopsis(name: str) -> str:
    """Return the command with its arguments, as USAGE lists it."""
    _, _, commands = USAGE.partition("Commands:\n")
    for line in commands.splitlines():
        synopsis = line.strip().partition("  ")[0]
        if name in synopsis.split(" | "):
            return name
        if synopsis.split()[:1] == [name]:
            return synopsis
    raise AssertionError(f"USAGE does not list {name}")


def _submit(arguments: list[str], flags: list[str]) -> int:
    rest, options = _options("submit", arguments, values=("--before", "--key"), switches=("--before-children",))
    (path,) = _checked("submit", rest, 1, 1)
    from titan.sdk.additions import submit_file

    keys = options.get("--key", [])
    if len(keys) > 1:
        raise CallerError("context submit: --key may be given only once")
    before, wait = options.get("--before", []), "--before-children" in options
    return _print_ids(submit_file(path, before=before, before_children=wait, key=keys[0] if keys else ""), flags)


def _submit_saved(arguments: list[str], flags: list[str]) -> int:
    rest, options = _options("submit-saved", arguments, switches=("--before-children",))
    name, *prefix = _checked("submit-saved", rest, 1, 2)
    from titan.sdk.additions import submit_saved

    return _print_ids(submit_saved(name, *prefix, before_children="--before-children" in options), flags)


def _print_ids(ids: list[str], flags: list[str]) -> int:
    if "--json" in flags:
        import json

        print(json.dumps({"jobs": ids}))
    else:
        print("\n".join(ids))
    return 0


def _options(
    name: str, arguments: list[str], *, values: tuple[str, ...] = (), switches: tuple[str, ...] = ()
) -> tuple[list[str], dict[str, list[str]]]:
    """Return the positional arguments, and the values of each option."""
    rest: list[str] = []
    options: dict[str, list[str]] = {}
    left = list(arguments)
    while left:
        option, equals, value = left.pop(0).partition("=")
        if option in values:
            if not equals and not left:
                raise CallerError(f"context {name}: {option} needs a value")
            options.setdefault(option, []).append(value if equals else left.pop(0))
        elif option in switches and not equals:
            options[option] = []
        elif option.startswith("--"):
            raise CallerError(f"context {name}: unknown option {option}: use one of {', '.join(values + switches)}")
        else:
            rest.append(option + equals + value)
    return rest, options


_SHARED = ("get", "set", "incr", "store", "publish")
_WITH_FLAGS = {"get": 1, "set": 2, "incr": 1, "store": sys.maxsize, "publish": 2, "submit": 1, "submit-saved": 1}
"""Command -> least number of arguments; flags are also read behind these. All that follows `store`
is for the store."""
_COMMANDS: dict[str, Callable[[list[str], list[str]], int]] = {
    "progress": _progress,
    "status": _status,
    "result": _result,
    "value": _value,
    "publish": _publish,
    "fetch": _fetch,
    "submit": _submit,
    "submit-saved": _submit_saved,
    "run": _identity("run"),
    "job": _identity("job"),
    "attempt": _identity("attempt"),
    "get": _get,
    "set": _set,
    "incr": _incr,
    "store": _any,
}
