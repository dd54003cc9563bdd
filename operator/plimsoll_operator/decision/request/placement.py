"""Which pools a deployment may use at all: product, node labels, taints, sharing, trust. Pure matching, no memory.

Called by `checks` and `search`. Follows kube-scheduler where it filters (nodeSelector, TaintToleration).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from plimsoll_operator.api import PlacementSpec, Toleration
from plimsoll_operator.facts import PoolFacts
from plimsoll_operator.names import AMD_RESOURCE, GPU_RESOURCE

_GPU_TAINTS = (GPU_RESOURCE, AMD_RESOURCE)
# The estimator's rules are measured with vLLM on CUDA; of ROCm's context, graphs and kernels it knows nothing.
_VENDORS_WITH_RULES = frozenset({"nvidia"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Matched:
    """Pools that placement allows, and for each of the others the one reason why not.

    `unjudged` are excluded for nothing but their vendor, for whose engine there are no memory rules.
    """

    pools: tuple[PoolFacts, ...]
    excluded: tuple[tuple[PoolFacts, str], ...]
    unindexed_keys: tuple[str, ...]
    unjudged: tuple[PoolFacts, ...] = ()

    def nearest(self, placement: PlacementSpec) -> tuple[tuple[PoolFacts, str], ...]:
        """Of the others those that have the GPUs asked for, where some are: what else keeps them out is what can be cured."""
        listed = placement.gpu_products
        return tuple(row for row in self.excluded if row[0].product in listed) if listed else self.excluded

    def meant(self, placement: PlacementSpec) -> tuple[tuple[str, str], ...]:
        """Products asked for that no pool has, each with the one that its word is a part of: H100, NVIDIA-H100-80GB-HBM3."""
        there = sorted({pool.product for pool, _ in self.excluded if pool.product})
        pairs = []
        for asked in placement.gpu_products:
            parts = _parts(asked)
            like = [] if asked in there else [name for name in there if parts <= _parts(name)]
            pairs += [(asked, name) for name in like]
        return tuple(pairs)


def _parts(product: str) -> frozenset[str]:
    """The words of a product's name, without the maker's: that nobody means by it alone."""
    return frozenset(product.lower().replace("_", "-").replace(" ", "-").split("-")) - {"nvidia", "tesla", ""} or frozenset((product,))


def match(placement: PlacementSpec, pools: Iterable[PoolFacts]) -> Matched:
    """Split pools into those placement allows and the rest."""
    kept: list[PoolFacts] = []
    excluded: list[tuple[PoolFacts, str]] = []
    unjudged: list[PoolFacts] = []
    unindexed: set[str] = set()
    for pool in pools:
        if pool.vendor not in _VENDORS_WITH_RULES:
            if _why_not(placement, replace(pool, trusted=True, usable_memory_bytes=max(1, pool.usable_memory_bytes)), set()) is None:
                unjudged.append(pool)
            excluded.append((pool, f"has {pool.vendor} GPUs (VendorUnsupported), for which there are no memory rules"))
            continue
        why = _why_not(placement, pool, unindexed)
        if why is None:
            kept.append(pool)
        else:
            excluded.append((pool, why))
    return Matched(pools=tuple(kept), excluded=tuple(excluded), unindexed_keys=tuple(sorted(unindexed)), unjudged=tuple(unjudged))


def _why_not(placement: PlacementSpec, pool: PoolFacts, unindexed: set[str]) -> str | None:
    if not pool.trusted:
        return "is not trusted: " + ("; ".join(pool.problems) or "no reason given")
    if placement.gpu_products and pool.product not in placement.gpu_products:
        return f"is {pool.product}, not among placement.gpuProducts"
    if pool.sharing != placement.sharing:
        if pool.sharing == "none":
            return f"has whole GPUs, not {placement.sharing}"
        return f"shares its GPUs ({pool.sharing}), which placement.sharing: {pool.sharing} asks for"
    if pool.gpus_per_node <= 0 or pool.usable_memory_bytes <= 0:
        return "has no known GPU memory"
    if pool.lacks:
        return "has no node with " + " and ".join(f"{key}={value}" for key, value in pool.lacks)
    if pool.nodes == 0 and not pool.declared:
        return "has no nodes"
    return _not_selected(placement, pool, unindexed) or _tainted(placement, pool)


def _not_selected(placement: PlacementSpec, pool: PoolFacts, unindexed: set[str]) -> str | None:
    labels = dict(pool.labels)
    for key, value in sorted(placement.node_selector.items()):
        if key in labels and labels[key] != value:
            return f"has {key}={labels[key]}, not {value}"
        if key not in labels:
            if key not in pool.indexed_label_keys and not pool.declared:
                unindexed.add(key)
                return f"is not indexed by node label {key}"
            return f"has no node label {key}"
    return None


def _tainted(placement: PlacementSpec, pool: PoolFacts) -> str | None:
    for taint in pool.taints:
        if taint[2] != "PreferNoSchedule" and not _tolerated(placement.tolerations, taint):
            return f"has taint {taint[0]}={taint[1]}:{taint[2]}, which is not tolerated"
    return None


def _tolerated(tolerations: Iterable[Toleration], taint: tuple[str, str, str]) -> bool:
    key, value, effect = taint
    if key in _GPU_TAINTS and effect == "NoSchedule":
        return True
    return any(
        (toleration.effect is None or toleration.effect == effect)
        and (toleration.key is None or toleration.key == key)
        and (toleration.operator == "Exists" or (toleration.value or "") == value)
        for toleration in tolerations
    )
