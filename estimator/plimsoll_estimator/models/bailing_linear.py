"""Ling 2.5 and 2.6, Ring 2.5: lightning attention in groups of layers, latent attention in the last of each, experts behind both.

Knows no quantisation. Sources: vllm/model_executor/models/bailing_moe_linear.py (0.17.0 to 0.33.0) and
vllm/model_executor/layers/mamba/linear/bailing_linear_attn.py (0.32.0); BailingMoeV2_5Config, which checkpoints bring along.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from plimsoll_estimator.checks import Check
from plimsoll_estimator.errors import EngineRefusal, Unsupported
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.decoder import DecoderStyle, stack
from plimsoll_estimator.layers.experts import MoeStyle, feed_forward
from plimsoll_estimator.layers.latent import latent_attention
from plimsoll_estimator.layers.rank import FLOAT32, Rank, divide
from plimsoll_estimator.layers.rope import rope, rope_parameters
from plimsoll_estimator.mixers import Latent, Lightning
from plimsoll_estimator.models import stacks
from plimsoll_estimator.models.record import Model
from plimsoll_estimator.models.stacks import hybrid, routed_experts, sparse_from
from plimsoll_estimator.reader import MAX_WIDTH, positive
from plimsoll_estimator.shape import Dimensions, Layer

_STYLE: Final = DecoderStyle(ties=False, mlp_bias=("use_bias",))
_NORM_GROUPS: Final = 4
_HEAD_DIM: Final = 128
_ROTATED: Final = 0.5
"""What BailingMoeV2_5Config fills in: groups of the norm behind lightning attention, a head's width, the share of it that rotates."""


def bailing_moe_linear(rank: Rank) -> None:
    """BailingMoeV25ForCausalLM: routers of a dtype of their own; tables of rotation in float32 before 0.20.1."""
    text, size, layers = rank.text, rank.shape.size, rank.shape.layers
    sparse = MoeStyle(
        gate_item=FLOAT32 if text.str_or_none("router_dtype") in ("fp32", None) else 2,
        correction=text.bool("moe_router_enable_expert_bias", True),
        dense_style=_STYLE,
    )

    def layer(i: int) -> None:
        name, made = f"layers.{i}", layers[i]
        if made.mixes(Lightning):
            _lightning(rank, f"{name}.self_attn", made.mixer(Lightning))
        else:
            latent_attention(rank, f"{name}.self_attn", made.mixer(Latent), size.hidden_size)
            _latent_rope(rank, made.mixer(Latent))
        feed_forward(rank, name, made.ffn, _STYLE, sparse)
        rank.norm(size.hidden_size, count=2)

    stack(rank, size, _STYLE, layer, rank.kind)


def _lightning(rank: Rank, parent: str, mixer: Lightning) -> None:
    """BailingMoELinearAttention: as many key heads as query heads, a gate, and norms over groups of heads, which ranks divide."""
    text, hidden, inner = rank.text, rank.shape.size.hidden_size, mixer.heads * mixer.head_dim
    groups = positive(text, "group_norm_size", default=_NORM_GROUPS, limit=MAX_WIDTH)
    if groups % rank.tp:
        raise EngineRefusal(Check.NOT_DIVISIBLE, f"group_norm_size ({groups}) must be divisible by the tensor parallel size ({rank.tp})")
    biased = text.bool("use_bias")
    rank.qkv(
        parent, hidden, mixer.heads, mixer.heads, mixer.head_dim, bias=biased or text.bool("use_qkv_bias"), names=("query_key_value",) * 3
    )
    if text.bool("use_qk_norm"):
        rank.norm(mixer.head_dim, count=2)
    rank.column(parent, ("g_proj",), hidden, (inner,))
    rank.row(parent, "dense", inner, hidden, bias=biased)
    rank.norm(divide(inner, rank.tp))
    rope(rank, mixer.head_dim, rank.shape.size.positions, partial=_ROTATED, item=_table_item(rank))


def _latent_rope(rank: Rank, mixer: Latent) -> None:
    """The part of heads that rotates does so whole; before 0.20.1 the share of the lightning layers was taken of it too."""
    values, whole = dict(rope_parameters(rank.text)), rank.version.since(0, 20, 1)
    if whole:
        values.pop("partial_rotary_factor", None)
    rope(
        rank, mixer.qk_rope_head_dim, rank.shape.size.positions,
        parameters=values, partial=1.0 if whole else _ROTATED, item=_table_item(rank),
    )  # fmt: skip


def _table_item(rank: Rank) -> int | None:
    return None if rank.version.since(0, 20, 1) else FLOAT32


def _layers(text: HfConfig, size: Dimensions) -> tuple[Layer, ...]:
    """Latent attention in every `layer_group_size`-th layer, lightning attention before it; experts after the dense layers.

    Without lightning attention the planner still takes the class for a hybrid, which has no rule here.
    """
    group, count = text.int("layer_group_size"), size.layer_count
    attends = [group < 1 or (i + 1) % group == 0 for i in range(count)]
    if all(attends):
        raise Unsupported(Check.KV_CACHE_FAMILY, "no KV-cache rule for BailingMoeV2_5ForCausalLM without lightning attention")
    width = positive(text, "moe_intermediate_size", limit=MAX_WIDTH)
    beside = text.int_or_none("moe_shared_expert_intermediate_size") or width
    block = routed_experts(text, width, shared=beside * text.int("num_shared_experts"))
    first = text.int("first_k_dense_replace", default=0) if block.count > 1 else count
    state = Lightning(heads=size.heads, head_dim=size.head_dim)
    return stacks.stack(hybrid(attends, stacks.cached_latent(text, size), state), sparse_from(size, block, first=first))


def _head_width(text: HfConfig) -> Mapping[str, int]:
    return {} if "head_dim" in text else {"head_dim": _HEAD_DIM}


MODELS = (
    Model(
        classes=("BailingMoeV2_5ForCausalLM",),
        model_types=("bailing_hybrid",),
        weights=bailing_moe_linear,
        layers=_layers,
        drafter="BailingMoeV25MTPModel",
        overrides=_head_width,
    ),
)
