"""Facts of pools, which every decision is made from: of derived pools directly, of GPUPool objects by what they say.

`derived_facts` is the controller's way and the command line's with nodes, `pool_facts` the webhook's, which only has the objects; both
give the same for the same pool, as does what users correct or declare in its spec. Knows no nodes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from plimsoll_operator.api import GPUPool, parse_object
from plimsoll_operator.api.pool import DeclaredNode, GPUPoolSpec, GPUPoolStatus, NodesByFreeGpus
from plimsoll_operator.capacity.booking import by_gpus
from plimsoll_operator.capacity.bounds import within_bounds
from plimsoll_operator.capacity.clouds import steering
from plimsoll_operator.capacity.derived import DerivedPool
from plimsoll_operator.capacity.groups import Source
from plimsoll_operator.capacity.labels import MIG_PRODUCT
from plimsoll_operator.capacity.memory import usable_by_product
from plimsoll_operator.capacity.pools import pool_manifest, problem_lines
from plimsoll_operator.facts import FreeNodes, PoolFacts, Pools
from plimsoll_operator.names import GPU_RESOURCE, INDEXED_ANNOTATION, PRODUCT_LABEL, RESOURCE_ANNOTATION
from plimsoll_operator.quantity import parse_millis

_NOTHING_SAID: Final = GPUPoolSpec()


def is_offer(pool: GPUPool) -> bool:
    """Whether plans can be made for the pool itself: it was derived or is declared. One that only corrects nodes offers nothing more."""
    return not pool.spec.selector or pool.spec.declared or INDEXED_ANNOTATION in pool.metadata.annotations


def offered(pools: Iterable[GPUPool]) -> tuple[PoolFacts, ...]:
    """Facts of those of the GPUPools that plans can be made for, by name."""
    return by_name(pool_facts(pool) for pool in pools if is_offer(pool))


def by_name(pools: Iterable[PoolFacts]) -> tuple[PoolFacts, ...]:
    """The order in which pools are decided on, so that the same world makes the same facts."""
    return Pools(sorted(pools, key=lambda pool: pool.name))


def check_writable(pool: DerivedPool) -> None:
    """Raises ApiError, naming field and bound, where no GPUPool can hold what nodes say of the pool.

    Nobody could read it, so nothing is planned on it: labels that are none, more taints or kinds of nodes than an object lists.
    """
    parse_object(GPUPool, pool_manifest(pool))


def derived_facts(pool: DerivedPool, spec: GPUPoolSpec = _NOTHING_SAID) -> PoolFacts:
    """A derived pool as the decision sees it, with the spec that users have given the GPUPool of its name. For pools that are writable."""
    pool = within_bounds(pool)
    key = pool.key
    free_nodes = pool.free_nodes if pool.free_is_known else ()
    found = PoolFacts(
        name=pool.name,
        product=key.product,
        usable_memory_bytes=key.usable_memory_bytes,
        memory_is_exact=key.memory_is_exact and key.usable_memory_bytes > 0,
        gpus_per_node=key.gpus_per_node,
        nodes=pool.nodes,
        nodes_by_free_gpus=by_gpus(free_nodes),
        host_memory_bytes=key.host_memory_bytes,
        host_cpu_millis=key.host_cpu_millis,
        ephemeral_storage_bytes=key.ephemeral_storage_bytes,
        labels=tuple(sorted(key.labels)),
        taints=tuple(sorted(key.taints)),
        sharing=key.sharing,
        sharing_replicas=key.sharing_replicas,
        compute_capability=key.compute_capability,
        cost=key.cost,
        declared=False,
        trusted=not key.excluded_for,
        problems=tuple(problem_lines(pool.problems, pool.nodes)),
        indexed_label_keys=pool.indexed_label_keys,
        resource=key.resource,
        foreign_gpus=pool.foreign_gpus,
        selects=tuple(sorted(key.selects)),
        source=key.source.value,
        free_nodes=free_nodes,
        free_is_known=pool.free_is_known,
    )
    return _corrected(found, spec, counted=0)


def pool_facts(pool: GPUPool) -> PoolFacts:
    """A GPUPool as the decision sees it: spec corrects status; a declared pool counts on the nodes its autoscaler may bring.

    A figure that neither gives is 0 (no memory: nothing fits; no host figure: not checked). Memory that a declared pool leaves out is
    that of the shipped table. Nodes that a declared pool's selector selects are in pools of their own, and count against maxNodes here.
    """
    status, annotations = pool.status or GPUPoolStatus(trusted=False), pool.metadata.annotations
    measured = not pool.spec.selector or INDEXED_ANNOTATION in annotations
    free_nodes = tuple(_free_nodes(row) for row in status.nodes_by_free_gpus) if measured else ()
    found = PoolFacts(
        name=pool.metadata.name,
        product=status.product or "",
        usable_memory_bytes=status.usable_memory_bytes or 0,
        memory_is_exact=status.memory_is_exact and bool(status.usable_memory_bytes),
        gpus_per_node=status.gpus_per_node or 0,
        nodes=status.nodes if measured else 0,
        nodes_by_free_gpus=by_gpus(free_nodes),
        host_memory_bytes=status.host_memory_bytes or 0,
        host_cpu_millis=status.host_cpu_millis or 0,
        ephemeral_storage_bytes=status.ephemeral_storage_bytes or 0,
        labels=tuple(sorted(status.node_labels.items())),
        taints=tuple(sorted((taint.key, taint.value, taint.effect) for taint in status.taints)),
        sharing=status.sharing,
        sharing_replicas=status.sharing_replicas,
        compute_capability=_capability(status.compute_capability),
        cost=status.cost,
        declared=False,
        trusted=status.trusted,
        problems=status.problems,
        indexed_label_keys=tuple(key for key in annotations.get(INDEXED_ANNOTATION, "").split(",") if key),
        resource=status.resource or annotations.get(RESOURCE_ANNOTATION, GPU_RESOURCE),
        foreign_gpus=status.foreign_gpus if measured else 0,
        selects=tuple(sorted(status.node_selector.items())),
        source=status.source or ("" if status.nodes else Source.GPU_POOL.value),
        free_nodes=free_nodes,
        free_is_known=status.free_is_known or not measured,
    )
    return _corrected(found, pool.spec, counted=0 if measured else status.nodes)


def _corrected(found: PoolFacts, spec: GPUPoolSpec, *, counted: int) -> PoolFacts:
    """What nodes say of a pool with what users say over it. `counted` nodes of other pools count against maxNodes."""
    if spec.node is not None and spec.declared and found.nodes == 0:
        found = _with_node(found, spec.node)
    product = spec.product or found.product
    memory, exact = _memory(found, spec, product)
    return replace(
        found,
        product=product,
        usable_memory_bytes=memory,
        memory_is_exact=exact,
        gpus_per_node=spec.gpus_per_node or found.gpus_per_node,
        sharing=spec.sharing or ("mig" if MIG_PRODUCT.search(spec.product or "") else found.sharing),
        sharing_replicas=spec.sharing_replicas or found.sharing_replicas,
        compute_capability=_capability(spec.compute_capability) or found.compute_capability,
        cost=spec.cost if spec.cost is not None else found.cost,
        declared=spec.declared and (spec.max_nodes or 0) > counted,
        trusted=found.trusted or spec.declared or (spec.product is not None and spec.usable_memory_bytes is not None),
        indexed_label_keys=tuple(sorted({*found.indexed_label_keys, *(key for key, _ in found.labels)})),
        resource=spec.resource or found.resource,
        # As measured, else as the declared nodes' labels tell, else the product's.
        selects=found.selects or steering(dict(found.labels)) or ((PRODUCT_LABEL, product),),
        max_nodes=spec.max_nodes,
    )


def _with_node(found: PoolFacts, node: DeclaredNode) -> PoolFacts:
    """Of a pool that has no node: what one would look like."""
    return replace(
        found,
        labels=tuple(sorted(node.labels.items())),
        taints=tuple(sorted((taint.key, taint.value, taint.effect) for taint in node.taints)),
        host_memory_bytes=node.host_memory_bytes or 0,
        host_cpu_millis=parse_millis(node.cpu, round_down=True) if node.cpu is not None else 0,
        ephemeral_storage_bytes=node.ephemeral_storage_bytes or 0,
    )


def _memory(found: PoolFacts, spec: GPUPoolSpec, product: str) -> tuple[int, bool]:
    if spec.usable_memory_bytes is not None:
        return spec.usable_memory_bytes, True
    if found.usable_memory_bytes or not spec.declared:
        return found.usable_memory_bytes, found.memory_is_exact
    return usable_by_product(product)


def _free_nodes(row: NodesByFreeGpus) -> FreeNodes:
    return FreeNodes(
        gpus=row.free_gpus,
        nodes=row.nodes,
        host_memory_bytes=row.host_memory_bytes,
        host_cpu_millis=row.host_cpu_millis,
        ephemeral_storage_bytes=row.ephemeral_storage_bytes,
    )


def _capability(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    major, _, minor = text.partition(".")
    return int(major), int(minor)
