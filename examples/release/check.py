"""Checks that the release has the expected number of words. Exit code 2: the number is wrong, and a
retry does not help."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("--words", type=int, required=True)
wanted = parser.parse_args().words
found = len(Path(os.environ["TITAN_SHARED"], "release.txt").read_text().split())
print(f"{found} words")
sys.exit(0 if found == wanted else 2)
