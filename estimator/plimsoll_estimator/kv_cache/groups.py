"""A group of layers that share one block table, and how it is made. Values only; `grouping` and `packing` decide who joins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from plimsoll_estimator.kv_cache.specs import LayerSpec, Reach


@dataclass(frozen=True, slots=True, kw_only=True)
class KvGroup:
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
    totals = [0] * n_stages
    if len(specs) == n_stages == 1:
        totals[0] = len(layers) * specs[0].stride_bytes
    elif len(specs) == 1:
        stride = specs[0].stride_bytes
        for stage, _ in layers:
            totals[stage] += stride
    else:
        for stage, spec in layers:
            totals[stage] += spec.stride_bytes
    return KvGroup(specs=tuple(specs), n_layers=len(layers), stage_bytes=tuple(totals))


def distinct_specs(layers: LayerList) -> list[LayerSpec]:
    """The different specs in order; equal layers share one object, so identity settles most of them cheaply."""
    return list(dict.fromkeys({id(spec): spec for _, spec in layers}.values()))


def exchanged(layers: LayerList, by: Mapping[LayerSpec, LayerSpec]) -> list[tuple[int, LayerSpec]]:
    """The layers with each spec replaced; looked up once for every object, not for every layer."""
    new = {key: by[spec] for key, spec in {id(spec): spec for _, spec in layers}.items()}
    return [(stage, new[id(spec)]) for stage, spec in layers]
