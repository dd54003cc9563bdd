"""Audio towers, unquantised: Whisper's encoder as Transformers builds it (whole), and Qwen3-Omni's.

Called by `models.qwen_audio`. Knows no language model.
Sources: vllm/model_executor/models/{qwen2_audio,qwen2_5_omni_thinker,qwen3_omni_moe_thinker}.py (0.12.0 to 0.33.0).
"""

from __future__ import annotations

from typing import Final

from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.rank import Rank, positive

MAX_DEPTH = 4096


def audio_config(rank: Rank) -> HfConfig:
    """`audio_config` of the root or of its thinker; empty when there is none."""
    holder = rank.config.sub("thinker_config") or rank.config
    return holder.sub("audio_config") or HfConfig({}, f"{holder.path}.audio_config")


def _encoder(rank: Rank, audio: HfConfig) -> int:
    """Two convolutions and the blocks; keys have no bias. Returns the width."""
    width = audio.int("d_model", default=1280)
    wide = audio.int("encoder_ffn_dim", default=5120)
    rank.tensor(width * audio.int("num_mel_bins", default=128) * 3 + width)
    rank.tensor(width * width * 3 + width)

    def layer(i: int) -> None:
        for _ in range(4):
            rank.tensor(width * width)
        rank.tensor(width * wide)
        rank.tensor(wide * width)
        rank.norm(3 * width + wide + width)
        rank.norm(width, bias=True, count=2)

    rank.layers(range(positive(audio, "encoder_layers", default=32, limit=MAX_DEPTH)), None, layer)
    rank.norm(width, bias=True)
    return width


def qwen2_audio_tower(rank: Rank) -> None:
    """Qwen2-Audio: learned positions and one projection to the text's width."""
    audio = audio_config(rank)
    width = _encoder(rank, audio)
    text = rank.text.int("hidden_size")
    rank.tensor(audio.int("max_source_positions", default=1500) * width)
    rank.tensor(width * text + text)


def omni_audio_tower(rank: Rank) -> None:
    """Qwen2.5-Omni: sinusoid positions in float32, embeddings of the audio's ends, a projection."""
    audio = audio_config(rank)
    width = _encoder(rank, audio)
    out = audio.int("output_dim", default=rank.text.int("hidden_size"))
    rank.tensor(audio.int("max_source_positions", default=1500) * width, 4)
    rank.tensor(2 * out)
    rank.tensor(width * out + out)


_OMNI_NATIVE_SINCE: Final = (0, 15)
_OMNI_WHOLE_ATTENTION_SINCE: Final = (0, 29)
_OMNI_WHOLE_MLP_SINCE: Final = (0, 30)
"""Qwen3-Omni's audio tower: Transformers' own module until 0.14, then divided; heads that do not divide were refused until 0.28."""


def _omni_tp(rank: Rank, heads: int, whole_since: tuple[int, int]) -> int:
    """How many ranks share a part of the audio tower."""
    if rank.version < _OMNI_NATIVE_SINCE or (heads % rank.tp and rank.version >= whole_since):
        return 1
    return rank.tp


def qwen3_omni_audio_tower(rank: Rank) -> None:
    """Qwen3-Omni: three convolutions in two dimensions, blocks divided where the heads divide, a projection of two linears."""
    audio = audio_config(rank)
    width, heads = audio.int("d_model", default=1280), positive(audio, "encoder_attention_heads", default=20)
    wide, channels = audio.int("encoder_ffn_dim", default=5120), audio.int("downsample_hidden_size", default=480)
    out = audio.int("output_dim", default=2048)
    bins = audio.int("num_mel_bins", default=128)
    attends, feeds = _omni_tp(rank, heads, _OMNI_WHOLE_ATTENTION_SINCE), _omni_tp(rank, heads, _OMNI_WHOLE_MLP_SINCE)
    rank.tensor(audio.int("max_source_positions", default=1500) * width, 4)
    rank.tensor(channels * 9 + channels)
    for _ in range(2):
        rank.tensor(channels * channels * 9 + channels)
    rank.tensor(channels * -(-bins // 8) * width)

    def layer(i: int) -> None:
        name = f"audio_tower.layers.{i}"
        rank.qkv(f"{name}.self_attn", width, heads, heads, width // heads, bias=True, tp=attends)
        rank.row(f"{name}.self_attn", "out_proj", width, width, bias=True, tp=attends)
        rank.column(name, ("fc1",), width, (wide,), bias=True, tp=feeds)
        rank.row(name, "fc2", wide, width, bias=True, tp=feeds)
        rank.norm(width, bias=True, count=2)

    rank.layers(range(positive(audio, "encoder_layers", default=32, limit=MAX_DEPTH)), None, layer)
    rank.norm(width, bias=True)
    rank.tensor(width * width + width)
    rank.tensor(width * out + out)
