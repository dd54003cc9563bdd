"""A config with the keys of --hf-overrides laid over it, as vLLM lays them.

Called by `estimate`, and by the operator for what bounds the search. Follows config/model.py (_apply_dict_overrides, _update_nested,
0.33.0) and Transformers' PretrainedConfig.update. Knows no key's meaning but that of rope_scaling, which is rope_parameters' older name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.kept import kept_with_config

_PLAIN: Final = frozenset({"quantization_config"})
"""Dictionaries that Transformers keeps as they are, though their names are those of nested configs."""


def overridden(config: HfConfig, overrides: Mapping[str, Any] | None) -> HfConfig:
    """The config that vLLM reads the model from; the config itself where nothing is overridden."""
    return _overridden(config, json.dumps(overrides, sort_keys=True)) if overrides else config


@kept_with_config
def _overridden(config: HfConfig, overrides: str) -> HfConfig:
    return HfConfig(_laid_over(config.as_mapping(), json.loads(overrides)), config.path)


def _laid_over(level: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(level)
    if "rope_scaling" in overrides and "rope_parameters" not in overrides:
        found.pop("rope_parameters", None)
    for key, value in overrides.items():
        inner = found.get(key)
        nested = key.endswith("_config") and key not in _PLAIN and isinstance(inner, Mapping) and isinstance(value, Mapping)
        found[key] = _laid_over(inner, value) if nested and isinstance(inner, Mapping) else value
    return found
