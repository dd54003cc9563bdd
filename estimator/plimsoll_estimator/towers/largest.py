"""The largest image or video that the profile run sends through a vision tower, by the class in front of the language model.

Called by `models.register`. Sizes are those of vLLM's dummy inputs (model_executor/models, 0.19.0; 0.11.0 and 0.33.0 agree), tiles and
limits that stand in no config.json those of the processors' own defaults (Transformers 5.x). Knows no bytes and no releases.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.reader import MAX_WIDTH, language, outer, positive, tower_size
from plimsoll_estimator.shape import LargestItem, TowerBlocks

_MOST_TILES: Final = 1024
_TURNED: Final = (3, 8)
"""Input, norm, output; queries, keys and values, queries and keys made contiguous and turned, context (qwen2_5_vl.py, qwen3_vl.py)."""
_PLAIN: Final = (3, 4)
"""Residual, norm, output; queries, keys and values, context (siglip.py, idefics2_vision_model.py)."""
_NORMED: Final = (3, 6)
"""The same with queries and keys normed (intern_vit.py)."""
_COMPLEX: Final = (2, 11)
"""Residual, norm; queries, keys and values, then queries and keys in float32 before and after they are turned (moonvit.py, mllama4.py)."""
_QWEN_TOKENS: Final = 16384
_QWEN_2_FRAMES: Final = 7
"""Pairs of frames of the size of the largest image (qwen2_vl.py: _MAX_FRAMES_PER_VIDEO, 14 from 0.11; 16 before, in batches of 131,072)."""
_LLAMA_4_TILES, _IDEFICS_TILES, _COHERE_TILES, _INTERNVL_TILES = 16, 16, 12, 12
_MINICPM_SIDE, _MINICPM_SLICES, _MINICPM_QUERIES = 448, 9, 64
_KIMI_PATCHES: Final = 4096  # in_token_limit of Kimi-VL's processor, before patches are merged
_SEES_VIDEO: Final = frozenset({"qwen2", "qwen3", "qwen3_moe", "gpt_oss"})  # text types with a token for it (internvl.py: get_video_token)


class _Kind(NamedTuple):
    item: Callable[[HfConfig, HfConfig], LargestItem]
    attention: tuple[int, int] = _PLAIN
    gated: bool = False
    masked: bool = False


def tower_blocks(config: HfConfig, held: HfConfig) -> TowerBlocks | None:
    """What the profile run of the whole `config` sends through the blocks of its tower `held`.

    None where no rule says of a tower that merges no patches; of others it is guessed, and only doubts are made of it.
    """
    guessed = False
    if held.model_type.startswith("qwen") and "spatial_merge_size" in held:
        kind = _Kind(_qwen, _TURNED, gated=held.str_or_none("hidden_act") == "silu")
    elif held.model_type == "pixtral":
        kind = _PIXTRAL
    elif config.model_type in _KINDS and list(held):
        kind = _KINDS[config.model_type]
    elif "spatial_merge_size" in held:
        kind, guessed = _Kind(_unknown, _TURNED, gated=True), True
    else:
        return None
    attention = _NORMED if kind.attention == _PLAIN and held.raw("qk_normalization") is True else kind.attention
    frames = positive(held, "temporal_patch_size", default=2, limit=MAX_WIDTH) if kind.item is _qwen or guessed else 1
    largest = kind.item(config, held)
    return TowerBlocks(
        size=tower_size(held),
        gated=kind.gated,
        patch_elements=positive(held, "num_channels", default=3, limit=MAX_WIDTH) * frames * _side(held, "patch_size", 14) ** 2,
        largest=largest,
        attention=attention,
        masked=kind.masked,
        sees_video=kind.item is _qwen or largest.frame_tokens > 0,
        fuses_norm=kind.item is _qwen and kind.gated,
        guessed=guessed,
    )


def _side(held: HfConfig, key: str, default: int) -> int:
    """A length in pixels, which some files give twice."""
    value = held.raw(key)
    if isinstance(value, list | tuple) and value:
        held = HfConfig({key: value[0]}, held.path)
    return positive(held, key, default=default, limit=MAX_WIDTH)


def _grid(held: HfConfig, image: int, patch: int = 14) -> int:
    """Patches along one side of a tile."""
    return max(1, _side(held, "image_size", image) // _side(held, "patch_size", patch))


def _qwen(config: HfConfig, held: HfConfig) -> LargestItem:
    patches = _QWEN_TOKENS * positive(held, "spatial_merge_size", limit=MAX_WIDTH) ** 2
    if not held.model_type.startswith("qwen2"):
        return LargestItem(tokens=_QWEN_TOKENS, patches=patches)
    return LargestItem(tokens=_QWEN_TOKENS, patches=patches, frame_tokens=_QWEN_TOKENS, frame_patches=patches, most_frames=_QWEN_2_FRAMES)


def _unknown(config: HfConfig, held: HfConfig) -> LargestItem:
    return LargestItem(tokens=_QWEN_TOKENS, patches=_QWEN_TOKENS * positive(held, "spatial_merge_size", limit=MAX_WIDTH) ** 2)


def _gemma3(config: HfConfig, held: HfConfig) -> LargestItem:
    tokens = positive(config, "mm_tokens_per_image", default=256, limit=MAX_WIDTH)
    return LargestItem(tokens=tokens, patches=max(tokens, _grid(held, 896) ** 2))


def _pixtral(config: HfConfig, held: HfConfig) -> LargestItem:
    merge = positive(outer(config), "spatial_merge_size", default=1, limit=MAX_WIDTH)
    side = max(1, _grid(held, 1540) // merge)
    return LargestItem(tokens=side**2, patches=(side * merge) ** 2)


def _tiled(tiles: int, merged: int, patches: int) -> LargestItem:
    """`tiles` and the whole image once more, of `patches` each that become `merged` tokens."""
    return LargestItem(tokens=(tiles + 1) * max(1, merged), patches=(tiles + 1) * patches)


def _llama4(config: HfConfig, held: HfConfig) -> LargestItem:
    patches, ratio = _grid(held, 448) ** 2, _ratio(held, "pixel_shuffle_ratio")
    return _tiled(_LLAMA_4_TILES, int(patches * ratio**2), patches + 1)


def _internvl(config: HfConfig, held: HfConfig) -> LargestItem:
    patches, ratio = _grid(held, 448) ** 2, _ratio(outer(config), "downsample_ratio")
    tiles = positive(config, "max_dynamic_patch", default=_INTERNVL_TILES, limit=_MOST_TILES)
    image = _tiled(tiles, int(patches * ratio**2), patches + 1)
    if language(config).model_type not in _SEES_VIDEO:
        return image
    return LargestItem(tokens=image.tokens, patches=image.patches, frame_tokens=max(1, int(patches * ratio**2)), frame_patches=patches + 1)


def _ratio(held: HfConfig, key: str) -> float:
    ratio = held.float_or_none(key) or 0.5
    return ratio if 0.01 <= ratio <= 1 else 0.5


def _idefics(config: HfConfig, held: HfConfig) -> LargestItem:
    patches = _grid(held, 364) ** 2
    return _tiled(_IDEFICS_TILES, patches // positive(outer(config), "scale_factor", default=2, limit=64) ** 2, patches)


def _cohere(config: HfConfig, held: HfConfig) -> LargestItem:
    patches = _grid(held, 512, 16) ** 2
    return _tiled(_COHERE_TILES, patches // positive(outer(config), "downsample_factor", default=2, limit=64) ** 2, patches)


def _minicpm(config: HfConfig, held: HfConfig) -> LargestItem:
    queries = positive(config, "query_num", default=_MINICPM_QUERIES, limit=MAX_WIDTH)
    return _tiled(_MINICPM_SLICES, queries, (_MINICPM_SIDE // _side(held, "patch_size", 14)) ** 2)


def _kimi_vl(config: HfConfig, held: HfConfig) -> LargestItem:
    return LargestItem(tokens=_KIMI_PATCHES // 4, patches=_KIMI_PATCHES)


_KINDS: Final = {
    "gemma3": _Kind(_gemma3),
    "llama4": _Kind(_llama4, _COMPLEX),
    "internvl_chat": _Kind(_internvl),
    "internvl": _Kind(_internvl),
    "idefics3": _Kind(_idefics),
    "smolvlm": _Kind(_idefics),
    "cohere2_vision": _Kind(_cohere),
    "minicpmv": _Kind(_minicpm),
    "minicpmo": _Kind(_minicpm),
    "kimi_vl": _Kind(_kimi_vl, _COMPLEX),
}
"""By the outer `model_type`. Left out: towers that merge no patches, which stay below the language model's peak; those without rules."""
_PIXTRAL: Final = _Kind(_pixtral, _TURNED, gated=True, masked=True)
