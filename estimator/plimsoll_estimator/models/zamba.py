"""Zamba 2: Mamba 2 everywhere, a few attention blocks that take turns.

`models.register` names it. Knows no quantisation. Source: vllm/model_executor/models/zamba2.py (0.17.1 to 0.33.0).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from plimsoll_estimator.checks import Check
from plimsoll_estimator.errors import InvalidInput, Unsupported
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.decoder import DecoderStyle, mlp, stack
from plimsoll_estimator.layers.rank import Rank, divide
from plimsoll_estimator.layers.rope import rope
from plimsoll_estimator.layers.state import mamba2
from plimsoll_estimator.mixers import Mamba2, Mixer, Mlp
from plimsoll_estimator.models import stacks
from plimsoll_estimator.models.record import Model
from plimsoll_estimator.models.stacks import by_name
from plimsoll_estimator.reader import MAX_WIDTH, positive
from plimsoll_estimator.shape import Dimensions, Layer

MOST_BLOCKS: Final = 64
LONG_CONTEXT: Final = 16384
_STYLE: Final = DecoderStyle(every_stage=("embedding", "norm"))
_HYBRID: Final = {"hybrid": True, "mamba": False, "mamba2": False, "linear_attention": False}
_LAYERS: Final = (False, *((False,) * 5 + (True,)) * 7, *(False,) * 4, True, *(False,) * 3, True, False, False)
"""Zamba2Config's own layers: which are hybrid."""


def zamba2(rank: Rank) -> None:
    """Zamba2ForCausalLM: Mamba 2 everywhere; a few attention blocks take turns in front of "hybrid" layers, with adapters of their own."""
    text, size = rank.text, rank.shape.size
    if rank.resolved.pipeline_parallel_size > 1:
        raise Unsupported(Check.UNSUPPORTED_LAYOUT, "no rules for Zamba 2 on more than one pipeline stage")
    hybrid = [i for i, layer in enumerate(rank.shape.layers) if layer.attends]
    bias, conv_bias = text.bool("add_bias_linear"), text.bool("use_conv_bias", True)

    def layer(i: int) -> None:
        made = rank.shape.layers[i]
        mamba2(rank, f"layers.{i}.mamba", size.hidden_size, made.mixer(Mamba2), bias=bias, conv_bias=conv_bias)
        rank.norm(size.hidden_size)
        if made.attends:
            rank.tensor(size.hidden_size * size.hidden_size)
            _adapters(rank)

    stack(rank, size, _STYLE, layer, rank.kind)
    width = text.int("attention_hidden_size", default=2 * size.hidden_size)
    for block in range(min(positive(text, "num_mem_blocks", default=1, limit=MOST_BLOCKS), len(hybrid))):
        name = f"layers.{hybrid[block]}.shared_transformer"
        rank.qkv(f"{name}.self_attn", width, size.heads, size.kv_heads, size.head_dim)
        rank.row(f"{name}.self_attn", "o_proj", width, size.hidden_size)
        mlp(rank, f"{name}.feed_forward", size.hidden_size, size.intermediate_size, _STYLE)
        rank.norm(width + size.hidden_size)
    for _ in hybrid:
        rank.attention_scales("self_attn")
    if text.bool("use_mem_rope"):
        rope(rank, size.head_dim, LONG_CONTEXT if text.bool("use_long_context") else size.positions)


def _adapters(rank: Rank) -> None:
    """An adapter belongs to every attention block it may meet, and each meets the layers of its turn."""
    text, size = rank.text, rank.shape.size
    width, middle = text.int("attention_hidden_size", default=2 * size.hidden_size), text.int("adapter_rank", default=128)
    if text.bool("use_shared_mlp_adapter", True):
        rank.tensor(divide(middle, rank.tp) * size.hidden_size)
        rank.column("feed_forward", ("adapter",), middle, (size.intermediate_size, size.intermediate_size))
    if text.bool("use_shared_attention_adapter"):
        for _ in range(3):
            rank.tensor(divide(middle, rank.tp) * width)
            rank.column("self_attn", ("adapter",), middle, (width,))


def _overrides(text: HfConfig) -> Mapping[str, int]:
    """Zamba2Config: heads twice as wide, each with a key and a value of its own."""
    hidden, heads = positive(text, "hidden_size", limit=MAX_WIDTH), positive(text, "num_attention_heads", limit=MAX_WIDTH)
    return {
        "num_key_value_heads": heads,
        "head_dim": text.int("attention_head_dim", default=2 * hidden // heads),
    }


def _layers(text: HfConfig, size: Dimensions) -> tuple[Layer, ...]:
    """Every layer has a Mamba 2 mixer; "hybrid" layers put a shared attention block in front of it.

    `layers_block_type` or, without it, the class's own list says which, whatever `hybrid_layer_ids` says. Both must be of equal length.
    """
    listed = text.list_or_none("layers_block_type")
    count = len(_LAYERS if listed is None else listed)
    if count != size.layer_count:
        raise InvalidInput(f"{text.path}.num_hidden_layers", size.layer_count, f"must be the number of layers listed, {count}")
    inner = positive(text, "mamba_expand", default=2, limit=MAX_WIDTH) * size.hidden_size
    heads = positive(text, "n_mamba_heads", default=8, limit=MAX_WIDTH)
    state = Mamba2(
        inner=inner,
        heads=heads,
        head_dim=stacks.even_heads(text, "n_mamba_heads", inner, heads),
        groups=positive(text, "mamba_ngroups", default=1, limit=MAX_WIDTH),
        state=positive(text, "mamba_d_state", default=64, limit=MAX_WIDTH),
        kernel=positive(text, "mamba_d_conv", default=4, limit=MAX_WIDTH),
    )
    both: tuple[Mixer, ...] = (state, stacks.attention(size))
    hybrid = by_name(text, count, _HYBRID, "layers_block_type") or _LAYERS
    plain = Mlp(width=size.intermediate_size)
    return stacks.stack([both if flag else (state,) for flag in hybrid], [plain if flag else None for flag in hybrid])


MODELS = (Model(classes=("Zamba2ForCausalLM",), model_types=("zamba2",), weights=zamba2, layers=_layers, overrides=_overrides),)
