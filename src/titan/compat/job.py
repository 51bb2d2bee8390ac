"""`TitanJob`, and the ids and arguments of the Titan SDK.

``DAG-X`` and ``X`` are one job. The gate after the job X is ``hitl-gate-X``. Arguments are split at
blanks, without a meaning of quotes.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence

from titan.model.files import SCRIPT_FOLDER, SHARED_FOLDER
from titan.sdk.fields import PERM
from titan.sdk.job import Job

DAG_PREFIX = "DAG-"
GATE_PREFIX = "hitl-gate-"
SERVICES = ("SERVICE", "DEPLOY_PAYLOAD")


class TitanJob:
    """One job.

    - `job_id`: with or without the prefix ``DAG-``, here and in `parents`.
    - `filename`: a local script or binary, or one that `deploy_script` has put on the master. With
      `is_archive`, it is ``NAME.zip/PATH``, a file of a folder from `upload_project_folder`.
    - `args`: split at blanks. Quotes and ``|`` cannot be part of an argument.
    - `delay` is in milliseconds.

    Raises FileNotFoundError.
    """

    def __init__(
        self,
        job_id: str,
        filename: str,
        job_type: str = "RUN_PAYLOAD",
        args: str | None = None,
        parents: Iterable[str] | None = None,
        port: int = 0,
        is_archive: bool = False,
        priority: int = 1,
        delay: int = 0,
        affinity: bool = False,
        requirement: str = "GENERAL",
        hitl_message: str | None = None,
        max_wait_seconds: int = 172_800,
    ) -> None:
        self.id = job_id
        self.filename = os.fspath(filename)
        self.job_type = job_type
        self.args = args or ""
        self.parents = list(parents or ())
        self.port = port
        self.is_archive = is_archive
        self.priority = priority
        self.delay = delay
        self.affinity = affinity
        self.requirement = requirement or "GENERAL"
        self.hitl_message = hitl_message
        self.max_wait_seconds = max_wait_seconds
        deployed = "/" not in self.filename and os.sep not in self.filename
        if not is_archive and not os.path.exists(self.filename) and not deployed:
            raise FileNotFoundError(
                f"file {self.filename!r} does not exist: give a path relative to the working directory or absolute"
            )

    @property
    def is_service(self) -> bool:
        return self.job_type in SERVICES

    @property
    def has_gate(self) -> bool:
        return bool(self.hitl_message) and not self.is_service

    def as_job(self, parents: Sequence[str], *, shared_cwd: bool = False) -> Job:
        """Return the `Job`. `parents` are ids without the prefix. Raises InvalidGraph."""
        if self.is_archive or not os.path.exists(self.filename):
            file = f"{PERM}{self.filename}"
        else:
            file = os.path.abspath(self.filename)
        return Job(
            plain_id(self.id),
            file=file,
            args=split_args(self.args),
            parents=parents,
            requirement=self.requirement,
            priority=self.priority,
            delay=self.delay / 1000,
            affinity=self.affinity,
            hitl_message=self.hitl_message if self.has_gate else None,
            max_wait_seconds=self.max_wait_seconds,
            type="service" if self.is_service else "run",
            port=self.port or None if self.is_service else None,
            keep=self.is_service,
            cwd=folder_of(in_project=self.is_archive) if shared_cwd else None,
        )

    def __repr__(self) -> str:
        return f"TitanJob({self.id!r}, {self.filename!r})"


def folder_of(*, in_project: bool) -> str:
    """Return the working directory of a job of the Titan SDK."""
    return SCRIPT_FOLDER if in_project else SHARED_FOLDER


def plain_id(job_id: str) -> str:
    """Return an id without the prefix of jobs of a DAG.

    >>> plain_id("DAG-train"), plain_id("train")
    ('train', 'train')
    """
    return job_id.removeprefix(DAG_PREFIX)


def gate_id(job_id: str) -> str:
    """Return the id of the gate after a job.

    >>> gate_id("train")
    'hitl-gate-train'
    """
    return f"{GATE_PREFIX}{plain_id(job_id)}"


def plain_parents(parents: Iterable[str], gated: Collection[str]) -> list[str]:
    """Return the ids of parents without the prefix. A gate becomes the job before it: dependents of
    that job wait for the gate.

    >>> plain_parents(["DAG-a", "a", "hitl-gate-b", "hitl-gate-c"], gated={"b"})
    ['a', 'b', 'hitl-gate-c']
    """
    plain = [plain_id(parent) for parent in parents]
    before = [parent.removeprefix(GATE_PREFIX) for parent in plain]
    return list(dict.fromkeys(job if job in gated else parent for parent, job in zip(plain, before, strict=True)))


def split_args(args: str) -> list[str]:
    """Return the words of a text, split at blanks.

    >>> split_args("--name 'two words'  a|b")
    ['--name', "'two", "words'", 'a', 'b']
    """
    words = args.replace("|", " ").split(" ")
    return [word.strip() for word in words if word.strip()]
