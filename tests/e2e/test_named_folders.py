"""Jobs whose working directory the worker finds: `cwd: shared` and `cwd: script`."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.cluster import cluster

HERE = "import os; print(os.getcwd() == os.path.realpath(os.environ.get('TITAN_SHARED')))\n"


def test_jobs_of_a_run_share_a_folder_and_those_of_another_run_have_another(tmp_path: Path) -> None:
    (tmp_path / "first.py").write_text(f"open('left', 'a').write('x'); {HERE}")
    (tmp_path / "second.py").write_text(f"print(open('left').read()); {HERE}")
    (tmp_path / "p.yaml").write_text(
        "name: shared\nproject: false\njobs:\n- {id: first, file: first.py, cwd: shared}\n"
        "- {id: second, file: second.py, cwd: shared, driver: process, depends_on: [first]}\n"
        "- {id: third, command: 'cat left; echo $1', args: [one], cwd: shared, depends_on: [second]}\n"
    )
    with cluster(tmp_path / "c", "w1") as c:
        for _ in range(2):
            done = c.cli("run", "p.yaml", cwd=tmp_path)
            assert done.returncode == 0, done.stderr
            run = c.json("runs", "--json")[0]["run"]
            logs = [c.cli("logs", f"{run}/{job}").stdout for job in ("first", "second", "third")]
            assert logs == ["True\n", "x\nTrue\n", "xone\n"]


@pytest.mark.parametrize("driver", ["", ", driver: process"])
def test_a_script_of_a_project_finds_the_files_beside_it(tmp_path: Path, driver: str) -> None:
    (tmp_path / "p" / "src" / "deep").mkdir(parents=True)
    (tmp_path / "p" / "src" / "deep" / "s.py").write_text("import helper; print(helper.NAME, open('data').read())\n")
    (tmp_path / "p" / "src" / "deep" / "helper.py").write_text("NAME = 'beside'\n")
    (tmp_path / "p" / "src" / "deep" / "data").write_text("hi")
    (tmp_path / "p" / "p.yaml").write_text(f"name: p\njobs:\n- {{id: s, file: src/deep/s.py, cwd: script{driver}}}\n")
    with cluster(tmp_path / "c", "w1") as c:
        done = c.cli("run", "p.yaml", cwd=tmp_path / "p")
        assert (done.returncode, done.stdout) == (0, "beside hi\n"), done.stderr
