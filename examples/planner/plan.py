"""Adds a job for each package of Python's standard library, and lets what depends on this one wait
for them."""

import pathlib
import sysconfig

from titan import Job, context

library = pathlib.Path(sysconfig.get_path("stdlib"))
packages = sorted(p.name for p in library.iterdir() if (p / "__init__.py").exists() and p.name not in ("test", "idlelib"))
added = context.expand(Job("count", file="count.py", args=["${item}"]), packages, before_children=True)
print(f"{len(added)} packages to count")
