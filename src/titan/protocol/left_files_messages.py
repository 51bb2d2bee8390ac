"""Messages about the files that jobs left in their folders on the workers.

The master passes a request on to the worker that holds the folder, and the content of a file on to
the client, piece by piece. It stores nothing of it.
"""

from __future__ import annotations

import msgspec

from titan.protocol.base import Message
from titan.protocol.ranges import Bytes, Column, Count, Measured, Moment, Name, Text


class FolderRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A file of a job's folder. `path` and `target` are bytes, because names need not be text.

    `kind`: FILE or PROGRAM of `titan.model.files`, or LINK or OTHER of `titan.model.left_files`.
    `target`: that of a link, which is never followed.
    """

    path: Bytes
    size: Count
    modified_at: Measured
    kind: Count
    target: Bytes = b""


class LeftFileRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A file that a job left. See FolderRow.

    `output`: the name of the output that it is or belongs to, "" for none. `hash`: SHA-256 of an
    output that the master keeps (FetchFile); such an output may also be a FOLDER. Other files are
    fetched with FetchLeftFile.
    """

    path: Bytes
    size: Count
    modified_at: Measured
    kind: Count
    target: Bytes = b""
    output: Name = ""
    hash: Name = ""


# -- clients ---------------------------------------------------------------------------------------
class ListLeftFiles(Message, frozen=True):
    """List the files that an attempt of a job left, at most `limit`, sorted by path.

    `attempt` 0 is the newest. `after`: the last path of the page before. Answered by LeftFiles.
    """

    run: Name
    job: Name
    attempt: Count = 0
    after: Bytes = b""
    limit: Count = 10_000


class LeftFiles(Message, frozen=True):
    """Files that an attempt left. The outputs that the master keeps come with the first page.

    `more`: there is a next page, after the last path of this one. `remark`: why files are missing
    here, for people. `removed_at`, `removed_by`: when the worker removed the folder, and by which
    of its options. `away`: the worker is away, so that only outputs are listed.
    """

    attempt: Count
    worker: Name
    files: Column[LeftFileRow]
    more: bool = False
    remark: Text = ""
    removed_at: Moment = 0.0
    removed_by: Name = ""
    away: bool = False


class FetchLeftFile(Message, frozen=True):
    """Download a file that an attempt left, from `offset` on. Answered by at least one FilePiece.

    With an `offset`, the file must still have `size` bytes.
    """

    run: Name
    job: Name
    attempt: Count
    path: Bytes
    offset: Count = 0
    size: Count = 0


# -- workers ---------------------------------------------------------------------------------------
class ListFolder(Message, frozen=True):
    """List the files of an attempt's folder. See ListLeftFiles.

    `shared`: of the folder that the jobs of the run share. Answered by FolderListed. Request ids of
    this message and of SendLeftFile are above those that a worker draws.
    """

    run: Name
    job: Name
    attempt: Count
    after: Bytes = b""
    limit: Count = 10_000
    shared: bool = False


class FolderListed(Message, frozen=True):
    """Files of an attempt's folder. See LeftFiles."""

    files: Column[FolderRow]
    more: bool = False
    remark: Text = ""
    removed_at: Moment = 0.0
    removed_by: Name = ""


class SendLeftFile(Message, frozen=True):
    """Send a file of an attempt's folder. See FetchLeftFile. Answered by at least one FilePiece.

    The worker is never more than FILE_WINDOW bytes ahead of FileTaken. StopSending ends it.
    """

    run: Name
    job: Name
    attempt: Count
    path: Bytes
    offset: Count = 0
    size: Count = 0
    shared: bool = False
