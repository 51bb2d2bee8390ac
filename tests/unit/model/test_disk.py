"""Changes of the free disk space that a worker reports."""

from __future__ import annotations

from titan.model.disk import FREE_DISK, FULL_DISK_BYTES, free_disk, has_full_disk, is_news, news_of

MIB = 1 << 20


def test_full_is_below_the_bound() -> None:
    assert has_full_disk({FREE_DISK: 0}) and has_full_disk({FREE_DISK: FULL_DISK_BYTES - 1})
    assert not has_full_disk({FREE_DISK: FULL_DISK_BYTES}) and not has_full_disk({}) and not has_full_disk({FREE_DISK: "no"})
    assert free_disk({FREE_DISK: 7}) == 7 and free_disk({FREE_DISK: -1}) is None


def test_a_crossed_bound_and_half_or_double_the_space_are_reported() -> None:
    assert is_news(FULL_DISK_BYTES - 1, FULL_DISK_BYTES) and is_news(FULL_DISK_BYTES, FULL_DISK_BYTES - 1)
    told = 1024 * MIB
    assert not is_news(told, told) and not is_news(told // 2, told) and not is_news(2 * told, told)
    assert is_news(told // 2 - 1, told) and is_news(2 * told + 1, told)
    assert not is_news(0, MIB) and not is_news(2 * MIB, 0) and is_news(5 * MIB, 0), "changes below 1 MiB are not reported"


def test_the_first_free_space_of_a_worker_is_reported() -> None:
    assert news_of({FREE_DISK: 7, "cpus": 4}, {}) == {FREE_DISK: 7}
    assert news_of({FREE_DISK: 7}, {FREE_DISK: 8}) == {} == news_of({}, {FREE_DISK: 8})
