"""Project archives: the same bytes for the same folder, and an unpacker that trusts no archive."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import socket
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from titan.content.archive import Archive, build_archive, survey, unpack_archive
from titan.errors import CallerError, InvalidGraph, LimitExceeded

Fill = Callable[[tarfile.TarFile], None]


def plant(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def tree(folder: Path) -> dict[str, str]:
    """Return path -> content, target of a link, or "/" for a folder, for all paths below the
    folder."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        found[name] = f"-> {path.readlink()}" if path.is_symlink() else "/" if path.is_dir() else path.read_text()
    return found


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return plant(tmp_path / "p", {"a.py": "1", "pkg/b.py": "2", "pkg/sub/ü.txt": "3"})


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def travel(folder: Path, out: Path) -> dict[str, str]:
    target = out / "unpacked"
    unpack_archive(build_archive(folder, out).path, target)
    return tree(target)


# -- packing ---------------------------------------------------------------------------------------
def test_files_modes_and_folders_are_unpacked_as_they_were(project: Path, out: Path) -> None:
    (project / "empty").mkdir()
    (project / "a.py").chmod(0o700)
    (project / "pkg" / "b.py").chmod(0o664)
    assert travel(project, out) == tree(project)
    modes = [(out / "unpacked" / name).stat().st_mode & 0o700 for name in ("a.py", "pkg/b.py", "pkg")]
    assert modes == [0o700, 0o600, 0o700]


def test_the_answer_describes_the_file(project: Path, out: Path) -> None:
    path, sha256, size = build_archive(project, out)
    assert path == out / f"{sha256}.tar.zst"
    assert hashlib.sha256(path.read_bytes()).hexdigest() == sha256
    assert path.stat().st_size == size
    assert list(out.iterdir()) == [path]


def test_the_same_content_gives_the_same_bytes(project: Path, tmp_path: Path, out: Path) -> None:
    """The bytes do not depend on times, the order of creation, the umask or the name of the
    folder."""
    copy = plant(tmp_path / "q", {"pkg/sub/ü.txt": "3", "pkg/b.py": "2", "a.py": "1"})
    os.utime(copy / "a.py", (1, 1))
    (copy / "a.py").chmod(0o600)
    assert build_archive(project, out) == build_archive(copy, out)
    (copy / "a.py").chmod(0o755)
    assert build_archive(project, out).sha256 != build_archive(copy, out).sha256


def test_long_and_unusual_names_are_packed_and_unpacked(tmp_path: Path, out: Path) -> None:
    deep = "/".join(["d" * 60] * 6)
    project = plant(tmp_path / "p", {f"{deep}/x": "1", "with space\nand line": "2", "n" * 200: "3"})
    with (project / os.fsdecode(b"not-\xff-utf8")).open("w") as file:
        file.write("4")
    assert travel(project, out) == tree(project)


def test_caches_environments_and_version_control_are_left_out(project: Path, out: Path) -> None:
    extra = [".git/HEAD", ".titan/x", "venv/bin/python", "pkg/__pycache__/b.pyc", "pkg/c.pyc", "node_modules/x/y", ".mypy_cache/z"]
    plant(project, dict.fromkeys(extra, "junk"))
    plant(project, {"venv.py": "kept"})
    assert set(travel(project, out)) == {"a.py", "pkg", "pkg/b.py", "pkg/sub", "pkg/sub/ü.txt", "venv.py"}


def test_titanignore_leaves_out_what_it_matches(tmp_path: Path, out: Path) -> None:
    files = [
        "data/big.csv",
        "data/deep/x",
        "keep/data.csv",
        "keep/tmp/x",
        "tmp/y",
        "notes.tmp",
        "keep/notes.tmp",
        "top.log",
        "keep/top.log",
    ]
    project = plant(tmp_path / "p", dict.fromkeys(files, ""))
    (project / ".titanignore").write_text("# data is fetched\ndata/*\n\n  tmp/  \n*.tmp\n/top.log\n")
    assert [n for n, what in travel(project, out).items() if what != "/"] == [".titanignore", "keep/data.csv", "keep/top.log"]


def test_titanignore_matches_files_and_folders_apart(tmp_path: Path, out: Path) -> None:
    project = plant(tmp_path / "p", {"a/build/x": "", "b/build": "", "c/x": ""})
    (project / ".titanignore").write_text("build/\nc\n")
    assert set(travel(project, out)) == {".titanignore", "a", "b", "b/build"}


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"!keep\n", "1: !keep"), (b"\xff\xfe", "UTF-8"), (b"x\n" * 200_000, "exceeds")],
    ids=["negation", "utf8", "long"],
)
def test_a_bad_titanignore_is_refused(project: Path, content: bytes, says: str) -> None:
    (project / ".titanignore").write_bytes(content)
    with pytest.raises(CallerError, match=says):
        survey(project)


def test_links_that_stay_inside_are_kept(project: Path, out: Path) -> None:
    (project / "to_file").symlink_to("pkg/b.py")
    (project / "pkg" / "up").symlink_to("../a.py")
    (project / "to_folder").symlink_to("pkg")
    (project / "dangling").symlink_to("not/there")
    (project / "here").symlink_to(".")
    assert travel(project, out) == tree(project)


def test_links_that_are_spelled_from_outside_are_rewritten(project: Path, out: Path) -> None:
    (project / "absolute").symlink_to(project / "pkg" / "b.py")
    (project / "pkg" / "detour").symlink_to("../../p/a.py")
    there = travel(project, out)
    assert there["absolute"] == "-> pkg/b.py"
    assert there["pkg/detour"] == "-> ../a.py"


@pytest.mark.parametrize("target", ["/etc/passwd", "..", "../secret", "pkg/../../secret", "loop/../../secret"])
def test_links_that_lead_out_are_refused(project: Path, target: str) -> None:
    (project / "loop").symlink_to(".")
    (project / "bad").symlink_to(target)
    with pytest.raises(InvalidGraph, match=r"bad: is a link to .* outside the project"):
        survey(project)


def test_sockets_fifos_and_homes_stay_behind(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = survey(project)
    os.mkfifo(project / "pipe")
    plant(project, {"home/origin.json": "{}", "home/store/1.log": "x", "home/lock": "1"})
    monkeypatch.chdir(project)  # the path of a socket must be short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("sock")
        assert survey(project) == before
        (project / "pipe").unlink()
        with pytest.raises(InvalidGraph, match="sock: is a socket, which cannot travel: remove it"):
            survey(project, everything=True)


def test_limits_say_what_to_do(project: Path, out: Path) -> None:
    plant(project, {"data/x.bin": "x" * 1000})
    with pytest.raises(LimitExceeded, match=r"\.titanignore \(the largest: data/ 1,000, pkg/ 2, a.py 1\)"):
        build_archive(project, out, max_bytes=500)
    with pytest.raises(LimitExceeded, match=r"more than 3 files.*\.titanignore"):
        build_archive(project, out, max_members=3)
    assert list(out.iterdir()) == []


def test_a_project_that_is_no_folder_is_refused(project: Path, out: Path) -> None:
    with pytest.raises(InvalidGraph, match="no such folder"):
        build_archive(project / "none", out)
    with pytest.raises(InvalidGraph, match="is not a folder"):
        build_archive(project / "a.py", out)


@pytest.mark.parametrize("change", ["gone", "fifo", "link"])
def test_a_change_during_the_packing_is_refused(project: Path, out: Path, change: str) -> None:
    found = survey(project)
    (project / "a.py").unlink()
    if change == "fifo":
        os.mkfifo(project / "a.py")
    elif change == "link":
        (project / "a.py").symlink_to("/etc/passwd")
    with pytest.raises(InvalidGraph, match=r"a\.py: (changed|cannot be read)"):
        build_archive(project, out, found=found)
    assert list(out.iterdir()) == []


def test_a_file_whose_size_differs_from_its_content_is_refused(project: Path, out: Path) -> None:
    """The files of /proc have the size 0, but are not empty."""
    if not Path("/proc/self/status").exists():
        pytest.skip("no /proc")
    found = survey(project)
    found.files = {"status": 0}
    found.folders = []
    with pytest.raises(InvalidGraph, match="changed while it was packed"):
        build_archive(Path("/proc/self"), out, found=found)


# -- unpacking -------------------------------------------------------------------------------------
def forge(out: Path, fill: Fill) -> Path:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as tar:
        fill(tar)
    path = out / "forged.tar.zst"
    path.write_bytes(zstandard.ZstdCompressor().compress(raw.getvalue()))
    return path


def add(tar: tarfile.TarFile, name: str, kind: bytes = tarfile.REGTYPE, link: str = "", data: bytes = b"") -> None:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, len(data)
    tar.addfile(info, io.BytesIO(data))


def refuse(out: Path, fill: Fill, says: str) -> None:
    """Check that the archive is refused, that nothing of it is left, and that nothing outside was
    changed."""
    (out / "secret").write_text("untouched")
    target = out / "into"
    with pytest.raises(CallerError, match=says):
        unpack_archive(forge(out, fill), target)
    assert list(target.iterdir()) == []
    assert set(os.listdir(out)) == {"secret", "into", "forged.tar.zst"}
    assert (out / "secret").read_text() == "untouched"


@pytest.mark.parametrize("name", ["/etc/x", "../x", "a/../../x", "a/..", ".", "./x", "a//b", "n" * 300, "d/" * 2100 + "x"])
def test_bad_paths_are_refused(out: Path, name: str) -> None:
    refuse(out, lambda tar: add(tar, name, data=b"evil"), "path")


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.LNKTYPE, tarfile.CONTTYPE, b"Z"])
def test_other_kinds_are_refused(out: Path, kind: bytes) -> None:
    def fill(tar: tarfile.TarFile) -> None:
        add(tar, "fine", data=b"x")
        add(tar, "odd", kind, link="fine")

    refuse(out, fill, "not a file, folder or symbolic link")


@pytest.mark.parametrize("target", ["/etc", "..", "../secret", "d/../../secret", ""])
def test_links_out_are_refused(out: Path, target: str) -> None:
    refuse(out, lambda tar: add(tar, "link", tarfile.SYMTYPE, target), "leads out")


def test_links_out_through_other_links_are_refused(out: Path) -> None:
    """As text, `here/../secret` is inside of the archive. But `here` is a link to the folder
    itself, so the path leads out."""

    def fill(tar: tarfile.TarFile) -> None:
        add(tar, "here", tarfile.SYMTYPE, ".")
        add(tar, "bad", tarfile.SYMTYPE, "here/../secret")

    refuse(out, fill, "leads out")


def test_nothing_is_written_through_a_link(out: Path) -> None:
    def fill(tar: tarfile.TarFile) -> None:
        add(tar, "d", tarfile.DIRTYPE)
        add(tar, "link", tarfile.SYMTYPE, "d")
        add(tar, "link/x", data=b"x")

    refuse(out, fill, "below 'link'")


@pytest.mark.parametrize(
    "kinds", [(tarfile.REGTYPE, tarfile.REGTYPE), (tarfile.SYMTYPE, tarfile.REGTYPE), (tarfile.REGTYPE, tarfile.DIRTYPE)]
)
def test_a_name_that_comes_twice_is_refused(out: Path, kinds: tuple[bytes, bytes]) -> None:
    def fill(tar: tarfile.TarFile) -> None:
        for kind in kinds:
            add(tar, "x", kind, link="y")

    refuse(out, fill, "twice")


def test_a_bomb_is_refused(out: Path) -> None:
    path = forge(out, lambda tar: add(tar, "zeros", data=bytes(20_000_000)))
    assert path.stat().st_size < 10_000
    with pytest.raises(LimitExceeded, match="more than 1,000,000 bytes"):
        unpack_archive(path, out / "into", max_bytes=1_000_000)


def test_too_many_members_are_refused(project: Path, out: Path) -> None:
    with pytest.raises(LimitExceeded, match="more than 2 members"):
        unpack_archive(build_archive(project, out).path, out / "into", max_members=2)
    assert list((out / "into").iterdir()) == []


def test_a_bomb_in_a_header_is_refused(out: Path) -> None:
    """The header announces the length of a path, and tarfile would read that many bytes at once."""

    def fill(tar: tarfile.TarFile) -> None:
        info = tarfile.TarInfo("x")
        info.pax_headers = {"comment": "x" * 3_000_000}
        tar.addfile(info)

    refuse(out, fill, "more than a header holds")


def test_a_chain_of_headers_is_refused(out: Path) -> None:
    def fill(tar: tarfile.TarFile) -> None:
        for _ in range(5000):
            add(tar, "././@LongLink", tarfile.GNUTYPE_LONGNAME, data=b"x" * 100)

    refuse(out, fill, "not a project archive")


@pytest.mark.parametrize("content", [b"", b"hello" * 1000, zstandard.ZstdCompressor().compress(b"hello" * 1000)])
def test_other_files_are_refused(out: Path, content: bytes) -> None:
    (out / "x").write_bytes(content)
    with pytest.raises(InvalidGraph, match="not a project archive"):
        unpack_archive(out / "x", out / "into")


def test_an_archive_is_unpacked_only_into_an_empty_folder(project: Path, out: Path) -> None:
    packed = build_archive(project, out).path
    (out / "into").mkdir()
    unpack_archive(packed, out / "into")
    with pytest.raises(InvalidGraph, match="is not empty"):
        unpack_archive(packed, out / "into")
    assert tree(out / "into") == tree(project)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    base = tmp_path_factory.mktemp("sample")
    project = plant(base / "p", {"a.txt": "text " * 20, "d/zeros": "\0" * 4096, "d/e/f": "x", "z": "last"})
    (project / "link").symlink_to("d/e/f")
    return build_archive(project, base)


_fuzz = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])


@_fuzz
@given(st.data())
def test_damage_is_refused_or_harmless(sample: Archive, tmp_path: Path, data: st.DataObject) -> None:
    """Some bytes of the tar file are changed, or its end is cut off. The archive is refused as an
    error of the caller or unpacked unharmed; a cut archive never counts as whole."""
    tar = bytearray(zstandard.ZstdDecompressor().decompressobj().decompress(sample.path.read_bytes()))
    end = len(bytes(tar).rstrip(b"\0"))
    cut = data.draw(st.none() | st.integers(0, end))
    if cut is None:
        for at, byte in data.draw(st.lists(st.tuples(st.integers(0, end), st.integers(0, 255)), min_size=1, max_size=8)):
            tar[at] = byte
    else:
        del tar[cut:]
    target = tmp_path / "into"
    path = tmp_path / "damaged"
    path.write_bytes(zstandard.ZstdCompressor().compress(bytes(tar)))
    try:
        unpack_archive(path, target)
    except CallerError:
        assert list(target.iterdir()) == []
    else:
        assert cut is None
        assert all(os.path.realpath(p).startswith(os.path.realpath(target)) for p in target.rglob("*"))
    shutil.rmtree(target)


@_fuzz
@given(st.data())
def test_cut_compressed_bytes_are_refused(sample: Archive, tmp_path: Path, data: st.DataObject) -> None:
    whole = sample.path.read_bytes()
    (tmp_path / "cut").write_bytes(whole[: data.draw(st.integers(0, len(whole) - 20))])
    with pytest.raises(CallerError):
        unpack_archive(tmp_path / "cut", tmp_path / "into")


_KINDS = st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
_PATHS = st.lists(st.sampled_from(["a", "b", "c", "..", ".", ""]), min_size=1, max_size=4).map("/".join)


@_fuzz
@given(st.lists(st.tuples(_PATHS, _KINDS, _PATHS), max_size=6))
def test_no_archive_reaches_outside(tmp_path: Path, members: list[tuple[str, bytes, str]]) -> None:
    out = tmp_path / "out"
    out.mkdir(exist_ok=True)
    (out / "a").write_text("untouched")

    def fill(tar: tarfile.TarFile) -> None:
        for name, kind, link in members:
            add(tar, name, kind, link, b"evil" if kind == tarfile.REGTYPE else b"")

    target = out / "into"
    try:
        unpack_archive(forge(out, fill), target)
    except CallerError:
        assert list(target.iterdir()) == []
    root = os.path.realpath(target)
    assert all(f"{os.path.realpath(p)}/".startswith(f"{root}/") for p in target.rglob("*"))
    assert set(os.listdir(out)) == {"a", "into", "forged.tar.zst"}
    assert (out / "a").read_text() == "untouched"
    shutil.rmtree(out)


def test_a_folder_that_is_nested_too_deeply_is_neither_packed_nor_unpacked(project: Path, out: Path) -> None:
    (project / "/".join(["d"] * 201)).mkdir(parents=True)
    with pytest.raises(LimitExceeded, match="nested deeper than 200 folders"):
        survey(project)
    (project / "/".join(["d"] * 201)).rmdir()
    survey(project)
    packed = out / "deep.tar.zst"
    with tarfile.open(out / "deep.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("d/" * 1500 + "file"))
    packed.write_bytes(zstandard.compress((out / "deep.tar").read_bytes()))
    with pytest.raises(InvalidGraph, match="nested too deeply"):
        unpack_archive(packed, out / "into")
    assert list((out / "into").iterdir()) == []
