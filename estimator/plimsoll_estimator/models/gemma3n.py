"""Gemma 3n's text model: alternating updates (AltUp), low-rank residuals (LAuReL), per-layer embeddings, shared keys and values.

`models.register` names it. Knows no quantisation. Source: vllm/model_executor/models/gemma3n.py (0.22.1 and 0.33.0 agree).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from plimsoll_estimator.errors import InvalidInput
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.decoder import attention, mlp
from plimsoll_estimator.layers.rank import FLOAT32, Rank
from plimsoll_estimator.mixers import Attention, Mlp
from plimsoll_estimator.models import stacks
from plimsoll_estimator.models.gemma import GEMMA3, local_or_global_rope
from plimsoll_estimator.models.record import Model
from plimsoll_estimator.models.stacks import windowed
from plimsoll_estimator.reader import positive
from plimsoll_estimator.shape import Dimensions, Layer

MOST_STREAMS = 64
_WIDTH = 16384
"""Of Gemma3nTextConfig."""


def gemma3n(rank: Rank) -> None:
    """Gemma3nForCausalLM; the class takes one pipeline stage. Later layers read the cache of earlier ones and project queries alone."""
    text, size, layers = rank.text, rank.shape.size, rank.shape.layers
    hidden, streams = size.hidden_size, positive(text, "altup_num_inputs", default=4, limit=MOST_STREAMS)
    per_layer = text.int("hidden_size_per_layer_input", default=256)
    scales = 1 if rank.version.since(0, 29) else 0  # scalars kept as buffers since then

    def layer(i: int) -> None:
        name, one = f"layers.{i}", layers[i]
        _attention(rank, name, one)
        assert isinstance(one.ffn, Mlp)
        mlp(rank, f"{name}.mlp", hidden, one.ffn.width, GEMMA3)
        _updates(rank, name, streams, scales)
        rank.replicated(name, ("per_layer_input_gate",), hidden, (per_layer,))
        rank.replicated(name, ("per_layer_projection",), per_layer, (hidden,))
        rank.norm(hidden, count=6)

    rank.layers(range(size.layer_count), rank.kind, layer)
    rank.embedding(size.vocab_size, hidden)
    rank.embedding(text.int("vocab_size_per_layer_input", default=262144), size.layer_count * per_layer)
    rank.column("self_decoder", ("per_layer_model_projection",), hidden, (size.layer_count * per_layer,))
    for _ in range(2 * (streams - 1)):
        rank.column("altup", ("projection",), hidden, (hidden,))
    rank.norm(hidden + per_layer)
    rank.tensor(4 * scales)


def _attention(rank: Rank, layer: str, one: Layer) -> None:
    """A layer that reads another's keys and values has the query projection, its norm and the output projection.

    Before 0.30 it projected keys and values all the same.
    """
    (mixer,), parent, hidden = one.mixers, f"{layer}.self_attn", rank.shape.size.hidden_size
    assert isinstance(mixer, Attention)
    if one.keeps_cache or rank.version.before(0, 30):
        attention(rank, layer, rank.shape.size, GEMMA3)
    else:
        rank.column(parent, ("q_proj",), hidden, (mixer.heads * mixer.head_dim,))
        rank.row(parent, "o_proj", mixer.heads * mixer.head_dim, hidden)
        rank.norm(mixer.head_dim)
        rank.attention_scales(parent)
    local_or_global_rope(rank, mixer)


def _updates(rank: Rank, layer: str, streams: int, scales: int) -> None:
    """AltUp's router, its correction and prediction coefficients; LAuReL's two projections."""
    hidden, low = rank.shape.size.hidden_size, rank.text.int("laurel_rank", default=64)
    rank.whole(streams, streams)
    rank.whole(streams, streams * streams)
    rank.whole(hidden, streams)
    rank.norm(hidden)
    rank.tensor(scales)
    if rank.text.bool("altup_correct_scale", True):
        rank.tensor(hidden, FLOAT32)
    rank.column(f"{layer}.laurel", ("linear_left",), hidden, (low,))
    rank.row(f"{layer}.laurel", "linear_right", low, hidden)


def _widths(text: HfConfig) -> tuple[int, ...]:
    """Of every MLP: published files list one a layer, and one number stands for all. Raises InvalidInput as the class does."""
    found, layers = text.raw("intermediate_size"), positive(text, "num_hidden_layers")
    if not isinstance(found, list | tuple):
        return (text.int("intermediate_size", default=_WIDTH),)
    if len(found) != layers or not all(type(width) is int and width > 0 for width in found):
        raise InvalidInput(f"{text.path}.intermediate_size", found, f"must be one number, or one for each of {layers} layers")
    return tuple(found)


def _widest(text: HfConfig) -> Mapping[str, int]:
    return {"intermediate_size": max(_widths(text))}


def _layers(text: HfConfig, size: Dimensions) -> tuple[Layer, ...]:
    """Every fifth layer is global; the last ones read the cache of earlier ones."""
    own = size.layer_count - text.int("num_kv_shared_layers", default=15)
    widths = _widths(text)
    ffns = [Mlp(width=widths[i % len(widths)]) for i in range(size.layer_count)]
    made = stacks.attending(windowed(text, size, stacks.attention(size), every=5), ffns)
    return stacks.unified(layer if i < own else replace(layer, keeps_cache=False) for i, layer in enumerate(made))


MODELS = (Model(classes=("Gemma3nForCausalLM",), model_types=("gemma3n_text",), weights=gemma3n, layers=_layers, overrides=_widest),)
