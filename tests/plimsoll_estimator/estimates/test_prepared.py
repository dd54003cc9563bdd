"""A replica prepared once answers for every budget as a fresh estimate does, and what layouts share changes no answer."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.bench.timing import forget
from tests.laws import law
from tests.plimsoll_estimator.shipped import config_of

from plimsoll_estimator.engine_args import EngineArgs
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import InvalidInput, Unsupported
from plimsoll_estimator.estimate import estimate, prepare
from plimsoll_estimator.hardware import gpu_from
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.kv_cache import KvCacheLayout
from plimsoll_estimator.prepared import Prepared
from plimsoll_estimator.resolved import Estimate, Gpu
from plimsoll_estimator.units import GIB

MODELS = st.sampled_from([
    "meta-llama/Llama-3.1-8B-Instruct", "google/gemma-3-27b-it", "Qwen/Qwen3-Next-80B-A3B-Instruct", "deepseek-ai/DeepSeek-V2-Lite",
    "openai/gpt-oss-20b", "tiiuae/falcon-mamba-7b", "ai21labs/Jamba-v0.1", "Qwen/Qwen3-30B-A3B-FP8",
    "meta-llama/Llama-4-Scout-17B-16E-Instruct",
])  # fmt: skip
CARDS = st.sampled_from(["NVIDIA-H100-80GB-HBM3", "NVIDIA-B200", "NVIDIA-L40S", "NVIDIA-L4", "NVIDIA-A100-SXM4-80GB", "Tesla-T4"]).map(
    gpu_from
)
VERSIONS = st.sampled_from([(0, 8, 5), (0, 11), (0, 19, 1), (0, 25, 1), (0, 33), (0, 35)]).map(lambda parts: EngineVersion(*parts))
FIELDS: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "tensor_parallel_size": st.sampled_from([1, 2, 4, 8]),
        "pipeline_parallel_size": st.sampled_from([1, 2, 3]),
        "max_model_len": st.sampled_from([-1, 1024, 8192, 40000]),
        "max_num_seqs": st.sampled_from([1, 64, 1024]),
        "max_num_batched_tokens": st.sampled_from([2048, 16384]),
        "kv_cache_dtype": st.sampled_from(["auto", "fp8"]),
        "enable_prefix_caching": st.booleans(),
        "enforce_eager": st.booleans(),
        "limit_mm_per_prompt": st.just({"image": 0}),
        "kv_cache_memory_bytes": st.just(3 * GIB),
    },
)
ARGS = FIELDS.map(lambda values: EngineArgs(**values))
LAW = law(80)


def prepared(model: str, args: EngineArgs, gpu: Gpu, version: EngineVersion) -> Prepared | Estimate | str:
    try:
        return prepare(HfConfig(config_of(model).as_mapping()), args, gpu, version)
    except (InvalidInput, Unsupported) as error:
        return str(error)


@LAW
@given(MODELS, ARGS, CARDS, VERSIONS, st.sampled_from([0.05, 0.3, 0.5, 0.873, 0.95, 1.0]))
def test_at_any_utilisation_it_answers_as_a_fresh_estimate(
    model: str, args: EngineArgs, gpu: Gpu, version: EngineVersion, utilization: float
) -> None:
    found = prepared(model, args, gpu, version)
    if isinstance(found, Prepared):
        fresh = estimate(config_of(model), replace(args, gpu_memory_utilization=utilization), gpu, version)
        assert found.estimate(utilization) == fresh


@LAW
@given(MODELS, ARGS, CARDS, VERSIONS, st.integers(0, 200 * GIB), st.integers(0, 3000))
def test_whether_a_pool_would_do_is_what_the_estimate_with_it_says(
    model: str, args: EngineArgs, gpu: Gpu, version: EngineVersion, pool: int, blocks: int
) -> None:
    found = prepared(model, args, gpu, version)
    if isinstance(found, Prepared):
        whole = estimate(config_of(model), args, gpu, version, available_kv_cache_bytes=pool)
        starts = whole.verdict == "starts"
        assert found.starts_with_pool(pool) == starts
        assert found.starts_with_pool(pool, blocks) == (starts and whole.kv_plan is not None and whole.kv_plan.num_gpu_blocks >= blocks)


@LAW
@given(MODELS, ARGS, CARDS, VERSIONS, st.integers(0, 60 * GIB))
def test_the_longest_request_of_a_pool_fits_it_and_one_token_more_does_not(
    model: str, args: EngineArgs, gpu: Gpu, version: EngineVersion, pool: int
) -> None:
    found = prepared(model, replace(args, max_model_len=None), gpu, version)
    if not isinstance(found, Prepared) or not isinstance(found.layout, KvCacheLayout):
        return
    longest = found.longest_with_pool(pool)
    stages = (pool,) * len(found.stages)
    assert longest == 0 or found.layout.accepts(stages, longest)
    assert longest == found.resolved.max_model_len or not found.layout.accepts(stages, longest + 1)


@law(40)
@given(MODELS, VERSIONS, st.lists(st.tuples(ARGS, CARDS), min_size=2, max_size=8))
def test_what_layouts_share_is_what_each_would_have_alone(model: str, version: EngineVersion, asked: list[tuple[EngineArgs, Gpu]]) -> None:
    """Layouts, cards and lengths share weights and caches where those cannot differ.

    With a mapping among the arguments nothing can be shared, so an empty one shows each answer worked out of all its arguments.
    """
    forget()
    config = config_of(model)

    def answer(args: EngineArgs, gpu: Gpu) -> object:
        try:
            found = prepare(config, args, gpu, version)
        except (InvalidInput, Unsupported) as error:
            return str(error)
        if isinstance(found, Estimate):
            return found.reason, found.message
        return found.stages, found.layout, found.overheads

    for args, gpu in asked:
        assert answer(args, gpu) == answer(replace(args, limit_mm_per_prompt=args.limit_mm_per_prompt or {}), gpu)


def test_arguments_that_vllm_refuses_are_an_estimate_without_figures() -> None:
    refused = prepared("meta-llama/Llama-3.1-8B-Instruct", EngineArgs(tensor_parallel_size=3), gpu_from("NVIDIA-L4"), EngineVersion(0, 33))
    assert isinstance(refused, Estimate)
    assert (refused.verdict, refused.reason, refused.ranks) == ("refused", "HeadsNotDivisible", ())


@pytest.mark.parametrize("utilization", [0.0, 1.5])
def test_a_pinned_utilisation_out_of_range_is_named(utilization: float) -> None:
    with pytest.raises(InvalidInput, match="gpu_memory_utilization"):
        prepare(
            config_of("meta-llama/Llama-3.1-8B-Instruct"),
            EngineArgs(gpu_memory_utilization=utilization),
            gpu_from("NVIDIA-L4"),
            EngineVersion(0, 33),
        )
