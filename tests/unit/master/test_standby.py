"""A standby opens the storage and follows a running master. It changes nothing there, and leads
when the master is gone."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

from support.core import alike, picture, submit
from titan.core.invariants import check
from titan.gateway.follower import Follower
from titan.host.clock import SteadyClock
from titan.journal import FileEngine
from titan.master.core_loop import CoreLoop
from titan.master.recovery import recover, standby
from titan.master.server import Master
from titan.master.storage import open_storage, store_of
from titan.model.dag import JobTemplate
from titan.model.settings import Settings

TURNS = 30


def core_of(follower: Follower, failed: list[BaseException]) -> CoreLoop:
    return CoreLoop(
        follower.state,
        SteadyClock(follower.state.decided_at),
        prepare=lambda effects: [],
        on_events=lambda events: None,
        on_pressure=lambda pressed: None,
        on_fatal=failed.append,
    )


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_standby_follows_a_running_master_and_then_leads(tmp_path: Path) -> None:
    home, taken = tmp_path / "home", tmp_path / "taken"

    async def main() -> None:
        master = Master(home, port=0)
        await master.start()
        follower = standby(open_storage(store_of(home)), Settings())
        assert follower.state.term == 1 and follower.state.cluster == master.core.state.cluster
        before = names(store_of(home))
        for i in range(TURNS):
            master.core.see(submit(alike("a b", JobTemplate(command="true")), run=f"r{i}", key=f"k{i}"))
            await master.core.settled()
            follower.follow()
            assert list(follower.state.runs) == [f"r{n}" for n in range(i + 1)], "the standby has every acknowledged run"
        follower.settle()
        check(follower.state)
        assert picture(follower.state) == picture(master.core.state)
        assert names(store_of(home)) == before, "it leaves nothing there"

        master.core.see(submit(alike("a", JobTemplate(command="true")), run="last", key="last"))
        await master.core.settled()
        shutil.copytree(store_of(home), taken)  # A copy of the files, as after the sudden end of that machine.
        follower.engine = open_storage(taken)
        failed: list[BaseException] = []
        core = core_of(follower, failed)
        core.lead(follower, "another")
        await core.settled()
        assert core.state.term == 2 and "last" in core.state.runs, "the new leader has the records that it had not followed yet"
        assert core.state.cluster == master.core.state.cluster
        core.see(submit(alike("a", JobTemplate(command="true")), run="of term 2", key="of term 2"))
        await core.settled()
        await core.close()
        assert not failed
        await master.stop()

        again = recover(open_storage(taken), Settings())
        assert picture(again.state) == picture(core.state)
        assert not again.warnings

    asyncio.run(main())


def test_the_term_is_what_opening_the_log_gives(tmp_path: Path) -> None:
    """This includes a term that never became durable, because its leader ended before its first
    record was durable."""

    async def main() -> int:
        recovered = recover(open_storage(tmp_path), Settings())
        failed: list[BaseException] = []
        core = core_of(recovered.follower, failed)
        core.lead(recovered.follower, "c")
        await core.settled()
        await core.close()
        assert not failed
        assert {record.term for record in FileEngine(tmp_path).tail(recovered.follower.seq)} == {core.state.term}
        return core.state.term

    assert asyncio.run(main()) == 1
    engine = FileEngine(tmp_path)
    engine.open(after_seq=2, above_term=0, on_durable=lambda seq: None, on_failed=lambda error: None).close()
    assert asyncio.run(main()) == 3
