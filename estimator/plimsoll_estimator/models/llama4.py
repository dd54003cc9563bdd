"""Llama 4, with and without its tower: dense and sparse layers interleaved, chunked attention.

`models.register` names it. Knows no quantisation. Sources: vllm/model_executor/models/{llama4,mllama4}.py.
"""

from __future__ import annotations

from dataclasses import replace

from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.decoder import DecoderStyle, attention, stack
from plimsoll_estimator.layers.experts import MoeStyle, feed_forward
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.layers.rope import rope
from plimsoll_estimator.mixers import Attention, Experts, Mlp
from plimsoll_estimator.models import stacks
from plimsoll_estimator.models.record import Model, seeing
from plimsoll_estimator.models.stacks import check_kinds, routed_experts
from plimsoll_estimator.reader import MAX_LAYERS, MAX_WIDTH, positive
from plimsoll_estimator.shape import Dimensions, Layer
from plimsoll_estimator.towers.compose import behind
from plimsoll_estimator.towers.llama4 import llama4_tower

_STYLE = DecoderStyle(qkv_bias=("attention_bias",), o_bias=("attention_bias",), mlp="feed_forward")
_SPARSE = MoeStyle(parent="feed_forward", shared_name="shared_expert", unsplit_since=EngineVersion(0, 11))


def llama4(rank: Rank) -> None:
    """Llama4ForCausalLM: dense and sparse layers interleaved, a shared expert, one rope table for the layers that rotate."""
    size, layers = rank.shape.size, rank.shape.layers

    def layer(i: int) -> None:
        name = f"layers.{i}"
        attention(rank, name, size, _STYLE)
        feed_forward(rank, name, layers[i].ffn, _STYLE, _SPARSE)
        rank.norm(size.hidden_size, count=2)
        rope(rank, size.head_dim, size.positions)

    stack(rank, size, _STYLE, layer, rank.kind)


def _layers(text: HfConfig, size: Dimensions) -> tuple[Layer, ...]:
    """Chunks in the layers that rotate; experts and a shared one in every `interleave_moe_layer_step`-th layer (0: nowhere).

    vLLM's class reads that step alone, not `moe_layers` (llama4.py: Llama4DecoderLayer).
    """
    check_kinds(text)
    count, step = size.layer_count, text.int("interleave_moe_layer_step", default=1)
    block = routed_experts(text, size.intermediate_size, shared=size.intermediate_size)
    flat = Mlp(width=positive(text, "intermediate_size_mlp", default=size.intermediate_size, limit=MAX_WIDTH))
    ffns: list[Mlp | Experts] = [block if step and (i + 1) % step == 0 else flat for i in range(count)]
    return stacks.attending(_seen(text, size), ffns)


def _seen(text: HfConfig, size: Dimensions) -> list[Attention]:
    """Layers with rotary embeddings attend within chunks; every fourth has none and sees all tokens."""
    full, chunk, count = stacks.attention(size), text.int_or_none("attention_chunk_size"), size.layer_count
    flags = text.list_or_none("no_rope_layers")
    if not flags:
        period = positive(text, "no_rope_layer_interval", default=4, limit=MAX_LAYERS)
        flags = tuple(int((i + 1) % period != 0) for i in range(count))
    local = replace(full, seen="chunked", window=chunk) if chunk else full
    return [local if i < len(flags) and flags[i] else full for i in range(count)]


TEXT = Model(classes=("Llama4ForCausalLM",), model_types=("llama4_text",), weights=llama4, layers=_layers)
MODELS = (TEXT, seeing(TEXT, behind(llama4_tower, quantised=False), classes=("Llama4ForConditionalGeneration",)))
