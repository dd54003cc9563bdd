"""Bounds on a config that later arithmetic relies on: no nesting in per-layer lists, no zero heads, bounded layers and lists.

Called by `resolve` before anything else. Refuses to know families.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from plimsoll_estimator.errors import InvalidInput
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.reader import layers_named

_MOST_LOOKED_THROUGH: Final = 1 << 22
"""Entries of one list times layers: lists that name layers are looked through for each of them. Eight thousand entries on 512 layers."""
_PER_LAYER: Final = frozenset({
    "architectures", "layer_types", "attn_type_list", "layers_block_type", "mlp_layer_types", "hybrid_layer_ids", "attn_layer_indices",
    "cross_attention_layers", "full_attn_idxs", "full_attn_layers", "kda_layers", "mlp_only_layers",
})  # fmt: skip
_PLAIN: Final = frozenset({str, int, float, bool, type(None)})
_QUANTISATION: Final = ("quantization_config", "compression_config")
_POSITIVE: Final = ("num_attention_heads", "num_heads", "max_position_embeddings", "sliding_window_pattern", "patch_size")
_ROPES: Final = ("rope_scaling", "rope_parameters")
_SCALARS: Final = ("rope_theta", "factor", "original_max_position_embeddings", "partial_rotary_factor", "rope_type", "type")
_NAMED: Final = frozenset(_SCALARS)


def check_config(config: HfConfig) -> None:
    """Raises InvalidInput naming the key that breaks a bound."""
    layers = layers_named(config)
    for path, key, values in _lists(config):
        if len(values) * (layers or 1) > _MOST_LOOKED_THROUGH:
            limit = f"entries are too many on {layers or 1} layers: at most {_MOST_LOOKED_THROUGH // (layers or 1)}"
            raise InvalidInput(f"{path}.{key}", len(values), limit)
        if key in _PER_LAYER and any(issubclass(kind, list | dict) for kind in set(map(type, values))):
            raise InvalidInput(f"{path}.{key}", values, "must be a list of names or numbers")
    for level in _levels(config):
        held = level.as_mapping()
        for key in _POSITIVE:
            value = held.get(key)
            if value == 0 and value is not False:
                raise InvalidInput(f"{level.path}.{key}", 0, "must be at least 1")
        _check_ropes(level)


def _lists(config: HfConfig) -> Iterator[tuple[str, str, list[object]]]:
    """Every list of the config at any depth, with its place; those of quantisation settings have budgets of their own."""
    pending = [(config.path, config.as_mapping())]
    while pending:
        path, level = pending.pop()
        for key, value in level.items():
            if value.__class__ in _PLAIN:
                continue
            if isinstance(value, list):
                yield path, key, value
            elif isinstance(value, Mapping) and key not in _QUANTISATION:
                pending.append((f"{path}.{key}", value))


def _levels(config: HfConfig) -> Iterator[HfConfig]:
    yield config
    if config.text is not config:
        yield config.text
    for key in ("vision_config", "audio_config"):
        value = config.raw(key)
        if value is not None and isinstance(value, Mapping):
            yield HfConfig(value, f"{config.path}.{key}")


def _check_ropes(level: HfConfig) -> None:
    held = level.as_mapping()
    _check_single(level.path, held)
    for key in _ROPES:
        value = held.get(key)
        if value.__class__ in _PLAIN or not isinstance(value, Mapping):
            continue
        _check_single(f"{level.path}.{key}", value)
        for name, inner in value.items():
            if inner.__class__ not in _PLAIN and isinstance(inner, Mapping):
                _check_single(f"{level.path}.{key}.{name}", inner)


def _check_single(path: str, values: Mapping[str, object]) -> None:
    if _NAMED.isdisjoint(values):
        return
    for key in _SCALARS:
        value = values.get(key)
        if value.__class__ in _PLAIN or not isinstance(value, list | dict):
            continue
        if key == "rope_theta" and isinstance(value, list) and all(isinstance(entry, int | float) for entry in value):
            continue  # Step 3.5 gives every layer its own
        raise InvalidInput(f"{path}.{key}", value, "must be a single value")
