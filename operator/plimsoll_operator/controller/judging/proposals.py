"""Whether other GPUs than a plan's own would be chosen today, where its pools are too small for what is wanted or dearer. Pure.

Called by the judge where an applied plan stays. What is found is only proposed: pods are never moved by it. Reads plans and pools.
"""

from __future__ import annotations

from collections.abc import Iterable

from plimsoll_operator.api import PlacementSpec
from plimsoll_operator.decision.request.placement import match
from plimsoll_operator.facts import PoolFacts
from plimsoll_operator.verdict import Admit, Plan, Resize, Verdict


def gpus_of(pool: PoolFacts) -> tuple[str, str]:
    """The product, and how pods ask for it."""
    return pool.product, pool.resource


def its_gpus(plan: Plan) -> tuple[tuple[str, str], ...]:
    """The same of all that a plan may run on."""
    return tuple((product, plan.gpu_resource) for product in plan.gpu_products)


def worth_asking(plan: Plan, replicas: int, placement: PlacementSpec, pools: Iterable[PoolFacts]) -> bool:
    """Whether a decision without the applied plan might propose another: there are other GPUs, and its own are too few or dearer."""
    own, others = _split(plan, match(placement, pools).pools)
    if not others:
        return False
    return _most_replicas(plan, own) < replicas or min(pool.gpu_cost for pool in others) < min((pool.gpu_cost for pool in own), default=0)


def better(plan: Plan, afresh: Verdict, replicas: int, placement: PlacementSpec, pools: Iterable[PoolFacts]) -> Plan | None:
    """The plan that was decided `afresh`, where it is on other GPUs that have room now and its own are too few, or dearer."""
    other = afresh.plan if isinstance(afresh, Admit | Resize) and afresh.overridden is None else None
    if other is None or not other.available_now or set(other.gpu_products) == set(plan.gpu_products):
        return None
    allowed = match(placement, pools).pools
    own, theirs = _split(plan, allowed)[0], _split(other, allowed)[0]
    if _most_replicas(plan, own) < replicas:
        return other
    costs = [one.gpus_per_replica * min((pool.gpu_cost for pool in its), default=0) for one, its in ((other, theirs), (plan, own))]
    return other if costs[0] < costs[1] else None


def too_few(plan: Plan, replicas: int, placement: PlacementSpec, own: Iterable[PoolFacts]) -> bool:
    """Whether the pools of the plan's own GPUs hold fewer replicas than are wanted, also when nothing else runs there."""
    return _most_replicas(plan, match(placement, own).pools) < replicas


def _split(plan: Plan, pools: Iterable[PoolFacts]) -> tuple[list[PoolFacts], list[PoolFacts]]:
    """Pools of the plan's own GPUs, and the others."""
    own: list[PoolFacts] = []
    others: list[PoolFacts] = []
    for pool in pools:
        (own if gpus_of(pool) in its_gpus(plan) else others).append(pool)
    return own, others


def _most_replicas(plan: Plan, pools: Iterable[PoolFacts]) -> int:
    """How many replicas of the plan these pools hold when nothing else runs there."""
    places = sum(pool.most_pods(max(1, plan.gpus_per_pod)) for pool in pools)
    return places // max(1, plan.nodes_per_replica)
