"""Pipeline files: the documented meaning of each key, and errors that name file, line and key."""

from __future__ import annotations

import doctest
import os
import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import titan.sdk.pipeline
from titan.errors import InvalidGraph, InvalidPipeline
from titan.sdk.job import Job
from titan.sdk.pipeline import load_pipeline
from titan.sdk.pipeline_keys import JOB_KEYS
from titan.sdk.staging import stage


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "steps").mkdir()
    (tmp_path / "steps" / "one.py").write_text("")
    return tmp_path


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "p.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def fault(folder: Path, text: str | bytes) -> str:
    """Return the text of the error after the name of the file."""
    path = write(folder, text)
    with pytest.raises(InvalidPipeline) as caught:
        load_pipeline(path)
    message = str(caught.value)
    assert message.startswith(f"{path}:")
    assert "\n" not in message
    assert len(message) < 600
    return message[len(str(path)) + 1 :]


def job_fault(folder: Path, lines: str) -> str:
    """Return the error for a pipeline with one job `a`. The given lines of the job begin in line
    5."""
    return fault(
        folder, "name: x\njobs:\n  - id: a\n    command: 'true'\n" + "".join(f"    {line}\n" for line in lines.split("\n"))
    )


def only_job(folder: Path, lines: str) -> Job:
    text = "name: x\njobs:\n  - id: a\n" + "".join(f"    {line}\n" for line in lines.split("\n"))
    (job,) = load_pipeline(write(folder, text)).jobs
    return job


# -- what is right ---------------------------------------------------------------------------------
def test_every_key_of_a_pipeline_file_is_read(folder: Path) -> None:
    text = """\
# a comment
name: nightly
version: "2"
project: true
jobs:
  - id: first
    command: echo hi
  - id: second
    type: run
    file: steps/one.py
    args: --epochs 4 'two words'
    depends_on: [first]
    requirement: GPU
    priority: -5
    delay: 1.5
    affinity: true
    retries: 0
    timeout: 60
    env:
      A: text
      B: 1.10
    python: .venv
    driver: process
"""
    dag = load_pipeline(write(folder, text))
    assert (dag.name, dag.version, dag.project) == ("nightly", "2", folder)
    args, env = ("--epochs", "4", "two words"), {"A": "text", "B": "1.10"}
    second = Job("second", "steps/one.py", None, args, ("first",), "GPU", -5, 1.5, True, 0, 60.0, env, ".venv", "process")
    assert list(dag.jobs) == [Job("first", command="echo hi"), second]
    assert stage(dag).spec.ids == ["first", "second"]


def test_project_false_takes_single_files_from_the_yamls_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    dag = load_pipeline(write(folder, "name: x\nproject: false\njobs: [{id: a, file: steps/one.py}]\n"))
    assert dag.project is None
    assert stage(dag).spec.templates[0].file == "one.py"


def test_the_pipelines_python_is_that_of_its_py_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    (folder / "x.sh").write_text("")
    jobs = "[{id: a, file: steps/one.py}, {id: b, file: steps/one.py, python: /opt/b}, {id: c, file: x.sh}, {id: d, command: x}]"
    for project, kept in (("true", "envs/a"), ("false", str(folder / "envs/a"))):
        dag = load_pipeline(write(folder, f"name: x\nproject: {project}\npython: envs/a\njobs: {jobs}\n"))
        assert [job.python for job in dag.jobs] == [kept, "/opt/b", None, None]
        assert [t.python for t in stage(dag).spec.templates] == [str(folder / "envs/a"), "/opt/b", "", ""]


def test_the_path_may_be_relative(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, "name: x\njobs: [{id: a, file: steps/one.py}]\n")
    monkeypatch.chdir(folder)
    assert load_pipeline("p.yaml").project == folder
    write(folder, "nam: x\n")
    with pytest.raises(InvalidPipeline, match=r"^p\.yaml:1: nam: "):
        load_pipeline("p.yaml")


def test_perm_files_are_looked_up_by_the_master(folder: Path) -> None:
    assert only_job(folder, "file: perm:tools/x.sh").file == "perm:tools/x.sh"


def test_scalars_in_args_and_env_stay_as_written(folder: Path) -> None:
    job = only_job(folder, "command: x\nargs: [007, 1.10, yes, 0x1F, '', \"a b\", true]\nenv: {A: 1e3, B: no, C: '', 1: 08}")
    assert job.args == ("007", "1.10", "yes", "0x1F", "", "a b", "true")
    assert dict(job.env) == {"A": "1e3", "B": "no", "C": "", "1": "08"}


def test_yes_and_no_are_strings(folder: Path) -> None:
    (job,) = load_pipeline(write(folder, "name: no\njobs: [{id: yes, command: on}]")).jobs
    assert (job.id, job.command) == ("yes", "on")


def test_numbers_are_read_as_yaml_writes_them(folder: Path) -> None:
    job = only_job(folder, "command: x\npriority: +5\ndelay: 1e1\nretries: 0o17\ntimeout: .5")
    assert (job.priority, job.delay, job.retries, job.timeout) == (5, 10.0, 15, 0.5)


def test_timeout_may_be_null(folder: Path) -> None:
    assert only_job(folder, "command: x\ntimeout: null").timeout is None


def test_block_text_with_tabs_and_unicode(folder: Path) -> None:
    job = only_job(folder, "command: |\n  cat <<EOF\n  \tünder 雪\n  EOF")
    assert job.command == "cat <<EOF\n\tünder 雪\nEOF\n"


def test_windows_line_ends_and_byte_order_mark(folder: Path) -> None:
    text = b"\xef\xbb\xbfname: x\r\njobs:\r\n  - id: a\r\n    command: 'true'\r\n"
    assert load_pipeline(write(folder, text)).jobs[0].id == "a"
    assert fault(folder, text + b"    retries: x\r\n").startswith("5: retries: ")


def test_aliases_and_merge_keys(folder: Path) -> None:
    text = """\
name: x
jobs:
  - &base
    id: a
    command: x
    env: &env {A: "1"}
    retries: 7
  - {<<: *base, id: b, depends_on: [a]}
  - {id: c, command: y, env: *env}
"""
    a, b, c = load_pipeline(write(folder, text)).jobs
    assert (b.id, b.command, b.retries, b.env, b.parents) == ("b", "x", 7, a.env, ("a",))
    assert (c.retries, c.env) == (3, a.env)


def test_descriptions_change_nothing_that_is_sent(folder: Path) -> None:
    text = "name: x\njobs:\n  - {id: a, command: x}\n  - {id: g, type: gate, message: m}\n"
    plain = load_pipeline(write(folder, text))
    described = load_pipeline(write(folder, "description: |\n  Two\n  lines\n" + text.replace("id: ", "description: why, id: ")))
    assert (described.description, [job.description for job in described.jobs]) == ("Two\nlines\n", ["why", "why"])
    assert stage(described).spec == msgspec.structs.replace(stage(plain).spec, source=stage(described).spec.source)


# -- what is wrong ---------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "1: file: is empty"),
        ("# nothing\n---\n", "1: file: is empty"),
        ("- a\n", "1: file: must be a mapping with name and jobs, not a list"),
        ("hello", "1: file: must be a mapping with name and jobs, not the string 'hello'"),
        ("name: x\n", "1: jobs: is missing"),
        ("jobs: [{id: a, command: x}]", "1: name: is missing"),
        ("name: x\njobs:\n", "2: jobs: must be a list of jobs, each '- id: ...', not nothing"),
        ("name: x\njobs: []\n", "2: jobs: is empty"),
        ("name: x\njobs: {a: 1}\n", "2: jobs: must be a list"),
        ("name: x\njobs:\n  - a\n", "3: jobs: each job must be a mapping, '- id: ...', not the string 'a'"),
        ("name: 5\njobs: []\n", '1: name: must be a string, not the number 5: quote it, "5"'),
        ("name:\njobs: []\n", "1: name: has no value"),
        ("name: ''\njobs: []\n", "1: name: must not be empty"),
        ("name: [a]\njobs: []\n", "1: name: must be a string, not a list"),
        ("name: x\nversion: 1.0\njobs: []", '2: version: must be a string, not the number 1.0: quote it, "1.0"'),
        ("name: x\nproject: yes\njobs: []", "2: project: must be true or false, not the string 'yes'"),
        ("name: x\nproject: ./src\njobs: []", "2: project: must be true or false"),
        ("name: x\njob: []\n", "2: job: unknown key: did you mean 'jobs'?"),
        (
            "name: x\nzzz: 1\njobs: []",
            "2: zzz: unknown key: "
            "use one of name, description, jobs, params, env, defaults, project, deadline, version, agent_run_id, python",
        ),
        ("name: x\n1: x\n", "2: 1: unknown key"),
        ("name: x\nname: y\n", "2: name: duplicate key: line 1 already has it"),
        ("name: x\njobs: []\n---\nname: y\n", "3: ---: a second pipeline begins: only `titan submit` takes several"),
        ("name: x\n[a, b]: 1\n", "2: syntax: a key must be a word, not a list"),
        ("? {a: 1}\n: 1\n", "1: syntax: a key must be a word, not a mapping"),
        ("name: x\njobs: [\n", "3: syntax: "),
        ("name: x\njobs:\n  - id: a: b\n", "3: syntax: mapping values are not allowed"),
        ("name: 'x\n", "2: syntax: "),
        ("name: x\n\tjobs: []\n", "2: indentation: contains a tab: YAML needs spaces"),
        ("name: x\njobs:\n\t- id: a\n", "3: indentation: contains a tab"),
        ("name: x\njobs:\n  - id: a\n  \tcommand: x\n", "4: indentation: contains a tab"),
        ("name: x\njobs: *none\n", "2: *none: no such anchor"),
        ("name: x\njobs: &j [*j]\n", "2: *j: the alias is inside its own anchor"),
        (
            "name: !!python/object/apply:os.system ['true']\n",
            "1: tag:yaml.org,2002:python/object/apply:os.system: tags are not allowed",
        ),
        ("name: !foo x\n", "1: !foo: tags are not allowed"),
        ("name: !bar!x y\n", "1: syntax: "),
        ("name: x\n<<: 3\n", "2: <<: must be an alias of a mapping"),
        ("name: x\njobs: " + "[" * 100, "2: syntax: nested deeper than"),
        ("name: a\0b\n", "1: syntax: special characters are not allowed"),
        ("name: x\nversion: \x07\n", "2: syntax: special characters are not allowed"),
        (b"name: x\nversion: \xff\n", "2: file: is not UTF-8 (byte 0xff)"),
        ("name: x\n".encode("utf-16"), "1: file: is not UTF-8"),
        ('name: "\\UFFFFFFFF"\n', "1: syntax: "),
        ('name: "\\uD800"\njobs: []\n', "1: name: "),
    ],
)
def test_a_bad_pipeline_file_is_refused_with_its_fault(folder: Path, text: str | bytes, says: str) -> None:
    assert fault(folder, text).startswith(says)


BAD_JOBS: list[tuple[str, str]] = [
    ("retry: 3", "5: retry: unknown key: did you mean 'retries'?"),
    ("needs: [b]", "5: needs: unknown key: did you mean 'depends_on'?"),
    ("cmd: x", "5: cmd: unknown key: did you mean 'command'?"),
    ("x y: 1", "5: x y: unknown key: use one of id, file, "),
    ("file: steps/one.py", "4: command: give exactly one of file and command, not both"),
    ("command: x", "5: command: duplicate key: line 4 already has it"),
    ("type: service\nport: 99999", "6: port: 99999 is out of range: give 1 to 65535"),
    ("type: batch", "5: type: must be run (the default), gate or service, not 'batch'"),
    ("type: RUN", "5: type: must be run (the default), gate or service, not 'RUN': did you mean run?"),
    ("args: {a: b}", "5: args: must be a string or a list, not a mapping"),
    ("args: 5", "5: args: must be a string or a list, not the number 5: write [5]"),
    ("args:", "5: args: must be a string or a list, not nothing"),
    ("args: [[a]]", "5: args: must be a string or a number, not a list"),
    ("args:\n  - a\n  -", "7: args: has no value: write '' for an empty text"),
    ('args: "don\'t"', "5: args: cannot be split like in a shell"),
    ("depends_on: b", "5: depends_on: unknown job 'b': no job has that id"),
    ("depends_on: b, c", "5: depends_on: must be a job id or a list of job ids: write [b, c]"),
    ("depends_on: {b: c}", "5: depends_on: must be a job id or a list of job ids, not a mapping"),
    ("depends_on: 1", '5: depends_on: must be a string, not the number 1: quote it, "1"'),
    ("depends_on:\n  - b\n  - 1", '7: depends_on: must be a string, not the number 1: quote it, "1"'),
    ("depends_on:", "5: depends_on: must be a job id or a list of job ids, not nothing"),
    ("depends_on: [a b]", "5: depends_on: 'a b' is not a job id"),
    ("depends_on:\n  - aa", "6: depends_on: unknown job 'aa': did you mean 'a'?"),
    ("depends_on: [zzzz]", "5: depends_on: unknown job 'zzzz': no job has that id"),
    ("depends_on: [a]", "5: depends_on: job 'a' depends on itself"),
    ("requirement: 5", "5: requirement: must be a string"),
    ("requirement: a b", "5: requirement: 'a b' is malformed"),
    ("requirement: [GPU, 5]", "5: requirement: must be a string"),
    ("requirement: {GPU: 1}", "5: requirement: must be a capability or a list of them, not a mapping"),
    ("requirement: []", "5: requirement: must not be empty"),
    ("cpus: many", "5: cpus: must be a number"),
    ("cpus: -2", "5: cpus: must be 0 to 65,536"),
    ("memory: 4 apples", "5: memory: '4 apples' is not a size"),
    ("memory: [1]", "5: memory: must be a size in bytes or such as 4GiB, not a list"),
    ("gpus: 0.5", "5: gpus: must be an integer"),
    ("gpu: 1", "5: gpu: unknown key: did you mean 'gpus'?"),
    ("priority: high", "5: priority: must be an integer, not the string 'high'"),
    ("priority: 1.5", "5: priority: must be an integer, not the number 1.5"),
    ("priority: '1'", "5: priority: must be an integer, not the string '1'"),
    ("priority: true", "5: priority: must be an integer, not the boolean true"),
    ("priority: " + "9" * 5000, "5: priority: must be within"),
    ("priority: .inf", "5: priority: must be within"),
    ("priority: .nan", "5: priority: must be an integer"),
    ("delay: 5min", "5: delay: must be a number of seconds or a duration such as 90s, 1h30m or 2d, not the string '5min'"),
    ("delay: -1", "5: delay: must be 0 to"),
    ("delay: .nan", "5: delay: must be 0 to"),
    ("delay:", "5: delay: must be a number of seconds or a duration such as 90s, 1h30m or 2d, not nothing"),
    ("affinity: yes", "5: affinity: must be true or false, not the string 'yes'"),
    ("affinity: 1", "5: affinity: must be true or false, not the number 1"),
    ("retries: many", "5: retries: must be an integer"),
    ("retries: 1001", "5: retries: must be 0 to 1,000"),
    ("retries:", "5: retries: must be an integer, not nothing"),
    ("timeout: 0", "5: timeout: must be more than 0 seconds"),
    ("timeout: 1:30", "5: timeout: must be a number of seconds or a duration such as 90s, 1h30m or 2d, not the string '1:30'"),
    ("timeout: [1]", "5: timeout: must be a number of seconds or a duration such as 90s, 1h30m or 2d, not a list"),
    ("env: [A=1]", "5: env: must be a mapping of names to values, not a list"),
    ("env:\n  A: x\n  B: [1]", "7: env.B: must be a string or a number, not a list"),
    ("env:\n  A:", "6: env.A: has no value: write ''"),
    ("env: {A=B: x}", "5: env: 'A=B': the name of a variable"),
    ("env: {A: x, A: y}", "5: A: duplicate key"),
    ("python: .venv", "5: python: applies only to a .py file: a command names its own interpreter"),
    ("python: 3.11", '5: python: must be a string, not the number 3.11: quote it, "3.11"'),
    ("python: ''", "5: python: must not be empty"),
    ("venv: x", "5: venv: unknown key: did you mean 'python'?"),
    ("description: [1]", "5: description: must be a string, not a list"),
    ("description: " + "x" * 4097, "5: description: must be at most 4,096 characters"),
    ("desc: x", "5: desc: unknown key: did you mean 'description'?"),
    ("driver: fork", "5: driver: must be python or process, not 'fork'"),
    ("driver: python", "5: driver: applies only to a .py file"),
]


@pytest.mark.parametrize(("lines", "says"), BAD_JOBS)
def test_a_bad_job_of_a_pipeline_file_is_refused_with_its_fault(folder: Path, lines: str, says: str) -> None:
    assert job_fault(folder, lines).startswith(says)


@pytest.mark.parametrize(
    ("job", "says"),
    [
        ("{command: x}", "3: id: is missing"),
        ("{id: a}", "3: command: give exactly one of file and command"),
        ("{id: 1, command: x}", '3: id: must be a string, not the number 1: quote it, "1"'),
        ("{id: true, command: x}", '3: id: must be a string, not the boolean true: quote it, "true"'),
        ("{id: a/b, command: x}", "3: id: is malformed"),
        ("{id: '', command: x}", "3: id: is malformed"),
        ("{id: a, command: ''}", "3: command: must not be empty"),
        ("{id: a, command: [echo, hi]}", "3: command: must be a string, not a list"),
        ("{id: a, command: 5}", "3: command: must be a string, not the number 5"),
        ("{id: a, file: none.py}", "3: file: 'none.py': does not exist in "),
        ("{id: a, file: steps}", "3: file: 'steps': is a folder"),
        ("{id: a, file: fifo}", "3: file: 'fifo': is not a regular file"),
        ("{id: a, file: ../x.py}", "3: file: '../x.py': is outside of the project"),
        ("{id: a, file: /etc/passwd}", "3: file: '/etc/passwd': is outside of the project"),
        ("{id: a, file: perm:../x}", "3: file: 'perm:../x' is not a name in perm_files/"),
        ("{id: a, file: 5}", "3: file: must be a string"),
        ("{id: a, file: " + "x" * 5000 + "}", "3: file: "),
        ("{name: a, command: x}", "3: name: unknown key: did you mean 'id'?"),
    ],
)
def test_bad_id_or_file(folder: Path, job: str, says: str) -> None:
    os.mkfifo(folder / "fifo")
    if len(job) > 4000:
        with pytest.raises(InvalidPipeline, match=says):
            load_pipeline(write(folder, f"name: x\njobs:\n  - {job}\n"))
    else:
        assert fault(folder, f"name: x\njobs:\n  - {job}\n").startswith(says)


def test_graph_errors_have_the_line_of_the_job(folder: Path) -> None:
    head = "name: x\njobs:\n"
    twice = head + "  - {id: a, command: x}\n  - {id: b, command: x}\n  - {command: x,\n     id: a}\n"
    assert fault(folder, twice).startswith("6: id: 'a' is already used in line 3")
    cycle = (
        head + "  - {id: r, command: x}\n  - {id: a, command: x, depends_on: [r, b]}\n  - {id: b, command: x, depends_on: [a]}\n"
    )
    message = fault(folder, cycle)
    assert message[:2] in ("4:", "5:")
    assert message[2:].startswith(" depends_on: the jobs depend on each other in a cycle: ")
    assert "a -> b" in message


def test_file_that_is_not_there_or_no_file(folder: Path) -> None:
    os.mkfifo(folder / "fifo.yaml")
    for name, says in (
        ("none.yaml", "does not exist"),
        ("steps", "not a regular file"),
        ("fifo.yaml", "not a regular file"),
        ("a\0b", "cannot be read"),
    ):
        with pytest.raises(InvalidPipeline, match=says):
            load_pipeline(folder / name)


def test_ten_megabytes_are_refused_before_they_are_parsed(folder: Path) -> None:
    began = time.process_time()
    assert fault(folder, "# comment\n" * 1_000_000).startswith("1: file: exceeds 5,242,880 bytes: ")
    assert time.process_time() - began < 1


@pytest.mark.parametrize("inner", ["[*a8, *a8]", "{x: *a8, y: *a8}"])
def test_billion_laughs_are_refused(folder: Path, inner: str) -> None:
    """Aliases are never copied. The code after the YAML parser must not visit each repetition of
    them either."""
    text = "name: x\nversion:\n  - &a0 [" + ", ".join(["lol"] * 10) + "]\n"
    text += "".join(f"  - &a{i + 1} [{', '.join([f'*a{i}'] * 10)}]\n" for i in range(9)) + f"jobs: {inner}\n"
    assert "values, counting what aliases repeat" in fault(folder, text)


_fuzz = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])

_WORDS = st.sampled_from(
    [
        "name",
        "jobs",
        "id",
        "a",
        "b",
        "file",
        "command",
        "depends_on",
        "args",
        "env",
        "retries",
        "timeout",
        "delay",
        "affinity",
        "version",
        "project",
        "perm:x",
        "true",
        "null",
        "1",
        ".5",
        "<<",
        "'q",
        '"q"',
        "!!str",
        "!t",
        "&x",
        "*x",
        "|",
        ">",
        "%",
        "@",
        "`",
        "#",
        "?",
        "---",
        "...",
    ]
    + ["- ", ": ", ", ", "\n", "\n  ", "\n    - ", "\t", "[", "]", "{", "}", " "]
)


def loads_or_refuses(folder: Path, text: bytes) -> None:
    path = write(folder, text)
    try:
        stage(load_pipeline(path))
    except InvalidPipeline as error:
        assert str(error).startswith(f"{path}:")
    except InvalidGraph:
        pass  # staging checks more than one file at a time, so its error has no line


@_fuzz
@given(st.text(max_size=200))
def test_any_text_is_loaded_or_refused(folder: Path, text: str) -> None:
    loads_or_refuses(folder, text.encode(errors="surrogatepass"))


@_fuzz
@given(st.lists(_WORDS, max_size=40).map("".join))
def test_any_yaml_like_text_is_loaded_or_refused(folder: Path, text: str) -> None:
    loads_or_refuses(folder, text.encode())


_VALUES = st.recursive(
    st.sampled_from(["a", "b", "1", "-1", "1.5", "true", "yes", "null", "'x y'", "steps/one.py", "GPU", "*d", "&d z", "[a]", ""]),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]")
        | st.dictionaries(st.sampled_from(["A", "id", "1"]), inner, max_size=2).map(
            lambda entries: "{" + ", ".join(f"{k}: {v}" for k, v in entries.items()) + "}"
        )
    ),
    max_leaves=4,
)
_JOBS = st.dictionaries(st.sampled_from([*JOB_KEYS, "id", "command"]), _VALUES, max_size=6)


@_fuzz
@given(st.lists(_JOBS, max_size=4), st.sampled_from(["true", "false"]))
def test_any_jobs_are_loaded_or_refused(folder: Path, jobs: list[dict[str, str]], project: str) -> None:
    """The jobs are nearly valid, so that the check of each key is reached."""
    text = f"name: x\nproject: {project}\njobs:\n"
    for i, job in enumerate(jobs):
        entries = {"id": f"j{i}"} | ({"command": "x"} if "file" not in job else {}) | job
        text += "  - " + "\n    ".join(f"{key}: {value}" for key, value in entries.items()) + "\n"
    loads_or_refuses(folder, text.encode())


@pytest.mark.parametrize("unit", ["[", "{", "- ", "? ", "a: ", "&a ", "!a ", "'", "a\n", "[a],", "\n#", "*", "- a\n"])
def test_hostile_repetition_takes_no_time(folder: Path, unit: str) -> None:
    began = time.process_time()
    path = write(folder, f"name: x\njobs: {unit * (100_000 // len(unit))}")
    with pytest.raises(InvalidPipeline):
        load_pipeline(path)
    assert time.process_time() - began < 8


def test_the_examples_of_docstrings_run() -> None:
    result = doctest.testmod(titan.sdk.pipeline)
    assert result.attempted > 1
    assert result.failed == 0
