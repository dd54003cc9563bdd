"""What a refusal advises has been tried: whoever follows it comes as far as memory. Where nothing helps, nothing is advised."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from tests.plimsoll_estimator.overhead_models import model
from tests.plimsoll_estimator.shipped import config_of

from plimsoll_estimator.engine_args import EngineArgs
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import EngineRefusal, InvalidInput, Unsupported
from plimsoll_estimator.estimate import estimate
from plimsoll_estimator.hardware import gpu_from
from plimsoll_estimator.hf_config import HfConfig

V100, T4, RTX_2080_TI = "Tesla-V100-SXM2-32GB", "Tesla-T4", "NVIDIA-GeForce-RTX-2080-Ti"
A100, L4, H100, B200 = "NVIDIA-A100-SXM4-80GB", "NVIDIA-L4", "NVIDIA-H100-80GB-HBM3", "NVIDIA-B200"
LLAMA = HfConfig(model())
AWQ = HfConfig(model(quantization_config={"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True}))
FP8_CACHE = {"quant_method": "modelopt", "quant_algo": "FP8", "kv_cache_quant_algo": "FP8"}
DECLARES = HfConfig(model(quantization_config=FP8_CACHE))
PHI = HfConfig(model(head_dim=96, num_key_value_heads=32))
GEMMA = config_of("google/gemma-3-27b-it")


def said(config: HfConfig, product_name: str, version: str, args: EngineArgs) -> str:
    """What is said of a start that does not come as far as memory; empty for one that does."""
    try:
        answer = estimate(config, args, gpu_from(product_name, label_memory_mib=11264), EngineVersion.parse(version))
    except (InvalidInput, Unsupported) as doubt:
        return str(doubt)
    return "" if answer.reason is None or answer.reason.of_memory else f"{answer.message}"


SAID = [
    # why, where that is read, model, card, release, arguments; the end of the sentence
    (
        "float16 is V0 there, and V1 takes the card from 0.10.2 on",
        "0.8.5 and 0.10.2 engine/arg_utils.py: _is_v1_supported_oracle",
        LLAMA, V100, "0.8.5", {}, "this GPU has 7.0; vLLM 0.10.2 runs it here",
    ),
    (
        "bfloat16 by name is float16 by name",
        "0.19.1 platforms/cuda.py: check_if_supports_dtype",
        LLAMA, T4, "0.19.1", {"dtype": "bfloat16"}, "this GPU has 7.5; use dtype float16",
    ),
    (
        "a model that float16 is not stable for",
        "0.19.1 config/model.py: _FLOAT16_NOT_SUPPORTED_MODELS",
        GEMMA, T4, "0.19.1", {"dtype": "bfloat16"}, "this GPU has 7.5; use dtype float32",
    ),
    ("or asked for in it", "the same", GEMMA, H100, "0.19.1", {"dtype": "float16"}, "gemma3 does not support float16; use dtype bfloat16"),
    (
        "the release whose fp8 takes Turing",
        "0.14.0 layers/quantization/fp8.py: get_min_capability",
        LLAMA, RTX_2080_TI, "0.9.2", {"quantization": "fp8", "dtype": "float16"},
        "quantization method fp8 needs compute capability 8.0, this GPU has 7.5; vLLM 0.14.0 runs it here",
    ),
    (
        "a method that no release gives the card",
        "layers/quantization/fp_quant.py: get_min_capability is 100 in all of them",
        LLAMA, H100, "0.11.2", {"quantization": "fp_quant"}, "fp_quant needs compute capability 10.0, this GPU has 9.0",
    ),
    (
        "AWQ's plain kernels",
        "0.10.0 layers/quantization/awq.py: get_supported_act_dtypes",
        AWQ, A100, "0.10.2", {"quantization": "awq", "dtype": "bfloat16"}, "supported are float16; use dtype float16",
    ),
    (
        "a cache that the backend has not",
        "0.25.1 triton_attn.py",
        PHI, A100, "0.25.1", {"kv_cache_dtype": "fp8"}, "(it has no heads of 96); use kv_cache_dtype auto",
    ),
    (
        "which the checkpoint declares, so that auto is the same",
        "0.25.1 utils/torch_utils.py: get_kv_cache_quant_algo_dtype",
        HfConfig(model(head_dim=96, num_key_value_heads=32, quantization_config=FP8_CACHE)), A100, "0.33.0", {}, "(it has no heads of 96)",
    ),
    (
        "two causes of V0, of which 0.10.2 lifts one",
        "0.10.2 engine/arg_utils.py: is_kv_cache_dtype_supported; 0.11.0 flex_attention.py",
        LLAMA, V100, "0.8.5", {"kv_cache_dtype": "fp8", "dtype": "half"}, "V0 has no rules here",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("why", "source", "config", "card", "version", "args", "end"), SAID, ids=[row[0] for row in SAID])
def test_a_refusal_ends_with_what_works(
    why: str, source: str, config: HfConfig, card: str, version: str, args: dict[str, Any], end: str
) -> None:
    message = said(config, card, version, EngineArgs(**args))
    assert message.endswith(end), message
    if "; " not in end:
        assert "use " not in message


ARGUMENT = re.compile(r"; use (\w+) (\w+)$")
RELEASE = re.compile(r"; (?:vLLM )?([\d.]+) (?:runs it here|and later run it on V1)$")
ASKED: list[dict[str, Any]] = [
    *({"dtype": dtype} for dtype in ("bfloat16", "float16", "float32")),
    *({"kv_cache_dtype": name} for name in ("fp8", "fp8_e5m2", "bfloat16")),
    *({"quantization": name, "dtype": "float16"} for name in ("fp8", "bitsandbytes", "awq", "awq_marlin", "fbgemm_fp8")),
    {},
    {"kv_cache_dtype": "fp8", "cpu_offload_gb": 4.0},
]


@pytest.mark.thorough
@pytest.mark.parametrize("version", ["0.8.0", "0.8.5", "0.9.2", "0.10.0", "0.10.2", "0.11.0", "0.13.0", "0.19.1", "0.24.0", "0.33.0"])
def test_whoever_follows_an_advice_comes_as_far_as_memory(version: str) -> None:
    """A law over models, cards and arguments, by the sentences alone."""
    advised = 0
    for config, card, asked in product((LLAMA, AWQ, DECLARES, PHI, GEMMA), (V100, T4, A100, L4, H100, B200), ASKED):
        args = EngineArgs(**asked)
        message = said(config, card, version, args)
        argument, release = ARGUMENT.search(message), RELEASE.search(message)
        if argument:
            changed: dict[str, Any] = {argument[1]: argument[2]}
            message = said(config, card, version, replace(args, **changed))
        elif release:
            message = said(config, card, release[1], args)
        else:
            assert "; use " not in message
            continue
        advised += 1
        assert message == ""
    assert advised >= 5


def test_a_remedy_is_no_part_of_the_refusal_until_it_was_tried() -> None:
    """What raises knows what may help; only who can try it says so."""
    from plimsoll_estimator.resolve.dtypes import resolve_dtype

    with pytest.raises(EngineRefusal, match=r"this GPU has 7\.0$") as caught:
        resolve_dtype(LLAMA, "bfloat16", gpu_from(V100), "generate", EngineVersion.parse("0.8.5"))
    assert [remedy.words for remedy in caught.value.remedies][:2] == ["use dtype float16", "use dtype float32"]
