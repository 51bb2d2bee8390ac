"""The `titan` command.

`titan context`, the command for jobs, is a separate module with few imports, because a shell script
may call it every second.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def main() -> NoReturn:
    """Run the command and exit with its code.

    1: a job failed; 2: usage or input; 3: no master; 130: interrupted. As in sysexits, 70 is a bug
    and 74 a fault of the environment.
    """
    if sys.argv[1:2] == ["context"]:
        from titan.cli import context

        sys.exit(context.main(sys.argv[2:]))
    from titan.host.privacy import leave_environment

    leave_environment()
    from titan.cli import group

    group.run()
