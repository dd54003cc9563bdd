"""The search: over products and parallel layouts, the first plan in the written order of preference.

Order: available now, fewest GPUs, lowest cost, most KV cache, name; the applied plan's own placement before all of them.
Called with a fixed Ask, so pinned values are honoured by construction. Pure; makes no verdict.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby

from plimsoll_estimator.errors import InvalidInput, Unsupported
from plimsoll_estimator.hardware import gpu_from, known_gpus
from plimsoll_estimator.resolved import Gpu
from plimsoll_operator.capacity.booking import fits_now
from plimsoll_operator.decision import host
from plimsoll_operator.decision.ask import Ask
from plimsoll_operator.decision.engine import Engine
from plimsoll_operator.decision.fit import Fit, Miss, Wish, fit, kv_tokens
from plimsoll_operator.decision.serving import contradiction, replicas_needed, wish_of
from plimsoll_operator.facts import PoolFacts
from plimsoll_operator.overlay import HostExtra
from plimsoll_operator.verdict import Plan, Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Parallel sizes of one replica on one node."""

    tensor_parallel_size: int
    pipeline_parallel_size: int
    data_parallel_size: int

    @property
    def gpus(self) -> int:
        """GPUs of one replica."""
        return self.tensor_parallel_size * self.pipeline_parallel_size * self.data_parallel_size


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """Pools of one product and resource, and the GPU they can all promise: the least usable memory over them."""

    gpu: Gpu
    pools: tuple[PoolFacts, ...]

    @property
    def parts(self) -> int:
        """Into how many parts the pools' cards are time-sliced, at most."""
        return max(pool.parts for pool in self.pools)

    def large_enough(self, gpus: int) -> tuple[PoolFacts, ...]:
        """Pools whose nodes have that many GPUs."""
        return tuple(pool for pool in self.pools if pool.gpus_per_node >= gpus)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One layout on one product, or on several at once, and what is known of it before any arithmetic."""

    products: tuple[Product, ...]
    layout: Layout
    available: bool
    cost: int

    @property
    def name(self) -> str:
        """Products by name, for the last tie-break and for people."""
        return ",".join(product.gpu.product for product in self.products)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A candidate that fits: the tightest product's fit, and the pools its pods may land on."""

    candidate: Candidate
    product: Product
    fit: Fit
    pools: tuple[PoolFacts, ...]
    losses: tuple[str, ...] = ()
    replicas_needed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Missed:
    """A candidate that does not fit, and why."""

    candidate: Candidate
    miss: Miss


def products_of(pools: tuple[PoolFacts, ...]) -> tuple[tuple[Product, ...], tuple[str, ...]]:
    """Pools by product, and a sentence for each product whose generation nothing tells."""
    found: list[Product] = []
    unknown: list[str] = []
    # A pod asks for one resource, so pools of one product that are offered under different resources are different products here.
    ordered = sorted(pools, key=lambda pool: (pool.product, pool.resource, pool.name))
    for (name, _), group in groupby(ordered, key=lambda pool: (pool.product, pool.resource)):
        members = tuple(group)
        gpu = _gpu(name, members)
        if gpu is None:
            unknown.append(f"the generation of GPU {name} is not known")
        else:
            found.append(Product(gpu=gpu, pools=members))
    return tuple(found), tuple(unknown)


def _gpu(name: str, pools: tuple[PoolFacts, ...]) -> Gpu | None:
    least = min(pools, key=lambda pool: pool.usable_memory_bytes)
    try:
        return replace(gpu_from(name, total_memory_bytes=least.usable_memory_bytes), total_is_exact=least.memory_is_exact)
    except (Unsupported, InvalidInput):
        if least.compute_capability is None:
            return None
    known = known_gpus().get(name)
    return Gpu(
        product=name,
        total_memory_bytes=least.usable_memory_bytes,
        interconnect=known.interconnect if known else "pcie",
        compute_capability=least.compute_capability,
        total_is_exact=least.memory_is_exact,
    )


def candidates(ask: Ask, products: tuple[Product, ...]) -> tuple[Candidate, ...]:
    """Every layout within one node on every product (on all listed ones at once where placement lists several), best first."""
    together = len(ask.placement.gpu_products) > 1 and len(products) > 1
    groups = [products] if together else [(product,) for product in products]
    found = [
        _candidate(ask, tuple(p for p in group if p.large_enough(layout.gpus)), layout)
        for group in groups
        for layout in _layouts(ask, max(pool.gpus_per_node for product in group for pool in product.pools))
    ]
    return tuple(sorted((c for c in found if c.products), key=lambda c: (_order(c), c.name, c.layout.tensor_parallel_size)))


def _layouts(ask: Ask, gpus_per_node: int) -> Iterator[Layout]:
    args = ask.args
    pipeline, data = args.pipeline_parallel_size or 1, args.data_parallel_size or 1
    most = min(gpus_per_node, ask.max_gpus_per_replica or gpus_per_node) // (pipeline * data)
    if ask.placement.sharing != "none":
        # Two replicas of a shared card may be one card, and slices of MIG cannot talk to each other.
        most = min(most, 1)
    sizes = [args.tensor_parallel_size] if args.tensor_parallel_size is not None else range(1, most + 1)
    for size in sizes:
        if size <= most:
            yield Layout(tensor_parallel_size=size, pipeline_parallel_size=pipeline, data_parallel_size=data)


def _candidate(ask: Ask, products: tuple[Product, ...], layout: Layout) -> Candidate:
    pools = [pool for product in products for pool in product.large_enough(layout.gpus)]
    free: Counter[int] = Counter()
    for pool in pools:
        free.update(dict(pool.nodes_by_free_gpus))
    return Candidate(
        products=products,
        layout=layout,
        available=fits_now(free.items(), layout.gpus, ask.replicas),
        cost=layout.gpus * min(((pool.usable_memory_bytes if pool.cost is None else pool.cost) // pool.parts for pool in pools), default=0),
    )


def _order(candidate: Candidate) -> tuple[int, bool, int, int]:
    """What the preference knows before any arithmetic; more of the listed products come before all else."""
    return (-len(candidate.products), not candidate.available, candidate.layout.gpus, candidate.cost)


def search(engine: Engine, ask: Ask, found: tuple[Candidate, ...], applied: Plan | None) -> Found | tuple[Missed, ...]:
    """The preferred candidate that fits, or every miss. Only candidates that tie before the arithmetic are compared after it."""
    misses: list[Missed] = []
    sticky = [c for c in found if applied is not None and _is_applied(c, applied)]
    for candidate in sticky:
        result = evaluate(engine, ask, candidate)
        if isinstance(result, Found):
            return result
    for _, group in groupby(found, key=_order):
        results = [evaluate(engine, ask, candidate) for candidate in group]
        fits = [result for result in results if isinstance(result, Found)]
        if fits:
            return min(fits, key=lambda f: (-kv_tokens(f.fit), f.candidate.name, f.candidate.layout.tensor_parallel_size))
        misses += [result for result in results if isinstance(result, Missed)]
    return tuple(misses)


def _is_applied(candidate: Candidate, plan: Plan) -> bool:
    layout = candidate.layout
    return (
        set(plan.gpu_products) <= {product.gpu.product for product in candidate.products}
        and layout.tensor_parallel_size == plan.tensor_parallel_size
        and layout.pipeline_parallel_size == plan.pipeline_parallel_size
        and layout.data_parallel_size == plan.data_parallel_size
    )


def evaluate(engine: Engine, ask: Ask, candidate: Candidate) -> Found | Missed:
    """One candidate: fit it on its product, or find the one plan that runs on all its products.

    Where the estimator has no rule for the model on this GPU the candidate is missed with that; others may still fit.
    """
    try:
        return _evaluate(engine, ask, candidate)
    except Unsupported as doubt:
        reason = Reason.UNKNOWN_ENGINE if doubt.reason.startswith("Engine") else Reason.UNSUPPORTED_MODEL
        return Missed(candidate=candidate, miss=Miss(reason=reason, message=str(doubt), refusal=doubt.reason))


def _evaluate(engine: Engine, ask: Ask, candidate: Candidate) -> Found | Missed:
    layout = candidate.layout
    args = replace(
        ask.args,
        tensor_parallel_size=layout.tensor_parallel_size,
        pipeline_parallel_size=layout.pipeline_parallel_size,
        data_parallel_size=layout.data_parallel_size,
    )
    wish = wish_of(ask, args)
    contradicted = contradiction(ask, wish)
    if contradicted is not None:
        return Missed(candidate=candidate, miss=contradicted)
    fits: list[tuple[Product, Fit]] = []
    misses: list[Miss] = []
    losses: list[str] = []
    for product in candidate.products:
        result = fit(engine, product.gpu, replace(wish, parts=product.parts))
        if isinstance(result, Fit):
            fits.append((product, result))
        else:
            misses.append(result)
            losses.append(f"{product.gpu.product} is left out: it cannot hold the model at {layout.gpus} GPUs per replica.")
    if not fits:
        return Missed(candidate=candidate, miss=min(misses, key=lambda miss: miss.short_by_bytes))
    if len(candidate.products) > 1:
        common = _common(engine, wish, fits)
        if isinstance(common, Miss):
            return Missed(candidate=candidate, miss=common)
        fits = common
    product, tightest = min(fits, key=lambda pair: (kv_tokens(pair[1]), pair[0].gpu.product))
    kept = replace(candidate, products=tuple(product for product, _ in fits))
    placed = _with_host(kept, product, tightest, tuple(losses), ask.host_extra)
    if ask.worksheet is None or isinstance(placed, Missed):
        return placed
    return replace(placed, replicas_needed=replicas_needed(ask, tightest))


def _common(engine: Engine, wish: Wish, fits: list[tuple[Product, Fit]]) -> list[tuple[Product, Fit]] | Miss:
    """The minimum over products: the least of each computed value, then every product judged again with exactly these."""
    least = replace(
        wish.args,
        gpu_memory_utilization=min(f.args.gpu_memory_utilization or 0.0 for _, f in fits),
        max_model_len=min(f.args.max_model_len or 0 for _, f in fits),
        max_num_seqs=min(f.args.max_num_seqs or 0 for _, f in fits),
        max_num_batched_tokens=min(f.args.max_num_batched_tokens or 0 for _, f in fits),
    )
    lowered = {pair[0]: pair for _, f in fits for pair in f.lowered}
    common: list[tuple[Product, Fit]] = []
    for product, _ in fits:
        result = fit(engine, product.gpu, replace(wish, args=least, parts=product.parts))
        if isinstance(result, Miss):
            return result
        common.append((product, replace(result, lowered=tuple(lowered[name] for name in sorted(lowered)))))
    return common


def _with_host(candidate: Candidate, product: Product, found: Fit, losses: tuple[str, ...], extra: HostExtra) -> Found | Missed:
    """Keep the pools whose nodes can also hold the pod's host needs."""
    gpus = candidate.layout.gpus
    memory = extra.engine_memory_bytes(host.host_memory_bytes(found.estimate, gpus)) + extra.sidecar_memory_bytes
    millis = extra.engine_cpu_millis(host.cpu_millis(gpus)) + extra.sidecar_cpu_millis
    kept: list[PoolFacts] = []
    shortages: list[Miss] = []
    for pool in (pool for member in candidate.products for pool in member.large_enough(gpus)):
        short = _strangers(pool) or host.shortage(pool, memory, millis)
        if short is None:
            kept.append(pool)
        else:
            shortages.append(short)
    if not kept:
        return Missed(candidate=candidate, miss=min(shortages, key=lambda miss: (miss.short_by_bytes, miss.message)))
    return Found(candidate=candidate, product=product, fit=found, pools=tuple(kept), losses=losses)


def _strangers(pool: PoolFacts) -> Miss | None:
    """On time-sliced cards nothing keeps pods that were not planned here from taking all of the memory."""
    if pool.parts == 1 or not pool.foreign_gpus:
        return None
    message = f"pods that are not planned here hold {pool.foreign_gpus} time-sliced GPUs of pool {pool.name}"
    return Miss(reason=Reason.SHARING_UNSAFE, message=message)


def best_miss(misses: tuple[Missed, ...]) -> Missed:
    """The miss a rejection speaks of: memory before refusals, then the least short, then fewest GPUs, cost and name."""
    return min(
        misses,
        key=lambda m: (
            m.miss.reason == Reason.ENGINE_REFUSES,
            m.miss.short_by_bytes,
            m.candidate.layout.gpus,
            m.candidate.cost,
            m.candidate.name,
        ),
    )
