"""Project archives: a folder as one compressed tar file, byte-identical for identical content.

Owns the selection of files (`survey`), the packing and the unpacking. A client packs the folder
when it submits, and a worker unpacks it. The worker does not trust the client, so `unpack_archive`
checks every member. Must not know DAGs or jobs.

Members are sorted. Times are 0, owners are root, modes are 0755 or 0644. Members are folders, files
and symbolic links only. A link must point into the archive. The check follows the link on disk and
does not rely on its text.
"""

from __future__ import annotations

import contextlib
import fnmatch
import hashlib
import io
import os
import posixpath
import re
import secrets
import stat
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final, NamedTuple, cast

import zstandard

from titan.errors import InvalidGraph, LimitExceeded
from titan.host.privacy import umask_before
from titan.host.remove_folder import remove_folder

MAX_BYTES: Final = 2 * 1024 * 1024 * 1024
"""Total bytes of a project's files, unpacked."""
MAX_MEMBERS: Final = 100_000
MAX_DEPTH: Final = 200
"""Maximum number of nested folders in a path. Resolving a link costs a system call for each."""
MAX_IGNORE_BYTES: Final = 256 * 1024
IGNORE_FILE: Final = ".titanignore"
SUFFIX: Final = ".tar.zst"

LEFT_OUT: Final = frozenset(
    {
        ".git",
        ".hg",
        ".svn",
        ".titan",
        ".venv",
        "venv",
        "__pycache__",
        "node_modules",
        ".mypy_cache",
        ".ruff_cache",
        ".pytest_cache",
    }
)
"""Names that are never packed, at any depth. ``*.pyc`` is not packed either."""

_PIECE = 1 << 20
_MAX_PATH = 4000  # PATH_MAX is 4096, which includes the path of the target folder
_MAX_PART = 255


class Archive(NamedTuple):
    path: Path
    sha256: str
    size: int
    """Bytes, compressed."""


@dataclass
class Survey:
    """Selection of a folder's entries for the archive. Paths are relative to the folder and use
    "/"."""

    folders: list[str] = field(default_factory=list)
    files: dict[str, int] = field(default_factory=dict)
    """Path -> bytes."""
    links: dict[str, str] = field(default_factory=dict)
    """Path -> target, relative to the link's own folder."""
    size: int = 0


# -- packing ---------------------------------------------------------------------------------------
def survey(folder: Path, *, max_bytes: int = MAX_BYTES, max_members: int = MAX_MEMBERS, everything: bool = False) -> Survey:
    """Return the selection that `build_archive` would pack. Reads names and sizes, not content.

    Sockets, fifos, devices and homes of clusters are left out. `everything`: leave nothing out;
    then a socket, fifo or device raises InvalidGraph. A missing folder, a link out of the folder
    and a bad .titanignore raise InvalidGraph, too. Raises LimitExceeded for more than 2 GiB or
    100,000 members.
    """
    root = Path(os.path.realpath(folder))
    if not root.is_dir():
        raise InvalidGraph(f"project {folder}: " + ("is not a folder" if root.exists() else "there is no such folder"))
    ignored = _ignore_rules(root / IGNORE_FILE) if not everything else lambda _path, _is_folder: False
    found = Survey()
    pending = [""]
    while pending:
        at = pending.pop()
        try:
            entries = sorted(os.scandir(root / at), key=lambda e: e.name)
        except OSError as error:
            raise _unreadable(at or ".", error) from None
        for entry in entries:
            path = f"{at}/{entry.name}" if at else entry.name
            is_folder = entry.is_dir(follow_symlinks=False)
            left_out = entry.name in LEFT_OUT or entry.name.endswith(".pyc") or (is_folder and _is_home(root / path))
            if (left_out and not everything) or ignored(path, is_folder):
                continue
            if is_folder:
                if path.count("/") >= MAX_DEPTH:
                    raise LimitExceeded(
                        f"project {folder} is nested deeper than {MAX_DEPTH} folders: leave some out with {IGNORE_FILE}"
                    )
                found.folders.append(path)
                pending.append(path)
            elif entry.is_symlink():
                found.links[path] = _link_target(root, path)
            elif entry.is_file(follow_symlinks=False):
                found.files[path] = size = entry.stat(follow_symlinks=False).st_size
                found.size += size
            elif everything:
                kind = _kind_of(entry.stat(follow_symlinks=False).st_mode)
                raise InvalidGraph(f"project file {path}: is a {kind}, which cannot travel: remove it")
        count = len(found.folders) + len(found.files) + len(found.links)
        if count > max_members:
            raise LimitExceeded(f"project {folder} holds more than {max_members:,} files: leave some out with {IGNORE_FILE}")
    if found.size > max_bytes:
        largest = ", ".join(f"{name} {size:,}" for name, size in _largest(found.files))
        raise LimitExceeded(
            f"project {folder} holds {found.size:,} bytes; the limit is {max_bytes:,}: leave data out with {IGNORE_FILE}"
            f" (the largest: {largest})"
        )
    return found


def _is_home(folder: Path) -> bool:
    """Return whether a folder is the home of a master, whose files change while it runs."""
    return (folder / "origin.json").is_file() and (folder / "store").is_dir()


def build_archive(
    folder: Path,
    into_dir: Path,
    *,
    found: Survey | None = None,
    max_bytes: int = MAX_BYTES,
    max_members: int = MAX_MEMBERS,
    level: int = 3,
) -> Archive:
    """Pack `folder` into `into_dir`/SHA256.tar.zst.

    LEFT_OUT, ``*.pyc``, entries that `survey` leaves out, and entries that match a line of
    .titanignore are not packed. Such a line is a shell pattern, in which `*` also matches "/". A
    pattern with a "/" is compared with the path, any other with the name. A "/" at its end
    restricts it to folders. # begins a comment.

    Raises the errors of `survey`, and InvalidGraph for a file that cannot be read or that changes
    while it is packed.
    """
    if found is None:
        found = survey(folder, max_bytes=max_bytes, max_members=max_members)
    root = Path(os.path.realpath(folder))
    members = sorted([*found.folders, *found.files, *found.links], key=os.fsencode)
    folders = set(found.folders)
    part = into_dir / f"{secrets.token_hex(8)}.part"
    digest = hashlib.sha256()
    try:
        with part.open("xb") as raw:
            sink = cast("IO[bytes]", _Digesting(raw, digest))
            compressor = zstandard.ZstdCompressor(level=level, write_checksum=True)
            with (
                compressor.stream_writer(sink, closefd=False) as packed,
                tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT, encoding="utf-8") as tar,
            ):
                for path in members:
                    if path in folders:
                        tar.addfile(_member(path, tarfile.DIRTYPE, 0o755))
                    elif path in found.links:
                        link = _member(path, tarfile.SYMTYPE, 0o777)
                        link.linkname = found.links[path]
                        tar.addfile(link)
                    else:
                        _add_file(tar, root, path)
        target = into_dir / f"{digest.hexdigest()}{SUFFIX}"
        part.rename(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return Archive(target, digest.hexdigest(), target.stat().st_size)


def _add_file(tar: tarfile.TarFile, root: Path, path: str) -> None:
    try:
        # Since the survey, the file may have become a fifo (NONBLOCK) or a link (NOFOLLOW).
        fd = os.open(root / path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise _unreadable(path, error) from None
    with open(fd, "rb") as source:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise InvalidGraph(f"project file {path}: changed while it was packed: submit again")
        info = _member(path, tarfile.REGTYPE, 0o755 if status.st_mode & 0o111 else 0o644)
        info.size = status.st_size
        member = _Member(source, path)
        tar.addfile(info, member)
        if member.read_bytes != info.size or source.read(1):
            raise InvalidGraph(f"project file {path}: changed while it was packed: submit again")


class _Member(io.RawIOBase):
    """File to pack. An error while it is read names the file; an error of the archive does not."""

    def __init__(self, source: io.BufferedReader, path: str) -> None:
        self._source = source
        self._path = path
        self.read_bytes = 0

    def read(self, size: int = -1) -> bytes:
        try:
            piece = self._source.read(size)
        except OSError as error:
            raise _unreadable(self._path, error) from None
        if len(piece) < size:
            raise InvalidGraph(f"project file {self._path}: changed while it was packed: submit again")
        self.read_bytes += len(piece)
        return piece


class _Digesting(io.RawIOBase):
    """Writer that hashes the bytes on their way into a file."""

    def __init__(self, raw: io.BufferedWriter, digest: hashlib._Hash) -> None:
        self._raw = raw
        self._digest = digest

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self._digest.update(data)
        return self._raw.write(data)


def _member(path: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(path)
    info.type = kind
    info.mode = mode
    return info


def _link_target(root: Path, path: str) -> str:
    """Return the target of a link for the archive. Raises InvalidGraph if it leads out of the
    folder."""
    try:
        target = os.readlink(root / path)
    except OSError as error:
        raise _unreadable(path, error) from None
    leads_to = os.path.realpath(root / path)
    if leads_to != str(root) and not leads_to.startswith(f"{str(root).rstrip('/')}/"):
        raise InvalidGraph(
            f"project file {path}: is a link to {target}, which is outside the project: copy the file in,"
            f" or add it to {IGNORE_FILE}"
        )
    spelled = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
    if posixpath.normpath(target) == target and not target.startswith("/") and spelled.split("/")[0] != "..":
        return target
    # The target is absolute, or it leaves the folder and comes back. Such a target is valid here,
    # but not in the folder where the archive is unpacked.
    return os.path.relpath(leads_to, os.path.realpath((root / path).parent))


def _ignore_rules(path: Path) -> Callable[[str, bool], bool]:
    """Return the filter of a .titanignore: (relative path, is a folder) -> is left out."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_IGNORE_BYTES + 1)
    except FileNotFoundError:
        return lambda _path, _is_folder: False
    except OSError as error:
        raise _unreadable(IGNORE_FILE, error) from None
    if len(raw) > MAX_IGNORE_BYTES:
        raise LimitExceeded(f"{IGNORE_FILE} exceeds {MAX_IGNORE_BYTES:,} bytes: use patterns")
    try:
        lines = raw.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise InvalidGraph(f"{IGNORE_FILE}: is not UTF-8") from None
    rules: dict[str, list[str]] = {"path": [], "name": [], "folder": [], "folder name": []}
    for number, line in enumerate(lines, 1):
        pattern = line.strip()
        if not pattern or pattern.startswith("#"):
            continue
        if pattern.startswith("!"):
            raise InvalidGraph(f"{IGNORE_FILE}:{number}: {pattern}: '!' is not supported: list the entries to leave out")
        only_folders = pattern.endswith("/")
        anchored = pattern.startswith("/") or "/" in pattern.rstrip("/")
        pattern = pattern.strip("/").removeprefix("./")
        kind = ("folder" if anchored else "folder name") if only_folders else ("path" if anchored else "name")
        rules[kind].append(fnmatch.translate(pattern))
    match = {kind: re.compile("|".join(patterns)).match for kind, patterns in rules.items() if patterns}

    def ignored(path: str, is_folder: bool) -> bool:
        kinds = ("path", "name", "folder", "folder name") if is_folder else ("path", "name")
        name = path.rpartition("/")[2]
        return any(match[kind](name if kind.endswith("name") else path) for kind in kinds if kind in match)

    return ignored


def _largest(files: dict[str, int]) -> list[tuple[str, int]]:
    """Return the three largest top-level entries."""
    sizes: dict[str, int] = {}
    for path, size in files.items():
        top, slash, _ = path.partition("/")
        sizes[top + slash] = sizes.get(top + slash, 0) + size
    return sorted(sizes.items(), key=lambda item: (-item[1], item[0]))[:3]


def _kind_of(mode: int) -> str:
    return "socket" if stat.S_ISSOCK(mode) else "fifo" if stat.S_ISFIFO(mode) else "device"


def _unreadable(path: str, error: OSError) -> InvalidGraph:
    return InvalidGraph(f"project file {path}: cannot be read: {error.strerror}: make it readable, or add it to {IGNORE_FILE}")


# -- unpacking -------------------------------------------------------------------------------------
def unpack_archive(path: Path, into: Path, *, max_bytes: int = MAX_BYTES, max_members: int = MAX_MEMBERS) -> None:
    """Unpack an archive of `build_archive` into the folder `into`, which must be missing or empty.

    Raises InvalidGraph for bytes that are not such an archive, for a member that is absolute,
    contains "..", is there twice, or is a device or a hard link, and for a link that leads out of
    the folder. Raises LimitExceeded for more than `max_bytes` of content or `max_members`, and
    OSError if a write fails. After an error, `into` is empty again.
    """
    into.mkdir(parents=True, exist_ok=True)
    if any(into.iterdir()):
        raise InvalidGraph(f"{into} is not empty: unpack the archive into an empty folder")
    try:
        with path.open("rb") as raw:
            _unpack(raw, into, max_bytes, max_members)
    except BaseException:
        for entry in into.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                remove_folder(entry, ignore_errors=True)
            else:
                with contextlib.suppress(OSError):
                    entry.unlink()
        raise


def _unpack(raw: io.BufferedReader, into: Path, max_bytes: int, max_members: int) -> None:
    kinds: dict[str, bytes] = {}
    links: dict[str, str] = {}
    stream = _Forward(raw, limit=max_bytes + (max_members + 20) * 4096)
    left = max_bytes
    for count, (tar, member) in enumerate(_members(stream), 1):
        name = _safe_name(member.name)
        if count > max_members:
            raise LimitExceeded(f"the archive holds more than {max_members:,} members")
        _make_parents(into, name, kinds)
        if name in kinds and not (member.isdir() and kinds[name] == tarfile.DIRTYPE):
            raise InvalidGraph(f"the archive holds {name!r} twice")
        if member.isdir():
            kinds[name] = tarfile.DIRTYPE
            os.makedirs(into / name, exist_ok=True)
        elif member.issym():
            kinds[name] = tarfile.SYMTYPE
            links[name] = _safe_target(name, member.linkname)
        elif member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and member.sparse is None:
            kinds[name] = tarfile.REGTYPE
            left -= member.size
            if left < 0:
                raise LimitExceeded(f"the archive unpacks to more than {max_bytes:,} bytes")
            _write_file(tar, member, into / name)
        else:
            raise InvalidGraph(f"the archive holds {name!r}, which is not a file, folder or symbolic link")
    # Links are made last, so that nothing is written through a link. They can be resolved only when
    # all of them exist.
    for name, target in links.items():
        os.symlink(target, into / name)
    root = os.path.realpath(into)
    for name in links:
        leads_to = os.path.realpath(into / name)
        if leads_to != root and not leads_to.startswith(f"{root.rstrip('/')}/"):
            raise InvalidGraph(f"the archive holds a link {name!r} that leads out of it")


# tarfile raises more than its own errors for bytes that are not a tar file.
_BAD_TAR = (tarfile.TarError, ValueError, OverflowError, EOFError, IndexError, KeyError, RecursionError, zstandard.ZstdError)


def _members(stream: _Forward) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    try:
        tar = tarfile.TarFile(fileobj=stream, mode="r", encoding="utf-8", errorlevel=2)
        while (member := tar.next()) is not None:
            tar.members = []  # type: ignore[attr-defined]  # otherwise it keeps every member in memory
            yield tar, member
            stream.begin_header()
        stream.expect_end()
    except _BAD_TAR as error:
        raise InvalidGraph(f"not a project archive, or a damaged one: {error}") from None


def _write_file(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    mode = 0o755 if member.mode & 0o100 else 0o644
    fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    with open(fd, "wb") as sink:
        # A worker unpacks for its jobs, and its own umask is stricter than theirs.
        if (umask := umask_before()) >= 0:
            os.fchmod(fd, mode & ~umask)
        source = tar.extractfile(member)
        assert source is not None  # it is a regular file
        left = member.size
        while left:
            piece = _read(source, min(left, _PIECE))
            left -= len(piece)
            sink.write(piece)


def _read(source: io.BufferedIOBase | object, size: int) -> bytes:
    try:
        piece: bytes = source.read(size)  # type: ignore[union-attr]
    except _BAD_TAR as error:
        raise InvalidGraph(f"a damaged project archive: {error}") from None
    if not piece:
        raise InvalidGraph("a damaged project archive: it is cut off")
    return piece


def _safe_name(name: str) -> str:
    parts = name.split("/")
    if not name or "\0" in name or any(part in ("", ".", "..") for part in parts):
        raise InvalidGraph(f"the archive holds the path {name[:200]!r}, which is absolute or holds '.' or '..'")
    try:
        raw = os.fsencode(name)
    except UnicodeEncodeError:
        raise InvalidGraph(f"the archive holds a path that is not text: {name[:200]!r}") from None
    if len(parts) > MAX_DEPTH + 1:
        raise InvalidGraph(f"the archive holds a path that is nested too deeply: {name[:200]!r}")
    if len(raw) > _MAX_PATH or any(len(os.fsencode(part)) > _MAX_PART for part in parts):
        raise InvalidGraph(f"the archive holds a path that is too long: {name[:200]!r}")
    return name


def _safe_target(name: str, target: str) -> str:
    spelled = posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
    if not target or "\0" in target or target.startswith("/") or spelled.split("/")[0] == "..":
        raise InvalidGraph(f"the archive holds a link {name!r} that leads out of it")
    try:
        long = len(os.fsencode(target)) > _MAX_PATH
    except UnicodeEncodeError:
        long = True
    if long:
        raise InvalidGraph(f"the archive holds a link {name!r} whose target is not a valid path")
    return target


def _make_parents(into: Path, name: str, kinds: dict[str, bytes]) -> None:
    parent = posixpath.dirname(name)
    missing = []
    while parent and parent not in kinds:
        missing.append(parent)
        parent = posixpath.dirname(parent)
    if parent and kinds[parent] != tarfile.DIRTYPE:
        raise InvalidGraph(f"the archive holds {name!r} below {parent!r}, which is not a folder")
    for path in reversed(missing):
        kinds[path] = tarfile.DIRTYPE
        os.mkdir(into / path)


class _Forward(io.RawIOBase):
    """Decompressed tar stream, read once from front to back, with a limit on its total size.

    Each read is limited, too, because a header may announce any size, and tarfile would read that
    many bytes at once.
    """

    def __init__(self, raw: io.BufferedReader, *, limit: int) -> None:
        self._stream = zstandard.ZstdDecompressor().stream_reader(raw, closefd=False)
        self._limit = limit
        self._position = 0
        self._zeros = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _PIECE:
            raise tarfile.ReadError("a header announces more than a header holds")
        piece = b""
        while len(piece) < size:
            more = self._stream.read(size - len(piece))
            if not more:
                break
            piece = piece + more if piece else more
        self._position += len(piece)
        if self._position > self._limit:
            raise LimitExceeded(f"the archive unpacks to more than {self._limit:,} bytes")
        if piece:
            kept = len(piece.rstrip(b"\0"))
            self._zeros = len(piece) - kept + (0 if kept else self._zeros)
        return piece

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = 0) -> int:
        if whence != 0 or offset < self._position:
            raise tarfile.ReadError("a header points backwards")
        while self._position < offset and self.read(min(_PIECE, offset - self._position)):
            pass
        return self._position

    def begin_header(self) -> None:
        self._zeros = 0  # zeros at the end of a file do not count as the end of the archive

    def expect_end(self) -> None:
        """Raise ReadError unless the archive ends with two blocks of zeros. The check is needed
        because tarfile takes a bad header for the end of the archive."""
        while self.read(_PIECE):
            pass
        if self._zeros < 2 * tarfile.BLOCKSIZE:
            raise tarfile.ReadError("it is cut off")
