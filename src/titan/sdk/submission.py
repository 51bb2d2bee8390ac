"""Submission of a DAG: a small one as one message, a large one in parts, at the master's pace.

Either way it is submitted as a whole. The master makes a run of the parts when the last one has
arrived. A submission that is cut off starts again under its idempotency key.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence

import msgspec

from titan.errors import ConnectionLost
from titan.model.dag import DagSpec
from titan.protocol import messages as msg
from titan.sdk.connection import Connection

PART_JOBS = 5_000
PART_BYTES = 4 * 1024 * 1024
"""Bytes of arguments and payloads after which a part takes no further job."""

Progress = Callable[[int, int], None]
"""Called with the numbers of sent jobs and of all jobs."""


async def submit(
    connection: Connection, spec: DagSpec, parents: Sequence[tuple[int, ...]], progress: Progress | None
) -> msg.Submitted:
    """Submit a DAG. `parents` are positions in `spec.ids`.

    Raises InvalidGraph, and the errors of the connection.
    """
    key = secrets.token_hex(16)
    if len(spec.ids) <= PART_JOBS and _weight(spec, 0, len(spec.ids)) <= PART_BYTES:
        answer = await connection.call(lambda n: msg.Submit(n, key, spec))
    else:
        spec, parents = in_order(spec, parents)
        while True:
            try:
                answer = await connection.send_all(lambda n: _messages(n, key, spec, parents, progress))
                break
            except ConnectionLost:
                await connection.reopen()
    assert isinstance(answer, msg.Submitted)
    return answer


def in_order(spec: DagSpec, parents: Sequence[tuple[int, ...]]) -> tuple[DagSpec, Sequence[tuple[int, ...]]]:
    """Return the same DAG with every parent before its children.

    An ordered DAG is returned unchanged.

    >>> spec = DagSpec("d", "", [], ["late", "early"], [0, 0], [(), ()], [("early",), ()])
    >>> spec, parents = in_order(spec, [(1,), ()])
    >>> spec.ids, parents
    (['early', 'late'], [(), (0,)])
    """
    if all(max(ps) < i for i, ps in enumerate(parents) if ps):
        return spec, parents
    order: list[int] = []
    missing = [len(ps) for ps in parents]
    children: list[list[int]] = [[] for _ in parents]
    for i, ps in enumerate(parents):
        for p in ps:
            children[p].append(i)
    ready = [i for i, count in enumerate(missing) if not count]
    for i in ready:  # grows meanwhile
        order.append(i)
        for child in children[i]:
            missing[child] -= 1
            if not missing[child]:
                ready.append(child)
    new_position = {old: new for new, old in enumerate(order)}
    spec = msgspec.structs.replace(
        spec,
        ids=[spec.ids[i] for i in order],
        template_of=[spec.template_of[i] for i in order],
        args=[spec.args[i] for i in order],
        parents=[spec.parents[i] for i in order],
        payloads=[spec.payloads[i] for i in order] if spec.payloads else [],
    )
    return spec, [tuple([new_position[p] for p in parents[i]]) for i in order]


def _messages(
    request: int, key: str, spec: DagSpec, parents: Sequence[tuple[int, ...]], progress: Progress | None
) -> Iterator[msg.Message]:
    count = len(spec.ids)
    yield msg.OpenRun(
        request,
        key,
        spec.name,
        spec.version,
        spec.templates,
        count,
        deadline_s=spec.deadline_s,
        group=spec.group,
        source=spec.source,
        fresh=spec.fresh,
    )
    begin = 0
    while begin < count:
        end = min(begin + PART_JOBS, count)
        while end - begin > 1 and _weight(spec, begin, end) > PART_BYTES:
            end = begin + (end - begin) // 2
        part = slice(begin, end)
        yield msg.AddJobs(
            request, begin, spec.ids[part], spec.template_of[part], spec.args[part], list(parents[part]), spec.payloads[part]
        )
        if progress is not None:
            progress(end, count)
        begin = end


def _weight(spec: DagSpec, begin: int, end: int) -> int:
    """Return the bytes of arguments and payloads of the jobs from `begin` to `end`.

    All other fields are small.
    """
    arguments = sum(sum(map(len, args)) for args in spec.args[begin:end] if args)
    return arguments + sum(map(len, spec.payloads[begin:end]))
