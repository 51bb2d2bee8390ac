"""The HTTP API of the dashboard, a process of its own beside a real cluster."""

from __future__ import annotations

import json
import os
import re
import signal
import urllib.parse
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from support.cluster import QUIET, Cluster, cluster
from support.waiting import until
from titan import DAG, Job

WAIT = "until [ -e {} ]; do sleep 0.02; done"
RUN_JOBS = [Job("a", command="echo out; echo err >&2"), Job("b[1]", command="exit 3", parents=["a"], retries=0)]


class Dashboard:
    """Process of `titan dashboard`, with HTTP clients for it."""

    def __init__(self, c: Cluster) -> None:
        self.c = c
        self.process = c.spawn("dashboard", "--port", "0", "--home", str(c.home), label="dashboard")
        until(lambda: "the link works once" in self.process.err, "the dashboard answers")
        found = re.search(r"at (http://127\.0\.0\.1:\d+)(/login\S+)", self.process.err)
        assert found is not None, self.process.err
        self.url, self.link = found[1], found[1] + found[2]

    def token(self, name: str, role: str = "operator") -> str:
        return str(self.c.json("token", "create", name, "--role", role, "--home", str(self.c.home))["token"])

    def program(self, name: str, role: str = "operator") -> httpx.Client:
        return httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {self.token(name, role)}"}, timeout=60)


@pytest.fixture(scope="module")
def c(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("dashboard") / "c", "w1", settings=QUIET) as made:
        made.client.submit(DAG("failed", RUN_JOBS)).wait(60)
        made.client.submit(DAG("open", [Job("gate", type="gate", message="<b>go?</b>")]))
        until(lambda: len(made.client.gates()) == 1, "the gate is open")
        yield made


@pytest.fixture(scope="module")
def served(c: Cluster) -> Dashboard:
    return Dashboard(c)


@pytest.fixture(scope="module")
def api(served: Dashboard) -> Iterator[httpx.Client]:
    with served.program("tests") as program:
        yield program


def get(api: httpx.Client, path: str, **query: Any) -> Any:
    answer = api.get(f"/api/v1/{path}", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def run_of(c: Cluster, dag: str) -> str:
    return c.client.runs(dag=dag)[0].run


def quoted(job: str) -> str:
    return urllib.parse.quote(job, safe="")


# -- reading ---------------------------------------------------------------------------------------
def test_answers_have_the_keys_of_the_json_of_the_commands(c: Cluster, api: httpx.Client) -> None:
    run = run_of(c, "failed")
    assert get(api, "runs", dag="failed")["items"] == c.json("runs", "--dag", "failed")
    assert get(api, f"runs/{run}") == c.json("runs", "--dag", "failed")[0]
    status = c.json("status", run)
    assert get(api, f"runs/{run}/jobs")["items"] == status["jobs"]
    job = c.json("status", f"{run}/b[1]")
    found = get(api, f"runs/{run}/jobs/{quoted('b[1]')}")
    assert {**found["job"], "run": found["run"], "story": found["story"], "attempts": found["attempts"]} == job
    why = c.json("why", f"{run}/a")
    assert get(api, f"runs/{run}/jobs/a/why") == why
    for command in ("gates", "services", "scale"):
        assert get(api, command) == c.json(command), command
    assert get(api, "dlq") == c.json("dlq", "list")


def test_a_graph_has_parents_and_what_the_jobs_run(c: Cluster, api: httpx.Client) -> None:
    graph = get(api, f"runs/{run_of(c, 'failed')}/graph")
    assert [(node["id"], node["parents"]) for node in graph["items"]] == [("a", []), ("b[1]", [0])]
    assert graph["templates"][1]["fields"]["command"] == "exit 3"


def test_values_of_the_environment_are_not_shown(c: Cluster, api: httpx.Client) -> None:
    run = c.client.submit(DAG("env", [Job("a", command="true", env={"PASSWORD": "hunter2"})])).wait(60).run
    graph = api.get(f"/api/v1/runs/{run}/graph").text
    assert "PASSWORD" in graph and "hunter2" not in graph


def test_lists_come_in_pages(c: Cluster, api: httpx.Client) -> None:
    run = c.client.submit(DAG("many", [Job(f"j{i}", command="true", requirement="NOBODY") for i in range(25)])).id
    seen, after = [], None
    while True:
        page = get(api, f"runs/{run}/jobs", limit=10, **({"after": after} if after else {}))
        assert page["total"] == 25 and len(page["items"]) <= 10
        seen += [job["id"] for job in page["items"]]
        after = page["next"]
        if after is None:
            break
    assert seen == [f"j{i}" for i in range(25)]
    first = get(api, "runs", limit=1)
    second = get(api, "runs", limit=1, after=first["next"])
    assert [first["items"][0]["run"], second["items"][0]["run"]] == [r.run for r in c.client.runs(limit=2)]
    c.client.cancel(run)


def test_output_is_byte_exact(c: Cluster, api: httpx.Client) -> None:
    run = c.client.submit(DAG("bytes", [Job("a", command=r"printf '<script>\377\0\n'; echo err >&2")])).wait(60).run
    answer = api.get(f"/api/v1/runs/{run}/jobs/a/output")
    assert answer.content == b"<script>\xff\x00\n"
    assert answer.headers["content-type"].startswith("text/plain") and answer.headers["x-content-type-options"] == "nosniff"
    assert api.get(f"/api/v1/runs/{run}/jobs/a/output", params={"stream": "stderr"}).content == b"err\n"


def test_an_unchanged_answer_is_not_sent_again(c: Cluster, api: httpx.Client) -> None:
    path = f"/api/v1/runs/{run_of(c, 'failed')}/jobs"
    first = api.get(path)
    again = api.get(path, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert api.get(path, headers={"If-None-Match": '"other"'}).status_code == 200


@pytest.mark.parametrize(
    ("path", "status", "code", "fields"),
    [
        ("runs/000000000000", 404, "not_found", []),
        ("runs/%00", 404, "not_found", []),
        ("nothing", 404, "not_found", []),
        ("runs?limit=0", 400, "caller", ["limit"]),
        ("runs?limit=x&since=-1", 400, "caller", ["limit", "since"]),
        ("runs?states=BUSY", 400, "caller", ["states"]),
        ("runs?after=../..", 400, "caller", ["after"]),
    ],
)
def test_errors_are_problem_details_that_name_the_field(
    api: httpx.Client, path: str, status: int, code: str, fields: list[str]
) -> None:
    answer = api.get(f"/api/v1/{path}")
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (answer.status_code, problem["status"], problem["code"]) == (status, status, code)
    assert [error["field"] for error in problem["errors"]] == fields
    assert problem["detail"] and "Traceback" not in answer.text


def test_the_schema_is_openapi_and_lists_every_path(api: httpx.Client) -> None:
    schema = api.get("/api/v1/schema/openapi.json").json()
    assert schema["openapi"].startswith("3.1")
    assert {"/api/v1/runs", "/api/v1/events", "/api/v1/runs/{run}/jobs/{job}/decide"} <= schema["paths"].keys()


# -- changes ---------------------------------------------------------------------------------------
def test_the_actor_of_a_change_is_in_the_journal(c: Cluster, api: httpx.Client) -> None:
    run = c.client.submit(DAG("held", [Job("gate", type="gate"), Job("far", command="true", requirement="NOBODY")])).id
    until(lambda: c.states(run)["gate"] == "PAUSED", "the gate is open")
    answer = api.post(f"/api/v1/runs/{run}/jobs/gate/decide", json={"approve": True, "comment": "fine"})
    assert answer.status_code == 200 and answer.json()["by"] == "token:tests"
    assert api.post(f"/api/v1/runs/{run}/cancel").json() == {"jobs": 1}
    assert "token:tests" in c.json("status", f"{run}/far")["reason"]
    again = api.post(f"/api/v1/runs/{run}/rerun")
    assert again.status_code == 201
    assert c.client.run(again.json()["run"]).status().summary.actor == "token:tests"
    api.post(f"/api/v1/runs/{again.json()['run']}/cancel")


def test_a_wrong_body_names_its_field(c: Cluster, api: httpx.Client) -> None:
    gate = f"/api/v1/runs/{run_of(c, 'open')}/jobs/gate/decide"
    answer = api.post(gate, json={"approve": "perhaps"})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, "approve")
    assert api.post(gate, content=b"{", headers={"Content-Type": "application/json"}).status_code == 400
    assert api.post(gate, json={"approve": True, "comment": "x" * 5000}).status_code == 400
    assert c.states(run_of(c, "open"))["gate"] == "PAUSED"


def test_a_viewer_may_only_read(c: Cluster, served: Dashboard) -> None:
    run = run_of(c, "open")
    with served.program("eyes", "viewer") as viewer:
        assert get(viewer, "session")["role"] == "viewer"
        answer = viewer.post(f"/api/v1/runs/{run}/cancel")
        assert answer.status_code == 403 and "may only read" in answer.json()["detail"]
    assert c.client.status(run).state == "RUNNING"


# -- who may ask -----------------------------------------------------------------------------------
def test_a_link_signs_a_browser_in_once(served: Dashboard) -> None:
    link = served.c.json("open", "--home", str(served.c.home))["link"]
    with httpx.Client(base_url=served.url) as browser:
        answer = browser.get(link)
        assert answer.status_code == 303
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie and "samesite=strict" in cookie.lower()
        session = get(browser, "session")
        assert session["role"] == "operator" and "@" in session["actor"]
        target = "/api/v1/runs/000000000000/cancel"
        assert browser.post(target).status_code == 403, "a change needs the CSRF token"
        assert browser.post(target, headers={"X-CSRF-Token": "0" * 64}).status_code == 403
        assert browser.post(target, headers={"X-CSRF-Token": session["csrf"]}).status_code == 404
        assert browser.delete("/api/v1/schedules/none").status_code == 403
    again = httpx.get(link)
    assert again.status_code == 403 and "used already" in again.json()["detail"]


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "PUT", "PATCH", "OPTIONS", "HEAD"])
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": "127.0.0.1"}, 421),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "navigate"}, 403),
    ],
)
def test_other_sites_are_refused_on_every_method(api: httpx.Client, method: str, headers: dict[str, str], status: int) -> None:
    assert api.request(method, "/api/v1/schedules/none", headers=headers).status_code == status


def test_nobody_reads_without_signing_in(served: Dashboard) -> None:
    paths = ["session", "runs", "workers", "events", "secrets", "disk", "runs/0/jobs/a/output", "runs/0/events"]
    for headers in ({}, {"Authorization": "Bearer titan_x"}, {"Authorization": "Basic eA=="}, {"Cookie": "titan_session=x"}):
        for path in paths:
            answer = httpx.get(f"{served.url}/api/v1/{path}", headers=headers)
            assert answer.status_code == 401, (path, headers)
            assert "titan open" in answer.text or "titan token" in answer.text


def test_a_removed_token_is_refused_at_once(served: Dashboard) -> None:
    with served.program("short") as program:
        get(program, "session")
        served.c.json("token", "remove", "short", "--home", str(served.c.home))
        assert program.get("/api/v1/session").status_code == 401


# -- streams ---------------------------------------------------------------------------------------
def events(answer: httpx.Response) -> Iterator[dict[str, Any]]:
    """Yield the events of a stream as {"event", "id", "data"}."""
    found: dict[str, Any] = {}
    for line in answer.iter_lines():
        name, _, value = line.partition(": ")
        if line:
            found[name] = json.loads(value) if name == "data" else value
        elif "data" in found:
            yield found
            found = {}


def test_a_run_is_streamed_until_its_end_and_resumed(c: Cluster, api: httpx.Client, tmp_path: Any) -> None:
    go = tmp_path / "go"
    run = c.client.submit(DAG("streamed", [Job("a", command=WAIT.format(go)), Job("b", command="true")])).id
    until(lambda: c.states(run) == {"a": "RUNNING", "b": "COMPLETED"}, "b is over")
    with api.stream("GET", f"/api/v1/runs/{run}/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        states: dict[str, str] = {}
        for event in events(answer):
            states |= {row["id"]: row["row"]["state"] for row in event["data"]["rows"] if row["kind"] == "job"}
            if len(states) == 2:
                break
    assert states == {"a": "RUNNING", "b": "COMPLETED"}
    last = event["id"]
    go.touch()
    with api.stream("GET", f"/api/v1/runs/{run}/events", headers={"Last-Event-ID": last}) as answer:
        found = list(events(answer))
    rows = [row for event in found if event["event"] == "changes" for row in event["data"]["rows"]]
    assert not any(event["data"].get("first") for event in found)
    assert {row["id"] for row in rows if row["kind"] == "job"} == {"a"}, "only what changed since"
    assert found[-1]["event"] == "over"


def test_the_cluster_is_streamed_across_a_kill_of_the_master(tmp_path: Any) -> None:
    with cluster(tmp_path / "c", "w1", settings=QUIET) as c:
        served = Dashboard(c)
        with served.program("p") as api, api.stream("GET", "/api/v1/events") as answer:
            stream = events(answer)
            first = next(stream)
            assert first["data"]["first"]
            c.kill_master()
            c.start_master()
            run = c.client.submit(DAG("after", [Job("a", command="true")])).id
            until_over: dict[str, str] = {}
            for event in stream:
                until_over |= {row["id"]: row["row"]["state"] for row in event["data"]["rows"] if row["kind"] == "run"}
                if until_over.get(run) == "COMPLETED":
                    break
        os.kill(served.process.pid, signal.SIGTERM)
        assert served.process.wait(10) in (0, -signal.SIGTERM)
        assert c.cli("open", "--home", str(c.home)).returncode == 3


def test_output_is_streamed_as_it_comes(c: Cluster, api: httpx.Client, tmp_path: Any) -> None:
    go = tmp_path / "go"
    run = c.client.submit(DAG("talks", [Job("a", command=f"echo one; {WAIT.format(go)}; echo two >&2")])).id
    with api.stream("GET", f"/api/v1/runs/{run}/jobs/a/output/events") as answer:
        stream = events(answer)
        assert next(stream)["data"] == {"attempt": 1, "stream": "stdout", "text": "one\n", "skipped": 0}
        go.touch()
        assert [event["event"] for event in stream] == ["output", "over"]
