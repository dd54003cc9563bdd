"""Whisper: an encoder of speech and a decoder with cross-attention.

`models.register` names it. Knows no quantisation. Source: vllm/model_executor/models/whisper.py.
"""

from __future__ import annotations

from collections.abc import Mapping

from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.mixers import CrossAttention, Mlp
from plimsoll_estimator.models import stacks
from plimsoll_estimator.models.record import Model
from plimsoll_estimator.reader import MAX_LAYERS, positive
from plimsoll_estimator.shape import Dimensions, Layer, alike

_KERNEL = 3
_SOURCE, _TARGET, _MEL_BINS = 1500, 448, 80
"""Positions and spectrum of WhisperConfig."""


def whisper(rank: Rank) -> None:
    """WhisperForConditionalGeneration: a convolutional front, an encoder, a decoder with cross attention, a tied head."""
    text, size = rank.text, rank.shape.size
    hidden = size.hidden_size
    rank.convolution(text.int("num_mel_bins", default=_MEL_BINS), hidden, _KERNEL, bias=True)
    rank.convolution(hidden, hidden, _KERNEL, bias=True)
    rank.table(text.int("max_source_positions", default=_SOURCE), hidden)
    rank.table(text.int("max_target_positions", default=_TARGET), hidden)
    heads, wide = positive(text, "encoder_attention_heads"), text.int("encoder_ffn_dim")
    _stack(rank, "encoder", positive(text, "encoder_layers", limit=MAX_LAYERS), heads, wide, cross=False)
    _stack(rank, "decoder", size.layer_count, size.heads, size.intermediate_size, cross=True)
    rank.table(size.vocab_size, hidden)


def _stack(rank: Rank, part: str, layers: int, heads: int, wide: int, *, cross: bool) -> None:
    hidden = rank.shape.size.hidden_size

    def layer(i: int) -> None:
        name = f"{part}.layers.{i}"
        rank.qkv(f"{name}.self_attn", hidden, heads, heads, hidden // heads, bias=True)
        rank.row(f"{name}.self_attn", "out_proj", hidden, hidden, bias=True)
        if cross:
            rank.attention_scales(f"{name}.self_attn")
            parent = f"{name}.encoder_attn"
            rank.column(parent, ("q_proj",), hidden, (hidden,), bias=True)
            rank.column(parent, ("k_proj", "v_proj"), hidden, (hidden, hidden), bias=True)
            rank.row(parent, "out_proj", hidden, hidden, bias=True)
            rank.attention_scales(parent)
        rank.column(f"{name}.mlp", ("fc1",), hidden, (wide,), bias=True)
        rank.row(f"{name}.mlp", "fc2", wide, hidden, bias=True)
        rank.norm(hidden, bias=True, count=3 if cross else 2)

    rank.layers(range(layers), None, layer)
    rank.norm(hidden, bias=True)


def _decoder(text: HfConfig) -> Mapping[str, int]:
    """The language model is the decoder."""
    heads = text.int("decoder_attention_heads")
    return {
        "num_hidden_layers": text.int("decoder_layers"),
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
        "intermediate_size": text.int("decoder_ffn_dim"),
    }


def _layers(text: HfConfig, size: Dimensions) -> tuple[Layer, ...]:
    """A decoder layer keeps its own tokens and, per request, the encoder's 30 seconds."""
    encoded = CrossAttention(kv_heads=size.kv_heads, head_dim=size.head_dim, tokens=positive(text, "max_source_positions", default=_SOURCE))
    one = Layer(mixers=(stacks.attention(size), encoded), ffn=Mlp(width=size.intermediate_size))
    return alike(one, size.layer_count)


MODELS = (
    Model(classes=("WhisperForConditionalGeneration",), model_types=("whisper",), weights=whisper, layers=_layers, overrides=_decoder),
)
