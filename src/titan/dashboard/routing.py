"""Decorators of the API's endpoints: those of Litestar, with the problems that each may answer."""

from __future__ import annotations

from functools import partial

import litestar
from litestar.openapi import ResponseSpec

from titan.dashboard.problems import MEDIA_TYPE, Problem

_PROBLEMS = {
    400: "A value is not valid.",
    401: "Not signed in.",
    403: "Not allowed for this role, or a request of another site.",
    404: "There is no such thing.",
    409: "The state of the thing does not allow it.",
    413: "A limit is exceeded.",
    421: "Unknown host.",
    422: "The DAG or pipeline is not valid.",
    500: "A fault of the dashboard.",
    502: "A fault of the master.",
    503: "No master answers, or it cannot do it now.",
}
RESPONSES = {
    status: ResponseSpec(Problem, description=text, media_type=MEDIA_TYPE, generate_examples=False)
    for status, text in _PROBLEMS.items()
}
get = partial(litestar.get, responses=RESPONSES)
post = partial(litestar.post, responses=RESPONSES)
delete = partial(litestar.delete, responses=RESPONSES)
