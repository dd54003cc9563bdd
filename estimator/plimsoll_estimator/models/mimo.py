"""MiMo-V2: window and full layers differ in heads.

`models.register` names it. Knows no quantisation. Source: vllm/model_executor/models/mimo_v2.py.
"""

from __future__ import annotations

from dataclasses import replace

from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.decoder import DecoderStyle, stack
from plimsoll_estimator.layers.experts import MoeStyle, feed_forward
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.layers.rope import rope
from plimsoll_estimator.mixers import Attention, Experts, Mlp
from plimsoll_estimator.models import stacks
from plimsoll_estimator.models.record import Model
from plimsoll_estimator.models.stacks import behind_dense, by_name, routed_experts
from plimsoll_estimator.reader import MAX_WIDTH, positive
from plimsoll_estimator.shape import Dimensions, Layer

_STYLE = DecoderStyle()
_FULL_EVERY = 6


def mimo_v2(rank: Rank) -> None:
    """MiMoV2FlashForCausalLM: window and full layers differ in heads and rope; value heads are narrower; sinks."""
    text, size, layers = rank.text, rank.shape.size, rank.shape.layers
    gate = 4 if (text.str_or_none("moe_router_dtype") or "float32") == "float32" else 0
    sparse, bias = MoeStyle(gate_item=gate, correction=True), text.bool("attention_bias")
    partial = text.float_or_none("partial_rotary_factor") or 1.0

    def build(name: str, made: Layer) -> None:
        parent, mixer = f"{name}.self_attn", made.mixer(Attention)
        window = mixer.seen == "sliding"
        rank.qkv(parent, size.hidden_size, mixer.heads, mixer.kv_heads, mixer.head_dim, mixer.v_head_dim, bias=bias, lenient=True)
        rank.row(parent, "o_proj", mixer.heads * mixer.v_head_dim, size.hidden_size)
        rank.attention_scales(parent)
        if text.bool("add_swa_attention_sink_bias" if window else "add_full_attention_sink_bias"):
            rank.tensor(mixer.heads // rank.tp)
        feed_forward(rank, name, made.ffn, _STYLE, sparse)
        rank.norm(size.hidden_size, count=2)
        theta = text.float_or_none(*(("swa_rope_theta", "rope_theta") if window else ("rope_theta",)))
        rope(rank, mixer.head_dim, size.positions, parameters={"rope_type": "default", "rope_theta": theta}, partial=partial)

    stack(rank, size, _STYLE, lambda i: build(f"layers.{i}", layers[i]), rank.kind)
    # mimo_v2_mtp.py: an unquantised joint projection before the layer; embedding and head are the target's.
    for i, module in enumerate(rank.modules()):
        rank.tensor(2 * size.hidden_size * size.hidden_size)
        build(f"mtp.layers.{i}", module)
        rank.norm(size.hidden_size, count=3)


def _layers(text: HfConfig, size: Dimensions) -> tuple[Layer, ...]:
    full, local = _attention(text, size, ""), _attention(text, size, "swa_")
    local = replace(local, seen="sliding", window=positive(text, "sliding_window_size", "sliding_window"))
    return stacks.stack([(local,) if flag else (full,) for flag in _windowed(text, size)], _feed_forwards(text, size))


def _attention(text: HfConfig, size: Dimensions, mark: str) -> Attention:
    """Of full or (`swa_`) windowed layers: keys may be wider than values. The class names its backend itself, sinks or not."""
    head_dim = positive(text, f"{mark}head_dim", default=size.head_dim, limit=MAX_WIDTH)
    return Attention(
        heads=positive(text, f"{mark}num_attention_heads", default=size.heads, limit=MAX_WIDTH),
        kv_heads=positive(text, f"{mark}num_key_value_heads", default=size.kv_heads, limit=MAX_WIDTH),
        head_dim=head_dim,
        v_head_dim=positive(text, f"{mark}v_head_dim", default=head_dim, limit=MAX_WIDTH),
    )


def _windowed(text: HfConfig, size: Dimensions) -> list[bool]:
    """Where `hybrid_layer_pattern` has a 1; a file saved by Transformers 5 has `layer_types`, as MiMoV2FlashConfig fills them in."""
    count, pattern = size.layer_count, text.list_or_none("hybrid_layer_pattern")
    if pattern is not None:
        return [i < len(pattern) and pattern[i] == 1 for i in range(count)]
    named = by_name(text, count, {"sliding_attention": True, "full_attention": False}, "layer_types")
    return named if named is not None else [i > 0 and (i + 1) % _FULL_EVERY != 0 for i in range(count)]


def _feed_forwards(text: HfConfig, size: Dimensions) -> list[Mlp | Experts]:
    """Experts where `moe_layer_freq` has a true entry (a number alone is nowhere); without it as Transformers 5 saves and fills in."""
    freq = text.raw("moe_layer_freq")
    block = routed_experts(text, positive(text, "moe_intermediate_size", limit=MAX_WIDTH), shared=0)
    if freq is None:
        return behind_dense(text, size, block, first=1)
    listed = freq if isinstance(freq, list | tuple) else ()
    return [block if i < len(listed) and listed[i] else Mlp(width=size.intermediate_size) for i in range(size.layer_count)]


def _predictions(text: HfConfig, layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
    """vLLM runs the first module alone, whatever the file says: a windowed layer with a dense block (mimo_v2_mtp.py)."""
    local = next((layer for layer in layers if layer.mixer(Attention).seen == "sliding"), layers[-1])
    return (replace(local, ffn=Mlp(width=text.int("intermediate_size"))),)


MODELS = (
    Model(
        classes=("MiMoV2FlashForCausalLM", "MiMoV2ForCausalLM"),
        model_types=("mimo_v2_flash", "mimo_v2"),
        weights=mimo_v2,
        layers=_layers,
        predictions=_predictions,
        drafter="MiMoV2MTPModel",
    ),
)
