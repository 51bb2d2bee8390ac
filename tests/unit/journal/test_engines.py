"""The contract of every engine of the log, independent of its storage: see `titan.journal.engine`.

A new engine gets a `Place` here, and must pass all tests.
"""

from __future__ import annotations

import shutil
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from support.waiting import until
from titan.errors import Bug, Conflict, JournalCorrupt, JournalFailed, LogCompacted, TitanError
from titan.journal import FileEngine, LogEngine, MemoryEngine, OpenLog, SyncPolicy
from titan.journal.files import list_segments, list_snapshots
from titan.journal.records import Record
from titan.journal.watermark import NAME
from titan.sim.disk import Disk

ORIGIN = b"this test"
WAIT_S = 20.0


class Place(ABC):
    """Storage of a log, and its state after the process that had the log open is gone."""

    @abstractmethod
    def engine(self) -> LogEngine:
        """Return the engine as a new process would create it."""

    @abstractmethod
    def crash(self) -> None:
        """End the process that has the log open, without notice. Records that are not durable may
        or may not be lost."""

    @property
    def prunes_log(self) -> bool:
        return True


class Directory(Place):
    policy = SyncPolicy.ALWAYS

    def __init__(self, folder: Path) -> None:
        self._lives = (folder / f"life{n}" for n in count())
        self.store = next(self._lives)

    def engine(self) -> LogEngine:
        return FileEngine(self.store, policy=self.policy, segment_bytes=2048, origin=ORIGIN)

    def crash(self) -> None:
        """Continue with a copy of the files as they are at this moment. The old process still
        writes, but into files that nobody reads any more.

        The watermark is copied first. Then the segments are copied, again and again, until no new
        segment was made meanwhile, because a crash leaves no watermark that is newer than the
        segments.
        """
        before, self.store = self.store, next(self._lives)
        listed = None
        while listed != (listed := list_segments(before)):
            shutil.rmtree(self.store, ignore_errors=True)
            self.store.mkdir()
            for name in (NAME, *(path.name for path, _ in (*listed, *list_snapshots(before)))):
                shutil.copy2(before / name, self.store)


class EverySecond(Directory):
    policy = SyncPolicy.EVERYSEC


class WithoutSync(Directory):
    policy = SyncPolicy.NO


class Memory(Place):
    def __init__(self, folder: Path) -> None:
        self._engine = MemoryEngine(origin=ORIGIN)

    def engine(self) -> LogEngine:
        return self._engine

    def crash(self) -> None:
        self._engine.crash()


class Simulated(Place):
    """Engine of the simulator. A sync takes no time here; in the simulator it takes some."""

    def __init__(self, folder: Path) -> None:
        self._disk = Disk(lambda done: done(), origin=ORIGIN)

    def engine(self) -> LogEngine:
        return self._disk

    def crash(self) -> None:
        self._disk.log = None

    @property
    def prunes_log(self) -> bool:
        return False


class Leader:
    """Open log, and what it reported."""

    def __init__(self, engine: LogEngine, *, after_seq: int = 0, above_term: int = 0) -> None:
        self.durable = 0
        self.failures: list[JournalFailed] = []
        self.log: OpenLog = engine.open(
            after_seq=after_seq, above_term=above_term, on_durable=self._note, on_failed=self.failures.append
        )

    def _note(self, seq: int) -> None:
        assert seq > self.durable, "it only grows"
        self.durable = seq

    def write(self, *payloads: bytes) -> int:
        """Write records of one event each. Return the last sequence when it is durable."""
        for payload in payloads:
            last = self.log.append(payload, 1)
        until(lambda: self.durable >= last, f"sequence {last} is durable")
        return last


@pytest.fixture(params=[Directory, EverySecond, WithoutSync, Memory, Simulated], ids=lambda kind: kind.__name__)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    made: Place = request.param(tmp_path)
    return made


@pytest.fixture
def leaders() -> Iterator[Callable[..., Leader]]:
    made: list[Leader] = []

    def lead(engine: LogEngine, **more: int) -> Leader:
        made.append(Leader(engine, **more))
        return made[-1]

    yield lead
    for leader in made:
        leader.log.close()


Lead = Callable[..., Leader]


def payloads(records: Iterator[Record]) -> list[bytes]:
    return [record.payload for record in records]


# -- terms -----------------------------------------------------------------------------------------
def test_a_log_that_was_never_opened_is_empty(place: Place) -> None:
    engine = place.engine()
    assert (list(engine.tail()), engine.first_seq(), engine.snapshots(), engine.latest_snapshot().info) == ([], 0, [], None)
    assert list(engine.tail(live=True)) == []


def test_a_new_log_begins_with_term_1_and_sequence_1(place: Place, leaders: Lead) -> None:
    log = leaders(place.engine()).log
    assert (log.term, log.next_seq, log.pending_bytes, log.low_space) == (1, 1, 0, False)


def test_every_open_gives_a_later_term_though_nothing_was_appended(place: Place, leaders: Lead) -> None:
    terms = []
    for _ in range(3):
        leader = leaders(place.engine())
        terms.append(leader.log.term)
        leader.log.close()
    assert terms == [1, 2, 3]


def test_a_term_that_ended_in_a_crash_is_not_given_again(place: Place, leaders: Lead) -> None:
    first = leaders(place.engine()).log.term
    place.crash()
    leader = leaders(place.engine())
    leader.write(b"a")
    place.crash()
    assert (first, leader.log.term, leaders(place.engine(), after_seq=1).log.term) == (1, 2, 3)


def test_the_term_is_above_what_the_caller_knows_and_stays_so(place: Place, leaders: Lead) -> None:
    leader = leaders(place.engine(), above_term=1024)
    assert leader.log.term == 1025
    leader.write(b"a")
    leader.log.close()
    leader = leaders(place.engine(), after_seq=1, above_term=3)
    assert leader.log.term == 1026
    leader.write(b"b")
    assert [record.term for record in place.engine().tail()] == [1025, 1026]


# -- records ---------------------------------------------------------------------------------------
def test_appended_records_are_read_in_order_with_all_their_fields(place: Place, leaders: Lead) -> None:
    leader = leaders(place.engine())
    assert leader.log.append(b"one", 1) == 1
    assert leader.log.append(b"three more", 3, synced=True) == 4
    assert leader.log.next_seq == 5
    until(lambda: leader.durable == 4, "all is durable")
    found = [(r.first_seq, r.count, r.last_seq, r.term, r.payload, r.origin) for r in place.engine().tail()]
    assert found == [(1, 1, 1, 1, b"one", ORIGIN), (2, 3, 4, 1, b"three more", ORIGIN)]
    until(lambda: leader.log.pending_bytes == 0, "nothing waits")
    assert place.engine().first_seq() == 1 and not leader.failures


def test_the_tail_begins_behind_a_sequence_and_not_within_a_record(place: Place, leaders: Lead) -> None:
    leader = leaders(place.engine())
    leader.log.append(b"ab", 2)
    leader.log.append(b"cd", 2)
    leader.write(b"e")
    assert payloads(place.engine().tail(2)) == [b"cd", b"e"]
    assert payloads(place.engine().tail(4)) == [b"e"]
    assert payloads(place.engine().tail(5)) == []
    with pytest.raises(JournalCorrupt):
        list(place.engine().tail(3))


def test_append_now_is_durable_when_it_returns_or_does_nothing(place: Place, leaders: Lead) -> None:
    leader = leaders(place.engine())
    leader.write(b"warm")
    expected, reported = [b"warm"], leader.durable
    for i in range(50):
        payload = b"%d" % i
        seq = leader.log.append_now(payload, 1)
        if seq is not None:
            expected.append(payload)
            assert seq == len(expected) == leader.log.next_seq - 1
    assert payloads(place.engine().tail()) == expected and leader.durable == reported
    place.crash()
    assert payloads(place.engine().tail()) == expected


def test_many_threads_append_to_one_sequence(place: Place, leaders: Lead) -> None:
    leader = leaders(place.engine())
    if isinstance(place, Simulated):
        pytest.skip("the simulator is one thread")
    given: list[list[int]] = [[] for _ in range(4)]

    def append(mine: list[int], n: int) -> None:
        mine.extend(leader.log.append(b"%d" % n, 1) for _ in range(100))

    threads = [threading.Thread(target=append, args=(mine, n)) for n, mine in enumerate(given)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    until(lambda: leader.durable == 400, "all is durable")
    records = list(place.engine().tail())
    assert [record.last_seq for record in records] == list(range(1, 401))
    for n, mine in enumerate(given):
        assert mine == [record.last_seq for record in records if record.payload == b"%d" % n]


def test_an_append_without_events_is_refused(place: Place, leaders: Lead) -> None:
    leader = leaders(place.engine())
    with pytest.raises(Bug):
        leader.log.append(b"nothing", 0)
    assert leader.write(b"a") == 1


# -- the end of a term -----------------------------------------------------------------------------
def test_close_makes_all_durable_and_takes_nothing_more(place: Place, leaders: Lead) -> None:
    leader = leaders(place.engine())
    for i in range(200):
        leader.log.append(b"x" * 40, 1 + i % 3)
    last = leader.log.next_seq - 1
    leader.log.close()
    leader.log.close()
    assert leader.durable == last and not leader.failures
    with pytest.raises(JournalFailed):
        leader.log.append(b"late", 1)
    assert [record.last_seq for record in place.engine().tail()][-1] == last


@pytest.mark.parametrize("closed", [True, False])
def test_the_next_leader_goes_on_where_the_log_ends(place: Place, leaders: Lead, closed: bool) -> None:
    leader = leaders(place.engine())
    leader.write(b"a", b"b")
    if closed:
        leader.log.close()
    place.crash()
    follower = leaders(place.engine(), after_seq=2)
    assert follower.log.next_seq == 3
    follower.write(b"c")
    assert payloads(place.engine().tail()) == [b"a", b"b", b"c"]


def test_reported_records_survive_a_crash_at_any_moment(place: Place, leaders: Lead) -> None:
    """Unreported records that survive are a prefix of the appended records. The next leader's
    records follow them."""
    expected: list[bytes] = []
    for life in range(4):
        engine = place.engine()
        dropped = engine.repair()
        assert isinstance(dropped, str)
        found = payloads(engine.tail())
        assert found[: len(expected)] == expected
        leader = leaders(engine, after_seq=len(found))
        assert leader.log.next_seq == len(found) + 1
        sent = [b"%d/%d" % (life, i) for i in range(60)]
        for payload in sent:
            leader.log.append(payload, 1)
        until(lambda: leader.durable >= len(found) + 20, "some of it is durable")  # noqa: B023
        reported = leader.durable
        place.crash()
        expected = (found + sent)[:reported]


def test_a_leader_that_opens_the_log_can_read_the_records_it_has_not_followed(place: Place, leaders: Lead) -> None:
    leader = leaders(place.engine())
    leader.write(b"a", b"b", b"c")
    place.crash()
    engine = place.engine()
    late = leaders(engine, after_seq=1)
    assert late.log.next_seq == 4 and payloads(engine.tail(1)) == [b"b", b"c"]


def test_a_follower_that_applied_records_lost_in_a_crash_cannot_lead(place: Place, leaders: Lead) -> None:
    """Otherwise the log would have a hole, which the next start would find as damage."""
    leader = leaders(place.engine())
    leader.write(b"a", b"b")
    leader.log.close()
    with pytest.raises(Conflict, match="sequences 3 to 5 were read before they were durable"):
        leaders(place.engine(), after_seq=5)
    follower = leaders(place.engine(), after_seq=2)
    assert follower.write(b"c") == 3 and payloads(place.engine().tail()) == [b"a", b"b", b"c"]


def test_repair_comes_first_or_with_the_open(place: Place, leaders: Lead) -> None:
    leaders(place.engine()).write(b"a")
    place.crash()
    engine = place.engine()
    assert engine.repair() == engine.repair() == ""
    assert leaders(engine, after_seq=1).log.next_seq == 2


# -- following -------------------------------------------------------------------------------------
def test_a_follower_reads_everything_once_while_the_leader_writes(place: Place, leaders: Lead) -> None:
    leader = leaders(place.engine())
    follower, seq, found = place.engine(), 0, []
    for i in range(150):
        leader.log.append(b"%03d" % i * 10, 1)
        for record in follower.tail(seq, live=True):
            assert record.first_seq == seq + 1
            seq = record.last_seq
            found.append(record.payload)
    leader.write(b"end")
    found += payloads(follower.tail(seq, live=True))
    assert found == [*(b"%03d" % i * 10 for i in range(150)), b"end"]


# -- snapshots -------------------------------------------------------------------------------------
def sealed(leader: Leader, *written: bytes) -> int:
    """Append records, and wait until a snapshot may cover them."""
    leader.write(*written)
    through = leader.log.rotate()
    until(lambda: leader.log.sealed_through >= through, "it is sealed")
    return through


def test_a_snapshot_comes_back_as_it_was_put(place: Place, leaders: Lead) -> None:
    leader = leaders(place.engine())
    through = sealed(leader, b"a", b"b")
    put = place.engine().put_snapshot(seq=through, term=7, chunks=iter([b"chunk", b"", b"x" * 5000]))
    leader.write(b"c")
    engine = place.engine()
    assert engine.snapshots() == [put] and engine.latest_snapshot() == (put, ()) and engine.latest_snapshot().seq == 2
    got = engine.get_snapshot(put)
    assert (got.seq, got.term, got.origin, list(got.chunks)) == (2, 7, ORIGIN, [b"chunk", b"", b"x" * 5000])
    assert engine.is_good(put) and payloads(engine.tail(put.seq)) == [b"c"]


def test_a_snapshot_survives_its_leader(place: Place, leaders: Lead) -> None:
    leader = leaders(place.engine())
    put = place.engine().put_snapshot(seq=sealed(leader, b"a"), term=1, chunks=[b"state"])
    place.crash()
    engine = place.engine()
    latest = engine.latest_snapshot().info
    assert latest is not None and latest.seq == put.seq and list(engine.get_snapshot(latest).chunks) == [b"state"]
    assert leaders(engine, after_seq=latest.seq).log.next_seq == 2


def test_pruning_keeps_the_newest_snapshots_and_the_log_behind_the_oldest_of_them(place: Place, leaders: Lead) -> None:
    leader = leaders(place.engine())
    put = []
    for i in range(4):
        through = sealed(leader, *(b"%d" % i * 100 for _ in range(30)))
        put.append(place.engine().put_snapshot(seq=through, term=1, chunks=[b"%d" % i]))
    engine = place.engine()
    engine.prune(keep_snapshots=2)
    assert [kept.seq for kept in engine.snapshots()] == [60 + 30, 120]
    assert [record.last_seq for record in engine.tail(90)] == list(range(91, 121))
    assert engine.latest_snapshot().seq == 120
    with pytest.raises(FileNotFoundError):
        list(engine.get_snapshot(put[0]).chunks)
    with pytest.raises(FileNotFoundError):
        engine.is_good(put[0])
    if place.prunes_log:
        assert 1 < engine.first_seq() <= 91
        with pytest.raises(JournalCorrupt):
            list(engine.tail(10))
        with pytest.raises(LogCompacted):
            list(engine.tail(10, live=True))
    leader.write(b"on")
    assert payloads(engine.tail(120)) == [b"on"]
    leader.log.close()
    assert leaders(place.engine(), after_seq=121).log.next_seq == 122


def test_pruning_with_keep_log_leaves_the_log(place: Place, leaders: Lead) -> None:
    leader = leaders(place.engine())
    for i in range(3):
        place.engine().put_snapshot(seq=sealed(leader, b"%d" % i), term=1, chunks=[])
    engine = place.engine()
    engine.prune(keep_snapshots=1, keep_log=True)
    assert [kept.seq for kept in engine.snapshots()] == [3] and engine.first_seq() == 1
    assert payloads(engine.tail()) == [b"0", b"1", b"2"]


def test_one_compaction_at_a_time(place: Place) -> None:
    engine = place.engine()
    guard = engine.compaction_guard()
    with guard, pytest.raises(Conflict):
        place.engine().compaction_guard().take()
    guard.release()
    other = place.engine().compaction_guard()
    other.take_over(0.1)
    with other, pytest.raises(TitanError):
        engine.compaction_guard().take_over(0.01)
    with engine.compaction_guard():
        pass
