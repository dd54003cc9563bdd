"""Groups of models whose blocks hold pages of different sizes side by side (DeepSeek-V4), as vLLM packs them since 0.33.

Called by `grouping`. Buckets of one type repeat a pattern of pages; all groups cover about the same number of repeats, so that little
of a block is left empty (vLLM: _get_packed_kv_cache_groups).
"""

from __future__ import annotations

from plimsoll_estimator.kv_cache.groups import KvGroup, LayerList, distinct_specs, make_group
from plimsoll_estimator.kv_cache.specs import LayerSpec
from plimsoll_estimator.units import ceil_div

Layer = tuple[int, LayerSpec]


class _Bucket:
    """Layers of one type, sorted by page size in order of appearance."""

    __slots__ = ("layers", "pages", "specs")

    def __init__(self) -> None:
        self.layers: list[Layer] = []
        self.pages: dict[int, list[Layer]] = {}
        self.specs: dict[int, LayerSpec] = {}

    def takes(self, spec: LayerSpec) -> bool:
        return all(spec.same_type(own) for own in self.specs.values())

    def add(self, layer: Layer) -> None:
        self.layers.append(layer)
        self.pages.setdefault(layer[1].page_bytes, []).append(layer)
        self.specs.setdefault(id(layer[1]), layer[1])

    @property
    def repeats(self) -> int:
        return max(map(len, self.pages.values()))

    @property
    def balanced(self) -> bool:
        return len(set(map(len, self.pages.values()))) == 1

    def widest(self, n_groups: int) -> int:
        return sum(ceil_div(len(members), n_groups) * page for page, members in self.pages.items())


def packed_groups(layers: LayerList, n_stages: int) -> tuple[KvGroup, ...]:
    """Groups whose pages lie side by side in one block; the widest group sets the block's bytes."""
    buckets = _buckets(layers)
    floor = max((b.repeats for b in buckets if b.balanced and len(b.pages) > 1), default=0)
    chunk = _least_padding([b.repeats for b in buckets if b.balanced], floor) if floor else 0
    counts = [ceil_div(b.repeats, chunk) if b.balanced and chunk else 1 for b in buckets]
    small = [_holds_little(b, splits=not chunk) for b in buckets]
    anchor = max(b.widest(len(b.layers) if is_small else n) for b, n, is_small in zip(buckets, counts, small, strict=True))
    groups: list[KvGroup] = []
    for bucket, planned, is_small in zip(buckets, counts, small, strict=True):
        n = planned
        if is_small:
            fitting = max(anchor // bucket.layers[0][1].page_bytes, 1)
            n = max(n, ceil_div(len(bucket.layers), fitting))
        groups += _split(bucket, n, n_stages)
    return tuple(groups)


def _buckets(layers: LayerList) -> list[_Bucket]:
    buckets: list[_Bucket] = []
    homes: dict[int, _Bucket] = {}
    for layer in layers:
        home = homes.get(id(layer[1])) or next((bucket for bucket in buckets if bucket.takes(layer[1])), None)
        if home is None:
            home = _Bucket()
            buckets.append(home)
        homes[id(layer[1])] = home
        home.add(layer)
    return buckets


def _holds_little(bucket: _Bucket, *, splits: bool) -> bool:
    """Recurrent states and rings never widen a block, nor do windows where nothing else fixes the pattern."""
    kind = bucket.layers[0][1].kind
    return kind in ("state", "ring") or (splits and kind in ("sliding", "sliding_mla"))


def _least_padding(counts: list[int], floor: int) -> int:
    """The chunk from `floor` up to the largest count that leaves the fewest places empty; the larger of equals."""
    candidates = range(floor, max(counts) + 1)
    return min(candidates, key=lambda chunk: (sum(-count % chunk for count in counts), -chunk))


def _split(bucket: _Bucket, n_groups: int, n_stages: int) -> list[KvGroup]:
    """The bucket whole, or its repeats dealt out one by one so that every pipeline stage gets its share."""
    if n_groups == 1:
        return [_made(bucket.layers, n_stages)]
    patterns = list(zip(*bucket.pages.values(), strict=False))
    return [_made([layer for pattern in patterns[i::n_groups] for layer in pattern], n_stages) for i in range(n_groups)]


def _made(layers: list[Layer], n_stages: int) -> KvGroup:
    return make_group(layers, distinct_specs(layers), n_stages)
