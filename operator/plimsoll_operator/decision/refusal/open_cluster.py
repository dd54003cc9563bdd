"""What no known pool holds, would a GPU of the shipped table? In an open cluster it is undecided then, and the product is named.

Called by `steps`: before a Reject when the FitPolicy says that capacity may still come, and where somebody asks which GPU he needs: no pool
is known, or none can be made to do. Knows the table of GPUs, no pools.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import Final

from plimsoll_estimator import GIB, known_gpus
from plimsoll_operator.decision.request.request import DeploymentRequest
from plimsoll_operator.decision.search.candidate import Found
from plimsoll_operator.decision.search.moves import Mover
from plimsoll_operator.decision.search.products import Product, products_of
from plimsoll_operator.facts import PoolFacts

# The most GPUs of one machine that clouds rent out with any of the products.
_GPUS_PER_NODE: Final = 8
_MOST_NAMED: Final = 4
_ALIKE: Final = 2 * GIB  # of cards that differ by less the one that the table has first is named
_OF_DATA_CENTRES: Final = ("Tesla-", "NVIDIA-A", "NVIDIA-L", "NVIDIA-H", "NVIDIA-B", "NVIDIA-GB2", "NVIDIA-GH", "NVIDIA-RTX-PRO")


def product_that_would_fit(mover: Mover, request: DeploymentRequest) -> str | None:
    """The preferred product of the shipped table that would hold the model on one node, among placement's products where listed."""
    result = mover.search(request)
    return result.candidate.products[0].gpu.product if isinstance(result, Found) else None


def products_that_would_do(on: Callable[[tuple[Product, ...]], Mover], request: DeploymentRequest) -> Iterator[Found]:
    """Plans on products of the table, smallest first, each of clearly more memory than the one before; a few.

    Cards for desktops are named only where placement lists them.
    """
    listed = request.placement.gpu_products
    least = 0
    named = 0
    order = {name: number for number, name in enumerate(known_gpus())}
    for product in sorted(rentable(request), key=lambda one: (one.gpu.total_memory_bytes // _ALIKE, order[one.gpu.product])):
        if product.gpu.total_memory_bytes < least or not (listed or product.gpu.product.startswith(_OF_DATA_CENTRES)):
            continue
        found = on((product,)).search(request)
        if not isinstance(found, Found):
            continue
        yield found
        named += 1
        if named == _MOST_NAMED:
            return
        least = product.gpu.total_memory_bytes * 5 // 4


def more_nodes(product: Product) -> Product:
    """The product as if there were as many of its nodes as anybody asks for."""
    return replace(product, pools=tuple(replace(pool, declared=True, max_nodes=None) for pool in product.pools))


def rentable(request: DeploymentRequest) -> tuple[Product, ...]:
    """Nodes of eight GPUs of each product of the table that placement allows."""
    if request.placement.sharing != "none":
        return ()  # how a machine that nobody has set up yet would share its GPUs is not known
    wanted = request.placement.gpu_products
    return tuple(product for product in _table() if not wanted or product.gpu.product in wanted)


@cache
def _table() -> tuple[Product, ...]:
    pools = tuple(
        PoolFacts(
            name=f"any-{gpu.product.lower()}",
            product=gpu.product,
            usable_memory_bytes=gpu.total_memory_bytes,
            memory_is_exact=True,
            gpus_per_node=_GPUS_PER_NODE,
            nodes=0,
            nodes_by_free_gpus=(),
            host_memory_bytes=0,
            host_cpu_millis=0,
            ephemeral_storage_bytes=0,
            labels=(),
            taints=(),
            sharing="none",
            sharing_replicas=1,
            compute_capability=gpu.compute_capability,
            cost=None,
            declared=True,
            trusted=True,
            problems=(),
        )
        for gpu in known_gpus().values()
    )
    return products_of(pools)[0]
