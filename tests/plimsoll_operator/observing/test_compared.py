"""What a start logged beside its plan: figures, the error, and each thing that is not as planned."""

from dataclasses import replace

import pytest
from tests.folders import ROOT
from tests.plimsoll_operator.observing.logs import L4, free_of, log_of, start

from plimsoll_estimator import GIB, MIB, read_engine_log
from plimsoll_operator.api import Plan
from plimsoll_operator.observation import NO_START, components_of, observed_of, seen_of, start_of
from plimsoll_operator.reasons import Why


def test_a_start_as_predicted_has_no_error() -> None:
    observed = observed_of(L4, [start(log_of())])
    assert observed is not None
    assert (observed.error_ratio, observed.not_kv_cache_bytes) == ("0.0000", 16 * GIB)
    assert components_of(observed.memory) == {"weights_bytes": 14 * GIB, "kv_cache_bytes": 4 * GIB}
    assert (observed.engine_version, observed.kv_cache_tokens, observed.max_concurrency) == ("0.19.0", 32_000, "3.91")
    assert (observed.source, observed.plan_digest, observed.pod) == ("log", L4.digest, "chat-1")


@pytest.mark.parametrize(
    ("why", "kv_gib", "error"),
    [
        ("2 GiB more were needed than the 16 that were predicted", 2.0, "-0.1111"),
        ("2 GiB less", 6.0, "0.1429"),
        ("the rounding of the print is no negative zero", 3.9999, "0.0000"),
    ],
)
def test_the_error_is_of_what_is_not_cache(why: str, kv_gib: float, error: str) -> None:
    observed = observed_of(L4, [start(log_of(kv_gib=kv_gib))])
    assert observed is not None
    assert observed.error_ratio == error, why


def test_of_several_starts_the_one_with_the_least_cache_is_shown() -> None:
    starts = [start(log_of(kv_gib=size), pod=pod) for pod, size in (("chat-1", 4.0), ("chat-2", 3.5), ("chat-3", 4.2))]
    observed = observed_of(L4, starts)
    assert observed is not None
    assert (observed.pod, [one.pod for one in observed.starts]) == ("chat-2", ["chat-1", "chat-2", "chat-3"])


def test_of_several_ranks_the_one_with_the_least_cache_is_shown_and_of_the_rest_the_worst_of_its_stage() -> None:
    log = (ROOT / "tests/data/engine_logs/qwen3-235b-fp8-tp8-0.10.0.log").read_text()
    predicted = replace(L4.predicted, weights_bytes=28 * GIB, kv_cache_bytes=41 * GIB)
    plan = replace(L4, gpu_total_bytes=79 * GIB, allocated_bytes=71 * GIB, predicted=predicted, kv_cache_tokens=1_600_000)
    found = start(log, plan)
    memory = components_of(found.memory)
    assert found.rank == "rank 1"
    assert (memory["weights_bytes"] // MIB, memory["kv_cache_bytes"] // MIB) == (28329, 36505), "rank 0 has 92 MiB more of the cache"


def test_tokens_are_of_the_whole_replica() -> None:
    plan = replace(L4, data_parallel_size=2, kv_cache_tokens=64_000)
    assert start(log_of(plan), plan).kv_cache_tokens == 64_000


def test_without_any_start_nothing_is_observed() -> None:
    assert observed_of(L4, []) is None
    assert seen_of(L4, [], "") == seen_of(None, [], "") == NO_START


def test_a_cache_that_is_sized_by_hand_tells_nothing_of_the_rest() -> None:
    argument = "(APIServer pid=1) INFO 11-30 10:00:00 [utils.py:233] non-default args: {'kv_cache_memory_bytes': 2147483648}\n"
    found = start(argument + log_of(kv_gib=2.0))
    assert components_of(found.memory)["kv_cache_bytes"] == 2 * GIB
    assert found.not_kv_cache_bytes is None
    observed = observed_of(L4, [found])
    assert observed is not None
    assert observed.error_ratio is None


UNLIKE = [
    pytest.param(L4, log_of(), Why.AS_PREDICTED, "1 start read", id="a start as planned"),
    pytest.param(L4, log_of(kv_gib=3.2), Why.AS_PREDICTED, "", id="less cache, inside the interval"),
    pytest.param(L4, log_of(kv_gib=2.9), Why.LESS_KV_CACHE, "2.90 GiB, less than the 3.00 GiB", id="less cache than its lower end"),
    pytest.param(L4, log_of(kv_gib=1.5), Why.LESS_KV_CACHE, "less than the 2.00 GiB that the spec asks for", id="less than is needed"),
    pytest.param(L4, log_of(version="0.18.1"), Why.ENGINE_NOT_AS_PLANNED, "it is vLLM 0.18.1", id="another release"),
    pytest.param(L4, log_of(version="0.19.0rc2"), Why.AS_PREDICTED, "", id="a candidate of the release"),
    pytest.param(L4, log_of(version="0.1.dev18496+gd4e0675a7"), Why.AS_PREDICTED, "", id="a build without a release's number"),
    pytest.param(L4, log_of(more=free_of(21.5, 22.0)), Why.AS_PREDICTED, "", id="what an engine takes itself of its GPU"),
    pytest.param(L4, log_of(more=free_of(18.0, 22.0)), Why.FOREIGN_GPU_MEMORY, "4.00 GiB of its GPU were taken", id="foreign memory"),
    pytest.param(replace(L4, sharing="mps"), log_of(more=free_of(18.0, 22.0)), Why.AS_PREDICTED, "", id="others on a shared card"),
    pytest.param(
        replace(L4, gpus_per_replica=2, tensor_parallel_size=2), log_of(more=free_of(19.5, 22.0)), Why.AS_PREDICTED, "", id="communicators"
    ),
    pytest.param(L4, log_of(more=free_of(20.9, 21.0)), Why.GPU_NOT_AS_PLANNED, "21.00 GiB as CUDA counts", id="a smaller GPU"),
    pytest.param(L4, log_of(more=free_of(43.9, 44.0)), Why.AS_PREDICTED, "", id="a larger one, of a plan for several products"),
    pytest.param(L4, log_of(kv_gib=30.0), Why.FIGURES_LEFT_OUT, "a KV cache of 30.00 GiB is more than", id="a cache beyond the budget"),
]


@pytest.mark.parametrize(("plan", "log", "reason", "words"), UNLIKE)
def test_what_is_not_as_planned_is_said(plan: Plan, log: str, reason: Why, words: str) -> None:
    seen = seen_of(plan, [start(log, plan)], "")
    assert (seen.status, seen.reason) == ("True" if reason is Why.AS_PREDICTED else "False", reason)
    assert words in seen.message


def test_the_cause_comes_before_what_follows_from_it_and_every_pod_counts() -> None:
    logs = [log_of(kv_gib=1.5), log_of(kv_gib=1.4), log_of(version="0.18.0")]
    seen = seen_of(L4, [start(log, pod=f"chat-{number}") for number, log in enumerate(logs)], "")
    assert seen.reason == Why.ENGINE_NOT_AS_PLANNED
    assert "pod chat-2: the engine says" in seen.message
    assert "pod chat-0 (and 1 other): its KV cache" in seen.message


def test_a_log_without_figures_is_not_taken_for_a_good_one() -> None:
    seen = seen_of(L4, [start("some other program\n")], "")
    assert (seen.status, seen.reason) == ("Unknown", Why.NOT_OBSERVED)
    assert "chat-1 does not say what the engine took" in seen.message


def test_a_log_that_was_not_given_out_is_said() -> None:
    seen = seen_of(L4, [], "the log of pod chat-1 is not given out: the API server answers 403 Forbidden")
    assert (seen.status, seen.reason) == ("Unknown", Why.LOG_UNREAD)


def test_a_plan_against_recorded_starts_is_read_from_every_log_that_we_have() -> None:
    """Whatever the release: of each recorded log of an engine that served the cache or the tokens are shown."""
    huge = replace(L4, gpu_total_bytes=192 * GIB, allocated_bytes=180 * GIB, kv_cache_tokens=4_000_000)
    predicted = replace(huge.predicted, kv_cache_bytes=164 * GIB)
    plan = replace(huge, predicted=predicted)
    served = 0
    for path in sorted((ROOT / "tests/data/engine_logs").glob("*.log")):
        log = read_engine_log(path.read_text(errors="replace"))
        if not log.ready:
            continue
        served += 1
        found = start_of(log, plan, pod=path.name, uid="u", restarts=0)
        assert found.kv_cache_tokens or "kv_cache_bytes" in components_of(found.memory), path.name
        assert components_of(found.memory)["weights_bytes"] > 100 * MIB, path.name
    assert served >= 15


def test_the_phases_of_a_start_are_seconds_rounded_up_and_absurd_ones_are_left_out() -> None:
    head = "(EngineCore_DP0 pid=271) INFO 11-30 10:00:00"
    found = start(log_of(more=f"{head} [gpu_model_runner.py:1] Graph capturing finished in 6 secs, took 0.50 GiB"))
    assert found.phases is not None
    assert (found.phases.load_seconds, found.phases.capture_seconds, found.phases.compile_seconds) == (4, 6, None)
    absurd = start(log_of(more=f"{head} [gpu_model_runner.py:1] Graph capturing finished in {'9' * 30} secs, took 0.50 GiB"))
    assert absurd.phases is not None
    assert absurd.phases.capture_seconds is None
