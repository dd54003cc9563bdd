"""Step 3.5, and Step3-VL and Step 3.7 with a perception encoder.

`models.register` names it. Knows no quantisation. Sources: vllm/model_executor/models/{step3p5,step_vl,step3p7}.py (0.17.1 to 0.33.0).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.decoder import DecoderStyle, attention, mlp, sizes, stack
from plimsoll_estimator.layers.experts import MoeStyle, moe
from plimsoll_estimator.layers.rank import Rank, positive
from plimsoll_estimator.layers.rope import rope
from plimsoll_estimator.models.record import Wrapper
from plimsoll_estimator.towers.compose import behind, with_tower
from plimsoll_estimator.towers.perception import perception_tower

_LONGEST_NUMBER: Final = 16


def _numbers(text: HfConfig, key: str) -> frozenset[int]:
    """Layer numbers of a comma-separated string or a list."""
    value = text.raw(key)
    parts = value.split(",") if isinstance(value, str) else value if isinstance(value, list | tuple) else ()
    words = (str(part)[:_LONGEST_NUMBER].strip() for part in parts)
    return frozenset(int(word) for word in words if word.isdecimal())


def step3p5(rank: Rank) -> None:
    """Step3p5ForCausalLM: windowed layers with heads of their own, a gate per head, float32 routers with a bias."""
    text = rank.text
    style = DecoderStyle(qk_norm="head", qkv_bias=("attention_bias",))
    size = sizes(text, style, rank.config)
    kinds = text.list_or_none("layer_types") or ()
    other = text.sub("attention_other_setting") or HfConfig({}, f"{text.path}.attention_other_setting")
    sparse = _numbers(text, "moe_layers_enum") or frozenset(range(1, size.num_hidden_layers))
    shared = text.int("share_expert_dim", "share_expert_dims", default=0)
    ropes = text.list_or_none("rope_theta") or ()
    shares = text.list_or_none("partial_rotary_factors") or ()
    block = MoeStyle(
        parent="moe", experts=("moe_num_experts",), intermediate=("moe_intermediate_size",),
        gate_item=4 if text.bool("need_fp32_gate") else 0, correction=text.bool("use_moe_router_bias"),
    )  # fmt: skip

    def windowed(i: int) -> bool:
        return i < len(kinds) and kinds[i] == "sliding_attention"

    def layer(i: int) -> None:
        name = f"layers.{i}"
        mine = size
        if windowed(i) and "num_attention_heads" in other:
            heads = positive(other, "num_attention_heads")
            mine = replace(
                size,
                heads=heads,
                kv_heads=other.int("num_attention_groups", default=size.kv_heads),
                head_dim=other.int("head_dim", default=size.head_dim),
            )
        attention(rank, name, mine, style)
        if text.bool("use_head_wise_attn_gate"):
            rank.column(f"{name}.self_attn", ("g_proj",), size.hidden_size, (mine.heads,))
        if i in sparse:
            moe(rank, name, size.hidden_size, block)
            mlp(rank, f"{name}.moe.share_expert", size.hidden_size, shared, style)
        else:
            mlp(rank, f"{name}.mlp", size.hidden_size, size.intermediate_size, style)
        rank.norm(size.hidden_size, count=2)
        theta = ropes[i] if i < len(ropes) else text.raw("rope_theta")
        share = shares[i] if i < len(shares) and isinstance(shares[i], int | float) else 1.0
        rope(rank, mine.head_dim, size.positions, parameters={"rope_type": "default", "rope_theta": theta, "partial_rotary_factor": share})

    stack(rank, size, style, layer, lambda i: (windowed(i), i in sparse, ropes[i] if i < len(ropes) else 0))


step3p7 = with_tower(perception_tower, step3p5)
MODELS = (Wrapper(classes=("StepVLForConditionalGeneration",), compose=behind(perception_tower)),)
