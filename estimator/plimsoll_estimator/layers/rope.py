"""The cosine/sine tables of rotary embeddings: buffers that count as weights, one per distinct configuration.

Called by layers, towers and model lines. Knows no model.
Sources: vllm/model_executor/layers/rotary_embedding/ (get_rope and its classes; 0.19.1 to 0.33.0 agree on the sizes).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from plimsoll_estimator.checks import Check
from plimsoll_estimator.errors import EngineRefusal, InvalidInput
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.rank import Rank

FLASHINFER_HEAD_SIZES = (64, 128, 256, 512)
_LEGACY_TYPES = {"su": "longrope", "mrope": "default"}


def rope_parameters(text: HfConfig, layer_type: str | None = None) -> Mapping[str, Any]:
    """`rope_parameters` (Transformers 5), or the older rope_theta + rope_scaling, of one layer type when they are nested."""
    nested = text.sub("rope_parameters")
    values: dict[str, Any] = {}
    if nested is not None:
        values.update(nested.as_mapping())
        if layer_type is not None and isinstance(values.get(layer_type), Mapping):
            values = dict(values[layer_type])
    scaling = text.sub("rope_scaling")
    if scaling is not None:
        found = scaling.as_mapping()
        inner = found.get(layer_type) if layer_type is not None else None
        values = {**values, **(inner if isinstance(inner, Mapping) else found)}
    kind = values.get("rope_type") or values.get("type") or "default"
    if not isinstance(kind, str):
        raise InvalidInput(f"{text.path}.rope_scaling.type", kind, "must be a string")
    values["rope_type"] = _LEGACY_TYPES.get(kind, kind)
    for key in ("partial_rotary_factor", "rotary_pct", "rotary_emb_fraction"):
        share = text.float_or_none(key)
        if share is not None:
            values.setdefault("partial_rotary_factor", share)
    values.setdefault("rope_theta", text.float_or_none("rope_theta", "rotary_emb_base"))
    return values


def _number(values: Mapping[str, Any], key: str, default: float | None = None) -> float:
    value = values.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1 << 40:
        raise InvalidInput(f"rope_scaling.{key}", value, "must be a number that is not negative")
    return float(value)


def rope(
    rank: Rank,
    head_dim: int,
    max_position: int,
    *,
    parameters: Mapping[str, Any] | None = None,
    partial: float | None = None,
    rotary_dim: int | None = None,
    item: int | None = None,
    mrope_factor: int = 4,
) -> None:
    """Add the table of one rope configuration, once per rank. `item` overrides the bytes of an element."""
    values = rope_parameters(rank.text) if parameters is None else parameters
    if rotary_dim is None:
        share = values.get("partial_rotary_factor")
        if not isinstance(share, int | float) or not 0 < share <= 1:
            share = partial if partial is not None else 1.0
        rotary_dim = int(head_dim * share)
    kind = values["rope_type"]
    width = rank.item if item is None else item
    rows = float(max_position)
    widened = 0
    if kind in ("default", "mrope") and "mrope_section" in values:
        rows = max_position * mrope_factor
    elif kind == "linear":
        rows = max_position * _number(values, "factor")
    elif kind in ("yarn", "deepseek_yarn", "deepseek_llama_scaling"):
        original = _number(values, "original_max_position_embeddings", float(max_position))
        rows = original * _number(values, "factor")
        if kind == "yarn" and "mrope_section" in values:
            rows = original * mrope_factor
        # With FlashInfer, as in the published images, this table stays in float32.
        widened = 2 if kind != "yarn" and head_dim in FLASHINFER_HEAD_SIZES and width == 2 else 0
    elif kind == "longrope":
        original = _number(
            values, "original_max_position_embeddings", float(rank.text.int_or_none("original_max_position_embeddings") or 0)
        )
        rows = original + max_position
    elif kind not in ("default", "llama3", "dynamic", "ntk", "proportional", "mrope"):
        raise EngineRefusal(Check.UNKNOWN_ROPE_TYPE, f"Unknown RoPE scaling type {kind}")
    key = (head_dim, rotary_dim, max_position, kind, str(values.get("rope_theta")), str(values.get("factor")), width)
    elements = int(-(-rows // 1)) * rotary_dim
    if rank.once(("rope", *key), elements * width):
        rank.added_bytes += elements * widened
        rank.shared_added_bytes += elements * widened
