"""Phi-4-multimodal: SigLIP without its last layer, a conformer for speech, projections.

Called by `models.phi`. The adapters in the checkpoint are not loaded with the model. Knows no language model.
Sources: vllm/model_executor/models/{phi4mm,phi4mm_audio,phi4mm_utils,idefics2_vision_model}.py (0.9.2 to 0.33.0).
"""

from __future__ import annotations

from typing import Final

from plimsoll_estimator.checks import Check
from plimsoll_estimator.errors import InvalidInput, Unsupported
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.reader import MAX_TOWER_LAYERS, positive
from plimsoll_estimator.shape import TowerSize
from plimsoll_estimator.towers.encoder import CLIP_BLOCK, encoder, layers_to

_TOWER: Final = TowerSize(layers=27, hidden_size=1152, heads=16, intermediate_size=4304)
_SIDE: Final = 32
_PATCH: Final = 14
_POSITIONS: Final = 5000


def _projection(rank: Rank, inputs: int, hidden: int) -> None:
    """Two plain linears, whole on every rank."""
    rank.tensor(inputs * hidden + hidden)
    rank.tensor(hidden * hidden + hidden)


def _vision(rank: Rank, hidden: int) -> None:
    """The tower of fixed size without a last norm (divided), two separators, a projection."""
    width, processor = _TOWER.hidden_size, rank.config.sub("img_processor") or HfConfig({}, f"{rank.config.path}.img_processor")
    rank.tensor(3 * _PATCH * _PATCH * width + width)
    rank.tensor(_SIDE * _SIDE * width)
    used = layers_to(processor, "layer_idx", _TOWER.layers, default=-2)
    encoder(rank, "vision_encoder.img_processor.encoder.layers", _TOWER, CLIP_BLOCK, layers=used)
    rank.norm(width, count=2)
    _projection(rank, width, hidden)


def _required(config: HfConfig, key: str) -> HfConfig:
    found = config.sub(key)
    if found is None:
        raise InvalidInput(f"{config.path}.{key}", None, "is required")
    return found


def _subsampling(rank: Rank, audio: HfConfig, width: int) -> None:
    """Halving convolutions over time and frequency (the first plain, the others by depth and point) and a projection."""
    settings = audio.sub("nemo_conv_settings")
    channels = positive(settings, "conv_channels", default=256) if settings is not None else 256
    bins, steps = positive(audio, "input_size"), positive(audio, "time_reduction", default=4, limit=1024).bit_length() - 1
    rank.tensor(channels * 9 + channels)
    for _ in range(steps - 1):
        rank.tensor(channels * 9 + channels)
        rank.tensor(channels * channels + channels)
    rank.tensor(channels * -(-bins // 2**steps) * width + width)


def _conformer_layer(rank: Rank, width: int, wide: int, kernel: int) -> None:
    """Two gated feed-forwards around attention and a convolution, with five norms."""
    for _ in range(2):
        rank.tensor(width * 2 * wide + 2 * wide)
        rank.tensor(wide * width + width)
    for _ in range(4):
        rank.tensor(width * width + width)
    rank.tensor(width * 2 * width + 2 * width)
    rank.norm(width, count=2)
    rank.tensor(width * kernel + width)
    for _ in range(2):
        rank.tensor(width * width + width)
    rank.norm(width, bias=True, count=5)


def _audio(rank: Rank, hidden: int) -> None:
    """The conformer, whole on every rank, and a projection each for speech alone and speech beside images."""
    processor = _required(rank.config, "audio_processor")
    audio = _required(processor, "config")
    layout = _required(_required(rank.config, "embd_layer"), "audio_embd_layer")
    width = positive(audio, "attention_dim", default=256)
    plain = {"ext_pw_kernel_size": 1, "depthwise_multiplier": 1, "attention_group_size": 1}
    same = ("ext_pw_out_channel", "depthwise_seperable_out_channel")
    odd = [key for key, value in plain.items() if audio.int(key, default=value) != value]
    odd += [key for key in same if audio.int(key, default=0) != width]
    odd += [key for key in ("batch_norm", "linear_glu_in_convm", "export") if audio.bool(key)]
    odd += [key for key in ("use_qformer", "use_conv_downsample") if layout.bool(key)]
    odd += [] if audio.bool("bias_in_glu", True) else ["bias_in_glu"]
    odd += [] if layout.str_or_none("projection_cls") == "mlp" else ["projection_cls"]
    if odd:
        raise Unsupported(Check.UNSUPPORTED_AUDIO_TOWER, f"no rules for a Phi-4 speech encoder with this {', '.join(odd)}")
    _subsampling(rank, audio, width)
    wide, kernel = audio.int("linear_units", default=2048), audio.int("kernel_size", default=3)
    blocks = positive(audio, "num_blocks", limit=MAX_TOWER_LAYERS)
    rank.layers(range(blocks), None, lambda _: _conformer_layer(rank, width, wide, kernel))
    bias = _required(audio, "relative_attention_bias_args")
    buckets = bias.int("t5_bias_max_distance", default=1000) * (1 if bias.bool("t5_bias_symmetric") else 2)
    rank.tensor(buckets * positive(audio, "attention_heads", default=4))
    rank.norm(_required(audio, "encoder_embedding_config").int("input_size"), count=2)
    rank.tensor(1)
    rank.added_bytes += _POSITIONS * width * rank.item  # a table that is neither a parameter nor a buffer
    rows = width * layout.int("downsample_rate", default=1)
    for _ in range(2):
        _projection(rank, rows, hidden)


def phi4mm_tower(rank: Rank) -> None:
    """Both towers, which the class builds without quantisation."""
    hidden = rank.shape.size.hidden_size
    _vision(rank, hidden)
    _audio(rank, hidden)
