"""The search: over products and parallel layouts, the first plan in the written order of preference.

Order within a class of layouts (see `layouts`): available now, fewest GPUs, lowest cost, fewest nodes and stages, most KV cache,
name; the applied plan's own placement before all of them. A later class is tried only when none before it serves. Called with a
fixed request, so pinned values are honoured by construction. Pure; makes no verdict.
"""

from __future__ import annotations

from itertools import groupby

from plimsoll_operator.decision.fit.engine import Engine
from plimsoll_operator.decision.fit.fit import kv_tokens
from plimsoll_operator.decision.request.request import DeploymentRequest
from plimsoll_operator.decision.search.candidate import Found, Missed
from plimsoll_operator.decision.search.candidates import candidates, order
from plimsoll_operator.decision.search.evaluate import evaluate
from plimsoll_operator.decision.search.products import Product
from plimsoll_operator.verdict import Plan, Reason

_HOST = frozenset({Reason.HOST_MEMORY, Reason.HOST_CPU, Reason.EPHEMERAL_STORAGE})


def search(engine: Engine, request: DeploymentRequest, products: tuple[Product, ...], applied: Plan | None) -> Found | tuple[Missed, ...]:
    """The preferred candidate that fits, or every miss. Only candidates that tie before the arithmetic are compared after it."""
    misses: list[Missed] = []
    if applied is not None:
        for candidate in candidates(engine, request, products, applied):
            offered = {product.gpu.product for product in candidate.products}
            result = evaluate(engine, request, candidate) if set(applied.gpu_products) <= offered else None
            if isinstance(result, Found):
                return result
    hopeless: set[str] = set()
    waiting: list[Found] = []
    first: tuple[int, int] | None = None
    for (kind, products_missing, unavailable, *_), group in groupby(candidates(engine, request, products), key=order):
        if waiting and (kind, products_missing) != first:
            break
        results = [evaluate(engine, request, candidate) for candidate in group if candidate.name not in hopeless]
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
    return min(waiting, key=lambda f: order(f.candidate)) if waiting else tuple(misses)


def _size(found: Found) -> int:
    return found.candidate.layout.tensor_parallel_size


def best_miss(misses: tuple[Missed, ...]) -> Missed:
    """The miss a rejection speaks of: vLLM's refusals last; what fits the GPU and only lacks its host first; then the least short."""
    return min(misses, key=preference)


def preference(missed: Missed) -> tuple[bool, bool, int, int, int, str]:
    """What is cured most cheaply comes first."""
    miss, candidate = missed.miss, missed.candidate
    refused = miss.reason == Reason.ENGINE_REFUSES
    return refused, miss.reason not in _HOST, miss.short_by_bytes, candidate.layout.gpus, candidate.cost, candidate.name
