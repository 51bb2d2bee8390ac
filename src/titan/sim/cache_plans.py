"""Random caching for the jobs of a simulation, and limits of the cached results."""

from __future__ import annotations

from random import Random

import msgspec

from titan.model.dag import Cache, DagSpec
from titan.model.settings import Settings

_CACHES = (Cache(), Cache(), Cache(), Cache(version="2"), Cache(max_age_s=5.0))


def draw_share(rng: Random) -> float:
    """Choose at random the share of jobs with caching among the jobs that may have it."""
    return rng.choice((0.0, 0.0, 0.0, 0.5, 0.95))


def with_limits(rng: Random, settings: Settings) -> Settings:
    most = rng.choice((2, 10, settings.cache_results, settings.cache_results))
    unused_s = rng.choice((10.0, settings.cache_s, settings.cache_s))
    return msgspec.structs.replace(settings, cache_results=most, cache_s=unused_s)


def with_caching(rng: Random, share: float, dag: DagSpec) -> DagSpec:
    """Return the DAG with caching for some jobs. Many of them do the same as others."""
    templates = [
        msgspec.structs.replace(t, cache=rng.choice(_CACHES)) if not t.kind and not t.when and rng.random() < share else t
        for t in dag.templates
    ]
    args = [
        ("ok", "0.5") if templates[t].cache is not None and args[0] == "ok" and rng.random() < 0.7 else args
        for t, args in zip(dag.template_of, dag.args, strict=True)
    ]
    return msgspec.structs.replace(dag, templates=templates, args=args, fresh=rng.random() < 0.1)
