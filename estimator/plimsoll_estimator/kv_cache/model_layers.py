"""Every layer's cache of one model: which kinds it has, how many bytes each needs, on which pipeline stage it lives.

Called by `layout`. Turns the needs that `models.register` has from a config into layer specs with final block sizes.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import NamedTuple

from plimsoll_estimator.errors import InvalidInput
from plimsoll_estimator.kv_cache.drafts import draft_layers
from plimsoll_estimator.kv_cache.hybrid import align_hybrid
from plimsoll_estimator.kv_cache.specs import LayerSpec
from plimsoll_estimator.layers.needs import AttentionNeed, ModelNeeds, Need, StateNeed
from plimsoll_estimator.layers.planner_rules import PlannerRules
from plimsoll_estimator.objects import by_object, for_each
from plimsoll_estimator.resolved import ResolvedArgs
from plimsoll_estimator.shape import Shape, stage_layers


class ModelCache(NamedTuple):
    """Layer specs with their stage, the engine's block size, and what the planner needs besides.

    `kinds`: every (stage, spec) once; `order`: which of them each layer with a cache is, in the order of the model.
    """

    kinds: tuple[tuple[int, LayerSpec], ...]
    order: tuple[int, ...]
    block_size: int
    attention_backend: str
    has_state: bool
    counts_states: bool
    encoder_tokens: int
    packed: bool


def model_cache(shape: Shape, resolved: ResolvedArgs, rules: PlannerRules, needs: ModelNeeds) -> ModelCache:
    """All layers with a cache, of the model's `needs`; drafts live with the language-model head, on the last stage.

    Raises Unsupported, InvalidInput, or EngineRefusal as its parts do.
    """
    backend = needs.backend
    user_block = resolved.given.block_size
    block_size = user_block or backend.block_size
    window_block = backend.block_size if rules.window_keeps_own_block else None
    state_block, state_page = resolved.max_model_len, 0
    if needs.state is not None:
        aligned = align_hybrid(needs, resolved, rules, block_size)
        block_size, state_block, state_page = aligned.block_size, aligned.state_block_size, aligned.state_page_bytes
    drafts = draft_layers(needs, resolved, rules)
    made: dict[int, LayerSpec] = {}
    kept = by_object(drafts)
    for layer in (*needs.kinds, *kept.values()):  # layers that are alike are one object, so that each is priced once
        for need in layer:
            if id(need) not in made:
                windowed = isinstance(need, AttentionNeed) and need.kind == "sliding"
                size = window_block if windowed and window_block and needs.state is None else block_size
                made[id(need)] = _spec(shape, need, size, state_block, state_page)
    last = resolved.pipeline_parallel_size - 1
    kinds, order = _staged(needs, made, last + 1)
    if drafts:
        numbers = {key: [_number(kinds, (last, made[id(need)])) for need in layer] for key, layer in kept.items()}
        order.extend(chain.from_iterable(for_each(drafts, numbers)))
    return ModelCache(
        kinds=tuple(kinds),
        order=tuple(order),
        block_size=block_size,
        attention_backend=backend.name,
        has_state=needs.state is not None,
        counts_states=needs.state is not None and needs.state.counted,
        encoder_tokens=needs.encoder_tokens,
        packed=needs.packed,
    )


def _staged(needs: ModelNeeds, made: Mapping[int, LayerSpec], n_stages: int) -> tuple[list[tuple[int, LayerSpec]], list[int]]:
    """(stage, spec) of every cache that a decoder layer may have, and which of them those of every layer are."""
    kinds: list[tuple[int, LayerSpec]] = []
    order: list[int] = []
    for stage, mine in enumerate(stage_layers(len(needs.order), n_stages)):
        placed = [[_number(kinds, (stage, made[id(need)])) for need in layer] for layer in needs.kinds]
        if len(placed) == 1:
            order += placed[0] * len(mine)
        else:
            order += chain.from_iterable(map(placed.__getitem__, needs.order[mine.start : mine.stop]))
    return kinds, order


def _number(kinds: list[tuple[int, LayerSpec]], kind: tuple[int, LayerSpec]) -> int:
    """Where one more kind stands."""
    kinds.append(kind)
    return len(kinds) - 1


def _spec(shape: Shape, need: Need, block_size: int, state_block: int, state_page: int) -> LayerSpec:
    if isinstance(need, StateNeed):
        spec = LayerSpec(
            kind="state",
            block_size=state_block,
            page_bytes=max(state_page, need.state_bytes),
            state_blocks=need.blocks,
            role=need.role,
            dcp_sharded=False,
        )
    else:
        size = need.block_size or block_size
        spec = LayerSpec(
            kind=need.kind,
            block_size=size,
            page_bytes=need.page_bytes(size),
            window=need.window,
            role=need.role,
            stride_alignment=need.stride_alignment,
            dcp_sharded=need.kind in ("full", "mla"),
        )
    if spec.page_bytes <= 0:
        raise InvalidInput("config", shape.size.model_type, "describes a layer whose cache has no bytes")
    return spec
