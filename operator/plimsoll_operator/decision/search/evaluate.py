"""One candidate judged: fit on its product, or the one plan that runs on all its products, with nodes that hold the pod.

Called by `candidates`, `search` and `moves`. Pure; compares no candidates.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import chain

from plimsoll_estimator import Unsupported
from plimsoll_operator.capacity.booking import fits_now, gpus_for
from plimsoll_operator.decision.fit import host
from plimsoll_operator.decision.fit.engine import Engine
from plimsoll_operator.decision.fit.fit import EngineRequest, Fit, fit, kv_tokens
from plimsoll_operator.decision.fit.life import life_of
from plimsoll_operator.decision.fit.miss import Miss, doubt_about
from plimsoll_operator.decision.fit.workload import contradiction, engine_request_of, replicas_needed
from plimsoll_operator.decision.request.fields import in_api_words
from plimsoll_operator.decision.request.request import DeploymentRequest
from plimsoll_operator.decision.search.candidate import Candidate, Found, Missed
from plimsoll_operator.decision.search.layouts import Layout
from plimsoll_operator.decision.search.products import Product
from plimsoll_operator.facts import PoolFacts
from plimsoll_operator.pod import PodRequests
from plimsoll_operator.verdict import Reason


def evaluate(engine: Engine, request: DeploymentRequest, candidate: Candidate) -> Found | Missed:
    """One candidate: fit it on its product, or find the one plan that runs on all its products.

    Where the estimator has no rule for the model on this GPU the candidate is missed with that; others may still fit.
    """
    try:
        return _evaluate(engine, request, candidate)
    except Unsupported as doubt:
        return Missed(
            candidate=candidate,
            miss=Miss(reason=doubt_about(doubt), message=in_api_words(str(doubt)), check=doubt.reason, about=doubt.reason.about),
        )


def _evaluate(engine: Engine, request: DeploymentRequest, candidate: Candidate) -> Found | Missed:
    layout = candidate.layout
    engine_request = engine_request_of(request, layout.arguments(request.args))
    contradicted = contradiction(request, engine_request)
    if contradicted is not None:
        return Missed(candidate=candidate, miss=contradicted)
    fits: list[tuple[Product, Fit]] = []
    misses: list[Miss] = []
    losses: list[str] = []
    for product in candidate.products:
        result = fit(engine, product.gpu, replace(engine_request, parts=product.parts, room=product.room))
        if isinstance(result, Fit):
            fits.append((product, result))
        else:
            misses.append(result)
            losses.append(f"{product.gpu.product} is left out: it cannot hold the model at {layout.gpus} GPUs per replica.")
    if not fits:
        # What one product refuses in every layout says nothing of the others: it counts only where they all do.
        return Missed(candidate=candidate, miss=min(misses, key=lambda miss: (miss.whatever_the_layout, miss.short_by_bytes)))
    if len(candidate.products) > 1:
        common = _common(engine, engine_request, fits)
        if isinstance(common, Miss):
            return Missed(candidate=candidate, miss=common)
        fits = common
    product, tightest = min(fits, key=lambda pair: (kv_tokens(pair[1]), pair[0].gpu.product))
    kept = replace(candidate, products=tuple(product for product, _ in fits))
    placed = _with_host(engine, request, kept, product, tightest, tuple(losses))
    if request.worksheet is None or isinstance(placed, Missed):
        return placed
    return replace(placed, replicas_needed=replicas_needed(request, tightest))


def _common(engine: Engine, engine_request: EngineRequest, fits: list[tuple[Product, Fit]]) -> list[tuple[Product, Fit]] | Miss:
    """The minimum over products: the least of each computed value, then every product judged again with exactly these."""
    least = replace(
        engine_request.args,
        gpu_memory_utilization=min(f.args.gpu_memory_utilization or 0.0 for _, f in fits),
        max_model_len=min(f.args.max_model_len or 0 for _, f in fits),
        max_num_seqs=min(f.args.max_num_seqs or 0 for _, f in fits),
        max_num_batched_tokens=min(f.args.max_num_batched_tokens or 0 for _, f in fits),
    )
    lowered = {pair[0]: pair for _, f in fits for pair in f.lowered}
    common: list[tuple[Product, Fit]] = []
    for product, _ in fits:
        result = fit(engine, product.gpu, replace(engine_request, args=least, parts=product.parts, room=product.room))
        if isinstance(result, Miss):
            return result
        common.append((product, replace(result, lowered=tuple(lowered[name] for name in sorted(lowered)))))
    return common


def _with_host(
    engine: Engine, request: DeploymentRequest, candidate: Candidate, product: Product, found: Fit, losses: tuple[str, ...]
) -> Found | Missed:
    """Keep the pools whose nodes can also hold the pod's host needs."""
    gpus = candidate.layout.gpus_per_node
    needs = host.pod_needs(request, engine, found.estimate, product.gpu, gpus)
    if (volume := host.too_small_a_volume(request, engine, found.estimate, product.gpu)) is not None:
        return Missed(candidate=candidate, miss=volume)
    kept: list[PoolFacts] = []
    shortages: list[Miss] = []
    for pool in (pool for member in candidate.products for pool in member.large_enough_for(candidate.layout)):
        short = _strangers(pool) or host.shortage(pool, needs.pod, product.gpu)
        if short is None:
            kept.append(pool)
        else:
            shortages.append(short)
    if not kept:
        shortages.sort(key=lambda miss: (miss.short_by_bytes, miss.message))
        others = {miss.reason: miss for miss in reversed(shortages) if miss.reason != shortages[0].reason}
        return Missed(candidate=candidate, miss=shortages[0], others=tuple(others[reason] for reason in sorted(others)))
    # Before the arithmetic only GPUs were counted; the pod's host needs are known by now.
    alone = request.one_a_node
    available = candidate.available and fit_now(kept, candidate.layout, request.replicas, needs.pod, alone=alone)
    # Where a pod has its node's ports, the next one may find none to go to but the node of the one that it replaces.
    surge = request.replicas > 0 and available and not alone and fit_now(kept, candidate.layout, request.replicas + 1, needs.pod)
    candidate = replace(candidate, available=available)
    return Found(
        candidate=candidate,
        product=product,
        fit=found,
        pools=tuple(kept),
        losses=losses,
        may_surge=surge,
        needs=needs,
        life=life_of(request, engine, found.estimate, product.gpu, candidate.layout.nodes),
    )


def _strangers(pool: PoolFacts) -> Miss | None:
    """On time-sliced cards nothing keeps pods that were not planned here from taking all of the memory."""
    if pool.parts == 1 or not pool.foreign_gpus:
        return None
    message = f"pods that are not planned here hold time-sliced GPUs of pool {pool.name}"
    return Miss(reason=Reason.SHARING_UNSAFE, message=message)


def fit_now(pools: list[PoolFacts], layout: Layout, replicas: int, pod: PodRequests | None = None, *, alone: bool = False) -> bool:
    """Whether so many replicas find nodes at this moment: all nodes of each, since a group that is not whole starts nothing.

    `alone`: no node holds two of the pods.
    """
    pods = replicas * layout.nodes
    if pod is None:
        return fits_now(chain.from_iterable(pool.nodes_by_free_gpus for pool in pools), layout.gpus_per_node, pods)
    free = chain.from_iterable(gpus_for(pool.free, pod) for pool in pools)
    return fits_now(((min(gpus, pod.gpus), nodes) for gpus, nodes in free) if alone else free, pod.gpus, pods)
