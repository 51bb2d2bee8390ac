"""Counts the lines of a package, and stores the number for the other jobs of this run."""

import pathlib
import sys
import sysconfig

from titan import context

package = sys.argv[1]
files = list((pathlib.Path(sysconfig.get_path("stdlib")) / package).rglob("*.py"))
lines = sum(len(file.read_bytes().splitlines()) for file in files)
context.store.hset("lines", {package: lines})
print(f"{package}: {lines} lines in {len(files)} files")
