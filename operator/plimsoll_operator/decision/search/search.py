"""The search: over products and parallel layouts, the first plan in the written order of preference.

Order within a class of layouts (see `layouts`): available now, fewest GPUs, lowest cost, fewest nodes and stages, most KV cache,
name; the applied plan's own placement before all of them. A later class is tried only when none before it serves. Called with a
fixed Ask, so pinned values are honoured by construction. Pure; makes no verdict.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain, groupby

from plimsoll_estimator import Estimate, Gpu, InvalidInput, Prepared, Unsupported, gpu_from, known_gpus
from plimsoll_operator.capacity.booking import Booking, fits_now, gpus_for
from plimsoll_operator.decision.fit import host, utilisation
from plimsoll_operator.decision.fit.engine import Engine
from plimsoll_operator.decision.fit.fit import Fit, Wish, fit, kv_tokens
from plimsoll_operator.decision.fit.miss import Miss, doubt_about
from plimsoll_operator.decision.fit.workload import contradiction, replicas_needed, wish_of
from plimsoll_operator.decision.request.request import Ask
from plimsoll_operator.decision.search.layouts import Kind, Layout, layouts
from plimsoll_operator.facts import PoolFacts
from plimsoll_operator.verdict import Plan, Reason

_HOST = frozenset({Reason.HOST_MEMORY, Reason.HOST_CPU, Reason.EPHEMERAL_STORAGE})


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

    def large_enough_for(self, layout: Layout) -> tuple[PoolFacts, ...]:
        """Pools whose nodes have room for a node's share; for a replica over nodes, empty unless together they have or get enough."""
        pools = self.large_enough(layout.gpus_per_node)
        if layout.nodes > 1:
            room = sum(pool.most_nodes * (pool.gpus_per_node // layout.gpus_per_node) for pool in pools)
            return pools if room >= layout.nodes else ()
        return pools


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One layout on one product, or on several at once, and what is known of it before any arithmetic."""

    products: tuple[Product, ...]
    kind: Kind
    layout: Layout
    available: bool
    cost: int

    @property
    def name(self) -> str:
        """Products by name, for the last tie-break and for people."""
        return ",".join(product.gpu.product for product in self.products)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A candidate that fits: the tightest product's fit, and the pools its pods may land on.

    `may_surge`: GPUs for one replica more than wanted are free there now, so that an update need not stop one first.
    `pod` is all that one pod asks of its node.
    """

    candidate: Candidate
    product: Product
    fit: Fit
    pools: tuple[PoolFacts, ...]
    losses: tuple[str, ...] = ()
    replicas_needed: int = 0
    may_surge: bool = False
    pod: Booking


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


def candidates(engine: Engine, ask: Ask, products: tuple[Product, ...], like: Plan | None = None) -> Iterator[Candidate]:
    """Every layout on every product, best first: by class of layouts, then by what is known before any arithmetic.

    Classes are made one by one, as far as the caller looks. Where placement lists several products a replica is planned for all of
    them at once, but a replica over several nodes for each alone: its pods must run on one product. `like` leaves only those that
    could carry that plan.
    """
    return chain.from_iterable(_of_kind(kind, engine, ask, products, like) for kind in _kinds(ask))


def _kinds(ask: Ask) -> tuple[Kind, ...]:
    return tuple(Kind) if ask.max_nodes > 1 else (Kind.TENSOR, Kind.EXPERTS, Kind.STAGES)


def _of_kind(kind: Kind, engine: Engine, ask: Ask, products: tuple[Product, ...], like: Plan | None) -> Iterator[Candidate]:
    together = len(ask.placement.gpu_products) > 1 and len(products) > 1 and kind < Kind.NODES
    groups = [products] if together else [(product,) for product in products]
    found = [
        candidate
        for group in groups
        for layout in layouts(kind, ask, engine.counts, tuple({pool.gpus_per_node for product in group for pool in product.pools}))
        if like is None or _is_layout_of(layout, like)
        if (candidate := _candidate(engine, ask, group, kind, layout)) is not None
    ]
    found.sort(key=lambda c: (_order(c), c.name, c.layout.tensor_parallel_size))
    if kind is Kind.EXPERTS:
        return (candidate for candidate in found if _cannot_slice_experts(engine, ask, candidate))
    return (candidate for candidate in found if kind < Kind.STAGES or not _too_heavy(engine, ask, candidate))


def _cannot_slice_experts(engine: Engine, ask: Ask, candidate: Candidate) -> bool:
    """Whole experts need a reason: the same layout with sliced ones, which vLLM refuses whatever the memory."""
    sliced = evaluate(engine, ask, replace(candidate, layout=replace(candidate.layout, expert_parallel=False)))
    return isinstance(sliced, Missed) and sliced.miss.reason == Reason.ENGINE_REFUSES


def _too_heavy(engine: Engine, ask: Ask, candidate: Candidate) -> bool:
    """Whether the weights alone, spread evenly over the stages, leave no card of the group anything: such a layout need not be tried."""
    stages = candidate.layout.pipeline_parallel_size
    if stages == 1:
        return False
    single = replace(candidate.layout, pipeline_parallel_size=1, nodes=1).arguments(ask.args)
    try:
        return all(_heavier(engine.prepare(single, product.gpu), stages, product.gpu) for product in candidate.products)
    except Unsupported:
        return False


def _heavier(prepared: Prepared | Estimate, stages: int, gpu: Gpu) -> bool:
    if isinstance(prepared, Estimate):
        return False
    most = utilisation.claim_bytes(utilisation.MAX_THOUSANDTHS, gpu.total_memory_bytes)
    return prepared.stages[0].loaded_bytes >= stages * most


def _candidate(engine: Engine, ask: Ask, group: tuple[Product, ...], kind: Kind, layout: Layout) -> Candidate | None:
    engine.look()
    rooms = [(product, product.large_enough_for(layout)) for product in group]
    pools = [pool for _, room in rooms for pool in room]
    if not pools:
        return None
    return Candidate(
        products=tuple(product for product, room in rooms if room),
        kind=kind,
        layout=layout,
        available=_fit_now(pools, layout, ask.replicas),
        cost=layout.gpus * min((pool.usable_memory_bytes if pool.cost is None else pool.cost) // pool.parts for pool in pools),
    )


def _fit_now(pools: list[PoolFacts], layout: Layout, replicas: int, pod: Booking | None = None) -> bool:
    """Whether so many replicas find nodes at this moment: all nodes of each, since a group that is not whole starts nothing."""
    pods = replicas * layout.nodes
    if pod is None:
        return fits_now(chain.from_iterable(pool.nodes_by_free_gpus for pool in pools), layout.gpus_per_node, pods)
    return fits_now(chain.from_iterable(gpus_for(pool.free, pod) for pool in pools), pod.gpus, pods)


def _order(candidate: Candidate) -> tuple[int, int, bool, int, int, tuple[int, int, bool]]:
    """What the preference knows before any arithmetic; within a class more of the listed products come before all else."""
    layout = candidate.layout
    return (candidate.kind, -len(candidate.products), not candidate.available, layout.gpus, candidate.cost, layout.preference)


def search(engine: Engine, ask: Ask, products: tuple[Product, ...], applied: Plan | None) -> Found | tuple[Missed, ...]:
    """The preferred candidate that fits, or every miss. Only candidates that tie before the arithmetic are compared after it."""
    misses: list[Missed] = []
    if applied is not None:
        for candidate in candidates(engine, ask, products, applied):
            offered = {product.gpu.product for product in candidate.products}
            result = evaluate(engine, ask, candidate) if set(applied.gpu_products) <= offered else None
            if isinstance(result, Found):
                return result
    hopeless: set[str] = set()
    waiting: list[Found] = []
    first: tuple[int, int] | None = None
    for (kind, products_missing, unavailable, *_), group in groupby(candidates(engine, ask, products), key=_order):
        if waiting and (kind, products_missing) != first:
            break
        results = [evaluate(engine, ask, candidate) for candidate in group if candidate.name not in hopeless]
        fits = [result for result in results if isinstance(result, Found)]
        if fits:
            best = min(fits, key=lambda f: (not f.candidate.available, -kv_tokens(f.fit), f.candidate.name, _size(f)))
            if best.candidate.available or (unavailable and not waiting):
                return best
            # GPUs are free, the hosts are not: another place may be free altogether before this one is taken and waited for.
            waiting.append(best)
            first = kind, products_missing
            if unavailable:
                break
        found = [result for result in results if isinstance(result, Missed)]
        hopeless |= {missed.candidate.name for missed in found if missed.miss.whatever_the_layout}
        misses += found
    return min(waiting, key=lambda f: _order(f.candidate)) if waiting else tuple(misses)


def _size(found: Found) -> int:
    return found.candidate.layout.tensor_parallel_size


def _is_layout_of(layout: Layout, plan: Plan) -> bool:
    return (
        layout.tensor_parallel_size == plan.tensor_parallel_size
        and layout.pipeline_parallel_size == plan.pipeline_parallel_size
        and layout.data_parallel_size == plan.data_parallel_size
        and layout.expert_parallel == plan.enable_expert_parallel
        and layout.nodes == plan.nodes_per_replica
    )


def evaluate(engine: Engine, ask: Ask, candidate: Candidate) -> Found | Missed:
    """One candidate: fit it on its product, or find the one plan that runs on all its products.

    Where the estimator has no rule for the model on this GPU the candidate is missed with that; others may still fit.
    """
    try:
        return _evaluate(engine, ask, candidate)
    except Unsupported as doubt:
        return Missed(
            candidate=candidate, miss=Miss(reason=doubt_about(doubt), message=str(doubt), check=doubt.reason, about=doubt.reason.about)
        )


def _evaluate(engine: Engine, ask: Ask, candidate: Candidate) -> Found | Missed:
    layout = candidate.layout
    wish = wish_of(ask, layout.arguments(ask.args))
    contradicted = contradiction(ask, wish)
    if contradicted is not None:
        return Missed(candidate=candidate, miss=contradicted)
    fits: list[tuple[Product, Fit]] = []
    misses: list[Miss] = []
    losses: list[str] = []
    for product in candidate.products:
        result = fit(engine, product.gpu, wish if product.parts == wish.parts else replace(wish, parts=product.parts))
        if isinstance(result, Fit):
            fits.append((product, result))
        else:
            misses.append(result)
            losses.append(f"{product.gpu.product} is left out: it cannot hold the model at {layout.gpus} GPUs per replica.")
    if not fits:
        # What one product refuses in every layout says nothing of the others: it counts only where they all do.
        return Missed(candidate=candidate, miss=min(misses, key=lambda miss: (miss.whatever_the_layout, miss.short_by_bytes)))
    if len(candidate.products) > 1:
        common = _common(engine, wish, fits)
        if isinstance(common, Miss):
            return Missed(candidate=candidate, miss=common)
        fits = common
    product, tightest = min(fits, key=lambda pair: (kv_tokens(pair[1]), pair[0].gpu.product))
    kept = replace(candidate, products=tuple(product for product, _ in fits))
    placed = _with_host(engine, ask, kept, product, tightest, tuple(losses))
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


def _with_host(engine: Engine, ask: Ask, candidate: Candidate, product: Product, found: Fit, losses: tuple[str, ...]) -> Found | Missed:
    """Keep the pools whose nodes can also hold the pod's host needs."""
    gpus = candidate.layout.gpus_per_node
    pod = host.pod_needs(ask, engine, found.estimate, product.gpu, gpus)
    kept: list[PoolFacts] = []
    shortages: list[Miss] = []
    for pool in (pool for member in candidate.products for pool in member.large_enough_for(candidate.layout)):
        short = _strangers(pool) or host.shortage(pool, pod)
        if short is None:
            kept.append(pool)
        else:
            shortages.append(short)
    if not kept:
        return Missed(candidate=candidate, miss=min(shortages, key=lambda miss: (miss.short_by_bytes, miss.message)))
    # Before the arithmetic only GPUs were counted; the pod's host needs are known by now.
    available = candidate.available and _fit_now(kept, candidate.layout, ask.replicas, pod)
    surge = ask.replicas > 0 and available and _fit_now(kept, candidate.layout, ask.replicas + 1, pod)
    candidate = replace(candidate, available=available)
    return Found(
        candidate=candidate,
        product=product,
        fit=found,
        pools=tuple(kept),
        losses=losses,
        may_surge=surge,
        pod=pod,
    )


def _strangers(pool: PoolFacts) -> Miss | None:
    """On time-sliced cards nothing keeps pods that were not planned here from taking all of the memory."""
    if pool.parts == 1 or not pool.foreign_gpus:
        return None
    message = f"pods that are not planned here hold time-sliced GPUs of pool {pool.name}"
    return Miss(reason=Reason.SHARING_UNSAFE, message=message)


def best_miss(misses: tuple[Missed, ...]) -> Missed:
    """The miss a rejection speaks of: vLLM's refusals last; what fits the GPU and only lacks its host first; then the least short."""
    return min(
        misses,
        key=lambda m: (
            m.miss.reason == Reason.ENGINE_REFUSES,
            m.miss.reason not in _HOST,
            m.miss.short_by_bytes,
            m.candidate.layout.gpus,
            m.candidate.cost,
            m.candidate.name,
        ),
    )
