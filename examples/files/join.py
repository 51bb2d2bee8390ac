"""Adds up the counts, and publishes the report for all runs."""

import json
from collections import Counter
from pathlib import Path

from titan import context

total: Counter[str] = Counter()
for path in Path("counts").iterdir():
    total.update(json.loads(path.read_text()))
report = "".join(f"{count:6} {word}\n" for word, count in sorted(total.items(), key=lambda item: (-item[1], item[0]))[:10])
Path("report.txt").write_text(report)
context.publish("reports/words", "report.txt", shared=True)
print(report, end="")
