"""Step 3.5, and Step3-VL and Step 3.7 with a perception encoder.

`models.register` names it. Knows no quantisation. Sources: vllm/model_executor/models/{step3p5,step_vl,step3p7}.py (0.17.1 to 0.33.0).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.decoder import DecoderStyle, attention, stack
from plimsoll_estimator.layers.experts import MoeStyle, feed_forward
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.layers.rope import rope
from plimsoll_estimator.mixers import Attention, Experts, Mlp
from plimsoll_estimator.models import stacks
from plimsoll_estimator.models.record import Model, Wrapper, seeing
from plimsoll_estimator.models.stacks import by_name
from plimsoll_estimator.reader import MAX_WIDTH, positive
from plimsoll_estimator.shape import Dimensions, Layer
from plimsoll_estimator.towers.compose import behind
from plimsoll_estimator.towers.perception import perception_tower

_STYLE: Final = DecoderStyle(qk_norm="head", qkv_bias=("attention_bias",))
_LONGEST_NUMBER: Final = 16


def _numbers(text: HfConfig, key: str) -> frozenset[int]:
    """Layer numbers of a comma-separated string or a list."""
    value = text.raw(key)
    parts = value.split(",") if isinstance(value, str) else value if isinstance(value, list | tuple) else ()
    words = (str(part)[:_LONGEST_NUMBER].strip() for part in parts)
    return frozenset(int(word) for word in words if word.isdecimal())


def step3p5(rank: Rank) -> None:
    """Step3p5ForCausalLM: windowed layers with heads of their own, a gate per head, float32 routers with a bias."""
    text, size = rank.text, rank.shape.size
    ropes, shares = text.list_or_none("rope_theta") or (), text.list_or_none("partial_rotary_factors") or ()
    sparse = MoeStyle(
        parent="moe", shared_name="share_expert", gate_item=4 if text.bool("need_fp32_gate") else 0,
        correction=text.bool("use_moe_router_bias"),
    )  # fmt: skip

    def layer(i: int) -> None:
        name, made = f"layers.{i}", rank.shape.layers[i]
        own = made.mixer(Attention)
        attention(rank, name, size._replace(heads=own.heads, kv_heads=own.kv_heads, head_dim=own.head_dim), _STYLE)
        if text.bool("use_head_wise_attn_gate"):
            rank.column(f"{name}.self_attn", ("g_proj",), size.hidden_size, (own.heads,))
        feed_forward(rank, name, made.ffn, _STYLE, sparse)
        rank.norm(size.hidden_size, count=2)
        theta = ropes[i] if i < len(ropes) else text.raw("rope_theta")
        share = shares[i] if i < len(shares) and isinstance(shares[i], int | float) else 1.0
        rope(rank, own.head_dim, size.positions, parameters={"rope_type": "default", "rope_theta": theta, "partial_rotary_factor": share})

    stack(rank, size, _STYLE, layer, lambda i: (rank.kind(i), ropes[i] if i < len(ropes) else 0))


def _seen(text: HfConfig, size: Dimensions) -> list[Attention]:
    """Windows by `layer_types`, else in every other layer from the first on; one of the two kinds has heads of its own.

    Step3p5DecoderLayer: `attention_other_setting` names the kind and its heads; without `layer_types` it is not asked.
    """
    count, window = size.layer_count, text.int_or_none("sliding_window")
    full = stacks.attention(size)
    local = replace(full, seen="sliding", window=window) if window else full
    other = text.sub("attention_other_setting")
    names = {"full_attention": full, "sliding_attention": local}
    if other is not None:
        kind = other.str_or_none("attention_type") or "sliding_attention"
        names[kind] = _other_heads(other, names.get(kind, full))
    return by_name(text, count, names, "layer_types", longer=True) or [full if i % 2 else local for i in range(count)]


def _other_heads(other: HfConfig, like: Attention) -> Attention:
    head_dim = positive(other, "head_dim", default=like.head_dim, limit=MAX_WIDTH)
    return replace(
        like,
        heads=positive(other, "num_attention_heads", default=like.heads, limit=MAX_WIDTH),
        kv_heads=positive(other, "num_attention_groups", default=like.kv_heads, limit=MAX_WIDTH),
        head_dim=head_dim,
        v_head_dim=head_dim,
    )


def _layers(text: HfConfig, size: Dimensions) -> tuple[Layer, ...]:
    """Experts in the layers of `moe_layers_enum`, else in all but the first; the shared one is as wide as those chosen together."""
    seen, sparse = _seen(text, size), _numbers(text, "moe_layers_enum") or frozenset(range(1, size.layer_count))
    width, chosen = positive(text, "moe_intermediate_size", limit=MAX_WIDTH), text.int("moe_top_k", "num_experts_per_tok")
    shared = text.int_or_none("share_expert_dim")
    block = Experts(
        count=positive(text, "moe_num_experts", limit=MAX_WIDTH),
        per_token=chosen,
        width=width,
        shared=width * chosen if shared is None else shared,
    )
    plain = Mlp(width=size.intermediate_size)
    return stacks.attending(seen, [block if i in sparse else plain for i in range(len(seen))])


STEP_3P5 = Model(
    classes=("Step3p5ForCausalLM",), model_types=("step3p5",), weights=step3p5, layers=_layers, drafter="Step3p5MTP", listed=False
)
MODELS = (
    STEP_3P5,
    seeing(STEP_3P5, behind(perception_tower), classes=("Step3p7ForConditionalGeneration",), drafter="Step3p5MTP"),
    Wrapper(classes=("StepVLForConditionalGeneration",), compose=behind(perception_tower)),
)
