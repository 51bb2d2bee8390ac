"""Results that are kept for jobs with caching, by their keys, with the sizes that limit them.

Only `apply` writes. `core.handlers.result_cache` decides what is kept and dropped.
"""

from __future__ import annotations

from collections import OrderedDict

import msgspec

from titan.model.files import StoredFile
from titan.model.values import artifact_of, size_of

ENTRY_BYTES = 512
"""Estimated size of a result in memory, without its value and its files."""
FILE_BYTES = 256


class CachedResult(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Result of a COMPLETED job that later jobs with the same key reuse."""

    run: str
    job: str
    value: bytes
    outputs: tuple[StoredFile, ...]
    made_at: float
    used_at: float

    @property
    def source(self) -> str:
        return f"{self.run}/{self.job}"

    @property
    def memory(self) -> int:
        """Estimated bytes in memory."""
        return ENTRY_BYTES + len(self.value) + FILE_BYTES * len(self.outputs)

    @property
    def content(self) -> int:
        """Bytes of the outputs and of a large value in the content store."""
        size = sum(file.size for file in self.outputs)
        return size + (size_of(self.value) if artifact_of(self.value) is not None else 0)


class ResultCache:
    __slots__ = ("content", "memory", "results")

    def __init__(self) -> None:
        self.results: OrderedDict[str, CachedResult] = OrderedDict()
        """Key -> result. The result that was not used for the longest time comes first."""
        self.memory = 0
        self.content = 0
        """Total of `CachedResult.content`. A file that several results share counts for each."""

    def put(self, key: str, result: CachedResult) -> None:
        """Keep a result, as the newest one."""
        self.drop(key)
        self.results[key] = result
        self.memory += result.memory
        self.content += result.content

    def drop(self, key: str) -> None:
        """Drop the result of a key, if there is one."""
        result = self.results.pop(key, None)
        if result is not None:
            self.memory -= result.memory
            self.content -= result.content
