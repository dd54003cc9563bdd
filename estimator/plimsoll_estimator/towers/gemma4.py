"""Gemma 4's towers, for images and for sound.

Called by `models.gemma`. Source: vllm/model_executor/models/gemma4_mm.py. Knows no language model.
"""

from __future__ import annotations

from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.reader import AUDIO, MAX_WIDTH, positive, tower, tower_layers, tower_size
from plimsoll_estimator.towers.encoder import vision_config

_STRIDE = 4  # of both convolutions together, over as many mel bins as the first has channels
_SCALARS = 10 * 4 + 1  # of a conformer block: four bounds of each clipped linear, the cap of its attention


def gemma4_tower(rank: Rank) -> None:
    """Gemma 4's tower is Transformers' own module: replicated, never quantised; clipped linears keep four bounds each."""
    vision = vision_config(rank)
    size = tower_size(vision)
    hidden, heads, intermediate = size.hidden_size, size.heads, size.intermediate_size
    kv_heads = vision.int("num_key_value_heads")
    head_dim = vision.int("head_dim")
    rank.tensor(2 * vision.int("position_embedding_size") * hidden)
    rank.tensor(hidden * 3 * positive(vision, "patch_size") ** 2)
    per_layer = hidden * head_dim * (2 * heads + 2 * kv_heads) + 2 * head_dim + 3 * hidden * intermediate + 4 * hidden
    if vision.bool("use_clipped_linears"):
        per_layer += 7 * 4
    rank.tensor(size.layers * per_layer)
    if vision.bool("standardize"):
        rank.tensor(2 * hidden)
    rank.tensor(hidden * rank.shape.size.hidden_size)
    rank.tensor(2 * (head_dim // 4), 4)


def gemma4_audio_tower(rank: Rank) -> None:
    """Gemma 4's conformer, Transformers' own module (Gemma4AudioModel, 5.x): replicated, never quantised; nothing without a configuration.

    Two convolutions over the spectrum, then blocks of two feed-forward halves, attention to relative positions and a short convolution.
    """
    audio = tower(rank.config, AUDIO)
    if not list(audio):
        return
    hidden, heads = positive(audio, "hidden_size", limit=MAX_WIDTH), positive(audio, "num_attention_heads", limit=MAX_WIDTH)
    layers = tower_layers(audio)
    out = positive(audio, "output_proj_dims", default=1536, limit=MAX_WIDTH)
    kernel = positive(audio, "conv_kernel_size", default=5, limit=MAX_WIDTH)
    first, second = _channels(audio)
    rank.tensor(9 * first + first)
    rank.tensor(9 * first * second + second)
    rank.tensor(first // _STRIDE * second * hidden)
    halves = 2 * (2 * 4 * hidden * hidden + 2 * hidden)
    attention = 5 * hidden * hidden + hidden // heads + 2 * hidden
    convolution = 3 * hidden * hidden + kernel * hidden + 2 * hidden
    rank.tensor(layers * (halves + attention + convolution + hidden))
    rank.tensor(layers * (_SCALARS if audio.bool("use_clipped_linears", True) else 1))
    rank.tensor(hidden // 2)  # frequencies of relative positions
    rank.tensor(hidden * out + out)
    rank.tensor(out * rank.shape.size.hidden_size)


def _channels(audio: HfConfig) -> tuple[int, int]:
    """Channels of the two convolutions."""
    given = audio.list_or_none("subsampling_conv_channels") or (128, 32)
    sizes = HfConfig({str(i): size for i, size in enumerate(given[:2])}, f"{audio.path}.subsampling_conv_channels")
    return positive(sizes, "0", limit=MAX_WIDTH), positive(sizes, "1", limit=MAX_WIDTH)
