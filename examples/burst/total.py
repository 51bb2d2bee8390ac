"""Adds up the numbers of the parts."""

import pathlib
import sys

parts = sorted(pathlib.Path(sys.argv[1]).glob("part-*.txt"))
print(f"{sum(int(path.read_text()) for path in parts)} from {len(parts)} parts")
