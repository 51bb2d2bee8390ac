"""The command of the Titan SDK: `python -m titan.compat.titan_cli deploy FILE`.

`titan submit FILE` does the same for pipeline files of Titan, and has options.
"""

from __future__ import annotations

import sys
import warnings

from titan.compat.client import Accepted, TitanClient
from titan.errors import TitanError

USAGE = "Usage: python -m titan.compat.titan_cli deploy FILE\n"
EXIT_INPUT, EXIT_NO_MASTER = 2, 3


def main() -> int:
    """Submit the pipeline file that the arguments name, and return the exit code."""
    if len(sys.argv) != 3:
        sys.stderr.write(USAGE)
        return EXIT_INPUT
    command, file = sys.argv[1:]
    if command != "deploy":
        sys.stderr.write(f"titan_cli: {command!r} is not a command: use deploy FILE. `titan --help` lists those of Titan.\n")
        return EXIT_INPUT
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = _show
        try:
            answer = TitanClient().submit_yaml(file)
        except (FileNotFoundError, TitanError) as error:
            answer = f"ERROR: {error}"
    if isinstance(answer, Accepted):
        sys.stdout.write(f"{answer}\n")
        sys.stderr.write(f"titan_cli: this is run {answer.run}: `titan status {answer.run}` shows it\n")
        return 0
    sys.stderr.write(f"titan_cli: {answer}\n")
    return EXIT_NO_MASTER if str(answer).startswith("CONNECTION_ERROR") else EXIT_INPUT


def _show(message: Warning | str, *_: object, **__: object) -> None:
    sys.stderr.write(f"titan_cli: warning: {message}\n")


if __name__ == "__main__":
    sys.exit(main())
