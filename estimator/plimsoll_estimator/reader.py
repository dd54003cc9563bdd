"""The one reader of a language model's config.json: every spelling of a key, and what its config class fills in, in one place.

Called by `models`, which make a `Shape` of what is read, by `towers` and by `resolve`. What lies below them never sees a config.
A tower's configuration is read in the same way (`tower`, `tower_size`).
Spellings are the table here; class defaults are data (data/class_defaults.json, made by tools/extract_class_defaults.py from
Transformers' and vLLM's own classes). Refuses to know layers, bytes and releases.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any, Final

from plimsoll_estimator.errors import InvalidInput
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.kept import kept_with_config
from plimsoll_estimator.shape import Dimensions, TowerSize

MAX_LAYERS: Final = 2048
MAX_WIDTH: Final = 1 << 24
FALLBACK_POSITIONS: Final = 8192
TIES: Final = "tie_word_embeddings"
NO_OVERRIDES: Final[Mapping[str, int]] = {}

SPELLINGS: Final[Mapping[str, tuple[str, ...]]] = {
    "num_hidden_layers": ("num_hidden_layers", "n_layer", "n_layers", "num_layers"),
    "hidden_size": ("hidden_size", "n_embd", "n_embed", "d_model", "dim", "embed_dim", "model_dim"),
    "num_attention_heads": (
        "num_attention_heads", "n_head", "n_heads", "num_heads", "encoder_attention_heads", "decoder_attention_heads",
    ),
    "num_key_value_heads": (
        "n_head_kv", "num_kv_heads", "num_key_value_heads", "multi_query_group_num", "num_attention_groups", "num_key_value_groups",
    ),
    "head_dim": ("head_dim", "hidden_size_per_head", "kv_channels", "attention_head_dim"),
    "intermediate_size": ("intermediate_size", "ffn_hidden_size", "n_inner", "ffn_dim"),
    "vocab_size": ("vocab_size", "padded_vocab_size"),
}  # fmt: skip
"""The dimensions by Hugging Face's usual key; the first spelling that a file has wins (vLLM model_arch_config_convertor.py, v0.32.0)."""
POSITIONS: Final = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "max_sequence_length", "n_ctx")
EXPERTS: Final = ("num_experts", "moe_num_experts", "n_routed_experts", "num_local_experts")
EXPERTS_PER_TOKEN: Final = ("num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_top_k", "top_k_experts", "moe_k")
SHARED_EXPERTS: Final = ("n_shared_experts", "moe_num_shared_experts", "num_shared_experts")
PREDICTION_MODULES: Final = ("num_nextn_predict_layers", "mtp_num_hidden_layers", "num_mtp_modules")
_SAME: Final = {
    key: group
    for group in (
        *SPELLINGS.values(),
        (*POSITIONS, "model_max_length", "max_seq_length", "seq_len"),
        EXPERTS,
        EXPERTS_PER_TOKEN,
        SHARED_EXPERTS,
        PREDICTION_MODULES,
        ("sliding_window_pattern", "_sliding_window_pattern"),
    )
    for key in group
}
"""Keys that say the same: where a file has one of them, no class default is filled in for another."""
_COUNTS_EXPERTS: Final = frozenset((*EXPERTS, *EXPERTS_PER_TOKEN, *SHARED_EXPERTS))
"""Of which the class's own key is filled in with what the file says by another."""
TOWER_SPELLINGS: Final[Mapping[str, tuple[str, ...]]] = {
    "num_hidden_layers": ("num_hidden_layers", "vt_num_hidden_layers", "depth", "layers", "encoder_layers"),
    "hidden_size": ("embed_dim", "vt_hidden_size", "hidden_size", "width", "d_model"),
    "num_attention_heads": (
        "vt_num_attention_heads", "num_attention_heads", "attention_heads", "num_heads", "heads", "encoder_attention_heads",
    ),
    "intermediate_size": ("vt_intermediate_size", "intermediate_size", "encoder_ffn_dim"),
}  # fmt: skip
"""The dimensions of towers. Qwen2-VL's `hidden_size` is what its tower hands on, its own width is `embed_dim`."""
_TOWER_PARTS: Final[Mapping[str, tuple[str, ...]]] = {
    "num_channels": ("num_channels", "in_channels", "in_chans"),
    "pos_emb_height": ("pos_emb_height", "init_pos_emb_height"),
    "pos_emb_width": ("pos_emb_width", "init_pos_emb_width"),
    "pos_emb_time": ("pos_emb_time", "init_pos_emb_time"),
}
"""Further keys of towers by the usual one."""
_TOWER_SAME: Final = {
    key: set(group) - {"embed_dim"} for group in (*TOWER_SPELLINGS.values(), *_TOWER_PARTS.values()) for key in group if key != "embed_dim"
}
VISION, AUDIO = "vision_config", "audio_config"
MAX_TOWER_LAYERS: Final = 4096
_MOST_RATIO: Final = 1024


@cache
def _table() -> Mapping[str, Any]:
    text = (resources.files("plimsoll_estimator") / "data" / "class_defaults.json").read_text("utf-8")
    table: Mapping[str, Any] = json.loads(text)
    return table


def text_type(config: HfConfig) -> str:
    """The language model's `model_type`: its own, else the one that the outer class builds (LLaVA's text is a llama)."""
    text = config.text
    return text.model_type or _table()["text_types"].get(config.model_type, "")


def class_defaults(config: HfConfig) -> Mapping[str, Any]:
    """What the language model's config class fills in, by key; empty for a class that is not known here."""
    rows = _table()["types"]
    own = config.text.model_type
    kind = _table()["text_types"].get(own, own) if own else text_type(config)
    row = rows.get(own) or rows.get(kind)
    values: Mapping[str, Any] = row["values"] if row is not None else {}
    return values


@kept_with_config
def language(config: HfConfig) -> HfConfig:
    """The language model's configuration as its class would hold it: usual keys for every spelling, class defaults for what is absent.

    A key that the file sets to null has no default, as in Transformers. Keys without a rule here are left as they are.
    """
    text = config.text
    found = dict(text.as_mapping())
    gaps = [(key, value) for key, value in class_defaults(config).items() if key not in found]
    spelled = {key: _spelled(found, key) for key, _ in gaps if key in _COUNTS_EXPERTS}
    found |= {key: value for key, value in gaps if key not in _SAME or found.keys().isdisjoint(_SAME[key])}
    found |= {key: value for key, value in spelled.items() if value is not None}
    for usual, spellings in SPELLINGS.items():
        for key in spellings:
            if found.get(key) is not None:
                found[usual] = found[key]
                break
    if TIES in config:  # Transformers hands the outer word down; vLLM ties where either says so
        found[TIES] = text.bool(TIES) or config.bool(TIES)
    return HfConfig(found, text.path)


def _spelled(found: Mapping[str, Any], key: str) -> Any:
    """What a mapping says under another spelling of a key that it lacks, None where it has none."""
    return next((found[other] for other in _SAME[key] if found.get(other) is not None), None)


def layers_named(config: HfConfig) -> int | None:
    """How many layers the file itself names, None where it is silent. Raises InvalidInput beyond MAX_LAYERS."""
    count = config.text.int_or_none(*SPELLINGS["num_hidden_layers"])
    if count is not None and count > MAX_LAYERS:
        raise InvalidInput(f"{config.text.path}.num_hidden_layers", count, f"must be at most {MAX_LAYERS}")
    return count


def positive(text: HfConfig, *keys: str, default: int | None = None, limit: int = 1 << 40) -> int:
    """A whole number from 1 to `limit`, for what divides or is looped over. Raises InvalidInput naming the key."""
    value = text.raw(keys[0])
    if type(value) is int and 1 <= value <= limit:  # nearly always
        return value
    value = text.int(*keys, default=default)
    if not 1 <= value <= limit:
        raise InvalidInput(f"{text.path}.{keys[0]}", value, f"must be from 1 to {limit}")
    return value


def dimensions(config: HfConfig, overrides: Mapping[str, int] = NO_OVERRIDES, *, attends: bool = True) -> Dimensions:
    """Read the dimensions of a config's language model.

    `overrides`, by usual key, replace what a class reads otherwise (Falcon's one KV head, DBRX's nested ones); `attends` false reads no
    heads. Raises InvalidInput naming a dimension that is missing, 0 or beyond MAX_LAYERS and MAX_WIDTH.
    """
    text = language(config)

    def read(key: str, limit: int, default: int | None = None) -> int:
        given = overrides.get(key)
        if given is None:
            return positive(text, key, default=default, limit=limit)
        if not 1 <= given <= limit:
            raise InvalidInput(f"{text.path}.{key}", given, f"must be from 1 to {limit}")
        return given

    tie = overrides.get(TIES)
    hidden = read("hidden_size", MAX_WIDTH)
    heads = read("num_attention_heads", MAX_WIDTH) if attends else 0
    return Dimensions(
        model_type=text_type(config),
        layer_count=read("num_hidden_layers", MAX_LAYERS),
        hidden_size=hidden,
        heads=heads,
        kv_heads=_or(text, overrides, "num_key_value_heads", heads) if attends else 0,
        head_dim=read("head_dim", MAX_WIDTH, default=_or(text, overrides, "head_dim", hidden // heads)) if attends else 0,
        intermediate_size=_or(text, overrides, "intermediate_size", 4 * hidden),
        vocab_size=read("vocab_size", 1 << 40),
        positions=text.int_or_none(*POSITIONS) or FALLBACK_POSITIONS,
        tied=text.bool(TIES) if tie is None else bool(tie),
    )


def _or(text: HfConfig, overrides: Mapping[str, int], key: str, default: int) -> int:
    """The key's value where it is above 0, else `default`."""
    return overrides.get(key) or text.int_or_none(key) or default


def experts(text: HfConfig, keys: tuple[str, ...] = EXPERTS) -> int:
    """Routed experts of a language configuration, 0 for a dense model; a list (one entry a layer) counts by its first."""
    for key in keys:
        value = text.raw(key)
        if isinstance(value, list | tuple) and value and isinstance(value[0], int):
            return value[0]
        if value is not None:
            return text.int(key)
    return 0


@kept_with_config
def tower(config: HfConfig, key: str) -> HfConfig:
    """A tower's configuration (VISION or AUDIO, of the root or of its thinker) as its class would hold it.

    The class is the one that the outer class builds, where that takes any the one that the tower's `model_type` names. Empty where
    neither the file nor the outer class has one.
    """
    holder = config.sub("thinker_config") or config
    given, path = holder.sub(key), f"{holder.path}.{key}"
    built = _table()["towers"].get(config.model_type, {}).get(key)
    if given is None:
        return HfConfig({} if built is None else _of_silent(built), path)
    kind = _tower_type(given.model_type, built, key)
    found = dict(given.as_mapping())
    row = _table()["tower_types"].get(kind)
    if row is not None:
        values = row["values"]
        gaps = [(name, value) for name, value in values.items() if name not in found]
        found |= {name: value for name, value in gaps if name not in _TOWER_SAME or found.keys().isdisjoint(_TOWER_SAME[name])}
    for usual, spellings in _TOWER_PARTS.items():
        for name in spellings:
            if found.get(name) is not None:
                found[usual] = found[name]
                break
    found["model_type"] = kind
    return HfConfig(found, path)


@kept_with_config
def outer(config: HfConfig) -> HfConfig:
    """The whole configuration with what its class says between tower and language model: projectors, layers whose features are read."""
    values = _table()["towers"].get(config.model_type, {}).get("outer", {})
    return HfConfig({**values, **config.as_mapping()}, config.path)


def _of_silent(built: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the outer class builds where a file has no tower at all: nothing, values of its own, or the tower class's."""
    values = built.get("absent", _table()["tower_types"][built["type"]]["values"])
    return {} if values is None else {"model_type": built["type"], **values}


def _tower_type(own: str, built: Mapping[str, Any] | None, key: str) -> str:
    """The type whose class reads a tower's configuration; older files give a tower its outer class's type."""
    if built is not None:
        return own if built["any"] and own else str(built["type"])
    return str(_table()["towers"].get(own, {}).get(key, {}).get("type", own))


def tower_layers(tower: HfConfig) -> int:
    """How many layers a tower's configuration has. Raises InvalidInput as `tower_size`."""
    named = next((key for key in TOWER_SPELLINGS["num_hidden_layers"] if key in tower), "num_hidden_layers")
    return positive(tower, named, limit=MAX_TOWER_LAYERS)


@kept_with_config
def tower_size(tower: HfConfig) -> TowerSize:
    """The dimensions of a tower's configuration. Raises InvalidInput naming one that is missing, 0 or beyond its bound."""
    held = tower.as_mapping()

    def read(usual: str, limit: int) -> int:
        for key in TOWER_SPELLINGS[usual]:
            value = held.get(key)
            if value is not None:
                return value if type(value) is int and 1 <= value <= limit else positive(tower, key, limit=limit)
        return positive(tower, usual, limit=limit)

    hidden = read("hidden_size", MAX_WIDTH)
    ratio = tower.float_or_none("mlp_ratio")
    if ratio is not None and not 0 < ratio <= _MOST_RATIO:
        raise InvalidInput(f"{tower.path}.mlp_ratio", ratio, f"must be more than 0 and at most {_MOST_RATIO}")
    by_ratio = ratio is not None and not any(key in tower for key in TOWER_SPELLINGS["intermediate_size"])
    return TowerSize(
        layers=tower_layers(tower),
        hidden_size=hidden,
        heads=read("num_attention_heads", MAX_WIDTH),
        intermediate_size=int(hidden * (ratio or 0)) if by_ratio else read("intermediate_size", MAX_WIDTH),
    )
