"""Fill the tables of docs/limits.md from the constants and the settings in the code, so that they
cannot differ.

python docs/make_limits_tables.py           # rewrites the tables between their marks
python docs/make_limits_tables.py --check   # exit code 1 if they are out of date

A row names its constant; what it limits and what happens beyond is written here. Each field of
`Settings` has a row, else `settings_table` raises KeyError.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
from tables import main, table

from titan import context
from titan.content import archive
from titan.core.handlers import growth, result_cache, schedules
from titan.core.handlers import sick_workers as sickness
from titan.core.state import state
from titan.master.handlers import growth as growth_desk
from titan.model import dag, demand, failure, files, names, secrets, services, timing, values
from titan.model.settings import Settings
from titan.protocol import frames
from titan.sdk import arrays, unacknowledged, yaml_nodes
from titan.store import context as store_context
from titan.store import patterns, replies, requests
from titan.worker import shell
from titan.worker.files import cache as file_cache
from titan.worker.isolated import capture, runner
from titan.worker.state_machine import waiting_calls as awaiting

PAGE = Path(__file__).parent / "limits.md"
REFUSED = "refused"
SIZES = ((1 << 50, "PiB"), (1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))
SPANS = ((86_400, "day"), (3600, "h"), (60, "min"))
SETTING = "see [settings](#settings)"


def size(count: float) -> str:
    """
    >>> size(512 << 20), size(300)
    ('512 MiB', '300 bytes')
    """
    unit, name = next(((unit, name) for unit, name in SIZES if count >= unit and count % unit == 0), (1, "bytes"))
    return f"{count // unit:,.0f} {name}"


def span(seconds: float) -> str:
    """
    >>> span(86_400.0 * 7), span(90), span(0.5)
    ('7 days', '90 s', '0.5 s')
    """
    if seconds == 86_400:
        return "1 day"
    unit, name = next(((unit, name) for unit, name in SPANS if seconds >= unit and seconds % unit == 0), (1, "s"))
    return f"{seconds / unit:,g} {name}{'s' if name == 'day' else ''}"


def number(value: float) -> str:
    return f"{value:,g}" if isinstance(value, float) else f"{value:,}"


LIMITS: dict[str, list[tuple[str, str, str]]] = {
    "RUNS": [
        ("jobs of a run, additions included", number(dag.MAX_JOBS), "refused; a lower `run_jobs` can be set"),
        ("id of a job", f"{names.MAX_NAME} characters", REFUSED),
        ("arguments of a job; a command", size(dag.MAX_ARGS_BYTES), "refused: pass a file, or write a script"),
        ("rest of one job's specification", size(dag.MAX_TEMPLATE_BYTES), REFUSED),
        ("keys of a `matrix`", number(arrays.MAX_KEYS), REFUSED),
        ("combinations of a `matrix` with `include` or `exclude`", number(arrays.MAX_COMBINED), REFUSED),
        ("capabilities that a job requires", number(demand.MAX_CAPABILITIES), REFUSED),
        ("GPUs of a job", number(demand.MAX_GPUS), REFUSED),
        ("`limits.memory`", f"{size(dag.MIN_MEMORY)} to {size(dag.MAX_MEMORY)}", REFUSED),
        ("`limits.cpus`", f"{number(dag.MIN_CPUS)} to {dag.MAX_CPUS:,.0f}", REFUSED),
        ("`limits.processes`", f"1 to {number(dag.MAX_PROCESSES)}", REFUSED),
        ("`priority`", f"within +-{number(dag.MAX_PRIORITY)}", REFUSED),
        ("`retries`", number(dag.MAX_RETRIES), "refused; after the last one the job is DEAD"),
        ("BROKEN attempts of a job", number(sickness.BREAKS_LIMIT), "the job is DEAD"),
        ("exit codes in `no_retry`", number(failure.MAX_CODES), REFUSED),
        ("`timeout`, `delay`, `deadline` and other times", span(dag.MAX_SECONDS), REFUSED),
        ("history of a job", f"{state.HISTORY_LIMIT} entries", "the oldest are dropped"),
        ("`version`", f"{dag.MAX_VERSION} characters", REFUSED),
        ("pipeline file", size(yaml_nodes.MAX_BYTES), REFUSED),
        ("keys and values of a pipeline file", f"{number(yaml_nodes.MAX_NODES)}, aliases counted each time", REFUSED),
        ("depth of a pipeline file", number(yaml_nodes.MAX_DEPTH), REFUSED),
        ("files of a project", f"{number(archive.MAX_MEMBERS)}, {size(archive.MAX_BYTES)} in all", REFUSED),
        ("`.titanignore`", size(archive.MAX_IGNORE_BYTES), REFUSED),
        ("jobs of one addition to a run", number(growth.MAX_ADDITION), REFUSED),
        ("additions to one run", number(growth.MAX_GROWTHS), REFUSED),
        ("saved pipelines", number(growth.MAX_SAVED), REFUSED),
        ("jobs of a saved pipeline", number(growth_desk.MAX_SAVED_JOBS), REFUSED),
    ],
    "JOBS": [
        (
            "log of each stream of a job",
            size(shell.LOG_LIMIT),
            f"the middle is dropped, the last {size(capture.TAIL_BYTES)} are kept (`titan worker --log-limit`)",
        ),
        ("text of a progress or status", size(context.TEXT_BYTES), "LimitExceeded"),
        ("`context.result`", size(values.MAX_RESULT_BYTES), "LimitExceeded: write a file and name it"),
        ("arguments or result of a function", size(values.MAX_VALUE_BYTES), "arguments: LimitExceeded; result: the call fails"),
        ("calls that wait for other calls on one worker", number(awaiting.WAITING_MAX), "the next waiting call fails"),
        ("threads of a runner of functions", number(runner.MAX_THREADS), "the runner is replaced between calls"),
        ("descriptors of a runner of functions", number(runner.MAX_DESCRIPTORS), "the runner is replaced between calls"),
        (
            "end of a client with open calls",
            span(unacknowledged.CLOSE_TIMEOUT_S),
            "CallsNotAcknowledged (`close_timeout_s`)",
        ),
    ],
    "FILES": [
        ("outputs, and inputs, of a job", f"{files.MAX_FILES} each", REFUSED),
        ("path of an output or input", f"{size(files.MAX_PATH)}; each name in it {files.MAX_PART} bytes", REFUSED),
        ("size of a file", size(Settings().file_bytes), f"refused; {SETTING}"),
        (
            "folder as an output",
            f"{size(file_cache.MAX_FOLDER_BYTES)}, {number(file_cache.MAX_FOLDER_MEMBERS)} files",
            "the attempt fails",
        ),
        ("keys of a run", number(files.MAX_KEYS), REFUSED),
        ("shared keys", number(files.MAX_SHARED_KEYS), REFUSED),
        ("versions of a key", number(files.MAX_VERSIONS), "the oldest is dropped"),
        (
            "cached files of a worker",
            f"{size(file_cache.MOST_BYTES)}, or 80 % of the free disk",
            "the least recently used are removed (`titan worker --file-cache`)",
        ),
    ],
    "OTHERS": [
        ("message of a gate; comment of a decision", f"{number(failure.MAX_MESSAGE)} characters", REFUSED),
        ("URL of a webhook", f"{number(failure.MAX_URL)} characters", REFUSED),
        ("open tokens of a gate", number(state.TOKENS_LIMIT), "the oldest is void"),
        ("`failures` of a health check", number(services.MAX_MISSES), REFUSED),
        ("`max` of a restart policy", number(services.MAX_RESTARTS), REFUSED),
        ("schedules", number(schedules.MAX_SCHEDULES), REFUSED),
        ("jobs of a scheduled pipeline", number(schedules.MAX_SCHEDULED_JOBS), REFUSED),
        ("waiting times of a schedule", number(schedules.MAX_WAITING), "further times are skipped and counted"),
        ("interval of a schedule", f"{span(timing.MIN_EVERY_S)} to {span(timing.MAX_EVERY_S)}", REFUSED),
        ("kept results of jobs with `cache`", f"{size(result_cache.MEMORY_BYTES)} in memory", f"the oldest are dropped; {SETTING}"),
        ("secrets", f"{number(secrets.MAX_SECRETS)}, {size(secrets.MAX_TOTAL)} in all", REFUSED),
        ("size of a secret", size(secrets.MAX_VALUE), REFUSED),
        ("secrets of a job", number(secrets.MAX_OF_A_JOB), REFUSED),
        ("payload of a frame on the wire", size(frames.MAX_FRAME), "the connection is closed"),
        ("message of a client, of several frames", size(frames.MAX_MESSAGE), "the connection is closed"),
    ],
    "STORE": [
        ("bulk string of a request", size(requests.MAX_BULK_BYTES), "the connection is closed; `proto-max-bulk-len` changes it"),
        ("arguments of a request", number(requests.MAX_ARGS), "the connection is closed"),
        ("elements that one command looks at", number(store_context.MOST_WORK), REFUSED),
        ("reply that names stored values several times", size(replies.MOST_REPLY), REFUSED),
        ("pattern of KEYS, SCAN and the like", size(patterns.MOST_BYTES), REFUSED),
    ],
}
SETTINGS: dict[str, str] = {
    "heartbeat_s": "Interval of a worker's heartbeat, which lists its attempts.",
    "loss_s": "A worker silent for longer is LOST; its attempts are fenced and queued again.",
    "name_guard_s": "A second worker of a name is refused while the first was heard from within this time.",
    "missing_s": "An attempt that was dispatched this long ago and is in no heartbeat is lost.",
    "prefetch": "Attempts that may wait on a worker for each slot. 0: none, whatever the next two say.",
    "prefetch_s": "Work that may wait for each slot where attempts are short.",
    "prefetch_max": "Attempts that may wait for each slot at most.",
    "hold_s": "After this wait for resources, a worker keeps room free for the job.",
    "backoff_base_s": "Back-off before the first retry. It doubles with each.",
    "backoff_max_s": "Back-off before a retry at most.",
    "webhook_tries": "Tries to deliver a webhook.",
    "webhook_timeout_s": "Time that one try may take.",
    "webhook_backoff_s": "Back-off after the first failed try. It doubles with each.",
    "webhook_backoff_max_s": "Back-off between two tries at most.",
    "release_slice": "Jobs of a new run that are made ready before other work gets its turn.",
    "poison_losses": "A job during which this many workers were lost is DEAD.",
    "run_jobs": "Jobs of a run, additions included.",
    "growth_depth": "Depth of additions by jobs that were added themselves.",
    "stop_grace_s": "Time from SIGTERM to SIGKILL for a job that is stopped.",
    "scale": "Burst workers per capability: `titan master --scale`.",
    "scale_every_s": "Interval at which burst workers are reviewed.",
    "scale_up": "More queued jobs per slot than this start burst workers at once.",
    "scale_patience_s": "Fewer queued jobs start burst workers after this wait.",
    "scale_cooldown_s": "Pause after burst workers were started or retired.",
    "burst_slots": "Jobs that a burst worker runs at once.",
    "burst_idle_s": "A burst worker idle for longer is retired.",
    "burst_start_s": "A burst worker that has not registered by then is given up.",
    "forget_s": "A worker that left or was lost longer ago is forgotten.",
    "keep_runs": "Finished runs in the master's memory; older ones are in the history.",
    "keep_jobs": "Jobs of finished runs in the master's memory.",
    "keep_s": "Age of finished runs in the master's memory.",
    "history_s": "Age at which a run leaves the history, with its output.",
    "history_bytes": "Size of history and output; beyond it the oldest runs are removed.",
    "file_bytes": "Size of an output or other content sent to the master.",
    "file_grace_s": "Time that content without a reference stays on the master.",
    "cache_results": "Results kept for jobs with `cache`; beyond it the one unused for longest is dropped.",
    "cache_bytes": "Size of the outputs and large values of these results; beyond it as above.",
    "cache_s": "Time after its last use at which such a result is dropped.",
    "connections": "Connections at once, Redis clients included; fewer if the system grants fewer descriptors.",
    "connections_of_address": "Connections of one address other than the master's own machine.",
    "connections_waiting": "Connections without a Hello; beyond it the oldest is closed.",
    "keep_journal": "1: segments that no recovery needs stay, so that replay and history go back to the beginning.",
    "snapshot_bytes": "Journal since the last snapshot that makes the next.",
}


def limits_table(rows: list[tuple[str, str, str]]) -> str:
    return table(("limit", "value", "beyond it"), rows)


def settings_table() -> str:
    rows = [
        (f"`{field.name}`", shown(field.name, getattr(Settings(), field.name)), SETTINGS[field.name])
        for field in msgspec.structs.fields(Settings)
    ]
    return table(("setting", "default", ""), rows)


def shown(name: str, value: object) -> str:
    """Return the default of a setting as text. The end of the setting's name is its unit."""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, int | float):
        return span(value) if name.endswith("_s") else size(value) if name.endswith("_bytes") else number(value)
    return "none"


def tables() -> dict[str, str]:
    return {name: limits_table(rows) for name, rows in LIMITS.items()} | {"SETTINGS": settings_table()}


if __name__ == "__main__":
    sys.exit(main(PAGE, tables()))
