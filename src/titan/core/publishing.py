"""Files are published under keys: of a run, or shared. The newest version of a key counts, and a few older ones stay."""

from __future__ import annotations

from titan.core import effects as fx
from titan.core import events as ev
from titan.core.inputs import PublishRequested, UnpublishRequested
from titan.core.state import Job, Run, State
from titan.core.turn import Turn
from titan.errors import CallerError, Conflict, LimitExceeded, NotFound, TitanError
from titan.model.files import KEY_RULE, MAX_KEYS, MAX_SHARED_KEYS, Published, StoredFile, giver_of, is_key, is_run


def on_publish_requested(turn: Turn, seen: PublishRequested) -> None:
    try:
        run, by = _place(turn.state, seen)
    except TitanError as e:
        turn.order(fx.Refuse(seen.origin, seen.request, e.code, str(e)))
        return
    keys = run.published if run is not None else turn.state.published
    newest = keys[seen.key][-1] if seen.key in keys else None
    if newest is None or (newest.hash, newest.kind) != (seen.hash, seen.kind):  # else it is said again
        newest = Published(seen.hash, seen.size, seen.kind, turn.now, by)
        turn.emit(ev.ArtifactPublished(run.id if run is not None else "", seen.key, newest, turn.now, turn.actor))
    key = f"{run.id}/{seen.key}" if run is not None else seen.key
    turn.order(fx.ReplyPublished(seen.origin, seen.request, key, [newest]))


def on_unpublish_requested(turn: Turn, seen: UnpublishRequested) -> None:
    versions = turn.state.published.get(seen.key)
    if versions is None:
        refusal = NotFound(f"nothing is published as {seen.key[:200]!r} for all; what a run published goes with the run")
        turn.order(fx.Refuse(seen.origin, seen.request, refusal.code, str(refusal)))
        return
    turn.emit(ev.ArtifactRemoved(seen.key, turn.now, turn.actor))
    turn.order(fx.ReplyPublished(seen.origin, seen.request, seen.key, versions[::-1]))


def _place(state: State, seen: PublishRequested) -> tuple[Run | None, str]:
    """The run whose key it is (None: shared), and who publishes it."""
    if not is_key(seen.key):
        raise CallerError(f"{seen.key[:200]!r} is no key: a key is {KEY_RULE}")
    run, by = None, ""
    if seen.lease:
        worker = state.workers.get(seen.worker)
        number = worker.held.get(seen.lease) if worker is not None else None
        if number is None:
            raise Conflict("this attempt was given up, and publishes nothing any more")
        job = state.jobs[number]
        by = f"{job.run.id}/{job.name}"
        if not seen.shared:
            run = job.run
    if run is None and is_run(seen.key.partition("/")[0]):
        raise CallerError(f"{seen.key[:200]!r} looks like the key of a run: a shared key must not begin with the id of one")
    keys, most = (state.published, MAX_SHARED_KEYS) if run is None else (run.published, MAX_KEYS)
    if seen.key not in keys and len(keys) >= most:
        whose = "for all" if run is None else f"by run {run.id}"
        raise LimitExceeded(f"{most:,} keys are published {whose}: publish a folder, or under a key that is there")
    return run, by


def files_for(state: State, job: Job) -> tuple[StoredFile, ...]:
    """What a job is given, by the paths in its folder."""
    if not job.template.inputs:
        return ()
    parents = {state.jobs[number].name: state.jobs[number] for number in job.parents}
    given = []
    for path, source, name in job.template.inputs:
        output = output_of(parents[giver_of(job.name, source)], name)
        assert output is not None, job.name
        given.append(StoredFile(path, output.hash, output.size, output.kind))
    return tuple(given)


def output_of(job: Job, name: str) -> StoredFile | None:
    return next((output for output in job.outputs if output.name == name), None)
