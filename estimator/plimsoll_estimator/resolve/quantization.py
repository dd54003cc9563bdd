"""The quantization method vLLM settles on, by release: detection, naming, agreement with the argument, GPU support.

Called by `resolve`. Follows vLLM config/model.py:_verify_quantization, and the `override_quantization_method` of the methods. What a
release says of a method is in `methods`. Refuses to know bytes; `weights` does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from plimsoll_estimator.argument_table import releases_of_value, values_of
from plimsoll_estimator.checks import Check
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import EngineRefusal, use
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.quantization.settings import quantization_config
from plimsoll_estimator.resolve.dtypes import runs_it
from plimsoll_estimator.resolve.methods import QuantizationMethod, method_of, taken_since
from plimsoll_estimator.resolve.releases import argument_rules
from plimsoll_estimator.resolved import Gpu
from plimsoll_estimator.units import dotted

_WITH_CACHE_SCALES: Final = frozenset({"fp8", "deepseek_v4_fp8", "compressed-tensors", "quark"})
_ALIASES: Final = {  # argument -> names it agrees with
    "gptq": {"auto_gptq"},
    "gptq_marlin": {"auto_gptq"},
    "awq": {"auto_awq"},
    "awq_marlin": {"auto_awq"},
    "marlin": {"gptq_marlin", "awq_marlin", "auto_gptq", "auto_awq"},
    "modelopt": {"modelopt_fp4", "modelopt_mixed", "modelopt_mxfp8"},
    "mxfp4": {"gpt_oss_mxfp4"},
    "fp8": {"deepseek_v4_fp8"},
    "auto-round": {"inc"},
}
_MARLIN_GROUPS: Final = (-1, 32, 64, 128)
"""Sizes of groups that Marlin's kernels take (quantization/utils/marlin_utils.py: MARLIN_SUPPORTED_GROUP_SIZES)."""
_OF_CHECKPOINTS: Final = frozenset(
    {
        "aqlm", "auto-round", "auto_awq", "auto_gptq", "awq", "awq_marlin", "bitblas", "compressed-tensors", "deepspeedfp", "fbgemm_fp8",
        "fp_quant", "gptq", "gptq_bitblas", "gptq_marlin", "gptq_marlin_24", "hqq", "inc", "marlin", "modelopt", "modelopt_fp4",
        "modelopt_mixed", "modelopt_mxfp8", "moe_wna16", "nvfp4", "petit_nvfp4", "qqq", "quark", "torchao",
    }
)  # fmt: skip
"""Methods that only read what a checkpoint says of itself: their classes cannot be made of nothing (weight_utils.py: get_quant_config)."""

_WITH_OWN_FILE: Final = frozenset({"modelopt", "modelopt_fp4", "modelopt_mixed", "modelopt_mxfp8", "nvfp4"})
"""Methods whose settings may lie in hf_quant_config.json (quantization/modelopt.py: get_config_filenames)."""
_PACKS_EXPERTS: Final = frozenset({"gpt_oss_mxfp4", "mxfp4"})


def check_packed_experts(config: HfConfig, name: str | None, has_experts: bool, version: EngineVersion) -> None:
    """What only experts tell: their packed parameters take no weights of 16 bits (fused_moe/layer.py: weight_loader). Raises EngineRefusal.

    A model without experts starts: its linear layers stay as they are.
    """
    if has_experts and name in _PACKS_EXPERTS and stored_by(config) is None and name not in argument_rules(version).made_online:
        words = f"quantization method {name} of vLLM {version} loads experts that are stored in MXFP4, and this model's are not quantised"
        raise EngineRefusal(Check.QUANTIZATION_NEEDS_CHECKPOINT, words)


def stored_by(config: HfConfig) -> HfConfig | None:
    """The checkpoint's quantisation settings, None where it has none."""
    settings = quantization_config(config)
    return settings if settings.as_mapping() else None


def resolve_quantization(
    config: HfConfig,
    architecture: str,
    wanted: str | None,
    gpu: Gpu,
    version: EngineVersion,
    dtype: str,
    *,
    allow_deprecated: bool = False,
) -> str | None:
    """The method's name in that release, or None. Raises EngineRefusal for unknown, contradictory, deprecated or unsupported ones."""
    settings = stored_by(config)
    method = _detected(settings, architecture, wanted, gpu, version) if settings is not None else None
    if wanted is not None and settings is not None and method is None and not isinstance(settings.raw("quantization"), Mapping):
        raise EngineRefusal(
            Check.QUANTIZATION_MISMATCH,
            f"the model's quantization settings name no quant_method, the quantization argument says {wanted}",
        )
    if wanted is None and settings is not None and method is None and not _reads_unnamed(settings, version):
        words = f"vLLM {version} reads no quantization settings that name no quant_method, as this model's: later releases do"
        raise EngineRefusal(Check.UNKNOWN_QUANTIZATION, words)
    if wanted is not None and method is not None and not _agrees(wanted, method, settings, version):
        raise EngineRefusal(
            Check.QUANTIZATION_MISMATCH,
            f"the model config says quantization method {method}, the quantization argument says {wanted}",
        )
    name = method or wanted
    if name is not None:
        found = method_of(_online_name(name, settings, version), version)
        _verify(name, found, gpu, version, allow_deprecated=allow_deprecated)
        if settings is None and name in _OF_CHECKPOINTS:
            raise EngineRefusal(
                Check.QUANTIZATION_NEEDS_CHECKPOINT,
                f"quantization method {name} reads checkpoints that are quantised by it; this model's config has no quantization_config"
                + (", and no hf_quant_config.json lies beside it" if name in _WITH_OWN_FILE else ""),
            )
        if settings is None and name == "mxfp4" and not argument_rules(version).mxfp4_keeps_linears:
            words = f"quantization method mxfp4 of vLLM {version} has no linear layers for a checkpoint that is not quantised by it"
            raise EngineRefusal(Check.QUANTIZATION_NEEDS_CHECKPOINT, words)
        _verify_dtype(name, found, dtype)
    return name


def _online_name(name: str, settings: HfConfig | None, version: EngineVersion) -> str:
    """A format of checkpoints that is made of one which has none is the method `online`, by its capability and dtypes."""
    return "online" if settings is None and name in argument_rules(version).made_online else name


def _reads_unnamed(settings: HfConfig, version: EngineVersion) -> bool:
    """Whether settings without a method are passed over, or the release knows them as ModelOpt's file (config.py: _verify_quantization)."""
    rules = argument_rules(version)
    of_file = rules.names_modelopt_algorithms is not None and isinstance(settings.raw("quantization"), Mapping)
    return rules.reads_unnamed_settings or of_file


def _agrees(wanted: str, method: str, settings: HfConfig | None, version: EngineVersion) -> bool:
    rules = argument_rules(version)
    if wanted == method:
        return True
    if method in _ALIASES.get(wanted, set()):
        # A release that calls ModelOpt's own file modelopt_fp4 before its classes look has another name than the argument then.
        renamed = settings is not None and rules.names_modelopt_algorithms is not None and _names_fp4(settings)
        return wanted != "modelopt" or rules.modelopt_overrides_fp4 or not renamed
    if method in ("gpt_oss_mxfp4", "deepseek_v4_fp8", "inc"):
        # Their classes take such checkpoints whatever the argument says (override_quantization_method of each).
        return method != "inc" or (settings is not None and settings.str_or_none("quant_method") == "auto-round")
    if settings is None or not rules.modelopt_overrides or not method.startswith("modelopt") or modelopt_algorithm(settings) == "":
        return False
    return rules.modelopt_overrides_fp4 or not _names_fp4(settings)


def _names_fp4(settings: HfConfig) -> bool:
    """Whether a release calls ModelOpt's own settings file modelopt_fp4 before its classes look, which then claim only `modelopt`.

    transformers_utils/model_arch_config_convertor.py: _normalize_quantization_config, quantization/modelopt.py:
    _extract_modelopt_quant_algo (0.19.1); from 0.22 on they claim every name that begins so.
    """
    producer, inner = settings.raw("producer"), settings.raw("quantization")
    from_file = isinstance(producer, Mapping) and producer.get("name") == "modelopt" and isinstance(inner, Mapping)
    return from_file and modelopt_algorithm(settings) == "NVFP4"


def _detected(settings: HfConfig, architecture: str, wanted: str | None, gpu: Gpu, version: EngineVersion) -> str | None:
    method = (settings.str_or_none("quant_method") or "").lower().replace("compressed_tensors", "compressed-tensors")
    if not method:
        return None
    if method.startswith("modelopt"):
        _check_modelopt_file(settings, version)
        return _modelopt_name(modelopt_algorithm(settings), method)
    if method in ("gptq", "awq"):
        return _grouped_name(method, settings, wanted, gpu, version)
    return _renamed(method, settings, architecture, version)


def _renamed(method: str, settings: HfConfig, architecture: str, version: EngineVersion) -> str:
    """Methods that a release calls otherwise than the checkpoint, for some models or for all."""
    rules = argument_rules(version)
    if method == "mxfp4" and architecture == "GptOssForCausalLM" and rules.names_gpt_oss_mxfp4:
        return "gpt_oss_mxfp4"
    if method == "fp8" and architecture.startswith("DeepseekV4"):
        return "deepseek_v4_fp8"
    if method in ("auto-round", "intel/auto-round", "inc"):
        return "inc" if rules.names_inc else "auto-round"
    if method == "compressed-tensors" and _is_mxfp4(settings) and rules.reads_compressed_mxfp4:
        return "mxfp4"
    return method


def _grouped_name(method: str, settings: HfConfig, wanted: str | None, gpu: Gpu, version: EngineVersion) -> str:
    """GPTQ or AWQ: Marlin's class where it can run the checkpoint and the user did not ask for the plain one."""
    rules = argument_rules(version)
    if wanted == "moe_wna16" and _fits_moe_wna16(method, settings, gpu):
        return "moe_wna16"
    if method == "gptq" and rules.names_auto_gptq:
        _check_auto_gptq(settings, version)
        return "auto_gptq"
    if method == "awq" and rules.names_auto_awq:
        return "auto_awq"
    fits = gpu.capability >= rules.marlin_capability and settings.raw("group_size") in _MARLIN_GROUPS
    if method == "gptq":
        fits = fits and settings.raw("bits") in (4, 8) and settings.raw("sym") is True and settings.raw("desc_act") is not None
    else:
        fits = fits and settings.raw("bits") == 4 and settings.raw("zero_point") is True
    return f"{method}_marlin" if fits and wanted != method else method


def _fits_moe_wna16(method: str, settings: HfConfig, gpu: Gpu) -> bool:
    if method == "gptq":
        return not settings.raw("desc_act") and settings.raw("bits") in (4, 8)
    return settings.raw("bits") == 4 and gpu.capability >= 75


def _check_auto_gptq(settings: HfConfig, version: EngineVersion) -> None:
    """What the one GPTQ method of newer releases no longer reads (vLLM quantization/auto_gptq.py, utils/gptq_utils.py)."""
    bits, symmetric = settings.raw("bits"), settings.raw("sym") is not False
    if bits not in (4, 8) or not symmetric:
        raise EngineRefusal(Check.QUANTIZATION_UNSUPPORTED, f"unsupported GPTQ checkpoint: bits={bits}, sym={symmetric}")
    if settings.raw("desc_act") is True and settings.raw("group_size") != -1 and argument_rules(version).refuses_act_order:
        raise EngineRefusal(Check.QUANTIZATION_UNSUPPORTED, "GPTQ group activation ordering (desc_act=True) is no longer supported")


def _is_mxfp4(settings: HfConfig) -> bool:
    return "mxfp4" in (settings.str_or_none("format") or "")


def _nested(settings: HfConfig) -> HfConfig:
    inner = settings.raw("quantization")
    return HfConfig(inner, f"{settings.path}.quantization") if isinstance(inner, Mapping) else settings


def modelopt_algorithm(settings: HfConfig) -> str:
    """ModelOpt's `quant_algo` in capitals, from the flat form or the hf_quant_config.json form; empty when absent."""
    return (_nested(settings).str_or_none("quant_algo") or "").upper()


def _check_modelopt_file(settings: HfConfig, version: EngineVersion) -> None:
    """What a release takes of the settings file that ModelOpt writes of its own; settings in config.json go another way."""
    listed = argument_rules(version).names_modelopt_algorithms
    producer, inner = settings.raw("producer"), settings.raw("quantization")
    algorithm = modelopt_algorithm(settings)
    if listed is None or not algorithm or not isinstance(inner, Mapping):
        return
    if isinstance(producer, Mapping) and producer.get("name") == "modelopt" and algorithm not in listed:
        raise EngineRefusal(
            Check.QUANTIZATION_UNSUPPORTED, f"vLLM {version} does not read ModelOpt's algorithm {algorithm}, only {', '.join(listed)}"
        )


def _modelopt_name(algorithm: str, method: str) -> str:
    if algorithm == "MIXED_PRECISION":
        return "modelopt_mixed"
    if "NVFP4" in algorithm or "FP4" in algorithm:
        return "modelopt_fp4"
    if "MXFP8" in algorithm:
        return "modelopt_mxfp8"
    return method if algorithm == "" else "modelopt"


def _verify(name: str, found: QuantizationMethod | None, gpu: Gpu, version: EngineVersion, *, allow_deprecated: bool) -> None:
    if found is None:
        listed = values_of("--quantization", version) or ()
        when = "" if name in listed else releases_of_value("--quantization", name)
        known = f": it is one {when}" if when else f": it has {', '.join(sorted(listed))}" if listed else ""
        raise EngineRefusal(Check.UNKNOWN_QUANTIZATION, f"vLLM {version} knows no quantization method {name[:80]}{known}")
    if found.deprecated and not allow_deprecated:
        raise EngineRefusal(
            Check.DEPRECATED_QUANTIZATION,
            f"quantization method {name} is deprecated; vLLM {version} refuses it without --allow-deprecated-quantization",
        )
    if gpu.capability < found.min_capability:
        raise EngineRefusal(
            Check.QUANTIZATION_UNSUPPORTED_ON_GPU,
            f"quantization method {name} needs compute capability {dotted(found.min_capability)}, this GPU has {dotted(gpu.capability)}",
            tuple(runs_it(release) for release in taken_since(name, gpu.capability, version)),
        )


def _verify_dtype(name: str, found: QuantizationMethod | None, dtype: str) -> None:
    """The kernels of a method take activations of some dtypes only (vLLM config/vllm.py:_get_quantization_config)."""
    if found is not None and dtype not in found.dtypes:
        words = f"{dtype} is not supported for quantization method {name}; supported are {', '.join(found.dtypes)}"
        raise EngineRefusal(Check.DTYPE_UNSUPPORTED, words, tuple(use("dtype", other) for other in found.dtypes))


def runs_eagerly(config: HfConfig, quantization: str | None, engines: int, version: EngineVersion) -> bool:
    """Whether a start has no CUDA graphs, whatever is asked for: of bitsandbytes' 8 bits, or of engines side by side."""
    rules = argument_rules(version)
    stored_in_8bit = quantization == "bitsandbytes" and quantization_config(config).raw("load_in_8bit") is True
    return (stored_in_8bit and rules.eager_for_8bit_bitsandbytes) or (engines > 1 and rules.eager_beside_engines)


def check_kv_cache_dtype(
    settings: HfConfig | None, wanted: str | None, quantization: str | None, dtype: str, version: EngineVersion
) -> None:
    """What vLLM refuses of an explicit cache dtype. Raises EngineRefusal(KvCacheDtypeUnsupported).

    fp8_e5m2 beside a checkpoint that may carry fp8 cache scales (vLLM attention layer, all releases; compressed-tensors without
    a `kv_cache_scheme` is let through since 0.26); float16 or bfloat16 other than the model's (config/vllm.py, 0.33.0).
    """
    if wanted == "fp8_e5m2" and quantization is not None and (quantization in _WITH_CACHE_SCALES or quantization.startswith("modelopt")):
        without = quantization == "compressed-tensors" and (settings is None or settings.raw("kv_cache_scheme") is None)
        if not (without and argument_rules(version).takes_e5m2_without_scheme):
            raise EngineRefusal(Check.KV_CACHE_DTYPE_UNSUPPORTED, "an fp8_e5m2 KV cache is not supported with fp8 checkpoints")
    if wanted in ("float16", "bfloat16") and wanted != dtype and argument_rules(version).cache_dtype_must_agree:
        words = f"kv_cache_dtype {wanted} is incompatible with dtype {dtype}"
        raise EngineRefusal(Check.KV_CACHE_DTYPE_UNSUPPORTED, words, (use("kv_cache_dtype", "auto"),))


def declared_kv_cache_dtype(config: HfConfig, version: EngineVersion) -> str | None:
    """The cache dtype that a release reads off a checkpoint (ModelOpt kv_cache_quant_algo, compressed-tensors kv_cache_scheme), or None."""
    settings = stored_by(config)
    if settings is None:
        return None
    method = (settings.str_or_none("quant_method") or "").lower()
    scheme = settings.raw("kv_cache_scheme")
    if method.startswith("modelopt"):
        if not argument_rules(version).modelopt_declares_cache:
            return None
        algorithm = _nested(settings).raw("kv_cache_quant_algo")
        if isinstance(algorithm, str):
            return {"FP8": "fp8_e4m3", "NVFP4": "nvfp4"}.get(algorithm.upper())
        if isinstance(scheme, Mapping) and scheme.get("num_bits") == 8:
            return "fp8_e4m3"
        if isinstance(scheme, Mapping) and scheme.get("num_bits") == 4:
            return "nvfp4"
        return None
    told = method == "compressed-tensors" and argument_rules(version).scheme_declares_cache
    return "fp8" if told and isinstance(scheme, Mapping) and scheme.get("num_bits") == 8 else None
