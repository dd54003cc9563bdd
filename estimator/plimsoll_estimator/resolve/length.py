"""max_model_len as vLLM derives it from a config, by release, and the refusal of longer requests.

Called by `resolve`. Follows vLLM config/model.py:_get_and_verify_max_len of 0.19.1, 0.25.1 and 0.33.0. Refuses to know
tokenizer files and generation configs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from plimsoll_estimator.checks import Check
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import EngineRefusal, InvalidInput
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.kept import kept_with_config
from plimsoll_estimator.reader import language
from plimsoll_estimator.resolve.releases import argument_rules

_KEYS: Final = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "seq_length",
    "model_max_length",
    "max_target_positions",
    "max_sequence_length",
    "max_seq_length",
    "seq_len",
)
_FALLBACK: Final = 2048
_UNSCALED_OLD: Final = frozenset({"su", "longrope", "llama3"})
_UNSCALED_NEW: Final = _UNSCALED_OLD | {"yarn", "deepseek_yarn", "deepseek_llama_scaling"}


def max_model_len(config: HfConfig, wanted: int | None, version: EngineVersion) -> int:
    """The resolved max_model_len in tokens; `wanted` None means the model's own, as vLLM derives it.

    -1 (auto-fit) resolves to the model's own; the KV planner lowers it. Raises EngineRefusal(ContextTooLong).
    """
    text = language(config)
    if wanted is not None and wanted != -1 and wanted < 1:
        raise InvalidInput("engine_args.max_model_len", wanted, "must be at least 1")
    key, derived, longrope = _own_length(config, version)
    if derived is None:
        return wanted if wanted is not None and wanted > 0 else _FALLBACK
    if wanted is None or wanted == -1:
        if longrope:
            return text.int_or_none("original_max_position_embeddings") or int(derived)
        return int(derived)
    if wanted > derived:
        allowed = text.int_or_none("model_max_length")
        if allowed is None or wanted > allowed:
            raise EngineRefusal(
                Check.CONTEXT_TOO_LONG,
                f"max_model_len {wanted} is greater than the length derived from the model's config ({key}={int(derived)})",
            )
    return wanted


@kept_with_config
def _own_length(config: HfConfig, version: EngineVersion) -> tuple[str, float | None, bool]:
    """(key, length that the config gives with its rope scaling or None, whether LongRoPE serves the original length)."""
    key, derived = _derived(language(config))
    if derived is None:
        return key, None, False
    ropes = _ropes(language(config))
    if derived < 1:
        raise InvalidInput(f"{language(config).path}.{key}", derived, "must be at least 1")
    return (
        key,
        _scaled(config, ropes, derived, version),
        argument_rules(version).longrope_starts_short and any(rope_type == "longrope" for rope_type, _ in ropes),
    )


def _derived(text: HfConfig) -> tuple[str, float | None]:
    held = text.as_mapping()
    found = [(text.int(key), key) for key in _KEYS if held.get(key) is not None]
    if not found:
        return "none", None
    if (own := text.int_or_none("model_max_length")) is not None:
        return "model_max_length", own
    value, key = min(found, key=lambda item: item[0])
    return key, value


def _scaled(config: HfConfig, ropes: list[tuple[str, Mapping[str, Any]]], derived: float, version: EngineVersion) -> float:
    if not ropes or "gemma3" in language(config).model_type or "gemma3" in config.model_type:
        return derived
    unscaled = _UNSCALED_NEW if argument_rules(version).yarn_keeps_maximum else _UNSCALED_OLD
    factor = 1.0
    for rope_type, values in ropes:
        if rope_type in unscaled:
            continue
        factor = _number(values.get("factor"), factor)
        if rope_type == "yarn":
            original = values.get("original_max_position_embeddings")
            derived = _number(original, derived)
    return derived * factor


def _number(value: object, default: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e15:
        return default
    return float(value)


def _ropes(text: HfConfig) -> list[tuple[str, Mapping[str, Any]]]:
    """(type, values) of each rope configuration: rope_parameters (flat or by layer kind), else rope_scaling."""
    for key in ("rope_parameters", "rope_scaling"):
        value = text.raw(key)
        if not value or not isinstance(value, Mapping):
            continue
        nested = [v for v in value.values() if isinstance(v, Mapping)]
        entries = nested if nested and len(nested) == len(value) else [value]
        return [(_rope_type(entry), entry) for entry in entries]
    return []


def _rope_type(values: Mapping[str, Any]) -> str:
    name = values.get("rope_type") or values.get("type") or "default"
    return {"su": "longrope", "mrope": "default"}.get(str(name), str(name))
