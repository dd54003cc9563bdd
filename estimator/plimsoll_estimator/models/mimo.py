"""MiMo-V2: window and full layers differ in heads.

`models.register` names it. Knows no quantisation. Source: vllm/model_executor/models/mimo_v2.py.
"""

from __future__ import annotations

from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.backends import attention_backend
from plimsoll_estimator.layers.caches import head_bytes
from plimsoll_estimator.layers.decoder import DecoderStyle, layer_flag, mlp, sizes, stack
from plimsoll_estimator.layers.experts import MoeStyle, moe
from plimsoll_estimator.layers.needs import AttentionNeed, ModelNeeds, Need
from plimsoll_estimator.layers.planner_rules import PlannerRules
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.layers.rope import rope
from plimsoll_estimator.layers.text_shape import TextShape
from plimsoll_estimator.reader import language
from plimsoll_estimator.resolved import ResolvedArgs


def mimo_v2(rank: Rank) -> None:
    """MiMoV2FlashForCausalLM: window and full layers differ in heads and rope; value heads are narrower; sinks."""
    text = rank.text
    style = DecoderStyle()
    size = sizes(text, style, rank.config)
    gate = 4 if (text.str_or_none("moe_router_dtype") or "float32") == "float32" else 0
    block = MoeStyle(gate_item=gate, correction=True, intermediate=("moe_intermediate_size",))

    def layer(i: int) -> None:
        name, window = f"layers.{i}", layer_flag(text, "hybrid_layer_pattern", i)
        parent, mark = f"{name}.self_attn", "swa_" if window else ""
        heads = text.int(f"{mark}num_attention_heads", "num_attention_heads")
        kv_heads = text.int(f"{mark}num_key_value_heads", "num_key_value_heads")
        head_dim = text.int(f"{mark}head_dim", "head_dim")
        v_dim = text.int_or_none(f"{mark}v_head_dim", "v_head_dim") or head_dim
        rank.qkv(parent, size.hidden_size, heads, kv_heads, head_dim, v_dim, bias=text.bool("attention_bias"), lenient=True)
        rank.row(parent, "o_proj", heads * v_dim, size.hidden_size)
        rank.attention_scales(parent)
        if text.bool("add_swa_attention_sink_bias" if window else "add_full_attention_sink_bias"):
            rank.tensor(heads // rank.tp)
        if layer_flag(text, "moe_layer_freq", i):
            moe(rank, name, size.hidden_size, block)
        else:
            mlp(rank, f"{name}.mlp", size.hidden_size, size.intermediate_size, style)
        rank.norm(size.hidden_size, count=2)
        theta = text.float_or_none(f"{mark}rope_theta", "rope_theta")
        partial = text.float_or_none("partial_rotary_factor") or 1.0
        rope(rank, head_dim, size.positions, parameters={"rope_type": "default", "rope_theta": theta}, partial=partial)

    stack(rank, size, style, layer, lambda i: (layer_flag(text, "hybrid_layer_pattern", i), layer_flag(text, "moe_layer_freq", i)))


def mimo_v2_caches(config: HfConfig, shape: TextShape, resolved: ResolvedArgs, rules: PlannerRules) -> ModelNeeds:
    """Keys wider than values, other heads in windowed layers (`hybrid_layer_pattern`: 1 is windowed)."""
    text, tp = language(config), resolved.tensor_parallel_size
    full = AttentionNeed(
        kind="full",
        token_bytes=shape.kv_heads_per_rank(tp) * head_bytes(resolved, shape.head_dim, text.int("v_head_dim", default=shape.head_dim)),
    )
    key = text.int("swa_head_dim", default=shape.head_dim)
    value = text.int("swa_v_head_dim", default=key)
    heads = max(1, text.int("swa_num_key_value_heads", default=shape.kv_heads) // tp)
    window = text.int("sliding_window_size", "sliding_window")
    local = AttentionNeed(kind="sliding", window=window, token_bytes=heads * head_bytes(resolved, key, value))
    pattern = text.list_or_none("hybrid_layer_pattern") or ()
    narrow, wide = (local,), (full,)
    layers: tuple[tuple[Need, ...], ...] = tuple(narrow if i < len(pattern) and pattern[i] == 1 else wide for i in range(shape.layers))
    backend = attention_backend(
        resolved.gpu.capability, resolved.kv_cache_dtype, rules, head_sizes=frozenset({192}), mm_prefix=False, has_sink=False
    )
    return ModelNeeds(layers=layers, backend=backend, attention_token_bytes=full.token_bytes)
