"""From a found candidate to the Plan that status, pods and metrics carry. Only copies and names; decides nothing."""

from __future__ import annotations

from dataclasses import fields
from typing import Final

from plimsoll_estimator import ResolvedArgs
from plimsoll_operator.api import MAX_POOLS, POD_FORM, Plan, PredictedMemory
from plimsoll_operator.decision.fit import utilisation
from plimsoll_operator.decision.fit.fit import kv_tokens
from plimsoll_operator.decision.fit.kv_demand import fullest, needed_kv_bytes, needed_kv_tokens
from plimsoll_operator.decision.search.candidate import Found
from plimsoll_operator.facts import AppliedCorrection, ModelFacts, PoolFacts
from plimsoll_operator.names import PRODUCT_LABEL

_RESOLVED: Final = {field.name for field in fields(Plan)} & {field.name for field in fields(ResolvedArgs)} - {"gpu_memory_utilization"}
"""What a plan carries as vLLM resolves it, under vLLM's names. Not utilisation: in a plan that is text, so that nobody rounds it."""


def make_plan(found: Found, model: ModelFacts, corrections: tuple[AppliedCorrection, ...] = ()) -> Plan:
    """The plan of one replica, which counts these corrections. Figures are of the product with the fewest KV tokens, so they hold on every
    pool of the plan.
    """
    estimate, layout = found.fit.estimate, found.candidate.layout
    resolved = estimate.resolved
    assert resolved is not None, "a fit has resolved arguments"
    rank = fullest(estimate)
    available = max(0, rank.available_kv_cache_bytes)
    # Without a KV plan the engine is predicted not to come that far: a plan that is made all the same holds no tokens.
    tokens, concurrency = (0, 0) if estimate.kv_plan is None else (kv_tokens(found.fit), int(estimate.kv_plan.max_concurrency * 100))
    tokens, concurrency = tokens * layout.data_parallel_size, concurrency * layout.data_parallel_size
    pool, needs = found.product.pools[0], found.needs
    learned = sum(row.add_bytes for row in corrections if row.component == "ownStarts")
    pools = _largest(found.pools)
    plan = Plan(
        **{name: getattr(resolved, name) for name in _RESOLVED},
        product=found.product.gpu.product,
        gpu_resource=pool.resource,
        sharing=pool.sharing,
        gpu_products=tuple(product.gpu.product for product in found.candidate.products),
        pools=tuple(sorted(pool.name for pool in pools)),
        engine_version=str(resolved.version),
        model=model.name,
        model_revision=model.revision,
        gpu_memory_utilization=utilisation.text(found.fit.thousandths),
        gpus_per_replica=layout.gpus,
        kv_cache_tokens=tokens,
        max_concurrency=f"{concurrency // 100}.{concurrency % 100:02d}",
        gpu_total_bytes=found.product.gpu.total_memory_bytes,
        allocated_bytes=found.product.gpu.total_memory_bytes * found.fit.thousandths // 1000,
        predicted=PredictedMemory(
            weights_bytes=rank.weights_bytes,
            activation_bytes=rank.activation_bytes,
            cuda_graph_bytes=rank.cuda_graph_bytes,
            non_torch_bytes=rank.non_torch_bytes,
            kv_cache_bytes=available,
        ),
        learned_bytes=learned,
        calibrated_bytes=found.fit.prepared.corrected_bytes - learned,
        cause_of_doubt=found.fit.prepared.cause,
        kv_cache_interval_bytes=estimate.available_kv_cache_interval_bytes or (available, available),
        kv_cache_needed_bytes=needed_kv_bytes(estimate, found.fit.demanded_blocks),
        kv_cache_needed_tokens=needed_kv_tokens(estimate, found.fit.demanded_blocks),
        replicas_needed=found.replicas_needed,
        host_memory_bytes=needs.engine_memory_bytes,
        template_memory_bytes=needs.template_memory_bytes,
        template_cpu_millis=needs.template_cpu_millis,
        ephemeral_storage_bytes=needs.pod.ephemeral_storage_bytes,
        available_now=found.candidate.available,
        nodes_per_replica=layout.nodes,
        pod_form=POD_FORM,
        startup_seconds=found.life.start_seconds,
        termination_grace_seconds=found.life.end_seconds,
        may_surge=found.may_surge,
        node_selectors=_node_selectors(pools),
    )
    return plan.within_bounds()


def _largest(pools: tuple[PoolFacts, ...]) -> tuple[PoolFacts, ...]:
    """As many as a plan names: those with most nodes, whatever is free of them now."""
    return tuple(sorted(pools, key=lambda pool: (-pool.most_nodes, pool.name))[:MAX_POOLS])


def _node_selectors(pools: tuple[PoolFacts, ...]) -> tuple[tuple[tuple[str, str], ...], ...]:
    """How the plan's nodes are found, where not all of them are found by feature discovery's product."""
    selects = {pool.selects for pool in pools if pool.selects}
    usual = {((label, product),) for pool in pools for label, product in _discovered(pool)}
    return () if selects <= usual else tuple(sorted(selects))


def _discovered(pool: PoolFacts) -> tuple[tuple[str, str], ...]:
    """Feature discovery's labels of the pool's product; what is shared has a suffix, slices have a label of their resource's."""
    return (
        (PRODUCT_LABEL, pool.product),
        (PRODUCT_LABEL, f"{pool.product}-SHARED"),
        (f"{pool.resource}.product", pool.product),
    )
