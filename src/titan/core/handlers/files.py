"""Published files: versions under a key of a run, or under a shared key. Readers get the newest
version; the master keeps a few older versions."""

from __future__ import annotations

from titan.core import effects as fx
from titan.core.events import events as ev
from titan.core.inputs import PublishRequested, UnpublishRequested
from titan.core.state.state import Job, Run, State
from titan.core.turn import Turn
from titan.errors import CallerError, Conflict, LimitExceeded, NotFound, TitanError
from titan.model.files import (
    KEY_RULE,
    MAX_INPUT_FILES,
    MAX_KEYS,
    MAX_SHARED_KEYS,
    Published,
    StoredFile,
    is_key,
    is_run,
    nested_problem,
    path_problem,
)
from titan.model.job_inputs import Giver, array_of_source, giver_of, is_member, placed_files


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
    """Return the input files of a job, by their paths in its folder. Optional inputs may be
    absent."""
    if not job.template.inputs:
        return ()
    parents = {state.jobs[number].name: state.jobs[number] for number in job.parents}
    files: list[StoredFile] = []
    for path, source, output in job.template.inputs:
        array = array_of_source(source)
        names = [name for name in parents if is_member(name, array)] if array else [giver_of(job.name, source)]
        givers = [Giver(name, parents[name].template, parents[name].outputs) for name in names]
        files += placed_files(path, source, output, givers)
    return tuple(files)


def inputs_problem(state: State, job: Job) -> str:
    """Return why a job cannot receive its files; "" if it can.

    This is checked when the job is queued. Until then, the number and names of the files that match
    a pattern, or that added jobs left, are not known.
    """
    files = files_for(state, job)
    paths = {file.name for file in files}
    for position, (path, source, output) in enumerate(job.template.inputs):
        if not array_of_source(source) and position not in job.template.optional_inputs and path and path not in paths:
            below = f"{path}/"
            if not any(known.startswith(below) for known in paths):
                return f"inputs: {giver_of(job.name, source)} has left no {output!r}: make the input optional"
    if len(files) > MAX_INPUT_FILES:
        return f"the inputs are {len(files):,} files; the limit is {MAX_INPUT_FILES:,}: combine files into folders in a job between"
    names = [file.name for file in files]
    if problem := next((p for name in names if (p := path_problem(name))), "") or nested_problem(names):
        return f"inputs: {problem}: give each input a folder of its own"
    if job.template.file in paths:
        return f"inputs: {job.template.file!r} is the script itself: give the input a folder of its own"
    return ""


def output_of(job: Job, name: str) -> StoredFile | None:
    return next((output for output in job.outputs if output.name == name), None)
