"""Messages about content: it travels in pieces, both ways, has names on the master, and is
published under keys."""

from __future__ import annotations

import msgspec

from titan.model.files import FILE, StoredFile
from titan.protocol.base import Message
from titan.protocol.ranges import Column, Count, Lease, Measured, Name, Text

FILE_WINDOW = 16 << 20
"""Bytes of a file that may be on their way, or wait for the receiver's disk: more are sent as
FileTaken comes."""


class SendFile(Message, frozen=True):
    """Content of `size` bytes is to be kept. `key`, drawn by the sender, names the sending: after a
    cut it goes on under the same.

    `hash` "" says that it is not known yet. Answered by SendFrom; by Stored, if the master has the
    content; or by an Error. Small content of a known hash may come whole, in the blob: then the
    answer is Stored, when it is on the master's disk, or an Error. From a job it comes whole
    always.

    `path` names the finished file, if sender and master are proved to share a machine by `proof`
    (see `content.nearby`) and the hash is known. The master takes the file itself and answers
    Stored, or answers SendFrom if it cannot.

    `inode` and `mtime_ns` are the seal of that file when its writer hashed it; 0 and 0: it was not
    hashed as it was written. The master hashes a file that comes from a client, that has no seal,
    or that does not match its seal.
    """

    key: Name
    size: Count
    hash: Name = ""
    proof: Name = ""
    path: Text = ""
    inode: Count = 0
    mtime_ns: Count = 0


class SendFrom(Message, frozen=True):
    """Send FilePieces from `offset` on, then FileEnd."""

    offset: Count


class FilePiece(Message, frozen=True):
    """Bytes of a file of `size` bytes, in the blob, in order. Never compressed."""

    offset: Count
    size: Count


class FileEnd(Message, frozen=True):
    """All is sent, and this is its SHA-256. Answered by Stored when it is on the master's disk, or
    by an Error."""

    hash: Name


class FileTaken(Message, frozen=True):
    """So many bytes more were written by whoever receives."""

    size: Count


class FetchFile(Message, frozen=True):
    """Send a file from `offset` on; answered by FilePieces, at least one. From workers and clients.

    With a `proof` that both share a machine (see `content.nearby`) the answer may be FileHere
    instead.
    """

    hash: Name
    offset: Count = 0
    proof: Name = ""


class FileHere(Message, frozen=True):
    """Open the content in the offered folder, under its hash. A file that does not match these
    marks is to be fetched instead."""

    inode: Count
    size: Count
    mtime_ns: Count


class StopSending(Message, frozen=True):
    """Nobody waits for what FetchFile `fetch` asked for any more."""

    fetch: Count


class NameContent(Message, frozen=True):
    """Content that the master has is put into perm_files/ under a name, in place of what has that
    name. Answered by Resolved."""

    name: Name
    hash: Name


class Publish(Message, frozen=True):
    """A file that the master has (SendFile) is published under `key` from now on.

    By a worker for the attempt `lease`, under the key of its run unless it is `shared`; by a
    client, shared. Answered by ArtifactRow in Artifacts when that is durable.
    """

    key: Name
    hash: Name
    size: Count
    kind: Count = FILE
    lease: Lease = 0
    shared: bool = True


class ArtifactRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One version of what is published. `key` is RUN/KEY, or KEY if it is shared. `by`: RUN/JOB, ""
    for a client."""

    key: Name
    hash: Name
    size: Count
    kind: Count
    at: Measured
    by: Name = ""


class FindArtifact(Message, frozen=True):
    """The versions of a key, the newest first; answered by Artifacts, or by an Error if there is
    none.

    By a worker for the attempt `lease`: first of its run, then shared.
    """

    key: Name
    lease: Lease = 0


class ListArtifacts(Message, frozen=True):
    """The newest version of each key that begins so, by key: `RUN/` those of a run, else shared
    ones. Answered by Artifacts."""

    prefix: Name = ""
    limit: Count = 1000


class Artifacts(Message, frozen=True):
    artifacts: Column[ArtifactRow]


class RemoveArtifact(Message, frozen=True):
    """A shared key, with all its versions, is gone. Answered by Artifacts, what there was."""

    key: Name


class PublishPath(Message, frozen=True):
    """From a job to its worker: publish the file or folder at this path. Answered by Artifacts; an
    empty one says that it goes on.

    Then the job asks again.
    """

    key: Name
    path: Text
    shared: bool = False


class FetchPath(Message, frozen=True):
    """From a job to its worker: write what is published under the key, the version with that hash
    if one is named, to this path.

    Answered as PublishPath.
    """

    key: Name
    path: Text
    hash: Name = ""


__all__ = [
    "ArtifactRow",
    "Artifacts",
    "FILE_WINDOW",
    "FetchFile",
    "FetchPath",
    "FileEnd",
    "FileHere",
    "FilePiece",
    "FileTaken",
    "FindArtifact",
    "ListArtifacts",
    "NameContent",
    "Publish",
    "PublishPath",
    "RemoveArtifact",
    "SendFile",
    "SendFrom",
    "StopSending",
    "StoredFile",
]
