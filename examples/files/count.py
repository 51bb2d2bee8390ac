"""Counts the words of one part."""

import json
import sys
from collections import Counter
from pathlib import Path

left_out = set(Path("stopwords.txt").read_text().split())
words = Path("in", f"{sys.argv[1]}.txt").read_text().split()
counts = Counter(word for word in words if word not in left_out)
Path("counts.json").write_text(json.dumps(counts))
print(f"{sum(counts.values())} words, {len(counts)} of them different")
