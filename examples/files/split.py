"""Writes the parts of a text, one for each `count` job, and a list of stop words."""

import sys
from pathlib import Path

LINES = [
    "the master keeps the log and the workers run the jobs",
    "a job leaves a file and another job is given the file",
    "the log is on the disk before anybody is told of it",
    "a worker that is lost is not missed for long as the jobs run again",
]

parts = int(sys.argv[sys.argv.index("--parts") + 1])
Path("parts").mkdir()
for n in range(parts):
    Path(f"parts/{n}.txt").write_text("\n".join(LINES[n::parts] * 1000) + "\n")
Path("stopwords.txt").write_text("a\nand\nas\nfor\nis\nit\nof\non\nthat\nthe\n")
