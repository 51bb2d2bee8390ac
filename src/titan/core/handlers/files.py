"""Published files: versions under a key of a run, or under a shared key. Readers get the newest
version; the master keeps a few older versions."""

from __future__ import annotations

from titan.core import effects as fx
from titan.core.events import events as ev
from titan.core.inputs import PublishRequested, UnpublishRequested
from titan.core.state.state import Job, Run, State
from titan.core.turn import Turn
from titan.errors import CallerError, Conflict, LimitExceeded, NotFound, TitanError
from titan.model.files import KEY_RULE, MAX_KEYS, MAX_SHARED_KEYS, Published, StoredFile, giver_of, is_key, is_run


def on_publish_requested(turn: Turn, received: PublishRequested) -> None:
    try:
        run, by = _place(turn.state, received)
    except TitanError as e:
        turn.order(fx.Refuse(received.origin, received.request, e.code, str(e)))
        return
    keys = run.published if run is not None else turn.state.published
    newest = keys[received.key][-1] if received.key in keys else None
    # a repeated request changes nothing
    if newest is None or (newest.hash, newest.kind) != (received.hash, received.kind):
        newest = Published(received.hash, received.size, received.kind, turn.now, by)
        turn.emit(ev.ArtifactPublished(run.id if run is not None else "", received.key, newest, turn.now, turn.actor))
    key = f"{run.id}/{received.key}" if run is not None else received.key
    turn.order(fx.ReplyPublished(received.origin, received.request, key, [newest]))


def on_unpublish_requested(turn: Turn, received: UnpublishRequested) -> None:
    versions = turn.state.published.get(received.key)
    if versions is None:
        refusal = NotFound(
            f"there is no shared key {received.key[:200]!r}. The keys of a run are removed with the run: "
            "`titan artifacts` lists the keys"
        )
        turn.order(fx.Refuse(received.origin, received.request, refusal.code, str(refusal)))
        return
    turn.emit(ev.ArtifactRemoved(received.key, turn.now, turn.actor))
    turn.order(fx.ReplyPublished(received.origin, received.request, received.key, versions[::-1]))


def _place(state: State, received: PublishRequested) -> tuple[Run | None, str]:
    """Return the run to which the key belongs (None for a shared key) and the name of the
    publisher. Raises CallerError, Conflict or LimitExceeded."""
    if not is_key(received.key):
        raise CallerError(f"{received.key[:200]!r} is not a valid key: a key is {KEY_RULE}")
    run, by = None, ""
    if received.lease:
        worker = state.workers.get(received.worker)
        number = worker.held.get(received.lease) if worker is not None else None
        if number is None:
            raise Conflict("this attempt is no longer current, so it cannot publish files")
        job = state.jobs[number]
        by = f"{job.run.id}/{job.name}"
        if not received.shared:
            run = job.run
    if run is None and is_run(received.key.partition("/")[0]):
        raise CallerError(f"{received.key[:200]!r} looks like the key of a run: a shared key must not begin with a run id")
    keys, most = (state.published, MAX_SHARED_KEYS) if run is None else (run.published, MAX_KEYS)
    if received.key not in keys and len(keys) >= most:
        owner = "shared" if run is None else f"of run {run.id}"
        raise LimitExceeded(f"the limit of {most:,} keys {owner} is reached: publish a folder, or reuse a key")
    return run, by


def files_for(state: State, job: Job) -> tuple[StoredFile, ...]:
    """Return the input files of a job, by their paths in its folder."""
    if not job.template.inputs:
        return ()
    parents = {state.jobs[number].name: state.jobs[number] for number in job.parents}
    files = []
    for path, source, name in job.template.inputs:
        output = output_of(parents[giver_of(job.name, source)], name)
        assert output is not None, job.name
        files.append(StoredFile(path, output.hash, output.size, output.kind))
    return tuple(files)


def output_of(job: Job, name: str) -> StoredFile | None:
    return next((output for output in job.outputs if output.name == name), None)
