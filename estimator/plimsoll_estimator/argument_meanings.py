"""Arguments that stand for others, and what several of them say together.

Called by `arguments` once every argument is read. Follows vllm/config/vllm.py (_post_init_kv_transfer_config) and
transformers_utils/config.py (patch_rope_scaling). Refuses to know what connectors hold (`connectors`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from plimsoll_estimator.argument_effects import Sums, effect_of
from plimsoll_estimator.argument_spelling import GivenArgument
from plimsoll_estimator.argument_values import value_of
from plimsoll_estimator.connectors import KNOWN, held_by, of_offloading, role_of
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import InvalidInput
from plimsoll_estimator.units import GIB

BY_MEANING: Final = frozenset(
    {
        "--kv-offloading-size",
        "--kv-offloading-backend",
        "--cpu-offload-params",
        "--enable-multimodal-encoder-data-parallel",
        "--language-model-only",
        "--rope-scaling",
        "--rope-theta",
    }
)
"""Flags that are read here, and handed on as they are."""
_MODALITIES: Final = ("image", "video", "audio")
_TRANSFER: Final = "--kv-transfer-config"
_ASKS_CONNECTOR: Final = EngineVersion(0, 22)
_MOST_GIB: Final = 1 << 20


def apply_meanings(
    engine: dict[str, Any], items: Sequence[GivenArgument], sums: Sums, version: EngineVersion, *, captures: bool = True
) -> None:
    """Complete the fields of EngineArgs. Raises InvalidInput naming an argument that contradicts another, or has no rule.

    `captures`: there are graphs; where there are none, their sizes contradict nothing.
    """
    said = {item.flag: item for item in items if not item.negated and not item.key_path}
    _offload_cache(engine, said)
    written = next((item for item in items if item.flag == _TRANSFER), None)
    if written is not None and engine.get("kv_transfer_config") is not None:
        _check_connector(engine["kv_transfer_config"], written, sums, version)
    if engine.get("enable_sleep_mode"):
        slept = next(item for item in items if item.row.engine_field == "enable_sleep_mode")
        sums.count(slept, effect_of(slept.row, version))
        engine["weights_on_host"] = True
    if "--enable-multimodal-encoder-data-parallel" in said:  # what 0.9.2 to 0.10.2 say for it
        engine["mm_encoder_tp_mode"] = "data"
    if "--language-model-only" in said:  # stronger than limits that are given too (config/multimodal.py: get_limit_per_prompt)
        engine["limit_mm_per_prompt"] = dict.fromkeys(_MODALITIES, 0)
    offloaded = engine.get("cpu_offload_gb")
    if "--cpu-offload-params" in said and offloaded:  # at the most so much moves, and it may be nothing
        sums.fields["reserved_gpu_bytes"] = sums.fields.get("reserved_gpu_bytes", 0) + int(offloaded * GIB)
    _lay_over_config(engine, items)
    for name, value in sums.found().items():
        if name == "max_cudagraph_capture_size" and engine.get(name, value) != value and captures:
            raise InvalidInput("--max-cudagraph-capture-size", engine[name], "contradicts the capture sizes given: say one of them")
        engine[name] = value


def _offload_cache(engine: dict[str, Any], said: Mapping[str, GivenArgument]) -> None:
    """--kv-offloading-size is a connector: it takes the place of one that is given (config/vllm.py)."""
    sized, backend = said.get("--kv-offloading-size"), said.get("--kv-offloading-backend")
    if sized is None:
        return
    size = value_of(sized)
    if size is None:
        return
    if not isinstance(size, int | float) or not 0 < size <= _MOST_GIB:
        raise InvalidInput(sized.spelling, " ".join(sized.tokens), f"must be a number of GiB above 0 and at most {_MOST_GIB}")
    if engine.get("kv_transfer_config") is not None:
        raise InvalidInput(sized.spelling, " ".join(sized.tokens), f"sets the connector of {_TRANSFER}: say one of them")
    engine["kv_transfer_config"] = of_offloading(size, backend.values[0] if backend is not None and backend.values else "native")


def _check_connector(config: Mapping[str, Any], item: GivenArgument, sums: Sums, version: EngineVersion) -> None:
    """A role, which vLLM asks for, and a rule for what it holds."""
    effect = effect_of(item.row, version)
    if effect.kind == "unruled":
        sums.count(item, effect)
        return
    if config.get("kv_connector") is None:
        if version >= _ASKS_CONNECTOR:  # config/vllm.py asks KVConnectorFactory.supports_hma_config
            raise InvalidInput(item.spelling, " ".join(item.tokens), f"names no kv_connector, which vLLM {version} asks for")
        return  # none is made
    if role_of(config) is None:
        raise InvalidInput(f"{item.spelling}.kv_role", config.get("kv_role"), "must be kv_producer, kv_consumer or kv_both")
    if held_by(config) is None:
        limit = (
            "has no rule for the memory of this connector, or its size is not stated (cpu_bytes_to_use of kv_connector_extra_config): "
            f"connectors with a rule are {', '.join(KNOWN)}"
        )
        sums.without_rule(item, limit)


def _lay_over_config(engine: dict[str, Any], items: Sequence[GivenArgument]) -> None:
    """--rope-scaling and --rope-theta of 0.8 to 0.10 are keys of config.json."""
    for item in items:
        if item.flag not in ("--rope-scaling", "--rope-theta"):
            continue
        value = {item.key_path[-1]: item.values[0]} if item.key_path else value_of(item)
        if item.key_path:
            raise InvalidInput(item.spelling, value, f"is given by keys: write {item.flag} with one JSON object")
        if value is not None:
            key = item.flag.removeprefix("--").replace("-", "_")
            engine["hf_overrides"] = {**engine.get("hf_overrides", {}), key: value}
