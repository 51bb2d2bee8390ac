"""Descriptions of protocol messages for the trace."""

from __future__ import annotations

from titan.protocol import messages as pm


def describe(message: pm.Message) -> str:
    """Return a short description of a message."""
    name = type(message).__name__
    leases: list[int] = getattr(message, "leases", [])
    listed = " ".join([f"{n >> 32}.{n & 0xFFFFFFFF}" for n in leases])
    match message:
        case pm.Dispatch(_, _, _, _, jobs, attempts):
            return f"{name} [{listed}] {' '.join([f'{j}#{a}' for j, a in zip(jobs, attempts, strict=True)])}"
        case pm.Results(_, _, outcomes):
            return f"{name} [{listed}] {outcomes}"
        case pm.Register():
            return f"{name} {message.name} {message.incarnation} [{listed}]"
        case pm.Submitted(_, run, _):
            return f"{name} {run}"
        case (
            pm.Cancel(_, run, job)
            | pm.RetryDead(_, run, job)
            | pm.PurgeDead(_, run, job)
            | pm.StopService(_, run, job)
            | pm.ReplaceService(_, run, job)
        ):
            return f"{name} {run}/{job}"
        case pm.Decide() | pm.Decided():
            return f"{name} {message.run}/{message.job} by {message.by}"
        case pm.Error(_, code, text):
            return f"{name} {code}: {text}"
    return f"{name} [{listed}]" if leases else name
