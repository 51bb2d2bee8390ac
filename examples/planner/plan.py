"""Adds a job for each package of Python's standard library. The dependents of this job also wait
for the added jobs."""

import pathlib
import sysconfig

from titan import Job, context

library = pathlib.Path(sysconfig.get_path("stdlib"))
packages = sorted(p.name for p in library.iterdir() if (p / "__init__.py").exists() and p.name not in ("test", "idlelib"))
added = context.expand(Job("count", file="count.py", args=["${item}"]), packages, before_children=True)
print(f"{len(added)} packages to count")
