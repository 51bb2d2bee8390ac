"""Replacement of a service. The new version is staged like a DAG of one job."""

from __future__ import annotations

from titan.model.names import split_job
from titan.protocol import messages as msg
from titan.sdk.client_parts import Stager
from titan.sdk.job import DAG, Job


async def replace_service(client: Stager, target: str, job: Job | None) -> bool:
    """Replace a service. Return True if the old process serves until the new one is READY.

    `job` is the new version; None restarts the present version. Raises NotFound, Conflict, and the
    errors of staging.
    """
    run, name = split_job(target)
    if job is None:
        answer = await client._connection.call(lambda n: msg.ReplaceService(n, run, name))
    else:
        async with client._staged(DAG("replacement", [job])) as staged:
            t, args = staged.spec.templates[0], job.args
        answer = await client._connection.call(
            lambda n: msg.ReplaceService(
                n, run, name, file=t.file, file_hash=t.file_hash, command=t.command, argv=t.argv, args=args
            )
        )
    assert isinstance(answer, msg.ServiceReplaced)
    return answer.rolling
