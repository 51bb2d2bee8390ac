"""The pool of workers by load."""

from __future__ import annotations

from titan.scheduling.pool import Pool


def pool_of(**workers: tuple[int, int]) -> Pool:
    """Return a pool with these workers, given as w1=(slots, used)."""
    pool = Pool()
    for name, (slots, used) in workers.items():
        pool.put(int(name[1:]), ("GENERAL",), slots, used, open_=True)
    return pool


def test_the_least_loaded_is_best_by_share_of_its_slots() -> None:
    assert pool_of(w1=(4, 2), w2=(10, 3), w3=(2, 1)).best("GENERAL") == 2


def test_of_equally_loaded_workers_the_first_to_join_is_best() -> None:
    assert pool_of(w3=(2, 1), w2=(4, 2), w1=(2, 2)).best("GENERAL") == 2


def test_of_equally_loaded_workers_in_different_groups_the_first_to_join_is_best() -> None:
    pool = Pool()
    pool.put(2, ("GENERAL",), 1, 0, open_=True)
    pool.put(1, ("GENERAL", "GPU"), 1, 0, open_=True)
    assert pool.best("GENERAL") == 1
    assert pool.best("GPU") == 1


def test_a_full_closed_or_incapable_worker_is_never_best() -> None:
    pool = pool_of(w1=(1, 1), w2=(0, 0))
    pool.put(3, ("GENERAL",), 8, 0, open_=False)
    assert pool.best("GENERAL") is None
    assert pool.best("GPU") is None
    assert [pool.room(w) for w in (1, 2, 3, 4)] == [0, 0, 0, 0]


def test_a_change_of_load_is_seen_at_once() -> None:
    pool = pool_of(w1=(2, 0), w2=(2, 0))
    pool.use(1, 1)
    assert pool.best("GENERAL") == 2
    pool.use(2, 2)
    assert pool.best("GENERAL") == 1
    pool.use(1, 2)
    assert pool.best("GENERAL") is None
    pool.use(2, 0)
    assert (pool.best("GENERAL"), pool.room(2)) == (2, 2)


def test_a_worker_whose_capabilities_change_serves_the_new_ones_only() -> None:
    pool = pool_of(w1=(2, 0))
    pool.put(1, ("GPU",), 3, 1, open_=True)
    assert pool.best("GENERAL") is None
    assert (pool.best("GPU"), pool.room(1)) == (1, 2)


def test_a_worker_that_was_dropped_is_gone() -> None:
    pool = pool_of(w1=(2, 0), w2=(2, 1))
    pool.drop(1)
    pool.drop(1)
    assert (pool.best("GENERAL"), pool.room(1)) == (2, 0)


def test_a_worker_with_an_attempt_too_many_has_negative_room() -> None:
    """A worker that comes back with attempts that the master had given up holds too many attempts
    for a while."""
    pool = pool_of(w1=(1, 2))
    assert pool.room(1) < 0
    assert pool.best("GENERAL") is None


def test_jobs_are_prefetched_only_when_no_slot_is_free() -> None:
    pool = Pool()
    for worker, used in ((1, 1), (2, 0)):
        pool.put(worker, ("GENERAL",), 1, used, open_=True, depth=1)
    assert (pool.best("GENERAL"), pool.room(1)) == (2, 1)
    pool.use(2, 1)
    assert pool.best("GENERAL") == 1
    pool.use(1, 2)
    assert pool.best("GENERAL") == 2
    pool.use(2, 2)
    assert pool.best("GENERAL") is None


def test_idle_workers_and_workers_with_prefetched_jobs_are_tracked() -> None:
    pool = Pool()
    for worker, used, is_open in ((1, 0, True), (2, 1, True), (3, 2, True), (4, 0, False), (5, 2, False)):
        pool.put(worker, ("GENERAL",), 1, used, open_=is_open, depth=1)
    assert (list(pool.idle), list(pool.surplus)) == ([1], [3, 5])
    pool.use(3, 0)
    pool.drop(1)
    pool.drop(5)
    assert (list(pool.idle), list(pool.surplus)) == ([3], [])


def test_the_heap_stays_small_over_10_000_updates() -> None:
    pool = pool_of(**{f"w{n}": (8, 0) for n in range(1, 11)})
    for i in range(10_000):
        pool.use(1 + i % 10, i % 9)
        assert len(pool.seats[1].group.heap) <= 4 * 10 + 64
    assert pool.best("GENERAL") == min(pool.seats, key=lambda w: (pool.seats[w].used, w))
