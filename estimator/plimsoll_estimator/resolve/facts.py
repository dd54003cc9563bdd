"""What the resolver reads off a config and off the table of engine defaults: heads, experts, model kind, tiers.

Called by the other modules of `resolve` and by `overhead`. Refuses to know bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.models.architectures import ARCHITECTURES
from plimsoll_estimator.reader import EXPERTS, language


@cache
def engine_defaults() -> Mapping[str, Any]:
    """The shipped table data/engine_defaults.json, parsed once."""
    text = resources.files("plimsoll_estimator").joinpath("data/engine_defaults.json").read_text(encoding="utf-8")
    table: Mapping[str, Any] = json.loads(text)
    return table


def in_range(version: EngineVersion, since: str | None, last: str | None) -> bool:
    """Whether the release is from `since` on and no later than the minor `last`; None is open."""
    if since is not None and version < EngineVersion.parse(since):
        return False
    return last is None or version.minor_key <= EngineVersion.parse(last).minor_key


def latest(version: EngineVersion, steps: list[tuple[str, int]]) -> int | None:
    """The value of the last step whose release is not newer than `version`."""
    found: int | None = None
    for since, value in steps:
        if version >= EngineVersion.parse(since):
            found = value
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class LayoutBounds:
    """What of a model bounds its parallel layouts: layers and query heads (None where the config is silent), and whether it has experts."""

    layers: int | None
    heads: int | None
    has_experts: bool


def layout_bounds(config: HfConfig) -> LayoutBounds:
    """Read once for a search, before any layout is worked out."""
    layers = language(config).int_or_none("num_hidden_layers")
    return LayoutBounds(layers=layers, heads=query_heads(config), has_experts=num_experts(config) > 0)


def query_heads(config: HfConfig) -> int | None:
    """Attention heads of the language model; None when the config does not say."""
    return language(config).int_or_none("num_attention_heads")


def kv_heads(config: HfConfig) -> int | None:
    """KV heads as vLLM's config convertor finds them (v0.33 model_arch_config_convertor); absent means the query heads."""
    text = language(config)
    if text.raw("multi_query") is True and text.raw("new_decoder_architecture") is not True and "num_kv_heads" not in text:
        return 1
    value = text.raw("num_key_value_heads")
    return value if isinstance(value, int) and not isinstance(value, bool) else query_heads(config)


def num_experts(config: HfConfig) -> int:
    """Routed experts, 0 for dense models (first of the keys vLLM knows; a list counts by its first entry)."""
    text = language(config)
    for key in EXPERTS:
        value = text.raw(key)
        if isinstance(value, list) and value:
            value = value[0]
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    return 0


def is_hybrid(config: HfConfig, architecture: str) -> bool:
    """Whether vLLM counts the class as hybrid (state layers beside attention)."""
    if architecture not in engine_defaults()["hybrid"]:
        return False
    kinds = config.list_or_none("layer_types") or language(config).list_or_none("layer_types")
    return kinds is None or not all(kind in ("attention", "full_attention") for kind in kinds)


def is_attention_free(architecture: str) -> bool:
    """Pure state-space models: no attention layer at all."""
    return architecture in engine_defaults()["attention_free"]


def is_encoder_only(architecture: str) -> bool:
    """BERT and its like: attention in both directions and no cache."""
    found = ARCHITECTURES.get(architecture)
    return found is not None and found.family in ("bert", "modern_bert")


def is_mla(config: HfConfig) -> bool:
    """Latent attention: one compressed KV vector for all heads."""
    return "kv_lora_rank" in language(config)


def supports_pipeline_parallel(architecture: str, version: EngineVersion) -> bool:
    """Whether the class of that release implements SupportsPP."""
    span = engine_defaults()["without_pipeline_parallel"].get(architecture)
    return span is None or not in_range(version, span[0], span[1])


def interface(table: str, name: str, version: EngineVersion) -> bool | None:
    """Whether that release has what the table `takes_lora`, `takes_eagle3` or `speculative_methods` lists under the name.

    None where no source was read: releases between and before the examined ones that their neighbours do not settle, and those
    after the last one with it, where the class may only have moved.
    """
    defaults = engine_defaults()
    examined = [EngineVersion.parse(f"{minor}.0").minor_key for minor in defaults["interfaces_examined"]]
    key = version.minor_key
    if key < examined[0]:
        return None
    span = defaults[table].get(name)
    if span is None:
        return False if key <= examined[-1] else None
    since, last = (EngineVersion.parse(f"{minor}.0").minor_key if minor else None for minor in span)
    if last is not None and key > last:
        return None
    if since is not None and key < since:
        before = max(minor for minor in examined if minor < since)
        return False if key <= before else None
    return True


def supports_tensor_parallel(architecture: str, version: EngineVersion) -> bool:
    """False where that release runs the class through a backend that cannot shard it."""
    span = engine_defaults()["without_tensor_parallel"].get(architecture)
    return span is None or not in_range(version, span[0], span[1])
