"""Hunyuan dense, Hunyuan A13B and HY3.

`models.register` names it. Knows no quantisation. Sources: vllm/model_executor/models/{hunyuan_v1,hy_v3}.py.
"""

from __future__ import annotations

from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.layers.decoder import DecoderStyle, attention, everywhere, mlp, rope_table, sizes, stack
from plimsoll_estimator.layers.experts import MoeStyle, build_moe, check_expert_count, expert_count
from plimsoll_estimator.layers.rank import Rank

HUNYUAN = DecoderStyle(
    qk_norm="head",
    qkv_bias=("attention_bias",),
    o_bias=("attention_bias",),
    mlp_bias=("mlp_bias",),
    tied=True,
    transformers_since=EngineVersion(0, 29),
)


def hunyuan_moe(rank: Rank) -> None:
    """HunYuanMoEV1ForCausalLM: one entry per layer in `moe_intermediate_size` and `num_shared_expert`; the router's own class."""
    text = rank.text
    style = HUNYUAN
    size = sizes(text, style, rank.config)
    experts = expert_count(text, ("num_experts",))
    check_expert_count(rank, experts)
    intermediate = expert_count(text, ("moe_intermediate_size", "intermediate_size"))
    shared = expert_count(text, ("num_shared_expert",)) * intermediate if text.raw("use_mixed_mlp_moe") is not False else 0

    def layer(i: int) -> None:
        name = f"layers.{i}"
        attention(rank, name, size, style)
        rank.tensor(experts * size.hidden_size)
        rank.experts(f"{name}.mlp.experts", experts, size.hidden_size, intermediate)
        if shared:
            mlp(rank, f"{name}.mlp.shared_mlp", size.hidden_size, shared, style)
        rank.norm(size.hidden_size, count=2)
        rope_table(rank, size, style)

    stack(rank, size, style, layer)


def hy_v3(rank: Rank) -> None:
    """HYV3ForCausalLM (HY3): float32 routers with a bias, experts of `expert_hidden_dim`."""
    text = rank.text
    check_expert_count(rank, expert_count(text))
    style = everywhere(DecoderStyle(qk_norm="head" if text.bool("qk_norm") else "no"))
    block = MoeStyle(
        intermediate=("expert_hidden_dim", "moe_intermediate_size"),
        gate_item=4,
        correction=True,
        correction_item=4 if rank.version.since(0, 26) else 0,
        shared="count",
        shared_name="shared_mlp",
    )
    build_moe(rank, style, block, first_dense=text.int("first_k_dense_replace", default=0))
