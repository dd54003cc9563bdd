"""Keys and values of --attention-config, as AttentionConfig of each release takes them (config/attention.py).

Called by `argument_rules`, with the whole object or with what stands behind one key. Names of backends are looked at by it too, in
`attention_backends`. Follows pydantic, which the class is built with. Refuses to know what a key is for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from plimsoll_estimator.argument_values import whole_number
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import InvalidInput

_FROM_THE_START: Final = EngineVersion(0, 13)
_KEYS: Final = (
    # from when a key of --attention-config may be there, from when it is gone; the keys
    (_FROM_THE_START, None, "backend disable_flashinfer_q_quantization flash_attn_max_num_splits_for_cuda_graph flash_attn_version"),
    (_FROM_THE_START, None, "use_trtllm_attention"),
    (_FROM_THE_START, EngineVersion(0, 22), "disable_flashinfer_prefill use_cudnn_prefill use_trtllm_ragged_deepseek_prefill"),
    (_FROM_THE_START, EngineVersion(0, 29), "use_prefill_decode_attention"),
    (EngineVersion(0, 16, 1), None, "use_prefill_query_quantization"),
    (EngineVersion(0, 19, 2), None, "tq_max_kv_splits_for_cuda_graph"),
    (EngineVersion(0, 19, 2), EngineVersion(0, 30), "use_fp4_indexer_cache"),
    (EngineVersion(0, 20, 1), None, "flex_attn_block_m flex_attn_block_n flex_attn_kv_block_size flex_attn_q_block_size"),
    (EngineVersion(0, 20, 1), None, "mla_prefill_backend use_non_causal"),
    (EngineVersion(0, 22, 1), None, "indexer_kv_dtype"),
    (EngineVersion(0, 25, 2), None, "backend_per_kind sparse_mla_force_mqa"),
    (EngineVersion(0, 26, 1), None, "minimax_m3_msa_decode_backend"),
    (EngineVersion(0, 29, 1), None, "hisparse_config"),
    (EngineVersion(0, 30, 1), None, "indexer_sparse_logits"),
    (EngineVersion(0, 31, 1), None, "sparse_mla_prefill_workspace_factor tokenspeed_mla_min_split_kv"),
    (EngineVersion(0, 32, 1), None, "indexer_tp_shard_min_rows minimax_m3_indexer_cp trtllm_ragged_backend"),
)
"""config/attention.py: AttentionConfig, read in one release of each minor from 0.13 to 0.33 but 0.15, 0.21, 0.23 and 0.24."""
_KEYS_HELD: Final = EngineVersion(0, 16)
"""Before, a key that nobody knows is passed over (called in 0.14.1); from here on it ends the start (config/utils.py: extra="forbid")."""
_FOURTH: Final = EngineVersion(0, 17)
_SWITCHES: Final = frozenset(
    {
        "disable_flashinfer_prefill", "disable_flashinfer_q_quantization", "indexer_sparse_logits", "sparse_mla_force_mqa",
        "use_cudnn_prefill", "use_non_causal", "use_prefill_decode_attention", "use_prefill_query_quantization",
        "use_trtllm_ragged_deepseek_prefill",
    }
)  # fmt: skip
_OPEN_SWITCHES: Final = frozenset({"use_trtllm_attention"})
"""Which may be null, too: then the release chooses."""
_SWITCH_WORDS: Final = frozenset({"true", "false", "t", "f", "yes", "no", "y", "n", "on", "off", "1", "0"})
"""What is a switch to pydantic, in any case, beside JSON's true, false, 1 and 0 (called in 0.14.1, 0.19.1 and 0.32.0)."""
_ANY_NUMBER: Final = (-(1 << 62), 1 << 62)
_NUMBERS: Final[Mapping[str, tuple[int, int]]] = {
    "flash_attn_max_num_splits_for_cuda_graph": _ANY_NUMBER,
    "tq_max_kv_splits_for_cuda_graph": _ANY_NUMBER,
    "flex_attn_block_m": _ANY_NUMBER,
    "flex_attn_block_n": _ANY_NUMBER,
    "flex_attn_kv_block_size": _ANY_NUMBER,
    "flex_attn_q_block_size": _ANY_NUMBER,
    "sparse_mla_prefill_workspace_factor": (2, 1 << 62),
    "tokenspeed_mla_min_split_kv": (1, 256),
}
"""Whole numbers, from the least to the most."""
_OPEN_NUMBERS: Final = frozenset(
    {
        "flex_attn_block_m", "flex_attn_block_n", "flex_attn_kv_block_size", "flex_attn_q_block_size",
        "sparse_mla_prefill_workspace_factor",
    }
)  # fmt: skip
_WORDS: Final = (
    # a key, from when it may have the words; the words
    ("indexer_kv_dtype", None, "bf16 fp8 mxfp4 nvfp4"),
    ("indexer_kv_dtype", EngineVersion(0, 27, 1), "auto"),
    ("minimax_m3_msa_decode_backend", None, "cutlass triton"),
    ("mla_prefill_backend", None, "FLASHINFER FLASH_ATTN TOKENSPEED_MLA TRTLLM_RAGGED"),
    ("mla_prefill_backend", EngineVersion(0, 22, 1), "CUSTOM ROCM_AITER_FA"),
    ("mla_prefill_backend", EngineVersion(0, 28, 1), "CPU"),
    ("mla_prefill_backend", EngineVersion(0, 30, 1), "ZEN_CPU"),
)
"""v1/attention/backends/mla/prefill/registry.py: MLAPrefillBackendEnum, too; read in 0.22.0 and in one release of each minor from 0.25 to
0.32."""
_LAST_READ: Final = EngineVersion(0, 32, 0)
"""A newer release may have other words."""
_IN_CAPITALS: Final = frozenset({"mla_prefill_backend"})
"""Looked up in capitals, and may be null."""


def check_configuration(spelling: str, config: object, version: EngineVersion) -> None:
    """Raises InvalidInput for what AttentionConfig refuses of the value of --attention-config, and for a key that has no rule here."""
    if not isinstance(config, Mapping):
        raise InvalidInput(spelling, str(config), "must be a JSON object")
    known = {name for since, before, names in _KEYS if version.within(since, before) for name in names.split()}
    unknown = next((str(name) for name in config if name not in known), None)
    if unknown is not None and version >= _KEYS_HELD:
        raise InvalidInput(spelling, unknown, f"is no key of --attention-config in vLLM {version}: leave it out")
    if "backend_per_kind" in known & config.keys():
        limit = "has no rule yet: name one backend for all layers by --attention-backend, or leave it out"
        raise InvalidInput(spelling, "backend_per_kind", limit)
    for name in sorted(known & config.keys()):
        _check_value(spelling, name, config[name], version)


def _check_value(spelling: str, name: str, value: object, version: EngineVersion) -> None:
    """Raises InvalidInput for a value that its key does not take."""
    limit = None
    if name == "flash_attn_version":
        versions = (2, 3, 4) if version >= _FOURTH else (2, 3)
        if value is not None and (isinstance(value, bool) or value not in versions):
            limit = f"is no flash_attn_version of vLLM {version}: use one of {', '.join(map(str, versions))}"
    elif name in _SWITCHES or name in _OPEN_SWITCHES:
        if not _is_switch(value) and not (name in _OPEN_SWITCHES and value is None):
            limit = f"must be true or false for {name}"
    elif name in _NUMBERS:
        limit = None if value is None and name in _OPEN_NUMBERS else _no_number(name, value)
    elif name == "hisparse_config":
        limit = None if value is None or isinstance(value, Mapping) else f"must be a JSON object for {name}"
    else:
        limit = _no_word(name, value, version)
    if limit is not None:
        raise InvalidInput(spelling, str(value), limit)


def _no_number(name: str, value: object) -> str | None:
    least, most = _NUMBERS[name]
    number = whole_number(value)
    if number is None:
        return f"must be a whole number for {name}"
    if least <= number <= most:
        return None
    return f"must be at least {least} for {name}" if number < least else f"must be at most {most} for {name}"


def _no_word(name: str, value: object, version: EngineVersion) -> str | None:
    words = {word for key, since, row in _WORDS if key == name and (since is None or version >= since) for word in row.split()}
    if not words or version > _LAST_READ or (value is None and name in _IN_CAPITALS):
        return None
    said = value.upper() if isinstance(value, str) and name in _IN_CAPITALS else value
    return None if isinstance(said, str) and said in words else f"is no {name} of vLLM {version}: use one of {', '.join(sorted(words))}"


def _is_switch(value: object) -> bool:
    return value in (0, 1) if isinstance(value, int | float) else isinstance(value, str) and value.lower() in _SWITCH_WORDS
