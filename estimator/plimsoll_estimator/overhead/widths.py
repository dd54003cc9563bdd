"""The few widths that overheads grow with, asked of a model's shape.

Called by `overhead` only. Refuses to know weights, caches and configs.
"""

from __future__ import annotations

from typing import NamedTuple

from plimsoll_estimator.kept import kept_with_config
from plimsoll_estimator.mixers import Attention, CompressedLatent, DeltaNet, Latent, Mamba1, Mamba2, Mixer, Mlp
from plimsoll_estimator.resolved import ResolvedArgs
from plimsoll_estimator.shape import Shape, TowerBlocks
from plimsoll_estimator.units import round_up

_ROWS_OF_VOCABULARY = 64
_SHARED_HEADS = frozenset({"qwen3", "qwen3_vl", "qwen3_vl_text"})
"""Text models whose class, tied, sets `lm_head = embed_tokens` and names both for adapters (models/qwen3.py, qwen3_vl.py)."""


class Widths(NamedTuple):
    """Dimensions of the language model, whole (not per rank); widths are elements per token.

    `mlp_width`: of the widest dense feed-forward block, of mixtures what stands beside the experts. `attention_width`: queries, keys,
    values and the output of the widest mixer. `expanded_latent_width`: what chunked prefill expands a latent into, all heads.
    `tower`: the vision tower's blocks, where their peak is known. `weight_only_experts`: stored small, multiplied at 16 bits.
    `fp8_blocks`: weights are fp8 with a scale per 128 x 128 block. `columns`, `rows`: (inputs, outputs) of the linears whose outputs, or
    inputs, are divided over ranks. `head_is_embedding`: its class makes the embedding's own module its head.
    """

    layers: int
    hidden_size: int
    vocab_size: int
    mlp_width: int
    query_width: int
    kv_width: int
    attention_width: int
    latent_width: int
    expanded_latent_width: int
    sparse_latent: bool
    experts: int
    experts_per_token: int
    moe_intermediate_size: int
    gated_delta_net: bool
    multimodal: bool
    merges_patches: bool
    deepstack_levels: int
    tower: TowerBlocks | None = None
    weight_only_experts: bool = False
    fp8_blocks: bool = False
    columns: tuple[tuple[int, int], ...] = ()
    rows: tuple[tuple[int, int], ...] = ()
    head_is_embedding: bool = False


def language_alone(shape: Shape, resolved: ResolvedArgs) -> bool:
    """Whether the arguments leave a model nothing but text: every modality that its tower is known to see is limited to no item."""
    if not resolved.text_only:
        return False
    blocks = shape.vision.blocks if shape.vision is not None else None
    return blocks is None or not blocks.sees_video or resolved.admits_none("video")


def widths_of(shape: Shape, *, text_only: bool, weight_only: bool = False, fp8_blocks: bool = False) -> Widths:
    """The widths of a model; `text_only`: it is served without its towers; `weight_only`: it multiplies 16-bit activations."""
    return _widths(shape, text_only, weight_only, fp8_blocks)


@kept_with_config
def _widths(shape: Shape, text_only: bool, weight_only: bool, fp8_blocks: bool) -> Widths:
    size, experts = shape.size, shape.experts
    latents = [mixer for mixer in shape.mixers if isinstance(mixer, Latent)]
    latent = latents[0] if latents else None
    multimodal = shape.multimodal and not text_only
    vision = shape.vision if multimodal else None
    columns, rows = _linears(shape) if fp8_blocks else ((), ())
    return Widths(
        layers=len(shape.layers),
        hidden_size=size.hidden_size,
        vocab_size=round_up(size.vocab_size, _ROWS_OF_VOCABULARY),
        mlp_width=_mlp_width(shape),
        query_width=size.heads * size.head_dim,
        kv_width=size.kv_heads * size.head_dim,
        attention_width=max((_attention_width(mixer) for mixer in shape.mixers), default=0),
        latent_width=latent.kv_lora_rank + latent.qk_rope_head_dim if latent else 0,
        expanded_latent_width=latent.heads * (latent.qk_nope_head_dim + latent.v_head_dim) if latent else 0,
        sparse_latent=any(mixer.index_head_dim > 0 for mixer in latents),
        experts=experts.count if experts else 0,
        experts_per_token=experts.per_token if experts else 0,
        moe_intermediate_size=experts.width if experts else 0,
        gated_delta_net=shape.mixes(DeltaNet),
        multimodal=multimodal,
        merges_patches=vision is not None and vision.merges_patches,
        deepstack_levels=vision.deepstack_levels if vision is not None else 0,
        tower=vision.blocks if vision is not None else None,
        weight_only_experts=weight_only and experts is not None,
        fp8_blocks=fp8_blocks,
        columns=columns,
        rows=rows,
        head_is_embedding=size.tied and size.model_type in _SHARED_HEADS,
    )


def _mlp_width(shape: Shape) -> int:
    dense = [layer.ffn.width for layer in shape.kinds if isinstance(layer.ffn, Mlp)]
    return max(*dense, shape.experts.shared if shape.experts else 0, 0)


def _linears(shape: Shape) -> tuple[tuple[tuple[int, int], ...], tuple[tuple[int, int], ...]]:
    """(inputs, outputs) of the widest kinds of divided linears: columns, then rows. An MLP's gate is merged with what it gates."""
    hidden, mlp = shape.size.hidden_size, _mlp_width(shape)
    columns, rows = ([(hidden, 2 * mlp)], [(mlp, hidden)]) if mlp else ([], [])
    for mixer in shape.mixers:
        if isinstance(mixer, Attention):
            columns.append((hidden, mixer.heads * mixer.head_dim + mixer.kv_heads * (mixer.head_dim + mixer.v_head_dim)))
            rows.append((mixer.heads * mixer.v_head_dim, hidden))
        elif isinstance(mixer, Latent):
            columns += [(mixer.q_lora_rank or hidden, mixer.query_width), (mixer.kv_lora_rank, mixer.expanded_width)]
            rows.append((mixer.heads * mixer.v_head_dim, hidden))
        elif isinstance(mixer, CompressedLatent):
            columns.append((hidden, mixer.heads * mixer.head_dim))
        elif isinstance(mixer, DeltaNet):
            columns.append((hidden, 2 * (mixer.key_heads * mixer.key_dim + mixer.value_heads * mixer.value_dim)))
            rows.append((mixer.value_heads * mixer.value_dim, hidden))
    return tuple(columns), tuple(rows)


def _attention_width(mixer: Mixer) -> int:
    """Elements per token of queries, keys, values and the attention's output, before sharding."""
    if isinstance(mixer, Attention):
        return mixer.heads * (mixer.head_dim + mixer.v_head_dim) + mixer.kv_heads * (mixer.head_dim + mixer.v_head_dim)
    if isinstance(mixer, Latent):
        return mixer.heads * 2 * (mixer.qk_nope_head_dim + mixer.qk_rope_head_dim + mixer.v_head_dim)
    if isinstance(mixer, CompressedLatent):
        return mixer.head_dim * 2 * (mixer.heads + 1)
    if isinstance(mixer, DeltaNet):
        return 2 * mixer.key_heads * mixer.key_dim + 3 * mixer.value_heads * mixer.value_dim
    if isinstance(mixer, Mamba1):
        return 3 * mixer.inner  # both halves of the projection, and the output
    if isinstance(mixer, Mamba2):
        channels = mixer.inner + 2 * mixer.groups * mixer.state
        return 2 * (mixer.inner + channels) + mixer.heads  # gate and channels, the convolved channels, steps, the output
    return 0
