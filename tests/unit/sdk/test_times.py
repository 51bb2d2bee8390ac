"""Times in jobs, DAGs and pipelines, and the arguments of a schedule: valid values, and the errors
for all others."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from titan import DAG, Job
from titan.errors import CallerError, InvalidGraph, InvalidPipeline
from titan.model.timing import Timing
from titan.sdk.pipeline import load_pipeline
from titan.sdk.schedules import ScheduleStatus, _timing
from titan.sdk.staging import stage

AT = datetime(2030, 1, 31, 12, tzinfo=timezone(timedelta(hours=1)))
EPOCH = AT.timestamp()


@pytest.mark.parametrize("given", [AT, AT.astimezone(UTC), EPOCH, int(EPOCH), datetime.fromtimestamp(EPOCH)])
def test_a_time_is_a_datetime_or_seconds(given: Any) -> None:
    assert Job("a", command="x", run_at=given).run_at == EPOCH


@pytest.mark.parametrize("given", [True, "2030-01-31", -1.0, 0, float("nan"), float("inf"), 1e12])
def test_an_invalid_run_at_is_refused(given: Any) -> None:
    with pytest.raises(InvalidGraph, match=r"job 'a': run_at: must be a time"):
        Job("a", command="x", run_at=given)


@pytest.mark.parametrize("given", [True, "60", -1.0, 0, float("nan"), 1e12])
def test_an_invalid_deadline_is_refused(given: Any) -> None:
    with pytest.raises(InvalidGraph, match=r"DAG 'd': deadline: must be"):
        DAG("d", [Job("a", command="x")], deadline=given)


def test_run_at_and_deadline_are_staged() -> None:
    spec = stage(DAG("d", [Job("a", command="x", run_at=EPOCH), Job("b", command="x")], deadline=60)).spec
    assert spec.deadline_s == 60.0
    assert [spec.templates[t].run_at for t in spec.template_of] == [EPOCH, 0.0]


def pipeline(folder: Path, root: str, job: str) -> DAG:
    path = folder / "p.yaml"
    path.write_text(f"name: p\nproject: false\n{root}\njobs:\n  - id: a\n    command: x\n    {job}\n")
    return load_pipeline(path)


@pytest.mark.parametrize("text", ["2030-01-31T12:00+01:00", "'2030-01-31T11:00:00Z'", "2030-01-31 12:00:00+01:00", f"{EPOCH:.0f}"])
def test_a_pipeline_file_reads_times_and_the_deadline(tmp_path: Path, text: str) -> None:
    dag = pipeline(tmp_path, "deadline: 90", f"run_at: {text}")
    assert (dag.deadline, dag.jobs[0].run_at) == (90.0, EPOCH)


def test_a_time_without_a_zone_is_local(tmp_path: Path) -> None:
    assert pipeline(tmp_path, "", "run_at: 2030-01-31").jobs[0].run_at == datetime(2030, 1, 31).timestamp()


@pytest.mark.parametrize(
    ("root", "job", "says"),
    [
        (
            "deadline: soon",
            "",
            "3: deadline: must be a number of seconds or a duration such as 90s, 1h30m or 2d, not the string 'soon'",
        ),
        ("deadline: 0", "", "3: deadline: must be more than 0 seconds"),
        ("deadline:", "", "3: deadline: must be a number of seconds or a duration such as 90s, 1h30m or 2d, not nothing"),
        ("", "run_at: noon", "7: run_at: must be a time such as 2026-01-31T12:00 or 2026-01-31T12:00+01:00, not the string 'noon'"),
        ("", "run_at: true", "7: run_at: must be a time such as"),
        ("", "run_at: [1]", "7: run_at: must be a time such as 2026-01-31T12:00 or 2026-01-31T12:00+01:00, not a list"),
        ("", "run_at: -5", "7: run_at: must be a time between the years 1970 and 9999"),
    ],
)
def test_invalid_times_in_a_pipeline_file_are_refused(tmp_path: Path, root: str, job: str, says: str) -> None:
    with pytest.raises(InvalidPipeline) as caught:
        pipeline(tmp_path, root, job)
    assert says in str(caught.value)


def test_the_timing_of_a_schedule() -> None:
    assert _timing("@daily", "Europe/Berlin", None, None) == Timing("@daily", "Europe/Berlin")
    assert _timing(None, "UTC", 60, AT) == Timing(every_s=60.0, start=EPOCH)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ((None, "UTC", None, None), "give exactly one of --cron and --every"),
        ((5, "UTC", None, None), "a cron expression is a string, not 5"),
        ((None, "UTC", "60", None), "an interval is a number of seconds or a duration such as 90s, 1h30m or 2d, not '60'"),
        (("@daily", "UTC", None, EPOCH), "start needs every"),
        ((None, "UTC", 60, "noon"), "start is a datetime or seconds since the epoch, not 'noon'"),
        (("@daily", "America/NewYork", None, None), "did you mean America/New_York?"),
        (("@daily", "??", None, None), "use a name such as Europe/Berlin"),
    ],
)
def test_invalid_timing_arguments_are_refused(given: tuple[Any, ...], says: str) -> None:
    with pytest.raises(CallerError) as caught:
        _timing(*given)
    assert says in str(caught.value)


def test_a_status_knows_the_times_to_come() -> None:
    status = ScheduleStatus(
        "s", "d", "", 1, "0 0 * * *", "UTC", None, None, "skip", "last", True, None, None, None, 0, 0, 0, 0, 0.0
    )  # fmt: skip
    assert status.upcoming(2, after=0.0) == [86_400.0, 172_800.0]
