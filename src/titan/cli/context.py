"""`titan context`: what `titan.context` is for Python, for jobs that are shell scripts, or anything
else that can start a program.

It is read by hand and imports little, because a loop may call it often.
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

  In a job: how far it is, what it says and comes to, and the store of its run.

Commands:
  progress FRACTION [MESSAGE]     How far it is: 0 to 1, 40%, 3/8, or - if that is not known.
  status TEXT                     What it says of itself, up to 1 KiB; "" takes it away.
  result JSON|-                   What it comes to, if it ends with 0; - reads it from stdin. Text: '"like this"'.
  value JOB                       What another job of the run came to, as JSON. It has to be COMPLETED: depend on it.
  publish KEY PATH                A file or folder, under a key of its run or (--shared) of all.
  fetch KEY PATH                  What is published, by its run, for all, or by another run as RUN/KEY.
  submit FILE|-                   Adds the jobs of a pipeline to the run; - reads it from stdin. --before JOB, again for more,
                                  and --before-children: these wait for the addition; --key KEY: added once by this key.
  submit-saved NAME [PREFIX]      Adds those of a saved pipeline, as PREFIX.ID. --before-children as above.
  run | job | attempt             Who it is.
  get KEY                         From the store of the run. Exit code 1 if it is not there.
  set KEY VALUE [--ttl SECONDS]
  incr KEY [N]
  store COMMAND [ARGS]...         Any command of Redis, as hset, lpush, expire.

Options:
  --shared    With get, set, incr, store, publish, before their words: the keys that all runs and clients share.
  --json      With get, incr, store, publish, submit, submit-saved, before their words: the answer as JSON.

  titan context progress 4/10 "epoch 4"; titan context result '{"accuracy": 0.93}'
"""


def main(words: list[str]) -> int:
    """Its exit code: 0, 1 for a key that is not there, 2 for what cannot be, 74 if the worker or
    the master cannot be reached."""
    as_json = False
    try:
        flags: list[str] = []
        if not words or words[0] in ("-h", "--help"):
            print(USAGE, end="")
            return 0 if words else 2
        while words and words[0] in ("--shared", "--json"):
            flags.append(words.pop(0))
        name, rest = words[0] if words else "", words[1:]
        while name in _WITH_FLAGS and rest and rest[0] in ("--shared", "--json"):
            flags.append(rest.pop(0))
        as_json = "--json" in flags
        command = _COMMANDS.get(name)
        if command is None:
            near = ", ".join(_COMMANDS)
            raise CallerError(f"context: there is no command {name!r}: there are {near} (`titan context --help`)")
        if flags and name not in _WITH_FLAGS:
            raise CallerError(f"context {name}: {flags[0]} is for {', '.join(_WITH_FLAGS)}")
        if "--shared" in flags and name not in _SHARED:
            raise CallerError(f"context {name}: --shared is for {', '.join(_SHARED)}")
        if rest[:1] in (["-h"], ["--help"]) and name not in _SHARED:
            print(USAGE, end="")
            return 0
        return command(rest, flags)
    except TitanError as e:
        from titan.cli.exits import exit_code, say

        say(e, as_json=as_json)
        return exit_code(e)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _progress(words: list[str], flags: list[str]) -> int:
    from titan import context

    fraction, message = _words("progress", words, 1, 2)[:1][0], " ".join(words[1:])
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
        raise CallerError(
            f"context progress: {text!r} is no part of a whole: say 0.4, 40%, 4/10, or - if it is not known"
        ) from None


def _status(words: list[str], flags: list[str]) -> int:
    from titan import context

    context.status(" ".join(_words("status", words, 1, 1)))
    return 0


def _result(words: list[str], flags: list[str]) -> int:
    import json

    from titan import context
    from titan.net.job_link import first_lease

    (text,) = _words("result", words, 1, 1)
    first_lease()
    data = sys.stdin.buffer.read() if text == "-" else os.fsencode(text)
    try:
        json.loads(data, parse_constant=_no_constant)
    except ValueError as e:
        hint = "" if text == "-" else """; text needs quotes of its own, as '"done"'"""
        raise CallerError(f"context result: this is no JSON: {e}{hint}") from None
    context.set_result(data, as_json=True)
    return 0


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _value(words: list[str], flags: list[str]) -> int:
    from titan import context
    from titan.model.values import JSON

    (job,) = _words("value", words, 1, 1)
    kind, data = context.raw_value_of(job)
    if kind not in (b"", JSON):
        raise CallerError(
            f"context value: {job} came to a Python object that was pickled: read it in Python, context.value_of({job!r})"
        )
    sys.stdout.buffer.write((data or b"null") + b"\n")
    return 0


def _publish(words: list[str], flags: list[str]) -> int:
    from titan import context

    key, path = _words("publish", words, 2, 2)
    made = context.publish(key, path, shared="--shared" in flags)
    if "--json" in flags:
        import json

        print(json.dumps({"key": made.key, "hash": made.hash, "size": made.size}))
    else:
        print(made.key)
    return 0


def _fetch(words: list[str], flags: list[str]) -> int:
    from titan import context

    key, path = _words("fetch", words, 2, 2)
    context.artifact(key).download(path)
    return 0


def _who(name: str) -> Callable[[list[str], list[str]], int]:
    def tell(words: list[str], flags: list[str]) -> int:
        from titan import context

        _words(name, words, 0, 0)
        print(getattr(context, name))
        return 0

    return tell


def _get(words: list[str], flags: list[str]) -> int:
    return _execute(["GET", *_words("get", words, 1, 1)], flags)


def _set(words: list[str], flags: list[str]) -> int:
    ttl: list[str] = []
    if len(words) == 4 and words[2] == "--ttl":
        try:
            ttl = ["PX", str(max(1, round(float(words[3]) * 1000)))]
        except (ValueError, OverflowError):
            raise CallerError(f"context set: --ttl {words[3]!r} is no number of seconds") from None
        words = words[:2]
    _store(flags).execute("SET", *map(os.fsencode, _words("set", words, 2, 2)), *ttl)
    return 0


def _incr(words: list[str], flags: list[str]) -> int:
    key, *by = _words("incr", words, 1, 2)
    return _execute(["INCRBY", key, *(by or ["1"])], flags)


def _any(words: list[str], flags: list[str]) -> int:
    if not words:
        raise CallerError("context store: say which command, as: titan context store hset scores ann 3")
    return _execute(words, flags)


def _store(flags: list[str]) -> Any:
    from titan import context

    return context.shared_store if "--shared" in flags else context.store


def _execute(words: list[str], flags: list[str]) -> int:
    from titan.cli.replies import lines, plain

    reply = _store(flags).execute(*map(os.fsencode, words))
    if "--json" in flags:
        import json

        print(json.dumps(plain(reply)))
    else:
        sys.stdout.buffer.write(b"".join([line + b"\n" for line in lines(reply)]))
    return 1 if reply is None else 0


def _words(name: str, words: list[str], least: int, most: int) -> list[str]:
    if not least <= len(words) <= most:
        line = next(line for line in USAGE.splitlines() if name in line.split("  ")[1].replace("|", " ").split())
        raise CallerError(f"context {name}: {len(words)} words are given: {' '.join(line[:33].split())} (quote what is one)")
    return words


def _submit(words: list[str], flags: list[str]) -> int:
    rest, given = _options("submit", words, values=("--before", "--key"), switches=("--before-children",))
    (path,) = _words("submit", rest, 1, 1)
    from titan.sdk.additions import submit_file

    keys = given.get("--key", [])
    if len(keys) > 1:
        raise CallerError("context submit: --key is given twice")
    before, wait = given.get("--before", []), "--before-children" in given
    return _tell(submit_file(path, before=before, before_children=wait, key=keys[0] if keys else ""), flags)


def _submit_saved(words: list[str], flags: list[str]) -> int:
    rest, given = _options("submit-saved", words, switches=("--before-children",))
    name, *prefix = _words("submit-saved", rest, 1, 2)
    from titan.sdk.additions import submit_saved

    return _tell(submit_saved(name, *prefix, before_children="--before-children" in given), flags)


def _tell(ids: list[str], flags: list[str]) -> int:
    if "--json" in flags:
        import json

        print(json.dumps({"jobs": ids}))
    else:
        print("\n".join(ids))
    return 0


def _options(
    name: str, words: list[str], *, values: tuple[str, ...] = (), switches: tuple[str, ...] = ()
) -> tuple[list[str], dict[str, list[str]]]:
    """(the words that are none, each option's values)."""
    rest: list[str] = []
    given: dict[str, list[str]] = {}
    left = list(words)
    while left:
        word, equals, value = left.pop(0).partition("=")
        if word in values:
            if not equals and not left:
                raise CallerError(f"context {name}: {word} needs a value")
            given.setdefault(word, []).append(value if equals else left.pop(0))
        elif word in switches and not equals:
            given[word] = []
        elif word.startswith("--"):
            raise CallerError(f"context {name}: there is no option {word}: there are {', '.join(values + switches)}")
        else:
            rest.append(word + equals + value)
    return rest, given


_SHARED = ("get", "set", "incr", "store", "publish")
_WITH_FLAGS = (*_SHARED, "submit", "submit-saved")
_COMMANDS: dict[str, Callable[[list[str], list[str]], int]] = {
    "progress": _progress,
    "status": _status,
    "result": _result,
    "value": _value,
    "publish": _publish,
    "fetch": _fetch,
    "submit": _submit,
    "submit-saved": _submit_saved,
    "run": _who("run"),
    "job": _who("job"),
    "attempt": _who("attempt"),
    "get": _get,
    "set": _set,
    "incr": _incr,
    "store": _any,
}
