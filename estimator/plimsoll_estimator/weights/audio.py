"""Audio towers beside a language model: Whisper's encoder as Transformers builds it, whole on every rank and unquantised.

Sources: vllm/model_executor/models/{qwen2_audio,qwen2_5_omni_thinker}.py (0.17.1 to 0.33.0). Knows no language model.
"""

from __future__ import annotations

from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.weights.rank import Rank, positive

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
