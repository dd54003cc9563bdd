"""Which starts up to 0.10.2 vLLM runs on its V0 engine: engine/arg_utils.py `_is_v1_supported_oracle` by release, a row a condition."""

from __future__ import annotations

from typing import Any

import pytest

from plimsoll_estimator.engine_args import EngineArgs
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import Unsupported
from plimsoll_estimator.hardware import gpu_from
from plimsoll_estimator.resolve.engine_core import GONE, Start, check_core

A100, A10, H100, B200, L4, T4, V100 = (
    "NVIDIA-A100-SXM4-80GB", "NVIDIA-A10", "NVIDIA-H100-80GB-HBM3", "NVIDIA-B200", "NVIDIA-L4", "Tesla-T4", "Tesla-V100-SXM2-32GB",
)  # fmt: skip


def start(product: str = A100, architecture: str = "LlamaForCausalLM", **values: Any) -> Start:
    settled: dict[str, Any] = {name: values.pop(name) for name in ("dtype", "quantization", "pools", "latent") if name in values}
    facts: dict[str, Any] = {"dtype": "float16", "quantization": None, "pools": False, "latent": False, **settled}
    return Start(architecture=architecture, gpu=gpu_from(product, label_memory_mib=32768), args=EngineArgs(**values), **facts)


FALLS_BACK = [
    # the start, the last release that runs it on V0, the first that runs it on V1
    ("a V100 is below 8.0", start(V100), "0.10.1.1", "0.10.2"),
    ("so is a T4", start(T4), "0.10.1.1", "0.10.2"),
    ("fp8 on Hopper, before its FlashAttention was asked", start(H100, kv_cache_dtype="fp8"), "0.8.1", "0.8.2"),
    ("fp8 on Blackwell", start(B200, kv_cache_dtype="fp8"), "0.9.2", "0.10.0"),
    ("fp8 on an L4, although it has fp8", start(L4, kv_cache_dtype="fp8"), "0.10.2", "0.11.0"),
    ("fp8_e4m3 on an A10", start(A10, kv_cache_dtype="fp8_e4m3"), "0.10.2", "0.11.0"),
    ("fp8 of latent attention on an A100", start(kv_cache_dtype="fp8", latent=True), "0.10.1.1", "0.10.2"),
    ("a named 16-bit cache", start(kv_cache_dtype="bfloat16"), "0.10.1.1", "0.10.2"),
    ("Mamba 2 beside attention, and then its inner state", start(architecture="BambaForCausalLM"), "0.10.1.1", "0.10.2"),
    ("Mamba alone", start(architecture="MambaForCausalLM"), "0.10.1.1", "0.10.2"),
    ("Gemma 3 with images in the first release", start(architecture="Gemma3ForConditionalGeneration"), "0.8.0", "0.8.1"),
    ("cross attention", start(architecture="MllamaForConditionalGeneration"), "0.10.2", "0.11.0"),
    ("float32", start(dtype="float32"), "0.9.1", "0.9.2"),
    ("pooling", start(pools=True), "0.9.1", "0.9.2"),
    ("bitsandbytes", start(quantization="bitsandbytes"), "0.8.2", "0.8.3"),
    ("GGUF", start(quantization="gguf"), "0.8.5", "0.9.0"),
    ("weights on the host", start(cpu_offload_gb=4.0), "0.8.2", "0.8.3"),
    ("adapters", start(enable_lora=True), "0.8.2", "0.8.3"),
    ("n-grams were experimental", start(num_speculative_tokens=3, speculative_method="ngram"), "0.8.5", "0.9.0"),
    ("a draft model was not known to V1", start(num_speculative_tokens=3), "0.9.2", "0.10.0"),
    ("stages on the executor it picks itself", start(pipeline_parallel_size=2), "0.9.0.1", "0.9.1"),
]


@pytest.mark.parametrize(("why", "begun", "last", "first"), FALLS_BACK, ids=[row[0] for row in FALLS_BACK])
def test_a_start_that_falls_back_to_v0_has_no_answer_and_the_first_release_without(why: str, begun: Start, last: str, first: str) -> None:
    with pytest.raises(Unsupported, match=rf"vLLM {last} falls back to its V0 engine for ") as caught:
        check_core(begun, EngineVersion.parse(last))
    assert caught.value.remedies[0].words == f"{first} and later run it on V1"
    assert caught.value.reason == ("EngineFallsBackForStages" if begun.args.pipeline_parallel_size else "EngineFallsBack")
    check_core(begun, EngineVersion.parse(first))


RUNS = [
    ("Ampere", start(), "0.8.0"),
    ("fp8 where FlashAttention 3 runs", start(H100, kv_cache_dtype="fp8"), "0.8.2"),
    ("auto is no named cache", start(L4, kv_cache_dtype="auto"), "0.8.0"),
    ("Gemma 3 without images", start(architecture="Gemma3ForCausalLM"), "0.8.0"),
    ("one stage", start(pipeline_parallel_size=1), "0.8.0"),
    ("EAGLE-3 since 0.9", start(num_speculative_tokens=3, speculative_method="eagle3"), "0.9.0"),
    ("a draft that is not used", start(num_speculative_tokens=0), "0.8.0"),
]


@pytest.mark.parametrize(("why", "begun", "version"), RUNS, ids=[row[0] for row in RUNS])
def test_what_v1_takes_is_let_through(why: str, begun: Start, version: str) -> None:
    check_core(begun, EngineVersion.parse(version))


def test_no_start_falls_back_once_the_older_engine_is_gone() -> None:
    for _, begun, _, _ in FALLS_BACK:
        check_core(begun, GONE)
