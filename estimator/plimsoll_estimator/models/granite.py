"""Granite: dense, with experts, with windows and sinks, and the hybrids with Mamba 2.

`models.register` names it. Knows no quantisation.
Sources: vllm/model_executor/models/{granite,granitemoe,granitemoeshared,granitemoehybrid}.py.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Final

from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.decoder import DecoderStyle, attention, build_decoder, everywhere, mlp, rope_table, stack
from plimsoll_estimator.layers.experts import BLOCK_SPARSE, build_moe, moe
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.layers.rope import rope
from plimsoll_estimator.layers.state import mamba2
from plimsoll_estimator.mixers import Attention, Experts, Mamba2, Mlp
from plimsoll_estimator.models import stacks
from plimsoll_estimator.models.record import Model
from plimsoll_estimator.models.stacks import ATTENDS, by_name, dense, hybrid, mixture, routed_experts
from plimsoll_estimator.shape import Dimensions, Layer

GRANITE = DecoderStyle(qkv_bias=("attention_bias",), o_bias=("attention_bias",), mlp_bias=("mlp_bias",))
_SPARSE: Final = everywhere(replace(GRANITE, mlp_bias="no"))
_SHARED: Final = everywhere(replace(GRANITE, mlp_bias="no", mlp_names=("input_linear",), down_name="output_linear"))
_PERIOD: Final = 4


def granite_swa(rank: Rank) -> None:
    """GraniteSWAForCausalLM: Granite with attention sinks."""
    size, style = rank.shape.size, GRANITE

    def layer(i: int) -> None:
        name = f"layers.{i}"
        _attention_with_sinks(rank, i, style)
        mlp(rank, f"{name}.mlp", size.hidden_size, size.intermediate_size, style)
        rank.norm(size.hidden_size, count=2)
        rope_table(rank, size, style)

    stack(rank, size, style, layer, rank.kind)


def granite_moe_swa(rank: Rank) -> None:
    """GraniteMoeSWAForCausalLM: Granite's experts with attention sinks and perhaps a shared MLP."""
    size, style = rank.shape.size, _SPARSE

    def layer(i: int) -> None:
        _attention_with_sinks(rank, i, style)
        _experts_and_shared(rank, i, style)
        rank.norm(size.hidden_size, count=2)
        rope_table(rank, size, style)

    stack(rank, size, style, layer, rank.kind)


def _attention_with_sinks(rank: Rank, i: int, style: DecoderStyle) -> None:
    size = rank.shape.size
    attention(rank, f"layers.{i}", size, style)
    if rank.shape.layers[i].mixer(Attention).sinks:
        rank.tensor(size.heads // rank.tp)


def _experts_and_shared(rank: Rank, i: int, style: DecoderStyle) -> None:
    """Experts where there are any, and beside or without them a shared MLP."""
    hidden, ffn = rank.shape.size.hidden_size, rank.shape.layers[i].ffn
    if isinstance(ffn, Experts):
        moe(rank, f"layers.{i}", hidden, BLOCK_SPARSE, replace(ffn, shared=0))
    shared = ffn.shared if isinstance(ffn, Experts) else ffn.width if ffn is not None else 0
    if shared:
        mlp(rank, f"layers.{i}.shared_mlp", hidden, shared, style)


def granite_hybrid(rank: Rank, rotates: bool) -> None:
    """GraniteMoeHybridForCausalLM: Mamba 2 or attention, a shared MLP, perhaps experts. GraniteMoeSharedForCausalLM: attention alone."""
    text, size = rank.text, rank.shape.size
    bias, conv_bias = text.bool("mamba_proj_bias"), text.bool("mamba_conv_bias", True)
    rotates = rotates or text.str_or_none("position_embedding_type") == "rope"

    def layer(i: int) -> None:
        name, made = f"layers.{i}", rank.shape.layers[i]
        if made.attends:
            attention(rank, name, size, _SHARED)
            if rotates:
                rope(rank, size.head_dim, size.positions)
        else:
            mamba2(rank, f"{name}.mamba", size.hidden_size, made.mixer(Mamba2), bias=bias, conv_bias=conv_bias)
        _experts_and_shared(rank, i, _SHARED)
        rank.norm(size.hidden_size, count=2)

    stack(rank, size, _SHARED, layer, rank.kind)


def _beside(text: HfConfig, size: Dimensions) -> Mlp | Experts | None:
    """Experts with the shared MLP beside them, the shared MLP alone, or nothing."""
    shared = text.int_or_none("shared_intermediate_size") or 0
    block = routed_experts(text, size.intermediate_size, shared=shared)
    if block.count:
        return block
    return Mlp(width=shared) if shared else None


def _windowed(text: HfConfig, size: Dimensions) -> list[Attention]:
    """GraniteSWAConfig: every fourth layer from the first on is full, the others have a window; all have sinks."""
    count, window = size.layer_count, text.int_or_none("sliding_window")
    full = replace(stacks.attention(size), sinks=text.bool("attention_sinks", True))
    local = replace(full, seen="sliding", window=window) if window else full
    names = {"full_attention": full, "sliding_attention": local}
    return by_name(text, count, names, "layer_types") or [local if i % _PERIOD else full for i in range(count)]


def _swa(text: HfConfig, size: Dimensions) -> tuple[Layer, ...]:
    seen = _windowed(text, size)
    return stacks.attending(seen, [Mlp(width=size.intermediate_size)] * len(seen))


def _moe_swa(text: HfConfig, size: Dimensions) -> tuple[Layer, ...]:
    seen = _windowed(text, size)
    return stacks.attending(seen, [_beside(text, size)] * len(seen))


def _shared(text: HfConfig, size: Dimensions) -> tuple[Layer, ...]:
    seen = stacks.windowed(text, size, stacks.attention(size))
    return stacks.attending(seen, [_beside(text, size)] * len(seen))


def _hybrid(text: HfConfig, size: Dimensions) -> tuple[Layer, ...]:
    """GraniteMoeHybridConfig: without a list of layers all are Mamba 2."""
    count = size.layer_count
    attends = by_name(text, count, ATTENDS, "layer_types", "layers_block_type") or [False] * count
    return stacks.stack(hybrid(attends, stacks.attention(size), stacks.mamba2(text, size)), [_beside(text, size)] * count)


MODELS = (
    Model(
        classes=("GraniteForCausalLM",), model_types=("granite",), weights=partial(build_decoder, style=GRANITE), layers=dense()
    ),
    Model(
        classes=("GraniteMoeForCausalLM",), model_types=("granitemoe",),
        weights=partial(build_moe, style=_SPARSE, sparse=BLOCK_SPARSE), layers=mixture,
    ),
    Model(classes=("GraniteSWAForCausalLM",), model_types=("granite_swa",), weights=granite_swa, layers=_swa),
    Model(classes=("GraniteMoeSWAForCausalLM",), model_types=("granitemoe_swa",), weights=granite_moe_swa, layers=_moe_swa),
    Model(
        classes=("GraniteMoeSharedForCausalLM",), model_types=("granitemoeshared",),
        weights=partial(granite_hybrid, rotates=True), layers=_shared,
    ),
    Model(
        classes=("GraniteMoeHybridForCausalLM",), model_types=("granitemoehybrid",),
        weights=partial(granite_hybrid, rotates=False), layers=_hybrid,
    ),
)  # fmt: skip
