"""Layers into groups that share a block table, as vLLM's get_kv_cache_groups does (0.33.0: v1/core/kv_cache_planning.py).

Called by `layout`. Knows layer specs and pipeline stages, no model and no memory size.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from plimsoll_estimator.checks import Check
from plimsoll_estimator.errors import EngineRefusal, Unsupported
from plimsoll_estimator.kv_cache.groups import KvGroup, LayerList, group_of, make_group
from plimsoll_estimator.kv_cache.packing import packed_groups
from plimsoll_estimator.kv_cache.specs import LayerSpec
from plimsoll_estimator.layers.planner_rules import PlannerRules
from plimsoll_estimator.units import ceil_div


def group_layers(
    different: LayerList, order: Sequence[int], n_stages: int, rules: PlannerRules, *, packed: bool = False, hybrid: bool = True
) -> tuple[KvGroup, ...]:
    """The groups of the whole model, projected on each stage. Empty for a model without a cache.

    `order`: which of the `different` kinds each layer with a cache is.
    `packed`: the model's backends lay blocks out side by side, so pages of one block need not be equal. `hybrid`: the hybrid KV cache
    manager is on; without it all layers are planned as full attention, and EngineRefusal is raised where they cannot be.
    """
    if not order:
        return ()
    distinct = list(dict.fromkeys([spec for _, spec in different]))
    if not hybrid or not rules.hybrid_groups or (not rules.chunked_groups and any(spec.kind == "chunked" for spec in distinct)):
        promoted = _promote(distinct)
        different = _exchanged(different, promoted)
        distinct = list(dict.fromkeys(promoted.values()))
    first = distinct[0]
    if len(distinct) == 1:
        stages = (0,) * len(order) if n_stages == 1 else [different[number][0] for number in order]
        return (group_of(first, stages, n_stages),)
    if all(first.same_type(spec) for spec in distinct[1:]):
        return (make_group(_each(different, order), distinct, n_stages),)
    if not hybrid:
        raise _not_one_kind(distinct)
    if packed:
        return packed_groups(_each(different, order), n_stages)
    unified = _unify_pages(distinct, rules)
    if unified is None:
        promoted = _promote(distinct)
        return (make_group(_each(_exchanged(different, promoted), order), list(dict.fromkeys(promoted.values())), n_stages),)
    return _equal_groups(_exchanged(different, unified), order, n_stages, rules)


def _not_one_kind(distinct: Sequence[LayerSpec]) -> EngineRefusal | Unsupported:
    """vLLM: unify_hybrid_kv_cache_specs. How it makes one kind of latent windows was not read."""
    if any(spec.kind in ("sliding_mla", "ring") for spec in distinct):
        return Unsupported(Check.KV_CACHE_FAMILY, "no rule for latent windows without the hybrid KV cache manager")
    return EngineRefusal(
        Check.KV_CACHES_DIFFER,
        "the hybrid KV cache manager is disabled, and the caches of this model's layers cannot be brought to one kind without it",
    )


def _each(different: LayerList, order: Iterable[int]) -> LayerList:
    """(stage, spec) of every layer."""
    return tuple(map(different.__getitem__, order))


def _exchanged(different: LayerList, by: Mapping[LayerSpec, LayerSpec]) -> LayerList:
    """The kinds with each spec replaced."""
    return tuple([(stage, by[spec]) for stage, spec in different])


def _unify_pages(distinct: Sequence[LayerSpec], rules: PlannerRules) -> dict[LayerSpec, LayerSpec] | None:
    """Every spec with one page size, or None where vLLM falls back to planning windows as full attention."""
    largest = max(spec.page_bytes for spec in distinct)
    out: dict[LayerSpec, LayerSpec] = {}
    for spec in distinct:
        if spec.page_bytes == largest:
            out[spec] = spec
        elif spec.kind == "state":
            out[spec] = spec.padded_to(largest)
        elif largest % spec.page_bytes == 0 and rules.unifies_page_sizes:
            out[spec] = spec.scaled_to(largest)
        elif spec.kind in ("full", "sliding", "chunked", "cross") and rules.pads_attention_pages:
            out[spec] = spec.padded_to(largest)
        elif rules.pads_attention_pages and {s.kind for s in distinct} <= {"mla", "full", "sliding"}:
            return None
        else:
            raise EngineRefusal(
                Check.KV_PAGE_SIZES_DIFFER,
                f"vLLM cannot unify the page sizes of this model's layers ({spec.page_bytes} and {largest} bytes per block)",
            )
    return out


def _promote(distinct: Sequence[LayerSpec]) -> dict[LayerSpec, LayerSpec]:
    """Windows planned as full attention (vLLM: unify_hybrid_kv_cache_specs), where both are present."""
    if not any(spec.is_full for spec in distinct):
        return {spec: spec for spec in distinct}
    block_size = next(spec.block_size for spec in distinct if spec.is_full)
    out: dict[LayerSpec, LayerSpec] = {}
    for spec in distinct:
        if spec.kind in ("sliding", "chunked"):
            out[spec] = LayerSpec(
                kind="full", block_size=block_size, page_bytes=spec.page_bytes // spec.block_size * block_size, role=spec.role
            )
        else:
            out[spec] = spec
    return out


def _equal_groups(different: LayerList, order: Iterable[int], n_stages: int, rules: PlannerRules) -> tuple[KvGroup, ...]:
    """Groups of equal layer counts (vLLM: _get_kv_cache_groups_uniform_page_size). `order`: which of the `different` each layer is.

    The smallest kind sets the size, unless the largest is only a little bigger: then the largest does, and padding
    layers fill up. Group i of G takes layers i, i+G, ... so that every pipeline stage gets its share.
    """
    buckets: dict[LayerSpec, list[int]] = {}  # the stage of each layer
    homes = [(buckets.setdefault(spec, []), stage) for stage, spec in different]
    for number in order:
        home, stage = homes[number]
        home.append(stage)
    fewest = min(map(len, buckets.values()))
    most = max(map(len, buckets.values()))
    size = most if most < fewest * rules.group_growth else fewest
    groups: list[KvGroup] = []
    for spec, members in buckets.items():
        n_groups = ceil_div(len(members), size)
        groups += [group_of(spec, members[i::n_groups], n_stages) for i in range(n_groups)]
    return tuple(groups)
