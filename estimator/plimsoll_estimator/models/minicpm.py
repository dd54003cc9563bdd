"""MiniCPM, and MiniCPM 3 with latent projections.

`models.register` names it. Knows no quantisation. Sources: vllm/model_executor/models/{minicpm,minicpm3}.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from plimsoll_estimator.checks import Check
from plimsoll_estimator.errors import Unsupported
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.decoder import EVERY_PART, DecoderStyle, build_decoder, mlp, stack
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.layers.rope import rope
from plimsoll_estimator.models import stacks
from plimsoll_estimator.models.record import Model
from plimsoll_estimator.models.stacks import dense
from plimsoll_estimator.reader import TIES, experts, positive
from plimsoll_estimator.shape import Dimensions, Layer

MINICPM = DecoderStyle(every_stage=EVERY_PART)


def minicpm3(rank: Rank) -> None:
    """MiniCPM3ForCausalLM: latent projections, but ordinary attention on the expanded heads."""
    size = rank.shape.size
    dims, hidden = stacks.latent(rank.text, size), size.hidden_size

    def layer(i: int) -> None:
        parent = f"layers.{i}.self_attn"
        rank.replicated(parent, ("q_a_proj",), hidden, (dims.q_lora_rank,))
        rank.norm(dims.q_lora_rank)
        rank.column(parent, ("q_b_proj",), dims.q_lora_rank, (dims.query_width,))
        rank.replicated(parent, ("kv_a_proj_with_mqa",), hidden, (dims.kv_lora_rank + dims.qk_rope_head_dim,))
        rank.norm(dims.kv_lora_rank)
        rank.column(parent, ("kv_b_proj",), dims.kv_lora_rank, (dims.expanded_width,))
        rank.row(parent, "o_proj", dims.heads * dims.v_head_dim, hidden)
        rank.attention_scales(parent)
        mlp(rank, f"layers.{i}.mlp", hidden, size.intermediate_size, MINICPM)
        rank.norm(hidden, count=2)
        rope(rank, dims.qk_rope_head_dim, size.positions)

    stack(rank, size, MINICPM, layer)


def _without_experts(text: HfConfig, size: Dimensions) -> tuple[Layer, ...]:
    if experts(text):
        raise Unsupported(Check.UNSUPPORTED_ARCHITECTURE, "no rules for a MiniCPM with experts (num_experts)")
    return dense()(text, size)


def _expanded_heads(text: HfConfig) -> Mapping[str, int]:
    """Latent attention computed as ordinary attention: every head keeps a full-width key, and a value padded to it."""
    width = text.int("qk_nope_head_dim") + text.int("qk_rope_head_dim")
    return {"head_dim": width, "num_key_value_heads": positive(text, "num_attention_heads")}


def _tied_unless_told(text: HfConfig) -> Mapping[str, int]:
    """MiniCPMConfig, of the checkpoint's own code, leaves PretrainedConfig's word, which was true."""
    return {TIES: text.bool(TIES, True)}


MODELS = (
    Model(
        classes=("MiniCPMForCausalLM",),
        model_types=("minicpm",),
        weights=partial(build_decoder, style=MINICPM),
        layers=_without_experts,
        overrides=_tied_unless_told,
    ),
    Model(classes=("MiniCPM3ForCausalLM",), model_types=("minicpm3",), weights=minicpm3, layers=dense(), overrides=_expanded_heads),
)
