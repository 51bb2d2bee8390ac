"""Random outputs and inputs for the jobs of a simulation."""

from __future__ import annotations

from random import Random

import msgspec

from titan.model.dag import DagSpec, Kind
from titan.model.graph import resolve


def draw_share(rng: Random) -> float:
    """Choose at random the share of jobs with outputs and inputs among the jobs that may have
    them."""
    return rng.choice((0.0, 0.0, 0.3, 0.9))


def with_files(rng: Random, share: float, dag: DagSpec) -> DagSpec:
    """Return the DAG with outputs for some jobs, and inputs for some of their children."""
    templates = [
        msgspec.structs.replace(t, outputs=(("out", "out.bin"), ("log", "log.txt"))[: rng.randint(1, 2)])
        if not t.kind and not t.function and rng.random() < share
        else t
        for t in dag.templates
    ]
    template_of = list(dag.template_of)
    for n, parents in enumerate(resolve(dag)):
        taken: list[tuple[str, str, str]] = []
        template = templates[template_of[n]]
        if template.function or template.kind in (Kind.GATE, Kind.HANDLER):
            continue
        for p in parents:
            giver = templates[template_of[p]]
            if giver.outputs and giver.on_failure != "continue" and rng.random() < share:
                taken.append((f"in/{len(taken)}", dag.ids[p], rng.choice(giver.outputs)[0]))
        if taken:
            template_of[n] = len(templates)
            templates.append(msgspec.structs.replace(template, inputs=tuple(taken)))
    return msgspec.structs.replace(dag, templates=templates, template_of=template_of)
