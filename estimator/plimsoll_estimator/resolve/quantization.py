"""The quantization method vLLM settles on, by release: detection, naming, agreement with the argument, GPU support.

Called by `resolve`. Follows vLLM config/model.py:_verify_quantization. Refuses to know bytes; `weights` does.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import EngineRefusal
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.resolve.facts import engine_defaults, in_range, latest
from plimsoll_estimator.resolved import Gpu

_AUTO_NAMES: Final = EngineVersion(0, 20)  # gptq_marlin and awq_marlin became auto_gptq and auto_awq after 0.19
_ALIASES: Final = {  # argument -> names it agrees with
    "gptq": {"gptq_marlin", "auto_gptq"},
    "gptq_marlin": {"auto_gptq"},
    "awq": {"awq_marlin", "auto_awq"},
    "awq_marlin": {"auto_awq"},
    "modelopt": {"modelopt_fp4", "modelopt_mixed", "modelopt_mxfp8"},
    "mxfp4": {"gpt_oss_mxfp4"},
    "fp8": {"deepseek_v4_fp8"},
    "auto-round": {"inc"},
}


@lru_cache(maxsize=256)
def quantization_config(config: HfConfig) -> HfConfig | None:
    """The checkpoint's quantisation settings: `quantization_config` or `compression_config`, root first, then text."""
    for level in (config, config.text):
        for key in ("quantization_config", "compression_config"):
            found = level.sub(key)
            if found is not None and len(found.as_mapping()):
                return found
    return None


def resolve_quantization(config: HfConfig, architecture: str, wanted: str | None, gpu: Gpu, version: EngineVersion) -> str | None:
    """The method's name in that release, or None. Raises EngineRefusal for unknown, contradictory, deprecated or unsupported ones."""
    settings = quantization_config(config)
    method = _detected(settings, architecture, gpu, version) if settings is not None else None
    if wanted is not None and method is not None and wanted != method and method not in _ALIASES.get(wanted, set()):
        raise EngineRefusal(
            "QuantizationMismatch",
            f"the model config says quantization method {method}, the quantization argument says {wanted}",
        )
    name = method or wanted
    if name is not None:
        _verify(name, gpu, version)
    return name


def _detected(settings: HfConfig, architecture: str, gpu: Gpu, version: EngineVersion) -> str | None:
    method = (settings.str_or_none("quant_method") or "").lower()
    if not method:
        return None
    if method.startswith("modelopt"):
        return _modelopt_name(modelopt_algorithm(settings), method)
    if method == "gptq":
        return _gptq_name(settings, gpu, version)
    if method == "awq":
        if version >= _AUTO_NAMES:
            return "auto_awq"
        return "awq_marlin" if settings.int_or_none("bits", "w_bit") == 4 and gpu.capability >= 75 else "awq"
    if method == "mxfp4" and architecture == "GptOssForCausalLM" and version >= _AUTO_NAMES:
        return "gpt_oss_mxfp4"
    if method == "fp8" and architecture.startswith("DeepseekV4"):
        return "deepseek_v4_fp8"
    if method in ("auto-round", "intel/auto-round", "inc"):
        return "inc" if version >= EngineVersion(0, 12) else "auto-round"
    if method == "compressed-tensors" and _is_mxfp4(settings) and version >= EngineVersion(0, 26):
        return "mxfp4"
    return method or None


def _gptq_name(settings: HfConfig, gpu: Gpu, version: EngineVersion) -> str:
    if version >= _AUTO_NAMES:
        return "auto_gptq"
    marlin = settings.int_or_none("bits") in (4, 8) and settings.raw("sym") is not False and gpu.capability >= 80
    return "gptq_marlin" if marlin else "gptq"


def _is_mxfp4(settings: HfConfig) -> bool:
    return "mxfp4" in (settings.str_or_none("format") or "")


def _nested(settings: HfConfig) -> HfConfig:
    inner = settings.raw("quantization")
    return HfConfig(inner, f"{settings.path}.quantization") if isinstance(inner, Mapping) else settings


def modelopt_algorithm(settings: HfConfig) -> str:
    """ModelOpt's `quant_algo` in capitals, from the flat form or the hf_quant_config.json form; empty when absent."""
    return (_nested(settings).str_or_none("quant_algo") or "").upper()


def _modelopt_name(algorithm: str, method: str) -> str:
    if algorithm == "MIXED_PRECISION":
        return "modelopt_mixed"
    if "NVFP4" in algorithm or "FP4" in algorithm:
        return "modelopt_fp4"
    if "MXFP8" in algorithm:
        return "modelopt_mxfp8"
    return method if algorithm == "" else "modelopt"


def _verify(name: str, gpu: Gpu, version: EngineVersion) -> None:
    table: Mapping[str, Any] = engine_defaults()
    removed = table["removed_quantization"].get(name)
    if removed is not None and version >= EngineVersion.parse(removed):
        raise EngineRefusal("UnknownQuantization", f"vLLM {version} knows no quantization method {name}")
    deprecated = table["deprecated_quantization"].get(name)
    if deprecated is not None and in_range(version, deprecated[0], deprecated[1]):
        raise EngineRefusal("DeprecatedQuantization", f"quantization method {name} is deprecated; vLLM {version} refuses it by default")
    steps = table["quantization_min_capability"].get(name)
    minimum = latest(version, steps) if steps else None
    if minimum is not None and gpu.capability < minimum:
        raise EngineRefusal(
            "QuantizationUnsupportedOnGpu",
            f"quantization method {name} needs compute capability {minimum}, this GPU has {gpu.capability}",
        )


def declared_kv_cache_dtype(config: HfConfig) -> str | None:
    """The cache dtype a checkpoint declares (ModelOpt kv_cache_quant_algo, compressed-tensors kv_cache_scheme); None for none."""
    settings = quantization_config(config)
    if settings is None:
        return None
    method = (settings.str_or_none("quant_method") or "").lower()
    scheme = settings.raw("kv_cache_scheme")
    if method.startswith("modelopt"):
        algorithm = _nested(settings).raw("kv_cache_quant_algo")
        if isinstance(algorithm, str):
            return {"FP8": "fp8_e4m3", "NVFP4": "nvfp4"}.get(algorithm.upper())
        if isinstance(scheme, Mapping) and scheme.get("num_bits") == 8:
            return "fp8_e4m3"
        if isinstance(scheme, Mapping) and scheme.get("num_bits") == 4:
            return "nvfp4"
        return None
    if method == "compressed-tensors" and isinstance(scheme, Mapping) and scheme.get("num_bits") == 8:
        return "fp8"
    return None
