"""Messages about content: uploads and downloads in pieces, names in perm_files/, and publication
under keys."""

from __future__ import annotations

import msgspec

from titan.model.files import FILE, StoredFile
from titan.protocol.base import Message
from titan.protocol.ranges import Column, Count, Lease, Measured, Name, Text

FILE_WINDOW = 16 << 20
"""Maximum bytes of a file that the receiver has not yet written to its disk. FileTaken reports
written bytes, so that the sender can continue."""


class SendFile(Message, frozen=True):
    """Upload content of `size` bytes. `key` is a random id of the upload.

    After a lost connection the upload continues under the same key. `hash` "" means that the hash
    is not known yet. The answer is SendFrom; Stored, if the master has the content; or an Error.

    Small content of a known hash may be sent whole, in the blob. The answer is then Stored, once
    the content is on the master's disk, or an Error. A job always sends content whole.

    If `proof` proves that sender and master share a machine (see `content.nearby`) and the hash is
    known, `path` may name the finished file. The master then takes the file itself and answers
    Stored, or SendFrom if it cannot.

    `inode` and `mtime_ns` are the seal of that file: its inode and time of change when its writer
    hashed it. 0 and 0: the file has no seal. The master hashes a file that comes from a client, has
    no seal, or does not match its seal.
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
    """Piece of a file of `size` bytes, in the blob. Pieces are in order and never compressed."""

    offset: Count
    size: Count


class FileEnd(Message, frozen=True):
    """End of an upload, with the SHA-256 of the content.

    Answered by Stored, once the content is on the master's disk, or by an Error.
    """

    hash: Name


class FileTaken(Message, frozen=True):
    """Number of additional bytes that the receiver has written."""

    size: Count


class FetchFile(Message, frozen=True):
    """Download a file from `offset` on. Answered by at least one FilePiece.

    From workers and clients. With a `proof` that the sender and the master share a machine (see
    `content.nearby`) the answer may be FileHere instead.
    """

    hash: Name
    offset: Count = 0
    proof: Name = ""


class FileHere(Message, frozen=True):
    """Open the file in the master's content folder (`content` of Welcome), under its hash.

    If the file does not match these fields, the receiver must download the content instead.
    """

    inode: Count
    size: Count
    mtime_ns: Count


class StopSending(Message, frozen=True):
    """End the download that FetchFile `fetch` requested."""

    fetch: Count


class NameContent(Message, frozen=True):
    """Put content that the master has into perm_files/ under a name. Answered by Resolved.

    A file of the same name is replaced.
    """

    name: Name
    hash: Name


class Publish(Message, frozen=True):
    """Publish a file that the master has (SendFile) under `key`.

    A worker publishes for the attempt `lease`, under a key of its run unless `shared`. A client's
    key is always shared. Answered by Artifacts with an ArtifactRow, once the publication is
    durable.
    """

    key: Name
    hash: Name
    size: Count
    kind: Count = FILE
    lease: Lease = 0
    shared: bool = True


class ArtifactRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One version of published content.

    `key` is RUN/KEY, or KEY for a shared key. `by`: RUN/JOB, "" for a client.
    """

    key: Name
    hash: Name
    size: Count
    kind: Count
    at: Measured
    by: Name = ""


class FindArtifact(Message, frozen=True):
    """Find the versions of a key, newest first. Answered by Artifacts, or an Error if none exists.

    For a worker's attempt `lease`, the keys of the run are searched first, then the shared keys.
    """

    key: Name
    lease: Lease = 0


class ListArtifacts(Message, frozen=True):
    """List the newest version of each key that begins with `prefix`, sorted by key.

    `RUN/` lists the keys of a run; other prefixes list shared keys. Answered by Artifacts.
    """

    prefix: Name = ""
    limit: Count = 1000


class Artifacts(Message, frozen=True):
    artifacts: Column[ArtifactRow]


class RemoveArtifact(Message, frozen=True):
    """Remove a shared key with all its versions. Answered by Artifacts with those versions."""

    key: Name


class PublishPath(Message, frozen=True):
    """Publish the file or folder at this path. From a job to its worker.

    Answered by Artifacts. An empty answer means that publication is still in progress; the job then
    asks again.
    """

    key: Name
    path: Text
    shared: bool = False


class FetchPath(Message, frozen=True):
    """Write the content that is published under the key to this path. From a job to its worker.

    `hash` selects a version. Answered like PublishPath.
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
