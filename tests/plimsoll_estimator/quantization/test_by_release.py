"""Quantisation methods by release: `_verify_quantization` and the methods' own classes, read in the wheels; one row a sentence."""

from __future__ import annotations

from typing import Any

import pytest
from tools.extract_quantization import INIT, methods, runs

from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import EngineRefusal
from plimsoll_estimator.hardware import gpu_from
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.resolve.methods import method_of, methods_of
from plimsoll_estimator.resolve.quantization import resolve_quantization

H100, A100, T4, RTX_2080 = "NVIDIA-H100-80GB-HBM3", "NVIDIA-A100-SXM4-80GB", "Tesla-T4", "NVIDIA-GeForce-RTX-2080-Ti"
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True}
GPTQ = {"quant_method": "gptq", "bits": 4, "sym": True, "group_size": 128, "desc_act": False}


def settled(settings: dict[str, Any] | None, wanted: str | None, product: str, version: str, dtype: str = "float16") -> str | None:
    config = HfConfig({"model_type": "llama"} | ({} if settings is None else {"quantization_config": settings}))
    gpu = gpu_from(product, label_memory_mib=11264)
    return resolve_quantization(config, "LlamaForCausalLM", wanted, gpu, EngineVersion.parse(version), dtype)


NEEDS = [
    # method, GPU, the last release that refuses it there, the first that takes it: get_min_capability of the class
    ("fp8", RTX_2080, "0.13.0", "0.14.0"),
    ("mxfp8", A100, "0.19.1", "0.20.0"),
    ("bitsandbytes", T4, None, "0.9.2"),
    # Made of a checkpoint that has no quantisation it is the method `online`; each put to 0.25.1 and 0.32.0 in float16.
    ("mxfp8", T4, "0.19.1", "0.25.1"),
    ("mxfp4", T4, "0.27.1", "0.28.0"),
]


@pytest.mark.parametrize(("method", "product", "last", "first"), NEEDS, ids=[row[0] for row in NEEDS])
def test_the_least_capability_is_that_of_the_release(method: str, product: str, last: str | None, first: str) -> None:
    assert settled(None, method, product, first) == method
    if last is not None:
        with pytest.raises(EngineRefusal, match=f"quantization method {method} needs compute capability"):
            settled(None, method, product, last)


NVFP4 = {"quant_method": "modelopt", "quant_algo": "NVFP4"}
FOUR_BITS = [
    # layers/quantization/modelopt.py: ModelOptNvFp4Config.get_min_capability, called nvfp4 in 0.8.5 (quantization/__init__.py)
    ("0.8.5", {"quant_method": "nvfp4"}, H100, "nvfp4 needs compute capability 10.0, this GPU has 9.0"),
    ("0.8.5", {"quant_method": "nvfp4"}, "NVIDIA-B200", None),
    ("0.9.0", NVFP4, A100, None),
    ("0.13.0", NVFP4, T4, "modelopt_fp4 needs compute capability 8.0, this GPU has 7.5"),
    ("0.14.0", NVFP4, T4, None),
]


@pytest.mark.parametrize(("version", "settings", "product", "words"), FOUR_BITS)
def test_modelopt_s_four_bits_needed_blackwell_then_ampere_then_turing(
    version: str, settings: dict[str, Any], product: str, words: str | None
) -> None:
    if words is None:
        assert settled(settings, None, product, version) in ("nvfp4", "modelopt_fp4")
        return
    with pytest.raises(EngineRefusal, match=words.replace(".", r"\.")) as caught:
        settled(settings, None, product, version)
    assert caught.value.reason == "QuantizationUnsupportedOnGpu"


def test_fp8_on_a_2080_ti_is_refused_by_0_9_2() -> None:
    """A logged start: code index 70131668167, "Minimum capability: 80. Current capability: 75."."""
    with pytest.raises(EngineRefusal, match=r"needs compute capability 8\.0, this GPU has 7\.5") as caught:
        settled(None, "fp8", RTX_2080, "0.9.2")
    assert caught.value.reason == "QuantizationUnsupportedOnGpu"


NAMED = [
    ("the plain kernel when it is asked for", AWQ, "awq", A100, "0.19.1", "awq"),
    ("also of GPTQ", GPTQ, "gptq", A100, "0.9.2", "gptq"),
    ("Marlin's class when nothing is", AWQ, None, A100, "0.19.1", "awq_marlin"),
    ("or when it is asked for", GPTQ, "gptq_marlin", A100, "0.9.2", "gptq_marlin"),
    ("Turing has it since 0.14", AWQ, None, T4, "0.14.0", "awq_marlin"),
    ("and not before", AWQ, None, T4, "0.13.0", "awq"),
    ("not for a group size that its kernels do not have", AWQ | {"group_size": 256}, None, A100, "0.19.1", "awq"),
    ("not without zero points", AWQ | {"zero_point": False}, None, A100, "0.19.1", "awq"),
    ("not for three bits", GPTQ | {"bits": 3}, None, A100, "0.19.1", "gptq"),
    ("the kernels of mixtures when they are asked for", GPTQ, "moe_wna16", A100, "0.19.1", "moe_wna16"),
    ("one class for all since 0.22", GPTQ, "gptq", A100, "0.22.0", "auto_gptq"),
    ("and 0.24", AWQ, "awq", A100, "0.24.0", "auto_awq"),
    ("ModelOpt's own, whatever is asked for", {"quant_method": "modelopt", "quant_algo": "FP8"}, "fp8", H100, "0.10.2", "modelopt"),
    ("auto-round by its own name until 0.14", {"quant_method": "auto-round"}, None, A100, "0.13.0", "auto-round"),
    ("and Intel's since", {"quant_method": "auto-round"}, None, A100, "0.15.0", "inc"),
]


@pytest.mark.parametrize(("why", "settings", "wanted", "product", "version", "name"), NAMED, ids=[row[0] for row in NAMED])
def test_the_argument_reaches_the_detection(
    why: str, settings: dict[str, Any], wanted: str | None, product: str, version: str, name: str
) -> None:
    assert settled(settings, wanted, product, version) == name


@pytest.mark.parametrize("version", ["0.9.2", "0.13.0", "0.19.1"])
@pytest.mark.parametrize(("settings", "wanted"), [(AWQ, "awq"), (GPTQ, "gptq")])
def test_the_plain_kernels_refuse_bfloat16(settings: dict[str, Any], wanted: str, version: str) -> None:
    """awq.py and gptq.py: get_supported_act_dtypes is [torch.half] until one class reads all."""
    with pytest.raises(EngineRefusal, match=f"bfloat16 is not supported for quantization method {wanted}") as caught:
        settled(settings, wanted, A100, version, "bfloat16")
    assert caught.value.reason == "DtypeUnsupported"


def test_the_one_class_takes_bfloat16() -> None:
    assert settled(AWQ, "awq", A100, "0.24.0", "bfloat16") == "auto_awq"
    assert settled(GPTQ, "gptq", A100, "0.22.0", "bfloat16") == "auto_gptq"


REFUSED = [
    (
        "ModelOpt's before its classes looked",
        {"quant_method": "modelopt", "quant_algo": "FP8"},
        "fp8",
        H100,
        "0.9.2",
        "QuantizationMismatch",
    ),
    ("a Marlin that the GPU cannot run", GPTQ, "gptq_marlin", T4, "0.13.0", "QuantizationMismatch"),
    ("a flag for a checkpoint that is not quantised", None, "awq_marlin", A100, "0.23.0", "QuantizationNeedsCheckpoint"),
    ("also where the settings would name the sizes", None, "compressed-tensors", A100, "0.19.1", "QuantizationNeedsCheckpoint"),
    # weight_utils.py: "Cannot find the config file for modelopt", where neither config.json nor hf_quant_config.json has settings
    ("ModelOpt's eight bits", None, "modelopt", H100, "0.19.1", "QuantizationNeedsCheckpoint"),
    ("ModelOpt's four bits", None, "modelopt_fp4", H100, "0.14.1", "QuantizationNeedsCheckpoint"),
    ("ModelOpt's four bits, last", None, "modelopt_fp4", "NVIDIA-B200", "0.33.0", "QuantizationNeedsCheckpoint"),
    ("as they were called first", None, "nvfp4", "NVIDIA-B200", "0.8.5", "QuantizationNeedsCheckpoint"),
    # quantization/mxfp4.py: NotImplementedError("Mxfp4 linear layer is not implemented"), until 0.11.0
    ("linears of 0.10.1 in MXFP4", None, "mxfp4", H100, "0.10.1", "QuantizationNeedsCheckpoint"),
    ("linears of 0.11.0 in MXFP4", None, "mxfp4", A100, "0.11.0", "QuantizationNeedsCheckpoint"),
    ("a method of a later release", None, "mxfp8", H100, "0.18.1", "UnknownQuantization"),
    ("gone since 0.28", None, "bitsandbytes", H100, "0.28.0", "UnknownQuantization"),
    ("gone since 0.24", None, "gguf", H100, "0.24.0", "UnknownQuantization"),
    ("deprecated since 0.14", {"quant_method": "fbgemm_fp8"}, None, H100, "0.14.0", "DeprecatedQuantization"),
    ("deprecated from 0.14 to 0.19", None, "experts_int8", H100, "0.19.1", "DeprecatedQuantization"),
]


@pytest.mark.parametrize(("why", "settings", "wanted", "product", "version", "reason"), REFUSED, ids=[row[0] for row in REFUSED])
def test_what_the_release_refuses(
    why: str, settings: dict[str, Any] | None, wanted: str | None, product: str, version: str, reason: str
) -> None:
    with pytest.raises(EngineRefusal) as caught:
        settled(settings, wanted, product, version)
    assert caught.value.reason == reason


def test_a_method_that_quantises_while_loading_needs_no_settings() -> None:
    assert settled(None, "fp8", H100, "0.33.0", "bfloat16") == "fp8"
    assert settled(None, "bitsandbytes", H100, "0.27.1", "bfloat16") == "bitsandbytes"


def test_a_newer_release_is_taken_to_have_what_the_newest_known_has() -> None:
    assert methods_of(EngineVersion.parse("0.40.0")) == methods_of(EngineVersion.parse("0.33.0"))
    assert method_of("gguf", EngineVersion.parse("0.40.0")) is None


SOURCE = {
    INIT: """
QuantizationMethods = Literal["fp8", "old", "tpu_int8", "fp8_per_block"]
DEPRECATED_QUANTIZATION_METHODS = ["old", "tpu_int8"]
def get_quantization_config(quantization):
    chosen: type[QuantizationConfig] = Fp8Config
    method_to_config = {"fp8": chosen, "old": OldConfig, "online": OnlineConfig}
""",
    "fp8.py": """
class Fp8Config(QuantizationConfig):
    def get_supported_act_dtypes(self): return [torch.bfloat16, torch.half]
    def get_min_capability(cls):
        return 75
class OldConfig(Fp8Config):
    def get_min_capability(cls): return 80
class OnlineConfig(Fp8Config):
    pass
""",
}


def test_the_extraction_reads_names_classes_and_what_they_inherit() -> None:
    dtypes = ("bfloat16", "float16")
    assert methods(SOURCE) == {
        "fp8": (75, dtypes, False), "old": (80, dtypes, True), "fp8_per_block": (75, dtypes, False), "online": (75, dtypes, False),
    }  # fmt: skip


def test_runs_of_releases_end_where_a_value_changes_or_the_method_goes() -> None:
    row = (80, ("float16",), False)
    found = runs({"0.8.0": {"a": row, "b": row}, "0.8.1": {"a": row}, "0.9.0": {"a": (75, ("float16",), False)}})
    assert [(one["since"], one["before"], one["min_capability"]) for one in found["a"]] == [("0.8.0", "0.9.0", 80), ("0.9.0", None, 75)]
    assert [(one["since"], one["before"]) for one in found["b"]] == [("0.8.0", "0.8.1")]
