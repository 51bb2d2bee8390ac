"""Prints the sample as one line."""

import json
import os
from pathlib import Path

sample = json.loads(Path(os.environ["TITAN_SHARED"], "sample.json").read_text())
print(f"{sample['for']}: load {sample['load']:.2f} on {sample['cpus']} CPUs, {sample['late_s']:.1f} s late")
