"""The files that `titan init` writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from titan.errors import CallerError, Conflict

PIPELINE: Final = """\
# A pipeline: jobs and their order. Run it with `titan run pipeline.yaml`.
# `titan validate pipeline.yaml` checks it, `titan graph pipeline.yaml` shows the order.
name: {name}

params:                     # values that a run may change: titan run pipeline.yaml --param count=5
  count: {{default: 3, help: Number of numbers to make}}

defaults:                   # values of all jobs that do not set the key
  retries: 1
  timeout: 10m

jobs:
  - id: make                # a command for a shell
    command: seq "$1" > numbers.txt
    args: ["${{params.count}}"]
    outputs: [numbers.txt]  # files that the job leaves for others, on any machine

  - id: power               # three jobs, power[0] to power[2], which run at the same time
    file: power.py
    foreach: [1, 2, 3]      # each gets its item as argument
    inputs: [make.numbers.txt]
    outputs: [powers.txt]

  - id: report              # runs when all jobs of power are done
    command: cat parts/*
    inputs: {{parts: power.powers.txt}}
"""
SCRIPT: Final = '''\
"""Write the power of each number in numbers.txt to powers.txt. The power is the argument."""

import sys

power = int(sys.argv[1])
with open("numbers.txt") as numbers, open("powers.txt", "w") as powers:
    for line in numbers:
        print(f"{int(line)} to the power of {power} is {int(line) ** power}", file=powers)
'''


def write_starter(folder: Path) -> list[Path]:
    """Write a pipeline and its script into a folder, which is made if need be. Return their paths.

    Raises Conflict, and writes nothing, if one of the files exists. Raises CallerError for a
    folder that cannot be written.
    """
    name = "".join(letter for letter in folder.resolve().name if letter.isprintable())[:200] or "pipeline"
    texts = {
        folder / "pipeline.yaml": PIPELINE.format(name=json.dumps(name, ensure_ascii=False)),
        folder / "power.py": SCRIPT,
    }
    for path in texts:
        if path.exists() or path.is_symlink():
            raise Conflict(f"{path} exists: choose an empty folder, titan init DIR")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in texts.items():
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
    except OSError as error:
        raise CallerError(f"{error.filename or folder}: cannot be written: {error.strerror}: choose another folder") from None
    return list(texts)
