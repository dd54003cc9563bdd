"""What to do with a verdict: which plan the pods run, and whether that is a new one. Pure.

Plans are sticky: only a new spec, the replan annotation, or an applied plan that has no live pod and can no longer start
adopts another. Everything else re-judges and is only proposed. Knows no API client.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from plimsoll_operator.api import PlacementSpec
from plimsoll_operator.conditions import Invalid
from plimsoll_operator.decision.request.placement import match
from plimsoll_operator.facts import PoolFacts
from plimsoll_operator.names import DECIDED_ANNOTATION, GENERATION_ANNOTATION, PLAN_ANNOTATION, REPLAN_ANNOTATION, SPEC_DIGEST_ANNOTATION
from plimsoll_operator.ports import Manifest
from plimsoll_operator.render import Origin
from plimsoll_operator.verdict import Admit, Plan, Resize, Verdict

MAX_REPLAN: Final = 256
_GENERATION: Final = re.compile(r"[0-9]{1,18}", re.ASCII)  # int64, as Kubernetes counts
_DECIDED: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}[.][0-9]{6}Z", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """The plan that the pods carry, which spec it answers, and its place in the decision order (empty: before all others)."""

    plan: Plan
    origin: Origin
    decided: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """`run` is what the child must carry (None: no pods); `adopting` that the verdict speaks of the spec as it stands."""

    run: Applied | None
    adopts: bool
    adopting: bool
    proposed: Plan | None


def applied_from_child(child: Manifest | None) -> Applied | None:
    """Read the plan back from the child's annotations; None when they are missing or foreign (they are input from outside)."""
    annotations = (child or {}).get("metadata", {}).get("annotations") or {}
    text = annotations.get(PLAN_ANNOTATION)
    if text is None:
        return None
    try:
        plan = Plan.from_json(text)
    except ValueError:
        return None
    origin = Origin(
        generation=_generation(annotations),
        spec_digest=annotations.get(SPEC_DIGEST_ANNOTATION, "")[:64],
        replan=annotations.get(REPLAN_ANNOTATION, "")[:MAX_REPLAN],
    )
    return Applied(plan=plan, origin=origin, decided=_decided(annotations))


def place_of(child: Manifest) -> tuple[int, str]:
    """Where the child's plan stands among the plans of its deployment: by the generation it answers, then by when it was decided."""
    annotations = child["metadata"].get("annotations") or {}
    return _generation(annotations), _decided(annotations)


def _generation(annotations: Mapping[str, str]) -> int:
    """0 for what is no generation: no spec has that one."""
    text = annotations.get(GENERATION_ANNOTATION, "")
    return int(text) if _GENERATION.fullmatch(text) else 0


def _decided(annotations: Mapping[str, str]) -> str:
    """Empty for what is no time as the controller writes it: it is compared as text with those that are."""
    text = annotations.get(DECIDED_ANNOTATION, "")
    return text if _DECIDED.fullmatch(text) else ""


def must_adopt(applied: Applied | None, wanted: Origin, *, live_pods: int, can_start: bool) -> bool:
    """Whether the verdict decides about the pods rather than only re-judging them."""
    return applied is None or has_new_spec(applied, wanted) or must_start_over(applied, wanted, live_pods=live_pods, can_start=can_start)


def has_new_spec(applied: Applied, wanted: Origin) -> bool:
    """Whether the user has written another request since.

    Generation and digest must both have moved: scaling moves only the first, a changed default of the API only the second.
    """
    return applied.origin.generation != wanted.generation and applied.origin.spec_digest != wanted.spec_digest


def must_start_over(applied: Applied, wanted: Origin, *, live_pods: int, can_start: bool) -> bool:
    """Whether the applied plan may not even be preferred: the user asked for a fresh one, or nothing can run it any more."""
    return bool(wanted.replan and applied.origin.replan != wanted.replan) or (live_pods == 0 and not can_start)


def can_start(plan: Plan, placement: PlacementSpec, pools: Iterable[PoolFacts]) -> bool:
    """Whether any pool that placement allows still has the GPUs that the plan was made for, free or not."""
    products = plan.gpu_products or (plan.product,)
    its_own_first = sorted(pools, key=lambda pool: pool.name not in plan.pools)
    large_enough = (
        pool
        for pool in its_own_first
        if pool.product in products
        and (pool.sharing, pool.resource) == (plan.sharing, plan.gpu_resource)
        and pool.usable_memory_bytes >= plan.gpu_total_bytes
        and pool.gpus_per_node >= plan.gpus_per_pod
    )
    return any(match(placement, [pool]).pools for pool in large_enough)


def chart(applied: Applied | None, wanted: Origin, verdict: Verdict | Invalid, *, adopting: bool, better: Plan | None = None) -> Course:
    """The course for this verdict; `better` is what other GPUs would carry. A refusal never takes running pods away."""
    plan = verdict.plan if isinstance(verdict, Admit | Resize) else None
    if not adopting:
        differs = plan is not None and applied is not None and plan.digest != applied.plan.digest
        return Course(run=applied, adopts=False, adopting=False, proposed=plan if differs else better)
    if plan is None:
        return Course(run=applied, adopts=False, adopting=True, proposed=None)
    return Course(run=Applied(plan=plan, origin=wanted), adopts=True, adopting=True, proposed=None)
