"""Whole estimates: the checks of a start in order, the figures a refusal keeps, and laws no model may break."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.laws import law
from tests.plimsoll_estimator.overhead_models import model

from plimsoll_estimator.cases import answer_case
from plimsoll_estimator.engine_args import EngineArgs
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import InvalidInput
from plimsoll_estimator.estimate import WeightTotals, estimate
from plimsoll_estimator.hardware import gpu_from
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.resolved import Estimate

GIB = 1 << 30
LLAMA = model(tie_word_embeddings=False)
H100, L4 = "NVIDIA-H100-80GB-HBM3", "NVIDIA-L4"


def whole(version: str = "0.33.0", product: str = H100, free_gib: float | None = None, **arguments: Any) -> Estimate:
    gpu = gpu_from(product, free_memory_bytes=None if free_gib is None else int(free_gib * GIB))
    return estimate(HfConfig(LLAMA), EngineArgs(**arguments), gpu, EngineVersion.parse(version))


@pytest.mark.parametrize(
    ("sentence", "arguments", "reason"),
    [
        ("a tenant on the card fails the first check", {"free_gib": 60.0}, "FreeMemoryBelowRequested"),
        ("nothing is left at full utilisation", {"gpu_memory_utilization": 1.0}, "FreeMemoryBelowRequested"),
        ("weights that exceed the card fail while loading", {"product": "Tesla-T4", "dtype": "float16"}, "OutOfMemoryLoading"),
        ("weights that exceed the budget leave no pool", {"gpu_memory_utilization": 0.18}, "NoKvCacheMemory"),
        ("a long context needs more than an L4 has", {"product": L4, "max_model_len": 131072, "max_num_seqs": 8}, "KvCacheTooSmall"),
        ("heads that do not divide are refused before all else", {"tensor_parallel_size": 3}, "HeadsNotDivisible"),
        (
            "graphs and sampler must fit in what utilisation leaves",
            {"version": "0.19.0", "gpu_memory_utilization": 0.985, "free_gib": 78.1, "max_num_batched_tokens": 1024, "max_model_len": 8192},
            "OutOfMemorySamplerWarmUp",
        ),
    ],
)
def test_the_first_check_that_fails_names_the_refusal(sentence: str, arguments: dict[str, Any], reason: str) -> None:
    result = whole(**arguments)
    assert (result.verdict, result.reason) == ("refused", reason), (sentence, result.message)
    assert result.message


def test_a_refused_context_keeps_its_figures_and_names_the_longest_that_starts() -> None:
    result = whole(product=L4, max_model_len=131072, max_num_seqs=8)
    assert result.ranks[0].weights_bytes > 14 * GIB
    assert result.needed_kv_cache_bytes == 16 * GIB
    assert result.available_kv_cache_interval_bytes is not None
    longest = result.estimated_max_model_len
    assert longest is not None
    assert whole(product=L4, max_model_len=longest, max_num_seqs=8).verdict == "starts"
    assert whole(product=L4, max_model_len=longest + 16, max_num_seqs=8).verdict == "refused"


def test_the_budget_adds_up() -> None:
    result = whole("0.31.0", product="NVIDIA-A100-SXM4-80GB")
    rank = result.ranks[0]
    spent = rank.weights_bytes + rank.activation_bytes + rank.cuda_graph_bytes + rank.non_torch_bytes
    assert rank.available_kv_cache_bytes + spent == -(-result.resolved.gpu.total_memory_bytes * 92 // 100) if result.resolved else False
    assert rank.available_kv_cache_bytes / GIB == pytest.approx(56.21, abs=0.15)  # as logged


def test_a_pool_given_by_hand_is_taken_and_not_estimated() -> None:
    result = whole(kv_cache_memory_bytes=20 * GIB)
    assert result.ranks[0].available_kv_cache_bytes == 20 * GIB
    assert result.available_kv_cache_interval_bytes is None


def test_lora_slots_and_offloaded_weights_move_the_pool() -> None:
    plain = whole("0.22.1", tensor_parallel_size=2, enforce_eager=True)
    lora = whole("0.22.1", tensor_parallel_size=2, enforce_eager=True, enable_lora=True)
    # Per layer: q, k, v, o, gate, up and down, each one pair of rank 16 in two bytes.
    widths = (4096 + 2048) + 2 * (4096 + 512) + (2048 + 4096) + 3 * (4096 + 7168)
    # Beside them the embedding's pair and the output head's, whole on each rank.
    ends = 2 * (LLAMA["vocab_size"] + 4096)
    assert lora.ranks[0].weights_bytes - plain.ranks[0].weights_bytes == (32 * widths + ends) * 16 * 2
    offloaded = whole("0.22.1", tensor_parallel_size=2, enforce_eager=True, cpu_offload_gb=4.0)
    gained = offloaded.ranks[0].available_kv_cache_bytes - plain.ranks[0].available_kv_cache_bytes
    assert 3.5 * GIB < gained <= 4 * GIB
    assert (offloaded.host_memory_bytes or 0) > (plain.host_memory_bytes or 0)


@pytest.mark.parametrize(("version", "verdict"), [("0.19.1", "refused"), ("0.25.1", "refused"), ("0.33.0", "starts")])
def test_a_bidirectional_generator_has_no_cache_to_plan_in_older_releases(version: str, verdict: str) -> None:
    config = HfConfig({**LLAMA, "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "is_causal": False})
    result = estimate(config, EngineArgs(max_model_len=4096), gpu_from(H100), EngineVersion.parse(version))
    assert result.verdict == verdict
    assert verdict == "starts" or (result.reason, len(result.ranks)) == ("NoAttentionCache", 1)


def test_a_draft_model_is_loaded_beside_the_target() -> None:
    small = HfConfig({**LLAMA, "num_hidden_layers": 2, "tie_word_embeddings": True})
    chosen: dict[str, Any] = {"num_speculative_tokens": 3, "speculative_model_config": small, "speculative_method": "draft_model"}
    alone = estimate(small, EngineArgs(), gpu_from(H100), EngineVersion(0, 33)).ranks[0].weights_bytes
    assert whole(**chosen).ranks[0].weights_bytes == whole().ranks[0].weights_bytes + alone


def test_an_eagle_head_has_no_embedding_of_its_own() -> None:
    head = {**LLAMA, "architectures": ["LlamaForCausalLMEagle3"], "num_hidden_layers": 1, "draft_vocab_size": 32000}
    chosen: dict[str, Any] = {"num_speculative_tokens": 3, "speculative_model_config": HfConfig(head), "speculative_method": "eagle3"}
    added = whole(**chosen).ranks[0].weights_bytes - whole().ranks[0].weights_bytes
    layer = 4096 * (4096 + 2 * 1024) + 4096 * 4096 + 3 * 4096 * 14336
    extra = 32000 * 4096 + 3 * 4096 * 4096 + 4096 * (4096 + 2 * 1024)
    assert added == pytest.approx(2 * (layer + extra), rel=0.05)


def test_each_pipeline_stage_is_a_rank_of_its_own() -> None:
    result = whole(pipeline_parallel_size=4, tensor_parallel_size=2)
    assert [(rank.rank, rank.count) for rank in result.ranks] == [(0, 2), (2, 2), (4, 2), (6, 2)]
    assert result.ranks[-1].activation_bytes > result.ranks[0].activation_bytes


@pytest.mark.parametrize(("total_gib", "warned"), [(14.96, False), (20.0, True)])
def test_a_checkpoint_that_disagrees_is_reported(total_gib: float, warned: bool) -> None:
    totals = WeightTotals(total_bytes=int(total_gib * GIB))
    result = estimate(HfConfig(LLAMA), EngineArgs(), gpu_from(H100), EngineVersion(0, 33), weights=totals)
    assert any("headers" in line for line in result.warnings) is warned


def test_a_newer_engine_is_marked_and_wider() -> None:
    def width(result: Estimate) -> int:
        low, high = result.available_kv_cache_interval_bytes or (0, 0)
        return high - low

    newer = whole("0.35.0")
    assert any("extrapolated" in line for line in newer.warnings)
    assert width(newer) >= 2 * width(whole("0.33.0")) - 4


sizes = st.sampled_from([64, 128, 256, 512, 1024])
versions = st.sampled_from(["0.9.2", "0.11.0", "0.19.0", "0.22.1", "0.26.0", "0.33.0"])


@law(60)
@given(version=versions, seqs=sizes, tokens=st.sampled_from([1024, 2048, 8192]), length=st.sampled_from([2048, 8192, 32768]))
def test_more_sequences_tokens_or_context_never_leave_more(version: str, seqs: int, tokens: int, length: int) -> None:
    def pool(**changes: int) -> int:
        chosen: dict[str, Any] = {"max_num_seqs": seqs, "max_num_batched_tokens": tokens, "max_model_len": length, **changes}
        return whole(version, **chosen).ranks[0].available_kv_cache_bytes

    assert pool(max_num_seqs=2 * seqs, max_num_batched_tokens=2 * tokens) <= pool(max_num_batched_tokens=2 * tokens) <= pool()
    assert pool(max_model_len=2 * length) <= pool()


@law(40)
@given(version=versions, layers=st.integers(2, 60), tp=st.sampled_from([1, 2, 4]))
def test_weights_per_rank_never_grow_with_ranks_and_layers_never_need_less(version: str, layers: int, tp: int) -> None:
    def weights(count: int, ranks: int) -> int:
        config = HfConfig({**LLAMA, "num_hidden_layers": count})
        gpu = gpu_from("NVIDIA-H200")
        result = estimate(config, EngineArgs(tensor_parallel_size=ranks, max_model_len=4096), gpu, EngineVersion.parse(version))
        return result.ranks[0].weights_bytes

    assert weights(layers, 2 * tp) <= weights(layers, tp) <= weights(layers + 1, tp)


scalars = st.one_of(st.none(), st.booleans(), st.integers(-10, 1 << 42), st.floats(), st.text(max_size=8))
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3), max_leaves=6
)


@law(300)
@given(key=st.sampled_from([*LLAMA, "rope_scaling", "quantization_config", "layer_types", "text_config", "sliding_window"]), value=values)
def test_any_config_gets_an_answer(key: str, value: Any) -> None:
    case = {"model_config": {**LLAMA, key: value}, "gpu": {"product": H100}, "engine_args": {}, "engine_version": "0.33.0"}
    reply = answer_case(case, lambda name: None)
    assert reply["verdict"] in ("starts", "refused", "unsupported", "invalid")
    assert all(rank["weights_bytes"] >= 0 for rank in reply.get("ranks", []))
    assert answer_case(case, lambda name: None) == reply


@pytest.mark.parametrize(
    ("key", "value", "names"),
    [
        ("num_hidden_layers", 1_000_000, "num_hidden_layers"),
        ("num_attention_heads", 0, "num_attention_heads"),
        ("layer_types", [["full_attention"]], "layer_types"),
        ("rope_scaling", {"rope_type": "linear", "factor": [2.0]}, "rope_scaling.factor"),
        ("rope_theta", {"a": 1}, "rope_theta"),
    ],
)
def test_a_config_out_of_bounds_is_named(key: str, value: Any, names: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        estimate(HfConfig({**LLAMA, key: value}), EngineArgs(), gpu_from(H100), EngineVersion(0, 33))
    assert names in caught.value.field


@law(200)
@given(arguments=st.dictionaries(st.sampled_from([*EngineArgs.__dataclass_fields__, "novel"]), values, max_size=3))
def test_any_arguments_get_an_answer(arguments: dict[str, Any]) -> None:
    case = {"model_config": LLAMA, "gpu": {"product": H100}, "engine_args": arguments}
    assert answer_case(case, lambda name: None)["verdict"] in ("starts", "refused", "unsupported", "invalid")
