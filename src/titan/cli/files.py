"""`titan files`: the files that a job left in its folder."""

from __future__ import annotations

import difflib
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click

from titan.cli.options import home_option, json_option, master_option
from titan.cli.session import open_client
from titan.cli.table import print_table, wide_option
from titan.cli.targets import find_job
from titan.errors import CallerError, NotFound
from titan.host.temporary_folder import TemporaryFolder
from titan.model.names import shell_word
from titan.model.plain import plain
from titan.model.sizes import size_text
from titan.sdk.client import Client
from titan.sdk.left_files import JobFiles, LeftFile
from titan.sdk.progress_bar import PlainBar

_HOME = "Ask the master of this home; if none runs, read the home, which has the outputs only."
STDOUT = "-"
LARGE_BYTES, MANY_FILES = 32 << 20, 200
"""Downloads above one of these show their progress on a terminal."""


@click.command()
@click.argument("job", metavar="RUN/JOB")
@click.argument("paths", metavar="[PATH]...", nargs=-1)
@click.option("-o", "--output", "folder", default="", metavar="FOLDER", help="Folder for the files, - for stdout.  [default: .]")
@click.option("--all", "all_files", is_flag=True, help="Download all files.")
@click.option("--attempt", type=click.IntRange(1), help="An earlier attempt of the job.  [default: the newest]")
@click.option("--replace", is_flag=True, help="Replace files that exist.")
@master_option
@home_option(_HOME)
@wide_option
@json_option
def files(
    job: str,
    paths: tuple[str, ...],
    folder: str,
    all_files: bool,
    attempt: int | None,
    replace: bool,
    master: str | None,
    home: Path | None,
    as_json: bool,
) -> None:
    """List the files that a job left in its folder, outputs or not. With PATHs or --all, download
    them. A PATH may be a folder.

    \b
    titan files last/train                        list
    titan files last/train plots log.txt -o out   download a folder and a file
    titan files last/train log.txt -o -           print a file

    A worker keeps the folders of jobs for a time, see `titan worker --keep`. What the worker put
    into the folder is not listed after the job if the job left it unchanged.
    """
    if folder and not (paths or all_files):
        raise CallerError("name the files to download, or give --all")
    if paths and all_files:
        raise CallerError("--all downloads all files: leave out the names, or leave out --all")
    with open_client(master, home=home, offline=True) as client:
        target = find_job(client, job, "titan files")
        found = client.files(target, attempt=attempt)
        if not (paths or all_files):
            _print_list(found, as_json=as_json)
            return
        chosen = _chosen(found, paths)
        if folder == STDOUT:
            _print_files(client, found, chosen)
            return
        targets = _download(client, found, chosen, folder or ".", replace=replace)
    _print_downloaded(found, chosen, targets, folder or ".", as_json=as_json)
    if not chosen or (all_files and found.away):
        sys.exit(1)


def _print_list(found: JobFiles, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(found.to_dict()))
        return
    if found.files:
        rows = [(file.path, _size(file), _when(file.modified_at), _note(file)) for file in found.files]
        print_table(("PATH", "SIZE", "MODIFIED", "NOTE"), rows, spare=("MODIFIED",))
        print(_sum(found.files))
    for line in _remarks(found):
        print(f"! {line}")


def _remarks(found: JobFiles) -> list[str]:
    """Return lines that say why there may be more than the list has, or why it is empty."""
    lines = [found.remark] if found.remark else []
    name = f"{found.run}/{found.job}"
    if found.removed_at is not None:
        why = f"`titan worker {found.removed_by}`" if found.removed_by else "the limit of 10,000 runs"
        lines.append(f"worker {found.worker} removed the folder of {name} at {_when(found.removed_at)}: {why}")
    elif not found.files and not lines:
        lines.append(f"{name} left no files in its folder (attempt {found.attempt}, worker {found.worker})")
    return lines


def _size(file: LeftFile) -> str:
    return size_text(file.size) if file.can_be_downloaded else ""


def _note(file: LeftFile) -> str:
    if file.kind == "link":
        return f"link to {file.target}, not followed"
    if file.kind == "other":
        return "neither file nor link"
    return f"output {file.output}" if file.output else ""


def _when(at: float) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(at))
    except (OverflowError, ValueError, OSError):  # a time far outside of the calendar
        return "?"


def _sum(chosen: Sequence[LeftFile]) -> str:
    size = sum(file.size for file in chosen if file.can_be_downloaded)
    return f"{len(chosen):,} file{'s' if len(chosen) != 1 else ''}, {size_text(size)}"


def _chosen(found: JobFiles, paths: tuple[str, ...]) -> list[LeftFile]:
    """Return the files of these paths, of no path all, without links and others. Raises
    CallerError."""
    named: dict[str, LeftFile] = {}
    for path in paths:
        named |= {file.path: file for file in _at(found, path)}
    chosen = list(named.values()) if paths else list(found.files)
    wrong = next((file for file in chosen if not file.can_be_downloaded and file.path in paths), None)
    if wrong is not None:
        kind = "a link" if wrong.kind == "link" else "neither a file nor a folder"
        raise CallerError(f"{plain(wrong.path, 200)!r} is {kind}: it is listed, and cannot be downloaded")
    return [file for file in chosen if file.can_be_downloaded]


def _at(found: JobFiles, path: str) -> list[LeftFile]:
    try:
        return found.at(path)
    except NotFound as e:
        lines = _remarks(found)
        if found.away or (lines and not found.files):
            raise NotFound("; ".join(lines)) from None
        near = difflib.get_close_matches(path, [file.path for file in found.files[:10_000]], 1)
        if near:
            name = shell_word(f"{found.run}/{found.job}")
            raise NotFound(f"{name} left no {plain(path, 200)!r}: did you mean {plain(near[0], 200)!r}?") from None
        raise e


def _download(client: Client, found: JobFiles, chosen: list[LeftFile], folder: str, *, replace: bool) -> list[Path]:
    size = sum(file.size for file in chosen)
    if not sys.stderr.isatty() or (size < LARGE_BYTES and len(chosen) < MANY_FILES):
        return client.download_files(found, folder, chosen, replace=replace)
    bar = PlainBar(size, "download", sys.stderr, text=size_text)
    try:
        return client.download_files(found, folder, chosen, replace=replace, count=bar.update)
    finally:
        bar.close()


def _print_downloaded(found: JobFiles, chosen: list[LeftFile], targets: list[Path], folder: str, *, as_json: bool) -> None:
    """Print what was downloaded, and why it may not be all."""
    lines = [] if chosen and not found.remark else _remarks(found)
    if as_json:
        rows = [{"path": file.path, "size": file.size, "to": str(path)} for file, path in zip(chosen, targets, strict=True)]
        print(json.dumps({"run": found.run, "job": found.job, "attempt": found.attempt, "files": rows}))
    elif chosen:
        print(f"{_sum(chosen)} of {found.run}/{found.job} in {folder}")
    for line in lines:
        print(f"titan: {line}", file=sys.stderr)


def _print_files(client: Client, found: JobFiles, chosen: list[LeftFile]) -> None:
    """Write the files to stdout, one after the other, byte for byte."""
    if packed := next((file for file in chosen if file.kind == "folder"), None):
        raise CallerError(f"output {packed.output!r} is a folder: give a folder with -o")
    if not chosen:
        raise NotFound("; ".join(_remarks(found)))
    for file in chosen:
        if not file.hash:
            client.write_file(found, file, _Stdout())
            continue
        folder = TemporaryFolder()
        try:
            (path,) = client.download_files(found, folder.path, [file])
            with path.open("rb") as source:
                while piece := source.read(1 << 20):
                    _Stdout().write([piece])
        finally:
            folder.close()


class _Stdout:
    """Descriptor 1. A download writes to it at the pace of the reader of the pipe."""

    def __init__(self) -> None:
        self.written = 0

    def write(self, pieces: Sequence[bytes | bytearray | memoryview]) -> None:
        for piece in pieces:
            view = memoryview(piece)
            while view:
                view = view[os.write(1, view) :]
            self.written += len(piece)
