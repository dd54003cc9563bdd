"""OLMo 1 to 3, OLMoE, Flex-OLMo and OLMo Hybrid.

`models.register` names it. Knows no quantisation. Sources: vllm/model_executor/models/{olmo,olmo2,olmoe,olmo_hybrid}.py (0.17.1 to 0.33.0).
"""

from __future__ import annotations

from dataclasses import replace

from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.layers.decoder import DecoderStyle, attention, everywhere, mlp, on_transformers, sizes, stack
from plimsoll_estimator.layers.experts import MoeStyle, build_moe
from plimsoll_estimator.layers.rank import Rank, divide
from plimsoll_estimator.layers.rope import rope

OLMO = DecoderStyle(
    norms=0, qkv_bias=("attention_bias",), o_bias=("attention_bias",), transformers_since=EngineVersion(0, 26),
    embedding_always=True, head_always=True,
)  # fmt: skip
OLMO2 = replace(OLMO, norms=2, qk_norm="full", norm_always=True)
OLMO3 = replace(OLMO2, sliding_rope=True, transformers_since=EngineVersion(0, 29))


def olmoe(rank: Rank) -> None:
    """OlmoeForCausalLM: norms over all query and key channels."""
    style = DecoderStyle(ties=False, qk_norm="full", qkv_bias=("attention_bias",))
    build_moe(rank, everywhere(style), MoeStyle(intermediate=("intermediate_size",)))


def flex_olmo(rank: Rank) -> None:
    """FlexOlmoForCausalLM: OLMo 2's blocks with experts; through the Transformers backend since 0.29."""
    style = replace(OLMO2, transformers_since=EngineVersion(0, 29))
    if not on_transformers(rank, style):
        style = everywhere(style)
    build_moe(rank, style, MoeStyle(intermediate=("intermediate_size",)))


def olmo_hybrid(rank: Rank) -> None:
    """OlmoHybridForCausalLM: Gated DeltaNet with plain gates, OLMo's attention with norms behind the blocks."""
    text = rank.text
    style = everywhere(DecoderStyle(qk_norm="full", qkv_bias=("attention_bias",), o_bias=("attention_bias",)))
    size = sizes(text, style, rank.config)
    kinds = text.list_or_none("layer_types") or ()
    keys = text.int("linear_num_key_heads")
    key, values = keys * text.int("linear_key_head_dim"), text.int("linear_num_value_heads")
    value = values * text.int("linear_value_head_dim")
    kernel = text.int("linear_conv_kernel_dim", default=4)
    rotates = text.raw("rope_parameters") is not None or text.raw("rope_theta") is not None

    def attends(i: int) -> bool:
        return kinds[i] == "full_attention" if i < len(kinds) else (i + 1) % 4 == 0

    def layer(i: int) -> None:
        name = f"layers.{i}"
        if attends(i):
            attention(rank, name, size, style)
            if rotates:
                rope(rank, size.head_dim, size.positions)
        else:
            parent = f"{name}.linear_attn"
            rank.tensor(2 * divide(values, rank.tp))
            rank.column(parent, ("q_proj", "k_proj", "v_proj", "g_proj"), size.hidden_size, (key, key, value, value))
            rank.column(parent, ("b_proj",), size.hidden_size, (values,))
            rank.column(parent, ("a_proj",), size.hidden_size, (values,))
            rank.tensor(divide(2 * key + value, rank.tp) * kernel)
            rank.norm(text.int("linear_value_head_dim"))
            rank.row(parent, "o_proj", value, size.hidden_size)
        mlp(rank, f"{name}.mlp", size.hidden_size, size.intermediate_size, style)
        rank.norm(size.hidden_size, count=2)

    stack(rank, size, style, layer, attends)
