"""Exit codes of the `titan` command, and its output of errors.

It imports little, because a shell script may run `titan context` every second.
"""

from __future__ import annotations

import sys

from titan.errors import Bug, CallerError, EnvironmentFault, MasterUnreachable, TitanError

EXIT_FAILED, EXIT_INPUT, EXIT_NO_MASTER, EXIT_BUG, EXIT_ENVIRONMENT, EXIT_INTERRUPTED = 1, 2, 3, 70, 74, 130


def print_error(e: TitanError, *, as_json: bool) -> None:
    if as_json:
        import json

        row = {"error": {"code": e.code, "message": str(e), "retryable": e.retryable}}
        print(json.dumps(row), file=sys.stderr)
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
