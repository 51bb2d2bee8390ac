"""The `titan` command.

What is said in a job (`titan context`) is a module by itself and imports little: a shell script may
say it every second.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def main() -> NoReturn:
    """Maps every way to fail to its exit code.

    1: some job failed; 2: usage or input; 3: no master; 130: interrupted; 70 and 74 as in sysexits:
    a bug, the environment.
    """
    if sys.argv[1:2] == ["context"]:
        from titan.cli import context

        sys.exit(context.main(sys.argv[2:]))
    from titan.host.privacy import leave_environment

    leave_environment()
    from titan.cli import group

    group.run()
