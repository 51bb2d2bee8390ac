"""The warden and jobs with secrets: the content of their logs, and which processes may make core
dumps."""

from __future__ import annotations

import os
import re
import resource
import sys
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from support.warden import WardenBench, run_in_loop, running_warden
from titan.errors import Bug
from titan.host import core_dumps as no_core

SECRET = b"tops3cret-value"


def masking_warden(folder: Path, python: str | None = None) -> AbstractAsyncContextManager[WardenBench]:
    """Warden whose jobs have the secret in $S."""
    return running_warden(folder, env={"S": SECRET.decode()}, link={"python": python, "jobs_env": os.environ})


async def logged(bench: WardenBench, key: int) -> tuple[int, bytes, bytes]:
    """Return (exit code, stdout, stderr) of a job. Also check that the log on the disk equals the
    reported output."""
    code, out, err = await bench.ended(key)
    for stream, data in ((1, out), (2, err)):
        file = bench.log(key, stream)
        assert (file.read_bytes() if file.exists() else b"") == data
    return code, out, err


def test_a_secret_in_pieces_is_masked_and_the_rest_comes_at_the_end(tmp_path: Path) -> None:
    async def main() -> None:
        async with masking_warden(tmp_path) as bench:
            bench.sh(1, 'printf "a tops3"; sleep 0.1; printf "cret-value b"; printf "tops3" >&2', masks=[SECRET])
            bench.sh(2, "echo $S")
            assert await logged(bench, 1) == (0, b"a *** b", b"tops3"), "the beginning of one is no secret"
            assert await logged(bench, 2) == (0, SECRET + b"\n", b""), "masks are of one job"

    run_in_loop(main())


def test_the_limit_of_a_log_and_its_tail_hold_what_is_masked(tmp_path: Path) -> None:
    async def main() -> None:
        async with masking_warden(tmp_path) as bench:
            many = 'i=0; while [ $i -lt 4000 ]; do echo "$i $S"; i=$((i+1)); done'
            bench.sh(1, many, masks=[SECRET], log_limit=4096)
            _, data, _ = await logged(bench, 1)
            assert len(data) <= 4096 and SECRET not in data and data.startswith(b"0 ***\n1 ***\n")
            assert data.endswith(b"3999 ***\n")
            whole = sum(len(b"%d ***\n" % i) for i in range(4000))
            assert bench.skipped[1, 1] == bench.exits[1][6] == whole - len(data)

    run_in_loop(main())


@pytest.mark.parametrize("python", [None, sys.executable], ids=["plain", "warm"])
def test_only_jobs_without_secrets_make_core_dumps(tmp_path: Path, python: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job with secrets makes no core dump. From its start on, the warden and its forks make none
    either. All other jobs have the limit that the warden was started with."""
    # a vault that an earlier test opened in this process may have forbidden core dumps
    monkeypatch.setattr(no_core, "_before", [])
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    if hard == 0:
        pytest.skip("the limit on core dumps is 0 and cannot be raised")
    (tmp_path / "limit.py").write_text("import resource; print(resource.getrlimit(resource.RLIMIT_CORE)[0])")

    async def main() -> None:
        before = resource.getrlimit(resource.RLIMIT_CORE)
        resource.setrlimit(resource.RLIMIT_CORE, (4096, hard))
        try:
            async with masking_warden(tmp_path, python) as bench:
                bench.sh(1, "ulimit -c")
                await bench.exited(1)
                bench.sh(2, "ulimit -c", masks=[SECRET])
                bench.sh(3, "ulimit -c")
                bench.script(4, "limit.py", masks=[SECRET])
                bench.script(5, "limit.py")
                said = [int((await logged(bench, key))[1]) for key in (1, 2, 3, 4, 5)]
                blocks = 4096 // 512 if said[0] == 8 else 4
                assert said == [blocks, said[1], blocks, 1, 4096 if python is None else 1] and said[1] < 2
                limits = Path(f"/proc/{bench.link.pid}/limits").read_text()
                assert re.search(r"Max core file size +1 ", limits)
        finally:
            resource.setrlimit(resource.RLIMIT_CORE, before)

    run_in_loop(main())


def test_a_job_that_cannot_start_leaves_no_mask_for_another(tmp_path: Path) -> None:
    async def main() -> None:
        async with masking_warden(tmp_path) as bench:
            bench.start(1, "/none", masks=[SECRET])
            await bench.refused(1)
            bench.reports.clear()
            bench.sh(1, "echo $S")
            assert await logged(bench, 1) == (0, SECRET + b"\n", b"")
            with pytest.raises(Bug, match="is ordered behind"):
                bench.sh(3, "true", masks=[SECRET], behind=1)
            bench.reports.clear()
            bench.sh(4, "true", masks=[b"x" * (1 << 20) + b"%d" % n for n in range(65)])
            _, why = await bench.refused(4)
            assert "the order to start this job takes" in why and "xxx" not in why

    run_in_loop(main())
