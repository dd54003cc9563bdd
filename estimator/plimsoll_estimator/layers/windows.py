"""Which layers see every token, which a sliding window, which a chunk: one entry per decoder layer.

Called by `caches` and the model lines. Follows vLLM's model classes: most honour `layer_types`; a lone `sliding_window` counts for every
layer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.text_shape import TextShape

Window = tuple[Literal["full", "sliding", "chunked"], int]
FULL: Final[Window] = ("full", 0)
PATTERN_DEFAULTS: Final = {
    "gemma2": 2,
    "gemma3_text": 6,
    "gemma3n_text": 5,
    "gemma4_text": 6,
    "exaone4": 4,
    "cohere2": 4,
    "exaone_moe": 4,
    "cohere2_moe": 4,
}
"""Every n-th layer is full where the file has no `layer_types`, by text model type (Transformers' config classes)."""
IGNORES_WINDOWS: Final = frozenset({
    "qwen2", "qwen2_moe", "qwen2_vl", "qwen2_vl_text", "qwen2_5_vl", "qwen2_5_vl_text", "qwen2_5_omni_text", "qwen3", "qwen3_moe",
    "qwen3_vl_text", "qwen3_vl_moe_text", "qwen3_omni_moe_text",
})  # fmt: skip
"""Classes whose attention layers never get a window: a window for some of their layers is refused earlier."""


def layer_windows(text: HfConfig, shape: TextShape) -> list[Window]:
    """(kind, window) of every decoder layer."""
    model_type = shape.model_type
    window = text.int_or_none("sliding_window")
    if not window or model_type in IGNORES_WINDOWS or not text.bool("use_sliding_window", default=True):
        return [FULL] * shape.layers
    types = text.list_or_none("layer_types")
    if types is None:
        types = _types_from_pattern(text, shape)
    local: Window = ("sliding", window)
    if types is None:
        # CacheConfig.sliding_window: a model that only names a window has it in every layer.
        return [local] * shape.layers
    return [local if i < len(types) and types[i] == "sliding_attention" else FULL for i in range(shape.layers)]


def _types_from_pattern(text: HfConfig, shape: TextShape) -> tuple[str, ...] | None:
    default = PATTERN_DEFAULTS.get(shape.model_type)
    if default is None:
        return None
    letters = text.raw("sliding_window_pattern")
    if isinstance(letters, str) and letters:
        return tuple("sliding_attention" if letters[i % len(letters)] == "L" else "full_attention" for i in range(shape.layers))
    period = text.int_or_none("sliding_window_pattern", "_sliding_window_pattern") or default
    return tuple("full_attention" if (i + 1) % period == 0 else "sliding_attention" for i in range(shape.layers))


def locality(text: HfConfig, pattern: int) -> Callable[[int], bool]:
    """Whether a layer is local: `layer_types` where it reaches, else all but every `pattern`-th."""
    kinds = text.list_or_none("layer_types") or ()

    def is_local(layer: int) -> bool:
        if layer < len(kinds):
            return bool(kinds[layer] == "sliding_attention")
        return (layer + 1) % pattern != 0

    return is_local
