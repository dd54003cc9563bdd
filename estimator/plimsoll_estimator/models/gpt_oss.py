"""gpt-oss: biases everywhere, attention sinks, experts.

`models.register` names it. Knows no quantisation. Source: vllm/model_executor/models/gpt_oss.py.
"""

from __future__ import annotations

from dataclasses import replace

from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.decoder import EVERY_PART, DecoderStyle, attention, stack
from plimsoll_estimator.layers.experts import MoeStyle, moe
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.layers.rope import rope
from plimsoll_estimator.models import stacks
from plimsoll_estimator.models.record import Model
from plimsoll_estimator.models.stacks import check_kinds, routed_experts
from plimsoll_estimator.shape import Dimensions, Layer, alternating

_STYLE = DecoderStyle(ties=False, qkv_bias="yes", o_bias="yes", attention="attn", every_stage=EVERY_PART)
_SPARSE = MoeStyle(gate_bias=True, expert_bias=True)


def gpt_oss(rank: Rank) -> None:
    """GptOssForCausalLM: biases everywhere, attention sinks, a float32 rope table."""
    size, layers = rank.shape.size, rank.shape.layers

    def layer(i: int) -> None:
        name = f"layers.{i}"
        attention(rank, name, size, _STYLE)
        rank.tensor(size.heads // rank.tp)
        moe(rank, name, size.hidden_size, _SPARSE, layers[i].experts)
        rank.norm(size.hidden_size, count=2)
        rope(rank, size.head_dim, size.positions, item=4)

    stack(rank, size, _STYLE, layer)


def _layers(text: HfConfig, size: Dimensions) -> tuple[Layer, ...]:
    """A window in every layer of an even number, counted from 0, whatever `layer_types` says (gpt_oss.py: _build_attention)."""
    check_kinds(text)
    full = replace(stacks.attention(size), sinks=True)
    window, count = text.int_or_none("sliding_window"), size.layer_count
    local = replace(full, seen="sliding", window=window) if window else full
    block = routed_experts(text, size.intermediate_size, shared=0)
    return alternating((i % 2 == 0 for i in range(count)), Layer(mixers=(local,), ffn=block), Layer(mixers=(full,), ffn=block))


MODELS = (Model(classes=("GptOssForCausalLM",), model_types=("gpt_oss",), weights=gpt_oss, layers=_layers),)
