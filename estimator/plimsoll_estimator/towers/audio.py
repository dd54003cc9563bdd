"""Audio towers, unquantised: Whisper's encoder as Transformers builds it (whole), and Qwen3-Omni's.

Called by `models.qwen_audio`. Knows no language model.
Sources: vllm/model_executor/models/{qwen2_audio,qwen2_5_omni_thinker,qwen3_omni_moe_thinker}.py (0.12.0 to 0.33.0).
"""

from __future__ import annotations

from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.reader import AUDIO, tower, tower_size
from plimsoll_estimator.towers.releases import tower_rules


def audio_config(rank: Rank) -> HfConfig:
    """The audio tower's configuration as its class holds it."""
    return tower(rank.config, AUDIO)


def _encoder(rank: Rank, audio: HfConfig) -> int:
    """Two convolutions and the blocks; keys have no bias. Returns the width."""
    size = tower_size(audio)
    width, wide = size.hidden_size, size.intermediate_size
    rank.tensor(width * audio.int("num_mel_bins") * 3 + width)
    rank.tensor(width * width * 3 + width)

    def layer(i: int) -> None:
        for _ in range(4):
            rank.tensor(width * width)
        rank.tensor(width * wide)
        rank.tensor(wide * width)
        rank.norm(3 * width + wide + width)
        rank.norm(width, bias=True, count=2)

    rank.layers(range(size.layers), None, layer)
    rank.norm(width, bias=True)
    return width


def qwen2_audio_tower(rank: Rank) -> None:
    """Qwen2-Audio: learned positions and one projection to the text's width."""
    audio = audio_config(rank)
    width = _encoder(rank, audio)
    text = rank.shape.size.hidden_size
    rank.tensor(audio.int("max_source_positions") * width)
    rank.tensor(width * text + text)


def omni_audio_tower(rank: Rank) -> None:
    """Qwen2.5-Omni: sinusoid positions in float32, embeddings of the audio's ends, a projection."""
    audio = audio_config(rank)
    width = _encoder(rank, audio)
    out = audio.int("output_dim")
    rank.tensor(audio.int("max_source_positions") * width, 4)
    rank.tensor(2 * out)
    rank.tensor(width * out + out)


def qwen3_omni_audio_tower(rank: Rank) -> None:
    """Qwen3-Omni: three convolutions in two dimensions, blocks divided where the heads divide, a projection of two linears."""
    audio = audio_config(rank)
    size = tower_size(audio)
    width, heads, wide = size.hidden_size, size.heads, size.intermediate_size
    channels, out, bins = audio.int("downsample_hidden_size"), audio.int("output_dim"), audio.int("num_mel_bins")
    rules, uneven = tower_rules(rank.version), heads % rank.tp
    attends = 1 if not rules.divides_omni_audio or (uneven and rules.whole_omni_attention) else rank.tp
    feeds = 1 if not rules.divides_omni_audio or (uneven and rules.whole_omni_mlp) else rank.tp
    rank.tensor(audio.int("max_source_positions") * width, 4)
    rank.tensor(channels * 9 + channels)
    for _ in range(2):
        rank.tensor(channels * channels * 9 + channels)
    rank.tensor(channels * -(-bins // 8) * width)

    def layer(i: int) -> None:
        name = f"audio_tower.layers.{i}"
        rank.qkv(f"{name}.self_attn", width, heads, heads, size.head_dim, bias=True, tp=attends)
        rank.row(f"{name}.self_attn", "out_proj", width, width, bias=True, tp=attends)
        rank.column(name, ("fc1",), width, (wide,), bias=True, tp=feeds)
        rank.row(name, "fc2", wide, width, bias=True, tp=feeds)
        rank.norm(width, bias=True, count=2)

    rank.layers(range(size.layers), None, layer)
    rank.norm(width, bias=True)
    rank.tensor(width * width + width)
    rank.tensor(width * out + out)
