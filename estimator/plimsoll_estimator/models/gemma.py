"""Gemma 1 to 4, with and without their towers: layers that alternate between local and global attention.

`models.register` names it; `models.gemma3n` is its heir. Knows no quantisation.
Sources: vllm/model_executor/models/{gemma,gemma2,gemma3,gemma3_mm,gemma4,gemma4_mm}.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.decoder import DecoderStyle, attention, build_decoder, mlp, stack
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.layers.rope import rope, rope_parameters
from plimsoll_estimator.mixers import Attention, Experts, Mlp
from plimsoll_estimator.models import stacks
from plimsoll_estimator.models.record import Model, always, seeing, unless_causal
from plimsoll_estimator.models.stacks import dense, routed_experts, windowed
from plimsoll_estimator.reader import positive
from plimsoll_estimator.shape import Dimensions, Layer
from plimsoll_estimator.towers.compose import with_tower
from plimsoll_estimator.towers.gemma4 import gemma4_audio_tower, gemma4_tower
from plimsoll_estimator.towers.siglip import gemma3_tower

_LOCAL = {"rope_type": "default", "rope_theta": "local"}
_GEMMA = DecoderStyle(every_stage=("embedding", "norm"), qkv_bias=("attention_bias",), o_bias=("attention_bias",))
_GEMMA2 = replace(_GEMMA, norms=4)
GEMMA3 = replace(_GEMMA2, qk_norm="head")


def gemma(rank: Rank, style: DecoderStyle) -> None:
    """GemmaForCausalLM and Gemma2ForCausalLM."""
    build_decoder(rank, style)
    _normalizer(rank)


def _normalizer(rank: Rank) -> None:
    """The factor of the embedding, a buffer of the model itself on every stage."""
    rank.tensor(1)


def gemma3(rank: Rank) -> None:
    """Gemma3ForCausalLM: local layers have an unscaled rope table of their own."""
    size, layers = rank.shape.size, rank.shape.layers

    def layer(i: int) -> None:
        name = f"layers.{i}"
        attention(rank, name, size, GEMMA3)
        mlp(rank, f"{name}.mlp", size.hidden_size, size.intermediate_size, GEMMA3)
        rank.norm(size.hidden_size, count=4)
        local_or_global_rope(rank, _attention_of(layers[i]))

    stack(rank, size, GEMMA3, layer, rank.kind)
    _normalizer(rank)


def _attention_of(layer: Layer) -> Attention:
    (mixer,) = layer.mixers
    assert isinstance(mixer, Attention)
    return mixer


def local_or_global_rope(rank: Rank, mixer: Attention, rotary_dim: int | None = None) -> None:
    """The table of local layers is unscaled; that of global ones is the file's, of `rotary_dim` where the class says so."""
    if mixer.seen == "sliding":
        rope(rank, mixer.head_dim, rank.shape.size.positions, parameters=_LOCAL)
        return
    rope(rank, mixer.head_dim, rank.shape.size.positions, parameters=rope_parameters(rank.text, "full_attention"), rotary_dim=rotary_dim)


def gemma4(rank: Rank) -> None:
    """Gemma4: two head sizes, layers that share keys and values, per-layer embeddings, experts beside the MLP."""
    text, size, layers = rank.text, rank.shape.size, rank.shape.layers
    hidden, per_layer = size.hidden_size, text.int_or_none("hidden_size_per_layer_input") or 0

    def layer(i: int) -> None:
        name, one = f"layers.{i}", layers[i]
        mixer = _attention_of(one)
        _gemma4_attention(rank, f"{name}.self_attn", mixer, reads_another=not one.keeps_cache)
        _gemma4_feed_forward(rank, name, one.ffn)
        rank.norm(hidden, count=4)
        rank.tensor(1)
        if per_layer:
            rank.replicated(name, ("per_layer_input_gate",), hidden, (per_layer,))
            rank.replicated(name, ("per_layer_projection",), per_layer, (hidden,))
            rank.norm(hidden)
        local_or_global_rope(rank, mixer, rotary_dim=mixer.head_dim)

    stack(rank, size, GEMMA3, layer, rank.kind)
    _normalizer(rank)
    if per_layer:
        rank.embedding(text.int("vocab_size_per_layer_input", default=size.vocab_size), size.layer_count * per_layer)
        rank.column("", ("per_layer_model_projection",), hidden, (size.layer_count * per_layer,))
        rank.norm(per_layer)
        rank.tensor(3)


def _gemma4_attention(rank: Rank, parent: str, mixer: Attention, *, reads_another: bool) -> None:
    """A layer that reads another's keys and values projects queries alone since 0.30, and keeps projections for nothing before."""
    hidden, width, bias = rank.shape.size.hidden_size, mixer.heads * mixer.head_dim, rank.text.bool("attention_bias")
    if reads_another and rank.version.since(0, 30):
        rank.column(parent, ("q_proj",), hidden, (width,), bias=bias)
        rank.norm(mixer.head_dim)
    else:
        rank.qkv(parent, hidden, mixer.heads, mixer.kv_heads, mixer.head_dim, bias=bias)
        rank.norm(mixer.head_dim, count=2)
    rank.row(parent, "o_proj", width, hidden, bias=bias)
    rank.attention_scales(parent)


def _gemma4_feed_forward(rank: Rank, layer: str, ffn: Mlp | Experts | None) -> None:
    """A dense block, and experts beside it: a router with a scale, a scale an expert, norms around them."""
    hidden = rank.shape.size.hidden_size
    assert ffn is not None
    mlp(rank, f"{layer}.mlp", hidden, ffn.shared if isinstance(ffn, Experts) else ffn.width, GEMMA3)
    if isinstance(ffn, Experts):
        rank.whole(hidden, ffn.count)
        rank.tensor(hidden + ffn.count + 1)
        rank.experts(f"{layer}.experts", ffn.count, hidden, ffn.width)
        rank.norm(hidden, count=3)


def _gemma4_layers(text: HfConfig, size: Dimensions) -> tuple[Layer, ...]:
    """Gemma4TextConfig: local layers, and wider global ones, perhaps with fewer key-value heads; the last layer is global whatever the
    list says. The last layers read the cache of earlier ones, and may have an MLP twice as wide."""
    wide = positive(text, "global_head_dim", default=512)
    few = text.int_or_none("num_global_key_value_heads") if text.bool("attention_k_eq_v") else None
    everywhere = replace(stacks.attention(size), head_dim=wide, v_head_dim=wide, kv_heads=few or size.kv_heads)
    window = text.int("sliding_window")
    if text.raw("use_bidirectional_attention") == "all":
        window = window // 2 + 1
    local = [replace(one, window=window) if one.window else everywhere for one in windowed(text, size, stacks.attention(size), every=6)]
    first_shared = size.layer_count - (text.int_or_none("num_kv_shared_layers") or 0)
    widens = text.bool("use_double_wide_mlp") and first_shared > 0
    return stacks.unified(
        Layer(
            mixers=(mixer if i < size.layer_count - 1 else everywhere,),
            ffn=_gemma4_ffn(text, size.intermediate_size * (2 if widens and i >= first_shared else 1)),
            keeps_cache=i < first_shared,
        )
        for i, mixer in enumerate(local)
    )


def _gemma4_ffn(text: HfConfig, width: int) -> Mlp | Experts:
    if not text.bool("enable_moe_block"):
        return Mlp(width=width)
    return routed_experts(text, text.int("moe_intermediate_size", "expert_intermediate_size"), shared=width)


def _sees_both_ways(text: HfConfig) -> bool:
    return text.raw("use_bidirectional_attention") is True or unless_causal(text)


def _images_see_one_another(config: HfConfig) -> bool:
    """vLLM's Gemma4ModelArchConfigConvertor."""
    return config.text.str_or_none("use_bidirectional_attention") == "vision"


_TEXT_3 = Model(
    classes=("Gemma3ForCausalLM", "Gemma3TextModel"),
    model_types=("gemma3_text",),
    weights=gemma3,
    layers=dense(every=6),
    encodes=_sees_both_ways,
)


def _gemma4_towers(language: Callable[[Rank], None]) -> Callable[[Rank], None]:
    """A tower for images and, where the config has one, a tower for sound."""
    return with_tower(gemma4_tower, with_tower(gemma4_audio_tower, language, modalities=("audio",)))


_TEXT_4 = Model(
    classes=("Gemma4ForCausalLM",),
    model_types=("gemma4_text",),
    weights=gemma4,
    layers=_gemma4_layers,
    image_prefix=_images_see_one_another,
)
MODELS = (
    Model(classes=("GemmaForCausalLM",), model_types=("gemma",), weights=partial(gemma, style=_GEMMA), layers=dense()),
    Model(classes=("Gemma2ForCausalLM",), model_types=("gemma2",), weights=partial(gemma, style=_GEMMA2), layers=dense(every=2)),
    _TEXT_3,
    seeing(_TEXT_3, partial(with_tower, gemma3_tower), classes=("Gemma3ForConditionalGeneration",), image_prefix=always),
    _TEXT_4,
    seeing(_TEXT_4, _gemma4_towers, classes=("Gemma4ForConditionalGeneration",), image_prefix=_images_see_one_another),
)
