"""OLMo 1 to 3, OLMoE, Flex-OLMo and OLMo Hybrid.

`models.register` names it. Knows no quantisation. Sources: vllm/model_executor/models/{olmo,olmo2,olmoe,olmo_hybrid}.py (0.17.1 to 0.33.0).
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Final

from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.decoder import (
    EVERY_PART,
    DecoderStyle,
    attention,
    build_decoder,
    everywhere,
    mlp,
    on_transformers,
    rope_tables_by_window,
    stack,
)
from plimsoll_estimator.layers.experts import MoeStyle, build_moe
from plimsoll_estimator.layers.rank import Rank, divide
from plimsoll_estimator.layers.rope import rope
from plimsoll_estimator.mixers import DeltaNet, Mlp
from plimsoll_estimator.models import stacks
from plimsoll_estimator.models.record import Model
from plimsoll_estimator.models.stacks import ATTENDS, by_name, dense, hybrid, mixture
from plimsoll_estimator.reader import MAX_WIDTH, positive
from plimsoll_estimator.shape import Dimensions, Layer

_PERIOD: Final = 4
OLMO = DecoderStyle(
    norms=0, qkv_bias=("attention_bias",), o_bias=("attention_bias",), transformers_since=EngineVersion(0, 26),
    every_stage=EVERY_PART,
)  # fmt: skip
OLMO2 = replace(OLMO, norms=2, qk_norm="full")
OLMO3 = replace(OLMO2, transformers_since=EngineVersion(0, 29))


def olmoe(rank: Rank) -> None:
    """OlmoeForCausalLM: norms over all query and key channels."""
    style = DecoderStyle(ties=False, qk_norm="full", qkv_bias=("attention_bias",))
    build_moe(rank, everywhere(style), MoeStyle())


def flex_olmo(rank: Rank) -> None:
    """FlexOlmoForCausalLM: OLMo 2's blocks with experts; through the Transformers backend since 0.29."""
    style = replace(OLMO2, transformers_since=EngineVersion(0, 29))
    if not on_transformers(rank, style):
        style = everywhere(style)
    build_moe(rank, style, MoeStyle())


def olmo_hybrid(rank: Rank) -> None:
    """OlmoHybridForCausalLM: Gated DeltaNet with plain gates, OLMo's attention with norms behind the blocks."""
    text, size = rank.text, rank.shape.size
    style = everywhere(DecoderStyle(qk_norm="full", qkv_bias=("attention_bias",), o_bias=("attention_bias",)))
    rotates = text.raw("rope_parameters") is not None or text.raw("rope_theta") is not None

    def layer(i: int) -> None:
        name, made = f"layers.{i}", rank.shape.layers[i]
        if made.attends:
            attention(rank, name, size, style)
            if rotates:
                rope(rank, size.head_dim, size.positions)
        else:
            _plain_delta_net(rank, f"{name}.linear_attn", size.hidden_size, made.mixer(DeltaNet))
        mlp(rank, f"{name}.mlp", size.hidden_size, size.intermediate_size, style)
        rank.norm(size.hidden_size, count=2)

    stack(rank, size, style, layer, rank.kind)


def _plain_delta_net(rank: Rank, parent: str, hidden: int, mixer: DeltaNet) -> None:
    """Six projections, decay and bias a head, one convolution over all channels."""
    key, value = mixer.key_heads * mixer.key_dim, mixer.value_heads * mixer.value_dim
    rank.tensor(2 * divide(mixer.value_heads, rank.tp))
    rank.column(parent, ("q_proj", "k_proj", "v_proj", "g_proj"), hidden, (key, key, value, value))
    rank.column(parent, ("b_proj",), hidden, (mixer.value_heads,))
    rank.column(parent, ("a_proj",), hidden, (mixer.value_heads,))
    rank.tensor(divide(2 * key + value, rank.tp) * mixer.kernel)
    rank.norm(mixer.value_dim)
    rank.row(parent, "o_proj", value, hidden)


def _hybrid(text: HfConfig, size: Dimensions) -> tuple[Layer, ...]:
    """Attention where `layer_types` says so; OlmoHybridConfig fills in every fourth layer, or else the last."""
    count = size.layer_count
    last = {count - 1} if count < _PERIOD else set()
    attends = by_name(text, count, ATTENDS, "layer_types") or [(i + 1) % _PERIOD == 0 or i in last for i in range(count)]
    heads = positive(text, "linear_num_key_heads", default=size.heads, limit=MAX_WIDTH)
    state = stacks.delta_net(text, heads=size.heads, key_dim=3 * size.hidden_size // (4 * heads), checkpoints=False)
    return stacks.stack(hybrid(attends, stacks.attention(size), state), [Mlp(width=size.intermediate_size)] * count)


MODELS = (
    Model(classes=("OlmoForCausalLM",), model_types=("olmo",), weights=partial(build_decoder, style=OLMO), layers=dense()),
    Model(classes=("Olmo2ForCausalLM",), model_types=("olmo2",), weights=partial(build_decoder, style=OLMO2), layers=dense()),
    Model(
        classes=("Olmo3ForCausalLM",),
        model_types=("olmo3",),
        weights=partial(build_decoder, style=OLMO3, rotary=rope_tables_by_window),
        layers=dense(every=4),
    ),
    Model(classes=("OlmoeForCausalLM",), model_types=("olmoe",), weights=olmoe, layers=mixture),
    Model(classes=("FlexOlmoForCausalLM",), model_types=("flex_olmo",), weights=flex_olmo, layers=mixture),
    Model(classes=("OlmoHybridForCausalLM",), model_types=("olmo_hybrid",), weights=olmo_hybrid, layers=_hybrid),
)
