"""One part of the work: takes a second, and writes its number to the run's shared folder."""

import os
import pathlib
import sys
import time

number = int(sys.argv[1])
time.sleep(1)
pathlib.Path(os.environ["TITAN_SHARED"], f"part-{number}.txt").write_text(f"{number * number}\n")
