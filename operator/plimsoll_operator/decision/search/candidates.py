"""Every layout on every product in the written order of preference, as far as it is known before any arithmetic.

Read by `search` and `moves`. Order within a class of layouts (see `layouts`): available now, fewest GPUs, lowest cost, fewest nodes
and stages; most KV cache and name are compared by `search`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain

from plimsoll_estimator import Estimate, Gpu, Prepared, Unsupported
from plimsoll_operator.decision.fit import utilisation
from plimsoll_operator.decision.fit.engine import Engine
from plimsoll_operator.decision.request.request import DeploymentRequest
from plimsoll_operator.decision.search.candidate import Candidate, Missed
from plimsoll_operator.decision.search.evaluate import evaluate, fit_now
from plimsoll_operator.decision.search.layouts import Kind, Layout, layouts
from plimsoll_operator.decision.search.products import Product
from plimsoll_operator.verdict import Plan, Reason


def candidates(engine: Engine, request: DeploymentRequest, products: tuple[Product, ...], like: Plan | None = None) -> Iterator[Candidate]:
    """Every layout on every product, best first: by class of layouts, then by what is known before any arithmetic.

    Classes are made one by one, as far as the caller looks. Where placement lists several products a replica is planned for all of
    them at once, but a replica over several nodes for each alone: its pods must run on one product. `like` leaves only those that
    could carry that plan.
    """
    return chain.from_iterable(_of_kind(kind, engine, request, products, like) for kind in _kinds(request))


def _kinds(request: DeploymentRequest) -> tuple[Kind, ...]:
    return tuple(Kind) if request.max_nodes > 1 else (Kind.TENSOR, Kind.EXPERTS, Kind.STAGES)


def _of_kind(
    kind: Kind, engine: Engine, request: DeploymentRequest, products: tuple[Product, ...], like: Plan | None
) -> Iterator[Candidate]:
    together = len(request.placement.gpu_products) > 1 and len(products) > 1 and kind < Kind.NODES
    groups = [products] if together else [(product,) for product in products]
    found = [
        candidate
        for group in groups
        for layout in layouts(kind, request, engine.counts, tuple({pool.gpus_per_node for product in group for pool in product.pools}))
        if like is None or _is_layout_of(layout, like)
        if (candidate := _candidate(engine, request, group, kind, layout)) is not None
    ]
    found.sort(key=lambda c: (order(c), c.name, c.layout.tensor_parallel_size))
    if kind is Kind.EXPERTS:
        return (candidate for candidate in found if _cannot_slice_experts(engine, request, candidate))
    return (candidate for candidate in found if kind < Kind.STAGES or not _too_heavy(engine, request, candidate))


def _cannot_slice_experts(engine: Engine, request: DeploymentRequest, candidate: Candidate) -> bool:
    """Whole experts need a reason: the same layout with sliced ones, which vLLM refuses whatever the memory."""
    sliced = evaluate(engine, request, replace(candidate, layout=replace(candidate.layout, expert_parallel=False)))
    return isinstance(sliced, Missed) and sliced.miss.reason == Reason.ENGINE_REFUSES


def _too_heavy(engine: Engine, request: DeploymentRequest, candidate: Candidate) -> bool:
    """Whether the weights alone, spread evenly over the stages, leave no card of the group anything: such a layout need not be tried."""
    stages = candidate.layout.pipeline_parallel_size
    if stages == 1:
        return False
    single = replace(candidate.layout, pipeline_parallel_size=1, nodes=1).arguments(request.args)
    try:
        return all(_heavier(engine.prepare(single, product.gpu), stages, product.gpu) for product in candidate.products)
    except Unsupported:
        return False


def _heavier(prepared: Prepared | Estimate, stages: int, gpu: Gpu) -> bool:
    if isinstance(prepared, Estimate):
        return False
    most = utilisation.requested_bytes(utilisation.MAX_THOUSANDTHS, gpu.total_memory_bytes)
    return prepared.stages[0].loaded_bytes >= stages * most


def _candidate(engine: Engine, request: DeploymentRequest, group: tuple[Product, ...], kind: Kind, layout: Layout) -> Candidate | None:
    engine.look()
    rooms = [(product, product.large_enough_for(layout)) for product in group]
    pools = [pool for _, room in rooms for pool in room]
    if not pools:
        return None
    return Candidate(
        products=tuple(product for product, room in rooms if room),
        kind=kind,
        layout=layout,
        available=fit_now(pools, layout, request.replicas),
        cost=layout.gpus * min(pool.gpu_cost for pool in pools),
    )


def order(candidate: Candidate) -> tuple[int, int, bool, int, int, tuple[int, int, bool]]:
    """What the preference knows before any arithmetic; within a class more of the listed products come before all else."""
    layout = candidate.layout
    return (candidate.kind, -len(candidate.products), not candidate.available, layout.gpus, candidate.cost, layout.preference)


def _is_layout_of(layout: Layout, plan: Plan) -> bool:
    return (
        layout.tensor_parallel_size == plan.tensor_parallel_size
        and layout.pipeline_parallel_size == plan.pipeline_parallel_size
        and layout.data_parallel_size == plan.data_parallel_size
        and layout.expert_parallel == plan.enable_expert_parallel
        and layout.nodes == plan.nodes_per_replica
    )
