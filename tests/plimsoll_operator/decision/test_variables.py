"""Variables of spec.template.env that mean what an argument means: counted by their text, or refused by name.

Source of names, texts and releases: vllm/envs.py of 0.8.5, 0.10.1, 0.11.0 to 0.15.0 and 0.32.0.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.plimsoll_operator.decision_world import LLAMA_8B, Files, verdict
from tests.plimsoll_operator.nodes import H100, gpu_node

from plimsoll_estimator import EngineArgs, EngineVersion, HfConfig, Prepared, catalogue, gpu_from, prepare
from plimsoll_operator.api import EnvVar
from plimsoll_operator.decision.checks.environment import first_that_moves_the_plan
from plimsoll_operator.decision.request.variables import counted
from plimsoll_operator.verdict import Admit, Reason, Reject

ONE = {"tensorParallelSize": 1, "maxModelLen": 8192}
SAMPLER, DEEP_GEMM, WARM_UP = "VLLM_USE_FLASHINFER_SAMPLER", "VLLM_USE_DEEP_GEMM", "VLLM_DEEP_GEMM_WARMUP"
SKIP, PROCESS, BACKEND = "VLLM_SKIP_DEEP_GEMM_WARMUP", "VLLM_ENABLE_V1_MULTIPROCESSING", "VLLM_ATTENTION_BACKEND"


def cache_gib(version: str, **env: str) -> float:
    template = {"env": [{"name": name, "value": value} for name, value in env.items()]}
    found = verdict(LLAMA_8B, version=version, engine=ONE, store=Files(H100), template=template)
    assert isinstance(found, Admit), found
    return found.plan.predicted.kv_cache_bytes / 2**30


def test_the_sampler_that_the_variable_names_is_the_one_that_is_counted() -> None:
    """0.11.0 on an H100: 4.76 GiB of activation where PyTorch sorts, 1.89 GiB where a kernel does (measured starts)."""
    sorts = 4.76 - 1.89
    assert cache_gib("0.11.0") - cache_gib("0.11.0", **{SAMPLER: "0"}) == pytest.approx(sorts, abs=0.2)
    assert cache_gib("0.11.0", **{SAMPLER: "1"}) == cache_gib("0.11.0")
    assert cache_gib("0.11.2", **{SAMPLER: "1"}) - cache_gib("0.11.2") == pytest.approx(sorts, abs=0.2)  # which waits to be asked


def test_a_warm_up_that_is_asked_for_is_counted_beside_the_cache() -> None:
    """0.24.0, eight engines that share 160 experts: the tokens of all, 8 experts each (github.com/vllm-project/vllm/pull/49469)."""
    published = catalogue.lookup("Qwen/Qwen3-Coder-480B-A35B-Instruct")
    assert published is not None
    blocks = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}
    config, release = HfConfig({**published.as_mapping(), "quantization_config": blocks}), EngineVersion(0, 24)

    def warmed(**env: str) -> int:
        given = counted((EnvVar(name=name, value=value) for name, value in env.items()), release)
        args = EngineArgs(max_model_len=32768, data_parallel_size=8, enable_expert_parallel=True, **given)
        found = prepare(config, args, gpu_from("NVIDIA-H200"), release)
        assert isinstance(found, Prepared)
        return found.overheads[0].kernel_warm_up_bytes

    rows, row = -(-(8 * 8192 * 8 + 20 * 127) // 128) * 128, 6144 + 6144 // 128 * 4 + 2 * 2 * 2560
    assert warmed(**{DEEP_GEMM: "1"}) == rows * row
    assert 0 < warmed() < rows * row // 16  # attention's alone: experts have another kernel unless DeepGEMM is asked for
    assert warmed(**{DEEP_GEMM: "1", WARM_UP: "skip"}) == warmed(**{DEEP_GEMM: "0"}) == 0


SETS = [
    (SAMPLER, "0", "0.8.5", {"use_flashinfer_sampler": False}),
    (SAMPLER, "1", "0.32.0", {"use_flashinfer_sampler": True}),
    (DEEP_GEMM, "1", "0.10.2", {"use_deep_gemm": True}),
    (DEEP_GEMM, "0", "0.19.0", {"use_deep_gemm": False}),
    (SKIP, "1", "0.11.0", {"deep_gemm_warmup": "skip"}),
    (SKIP, "0", "0.10.1", {}),
    (WARM_UP, "skip", "0.11.1", {"deep_gemm_warmup": "skip"}),
    (WARM_UP, "full", "0.32.0", {"deep_gemm_warmup": "full"}),
    (PROCESS, "1", "0.19.0", {}),
    (BACKEND, "FLASHINFER", "0.11.2", {"attention_backend": "FLASHINFER"}),
    (BACKEND, "TRITON_ATTN", "0.14.1", {"attention_backend": "TRITON_ATTN"}),
]


@pytest.mark.parametrize(("name", "value", "version", "fields"), SETS)
def test_a_text_that_is_known_sets_what_the_release_reads_of_it(name: str, value: str, version: str, fields: dict[str, Any]) -> None:
    env, release = (EnvVar(name=name, value=value),), EngineVersion.parse(version)
    assert counted(env, release) == fields
    assert first_that_moves_the_plan(env, release) is None


REFUSED: list[tuple[str, dict[str, Any], str, str]] = [
    ("a word that vLLM reads as no number", {"name": SAMPLER, "value": "true"}, "0.19.0", "must be 0 or 1"),
    ("another number, which vLLM takes for 1", {"name": DEEP_GEMM, "value": "2"}, "0.19.0", "must be 0 or 1"),
    ("with a blank", {"name": SAMPLER, "value": "0 "}, "0.19.0", "must be 0 or 1"),
    ("without a text", {"name": SAMPLER}, "0.19.0", "must be 0 or 1"),
    ("a text that is elsewhere", {"name": SAMPLER, "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}}, "0.19.0", "a reference"),
    ("no mode", {"name": WARM_UP, "value": "some"}, "0.19.0", "must be full or relax or skip"),
    ("a release that does not read it yet", {"name": WARM_UP, "value": "skip"}, "0.11.0", "is not read by vLLM 0.11.0"),
    ("a release that reads it no more", {"name": SKIP, "value": "1"}, "0.11.1", "is not read by vLLM 0.11.1"),
    ("an engine in the server's process", {"name": PROCESS, "value": "0"}, "0.19.0", "must be 1"),
    ("a relative that nobody counts", {"name": "VLLM_MOE_USE_DEEP_GEMM", "value": "0"}, "0.19.0", "may move GPU memory"),
    ("where tuned kernels lie", {"name": "VLLM_TUNED_CONFIG_FOLDER", "value": "/data"}, "0.26.0", "may move GPU memory"),
    ("a backend by its earlier name", {"name": BACKEND, "value": "FLASH_ATTN_VLLM_V1"}, "0.11.2", "must be FLASH_ATTN or FLASHINFER"),
    ("in small letters, which the variable does not take", {"name": BACKEND, "value": "flashinfer"}, "0.12.0", "must be FLASH_ATTN"),
    ("a backend before names are today's", {"name": BACKEND, "value": "FLASHINFER"}, "0.10.2", "is not read by vLLM 0.10.2, or not as"),
    ("a backend, which has an argument alone", {"name": BACKEND, "value": "FLASHINFER"}, "0.15.0", "--attention-backend"),
    ("one of tomorrow's", {"name": "VLLM_OF_TOMORROW", "value": "0"}, "0.32.0", "may move GPU memory"),
]  # fmt: skip


@pytest.mark.parametrize(("why", "variable", "version", "words"), REFUSED, ids=[row[0] for row in REFUSED])
def test_what_is_not_known_is_refused_by_name(why: str, variable: dict[str, Any], version: str, words: str) -> None:
    found = verdict(LLAMA_8B, version=version, engine=ONE, store=Files(H100), template={"env": [variable]})
    assert isinstance(found, Reject), why
    assert (found.reason, found.field) == (Reason.NOT_SUPPORTED_YET, "spec.template.env")
    assert found.message.startswith(f"Variable {variable['name']} ")
    assert words in found.message


@given(st.sampled_from([SAMPLER, DEEP_GEMM, SKIP, WARM_UP, PROCESS]), st.text(max_size=5), st.integers(8, 33))
def test_a_text_is_counted_or_refused_and_never_neither(name: str, value: str, minor: int) -> None:
    env, release = (EnvVar(name=name, value=value),), EngineVersion(0, minor)
    told = {"0", "1", "full", "relax", "skip"}
    assert value in told or (counted(env, release) == {} and first_that_moves_the_plan(env, release) is not None)


def test_a_backend_is_judged_as_the_argument_would_be_and_not_said_in_two_places() -> None:
    """platforms/cuda.py of 0.13.0: the backend named is asked what it takes; config/attention.py and arg_utils.py: one place alone."""
    phi, flash = "microsoft/Phi-3-mini-4k-instruct", {"env": [{"name": BACKEND, "value": "FLASHINFER"}]}  # heads of 96, which it lacks
    assert isinstance(verdict(phi, version="0.13.0", engine=ONE | {"maxModelLen": 4096}, store=Files(H100)), Admit)
    refused = verdict(phi, version="0.13.0", engine=ONE | {"maxModelLen": 4096}, store=Files(H100), template=flash)
    assert isinstance(refused, Reject)
    assert "FLASHINFER" in refused.message
    twice = ONE | {"extraArgs": ["--attention-backend", "FLASHINFER"]}
    said_twice = verdict(LLAMA_8B, version="0.13.0", engine=twice, store=Files(H100), template=flash)
    assert isinstance(said_twice, Reject)
    assert "say one" in said_twice.message


V100, T4, L4 = ("Tesla-V100-SXM2-32GB", 32768), ("Tesla-T4", 15360), ("NVIDIA-L4", 23034)
SAMPLES: list[tuple[str, tuple[str, int], str, str, bool]] = [
    # v1/sample/ops/topk_topp_sampler.py: RuntimeError since 0.12.0; v1/attention/backends/flashinfer.py: supports_compute_capability,
    # from 7.5 until before 0.24.0, from 8.0 since.
    ("FlashInfer knows no card before Turing", V100, "0.14.1", "1", False),
    ("nor later", V100, "0.19.1", "1", False),
    ("said not to sample so", V100, "0.19.1", "0", True),
    ("Turing has it", T4, "0.19.1", "1", True),
    ("Turing has it no more", T4, "0.25.1", "1", False),
    ("nor with the second runner", T4, "0.32.0", "1", False),
    ("said not to, on Turing", T4, "0.32.0", "0", True),
    ("Ada has it", L4, "0.32.0", "1", True),
]


@pytest.mark.parametrize(("why", "card", "version", "value", "starts"), SAMPLES, ids=[row[0] for row in SAMPLES])
def test_the_sampler_that_is_asked_for_is_one_that_the_card_has(
    why: str, card: tuple[str, int], version: str, value: str, starts: bool
) -> None:
    engine, template = {"dtype": "float16", "maxModelLen": 2048}, {"env": [{"name": SAMPLER, "value": value}]}
    nodes = Files(gpu_node(product=card[0], memory_mib=card[1]))
    found = verdict("Qwen/Qwen2.5-1.5B-Instruct", version=version, engine=engine, store=nodes, template=template)
    if starts:
        assert isinstance(found, Admit), found
        return
    assert isinstance(found, Reject), why
    assert (found.reason, found.field) == ("EngineRefuses", "spec.template.env")
    assert "leave the variable out" in found.message
