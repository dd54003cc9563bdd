"""A group of layers that share one block table, and how it is made. Values only; `grouping` and `packing` decide who joins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from plimsoll_estimator.kv_cache.specs import LayerSpec, Reach
from plimsoll_estimator.objects import by_object


class KvGroup(NamedTuple):
    """Layers that share one block table. `stage_bytes` is one block of the group on each pipeline stage's ranks."""

    specs: tuple[LayerSpec, ...]
    n_layers: int
    stage_bytes: tuple[int, ...]

    @property
    def block_size(self) -> int:
        """Tokens per block."""
        return self.specs[0].block_size

    def blocks(self, length: int, reach: Reach) -> int:
        """Blocks one request of `length` tokens holds in this group."""
        if len(self.specs) == 1:
            return self.specs[0].blocks(length, reach)
        return max(spec.blocks(length, reach) for spec in self.specs)


LayerList = Sequence[tuple[int, LayerSpec]]
"""(pipeline stage, spec) of every layer with a cache, in the order of the model."""


def make_group(layers: LayerList, specs: Sequence[LayerSpec], n_stages: int) -> KvGroup:
    """One group of `layers`, whose different specs are `specs`."""
    if len(specs) == 1:
        return group_of(specs[0], [stage for stage, _ in layers] if n_stages > 1 else (0,) * len(layers), n_stages)
    totals = [0] * n_stages
    for stage, spec in layers:
        totals[stage] += spec.stride_bytes
    return KvGroup(specs=tuple(specs), n_layers=len(layers), stage_bytes=tuple(totals))


def group_of(spec: LayerSpec, stages: Sequence[int], n_stages: int) -> KvGroup:
    """One group of layers on these stages, all with one spec."""
    stride = spec.stride_bytes
    totals = (len(stages) * stride,) if n_stages == 1 else tuple(stages.count(stage) * stride for stage in range(n_stages))
    return KvGroup(specs=(spec,), n_layers=len(stages), stage_bytes=totals)


def distinct_specs(layers: LayerList) -> list[LayerSpec]:
    """The different specs in order; equal layers of a stage share one object, so identity settles most of them cheaply."""
    return list(dict.fromkeys(spec for _, spec in by_object(layers).values()))
