"""The `titan` command.

What is said in a job (`titan context`) is a module by itself and imports little: a shell script may say it every second.
"""

from __future__ import annotations

import sys

from titan.errors import Bug, CallerError, EnvironmentFault, MasterUnreachable, TitanError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

EXIT_FAILED, EXIT_INPUT, EXIT_NO_MASTER, EXIT_BUG, EXIT_ENVIRONMENT, EXIT_INTERRUPTED = 1, 2, 3, 70, 74, 130


def main() -> NoReturn:
    """Maps every way to fail to its exit code.

    1: some job failed; 2: usage or input; 3: no master; 130: interrupted; 70 and 74 as in sysexits: a bug, the environment.
    """
    if sys.argv[1:2] == ["context"]:
        from titan.cli import context

        sys.exit(context.main(sys.argv[2:]))
    from titan.private import leave_environment

    leave_environment()
    from titan.cli import group

    group.run()


def say(e: TitanError, *, as_json: bool) -> None:
    if as_json:
        import json

        what = {"error": {"code": e.code, "message": str(e), "retryable": e.retryable}}
        print(json.dumps(what), file=sys.stderr)
    else:
        print(f"titan: {e}", file=sys.stderr)


def exit_code(e: TitanError) -> int:
    match e:
        case MasterUnreachable():
            return EXIT_NO_MASTER
        case CallerError():
            return EXIT_INPUT
        case EnvironmentFault():
            return EXIT_ENVIRONMENT
        case Bug():
            return EXIT_BUG
        case _:
            return EXIT_ENVIRONMENT
