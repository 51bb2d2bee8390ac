"""Random outputs and inputs for the jobs of a simulation."""

from __future__ import annotations

from random import Random

import msgspec

from titan.model.dag import DagSpec, Kind
from titan.model.graph import resolve

OUTPUTS = (("out", "out.bin"), ("log", "log.txt"), ("parts", "parts/*.csv"))
OPTIONAL: tuple[tuple[str, ...], ...] = ((), (), ("log",), ("parts",), ("out", "parts"))


def draw_share(rng: Random) -> float:
    """Return a random share: how many of the jobs that may have outputs and inputs get them."""
    return rng.choice((0.0, 0.0, 0.3, 0.9))


def with_files(rng: Random, share: float, dag: DagSpec) -> DagSpec:
    """Return the DAG with outputs for some jobs, and inputs for some of their children."""
    templates = [
        msgspec.structs.replace(t, outputs=OUTPUTS[: rng.randint(1, 3)], optional_outputs=rng.choice(OPTIONAL))
        if not t.kind and not t.function and rng.random() < share
        else t
        for t in dag.templates
    ]
    for i, template in enumerate(templates):
        names = {name for name, _ in template.outputs}
        if not names.issuperset(template.optional_outputs):
            templates[i] = msgspec.structs.replace(template, optional_outputs=())
    template_of = list(dag.template_of)
    for n, parents in enumerate(resolve(dag)):
        taken: list[tuple[str, str, str]] = []
        optional: list[int] = []
        template = templates[template_of[n]]
        if template.function or template.kind in (Kind.GATE, Kind.HANDLER):
            continue
        for p in parents:
            giver = templates[template_of[p]]
            if giver.outputs and rng.random() < share:
                name = rng.choice(giver.outputs)[0]
                if name in giver.optional_outputs or giver.on_failure == "continue" or template.when:
                    optional.append(len(taken))
                taken.append((f"in/{len(taken)}", dag.ids[p], name))
        if taken:
            template_of[n] = len(templates)
            templates.append(msgspec.structs.replace(template, inputs=tuple(taken), optional_inputs=tuple(optional)))
    return msgspec.structs.replace(dag, templates=templates, template_of=template_of)
