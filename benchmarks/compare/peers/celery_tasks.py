"""The application that Celery's workers load. BENCH_REDIS is the address of its broker and result
backend."""

from __future__ import annotations

import os

from celery import Celery

from benchmarks.compare import tasks

app = Celery("bench", broker=os.environ["BENCH_REDIS"], backend=os.environ["BENCH_REDIS"])
app.conf.update(
    worker_prefetch_multiplier=64,  # Celery's optimisation guide recommends 64 or 128 for many short tasks
    result_serializer="pickle",  # results are bytes, too
    accept_content=["json", "pickle"],
    broker_connection_retry_on_startup=True,
)
same, inc, blob = (app.task(each) for each in (tasks.same, tasks.inc, tasks.blob))
