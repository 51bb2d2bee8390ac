"""Objects that travel with a call by value: the caller's own classes in both directions, the
options of a task, and who may unpickle them."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cluster import Cluster, cluster
from support.waiting import until
from titan import Client
from titan.errors import JobFailed, Untrusted

PACKAGE = """
import enum
from collections import namedtuple
from dataclasses import dataclass, field

LIVE = ["the module's own"]

class Colour(enum.Enum):
    RED = 1
    BLUE = "b"

class Level(enum.IntFlag):
    LOW = 1
    HIGH = 2

Pair = namedtuple("Pair", "a b")

@dataclass
class Point:
    x: int
    y: int = 0
    colour: Colour = Colour.RED
    more: list = field(default_factory=list)

    def live(self):
        return LIVE

    @dataclass(frozen=True)
    class Inner:
        deep: int

class Fault(Exception):
    def __init__(self, text, at=None):
        super().__init__(text)
        self.at = at
"""
BODY = """
import dataclasses, os, sys
import titan
from titan import Client
from titan.errors import JobFailed

def same(value):
    return value

def names(value, default=Point(7)):
    return [type(value).__name__, isinstance(value, Point), default.x, value.colour is Colour.RED, len(dataclasses.fields(value))]

def moved(point):
    return dataclasses.replace(point, x=point.x + 1)

def fails(point):
    raise Fault("no", at=point)

def big(point, count):
    return [dataclasses.replace(point, x=n) for n in range(count)]

add = titan.task(lambda a, b: Point(a.x + b.x, more=[a, b]))
whole = titan.task(same)

with Client(sys.argv[1]) as client:
    point = Point(1, 2, Colour.BLUE, [Pair(1, Point.Inner(5)), Level.LOW | Level.HIGH])
    Point.seen = "set here after it was sent"
    for value in (point, Colour.BLUE, Pair(1, [point]), Point.Inner(3), Level.HIGH, {Colour.RED: point}, Point, Colour, names):
        back = client.call(same, value).result(60)
        assert back == value or value is names, (back, value)
        assert type(back) is type(value), (type(back), type(value))
        if isinstance(value, (Colour, Level, type)):
            assert back is value
        again = client.call(same, back).result(60)
        assert type(again) is type(value)
    assert client.call(names, Point(3)).result(60) == ["Point", True, 7, True, 4]
    back = client.call(moved, point).result(60)
    assert isinstance(back, Point) and back.x == 2 and back.colour is Colour.BLUE and type(back.more[0]) is Pair
    assert back.live() is LIVE and Point.seen == "set here after it was sent"
    assert list(client.map(moved, [point, back])) == [moved(point), moved(back)]
    assert list(client.map(moved, [point] * 5, chunksize=2)) == [moved(point)] * 5
    try:
        client.call(fails, point).result(60)
    except Fault as error:
        assert error.at == point and type(error.at) is Point and str(error) == "no"
    many = client.call(big, point, 20_000).result(60)
    assert type(many[-1]) is Point and many[-1].x == 19_999
    assert client.call(len, many).result(60) == 20_000
    assert client.call(same, many).result(60) == many
    total = client.compute(whole(add(add(point, Point(5)), Point(6)))).result(60)
    assert type(total) is Point and total.x == 12 and type(total.more[0]) is Point
    assert client.compute(whole([point, Colour.RED])).result(60)[1] is Colour.RED
    print("well")
"""


@pytest.fixture(scope="module")
def c(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("travelling") / "c", "w1") as made:
        yield made


def ended(*command: str, cwd: Path, stdin: str = "") -> None:
    done = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, timeout=120, check=False, cwd=cwd, input=stdin
    )
    assert (done.returncode, done.stdout) == (0, "well\n"), done.stdout + done.stderr


def test_classes_of_the_main_program(c: Cluster, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PACKAGE + BODY)
    ended("program.py", c.address, cwd=tmp_path)


def test_classes_of_a_package_beside_the_program(c: Cluster, tmp_path: Path) -> None:
    (tmp_path / "things").mkdir()
    (tmp_path / "things" / "__init__.py").write_text("")
    (tmp_path / "things" / "kinds.py").write_text(PACKAGE)
    (tmp_path / "program.py").write_text("from things.kinds import *\n" + BODY)
    ended("program.py", c.address, cwd=tmp_path)


def test_classes_of_a_package_that_is_installed_to_be_edited(c: Cluster, tmp_path: Path) -> None:
    """Such an installation puts the package's folder on the path. The folder is not one in which
    packages are installed."""
    (tmp_path / "source" / "things").mkdir(parents=True)
    (tmp_path / "source" / "things" / "__init__.py").write_text(PACKAGE)
    path = f"import sys; sys.path.append({str(tmp_path / 'source')!r})\n"
    (tmp_path / "program.py").write_text(path + "from things import *\n" + BODY)
    ended("program.py", c.address, cwd=tmp_path)


def test_classes_typed_at_the_prompt_travel(c: Cluster, tmp_path: Path) -> None:
    """In a notebook or at the prompt, the main module has no file."""
    ended("-", c.address, cwd=tmp_path, stdin=PACKAGE + BODY)


def test_a_value_of_an_equal_program_has_this_programs_class(c: Cluster, tmp_path: Path) -> None:
    """The program was started again, and reads the result of a run of the earlier process."""
    first = """
import sys
from titan import Client
with Client(sys.argv[1]) as client:
    future = client.call(lambda: Point(4))
    future.result(60)
    open("job", "w").write(future.job)
    print("well")
"""
    then = """
import sys
from titan import Client
run, _, job = open("job").read().partition("/")
with Client(sys.argv[1]) as client:
    point = client.run(run).result(job, trust=True)
    assert type(point) is Point and point.live() is LIVE
    print("well")
"""
    for name, text in (("first.py", first), ("then.py", then)):
        (tmp_path / name).write_text(PACKAGE + text)
        ended(name, c.address, cwd=tmp_path)


# -- options ---------------------------------------------------------------------------------------
OPTIONS = """
import sys, titan
from titan import Client

def tries(path):
    with open(path, "a") as file:
        file.write("x")
    if len(open(path).read()) < 3:
        raise ValueError("not yet")
    return len(open(path).read())

three = titan.task(retries=2)(tries)
with Client(sys.argv[1]) as client:
    assert client.call(three, "a").result(60) == 3
    assert list(client.map(three, ["b", "c"])) == [3, 3]
    assert list(client.map(three, ["d", "e"], chunksize=2)) == [3, 3]
    with client.executor() as executor:
        assert executor.submit(three, "f").result(60) == 3
    assert client.compute(three("g")).result(60) == 3
    try:
        client.call(three.options(retries=0), "h").result(60)
    except ValueError:
        print("well")
""".replace('"a").result', 'sys.argv[2] + "/a").result')


def test_the_options_of_a_task_apply_to_every_way_of_calling_it(c: Cluster, tmp_path: Path) -> None:
    program = OPTIONS
    for name in "bcdefgh":
        program = program.replace(f'"{name}"', f'sys.argv[2] + "/{name}"')
    (tmp_path / "program.py").write_text(program)
    ended("program.py", c.address, str(tmp_path), cwd=tmp_path)


def test_a_call_waits_for_the_capability_that_its_task_asks_for(c: Cluster) -> None:
    import titan

    with Client(c.address) as client:
        future = client.call(titan.task(requirement="RARE")(lambda: "there"))
        mapped = client.map(titan.task(requirement="RARE", timeout=1)(time.sleep), [60])
        until(lambda: getattr(future, "job", None), "it is acknowledged")
        why = client.why(getattr(future, "job", ""))
        assert "RARE" in str(why)
        c.start_worker("rare", "--capability", "RARE")
        assert future.result(60) == "there"
        with pytest.raises(JobFailed, match="timed out after 1 s"):
            list(mapped)


# -- others' values --------------------------------------------------------------------------------
def test_values_submitted_by_another_program_are_not_unpickled_by_default(c: Cluster, tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    program = f"""
import sys
from titan import Client

class Evil:
    def __reduce__(self):
        import os
        return os.mkdir, ({str(mark)!r},)

class Bad(Exception):
    def __reduce__(self):
        import os
        return os.mkdir, ({str(mark)!r},)

def evil():
    return Evil()

def plain():
    return {{"n": [1, 2.5, None, "text"]}}

def bad():
    import os
    error = Bad("reason")
    return error

def fails():
    raise KeyError("its own")

with Client(sys.argv[1]) as client:
    futures = [client.call(evil), client.call(plain), client.call(fails)]
with open("jobs", "w") as file:
    print(*[future.job for future in futures], file=file)
print("well")
"""
    (tmp_path / "program.py").write_text(program)
    ended("program.py", c.address, cwd=tmp_path)
    evil, plain, fails = (tmp_path / "jobs").read_text().split()
    with Client(c.address) as client:

        def result(job: str, *, trust: bool = False) -> object:
            return client.run(job.split("/", maxsplit=1)[0]).result(job.split("/")[1], 60, trust=trust)

        assert result(plain) == {"n": [1, 2.5, None, "text"]}
        with pytest.raises(Untrusted, match=r"pickle of [0-9,]+ bytes .* trust=True"):
            result(evil)
        refused = c.cli("result", evil)
        assert refused.returncode != 0 and "--unpickle" in refused.stderr
        assert c.cli("result", plain).stdout == '{"n": [1, 2.5, null, "text"]}\n'
        with pytest.raises(JobFailed, match="KeyError: 'its own'"):
            result(fails)
        with pytest.raises(KeyError):
            result(fails, trust=True)
        assert not mark.exists()
        assert c.cli("result", "--unpickle", evil).returncode == 0 and mark.is_dir()
