"""A checkpoint's own quantisation settings: where they stand, and what is asked of them without a method being chosen.

Called by `methods`, by `estimate` and `explain`. Knows no bytes.
"""

from __future__ import annotations

from typing import Final

from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.kept import kept_with_config

_NOTHING: Final = HfConfig({}, "quantization_config")
MOST_GROUPS: Final = 64
_BLOCK: Final = (128, 128)


@kept_with_config
def quantization_config(config: HfConfig) -> HfConfig:
    """The checkpoint's quantisation settings: of the root, else of the text part; empty where neither says anything."""
    text = config.text
    for holder in (config, text):
        for key in ("quantization_config", "compression_config"):
            found = holder.sub(key)
            if found is not None and found.as_mapping():
                return found
    return _NOTHING


def strings(settings: HfConfig, *keys: str) -> tuple[str, ...]:
    """The strings of the first list under `keys` that has any entries."""
    for key in keys:
        values = settings.list_or_none(key)
        if values:
            return tuple(value for value in values if isinstance(value, str))
    return ()


@kept_with_config
def weight_only(config: HfConfig) -> bool:
    """Whether a compressed-tensors checkpoint quantises weights alone: no group has `input_activations` (compressed_tensors_moe.py)."""
    groups = quantization_config(config).sub("config_groups")
    if groups is None or len(groups.as_mapping()) > MOST_GROUPS:
        return False
    parts = [groups.sub(name) for name in groups]
    return bool(parts) and all(part is not None and part.sub("input_activations") is None for part in parts)


@kept_with_config
def fp8_blocks(config: HfConfig) -> bool:
    """Whether a checkpoint's weights are fp8 with a scale per 128 x 128 block, by either of the spellings that vLLM reads."""
    settings = quantization_config(config)
    if settings.list_or_none("weight_block_size") == _BLOCK:
        return True
    groups = settings.sub("config_groups")
    if groups is None or len(groups.as_mapping()) > MOST_GROUPS:
        return False
    weights = [part.sub("weights") for name in groups if (part := groups.sub(name)) is not None]
    return any(one is not None and one.list_or_none("block_structure") == _BLOCK for one in weights)
