"""A log's arguments as an estimate takes them, and which of its workers stands for a rank."""

import pytest
from tests.folders import DATA

from plimsoll_estimator import EngineVersion, catalogue, compare, gpu_from, logged_arguments, prepare, read_engine_log
from plimsoll_estimator.engine_args import EngineArgs
from plimsoll_estimator.resolved import Estimate

LOGS = DATA / "engine_logs"
GIB = 1 << 30
HEAD = "INFO 11-21 10:00:20 [a.py:1] "


def test_arguments_are_taken_as_the_release_reads_them() -> None:
    log = read_engine_log((LOGS / "qwen36-35b-mtp-gb10-0.25.1.log").read_text("utf-8"))
    found = logged_arguments(log, EngineVersion(0, 25, 1))
    assert not found.resolved
    assert found.left_out == ()
    assert {key: found.values[key] for key in ("max_model_len", "gpu_memory_utilization", "max_num_seqs", "num_speculative_tokens")} == {
        "max_model_len": 262144,
        "gpu_memory_utilization": 0.85,
        "max_num_seqs": 32,
        "num_speculative_tokens": 3,
    }


def test_without_arguments_those_that_the_engine_resolved_count() -> None:
    config = (
        "model='m', dtype=torch.float16, max_seq_len=2048, tensor_parallel_size=2, quantization=None, enforce_eager=True, "
        "kv_cache_dtype=auto, x=1"
    )
    found = logged_arguments(read_engine_log(f"{HEAD}Initializing a V1 LLM engine (v0.20.0) with config: {config}"), EngineVersion(0, 20))
    assert found.resolved
    assert found.values == {
        "dtype": "float16",
        "max_model_len": 2048,
        "tensor_parallel_size": 2,
        "enforce_eager": True,
        "kv_cache_dtype": "auto",
    }


@pytest.mark.parametrize("path", sorted(LOGS.glob("*.log")), ids=lambda path: path.stem)
def test_the_arguments_of_any_log_are_taken_or_named(path: object) -> None:
    log = read_engine_log((LOGS / str(path)).read_text("utf-8"))
    found = logged_arguments(log, log.release or EngineVersion(0, 29))
    # One of them is of a build with an attention backend of its own, B12X_MLA_SPARSE, which no release has.
    assert len([said for said in found.left_out if "B12X_MLA_SPARSE" not in said]) <= 2, found.left_out


def test_the_most_of_a_need_and_the_least_of_the_cache_stand_for_a_rank() -> None:
    config = catalogue.lookup("Qwen/Qwen2.5-7B-Instruct")
    assert config is not None
    estimate = prepare(config, EngineArgs(tensor_parallel_size=2), gpu_from("NVIDIA-L40S"), EngineVersion(0, 20))
    estimate = estimate if isinstance(estimate, Estimate) else estimate.estimate()
    log = read_engine_log(
        "".join(
            f"(Worker_TP{rank} pid={rank}) {HEAD}{said}\n"
            for rank, weights, cache in ((0, "7.16", "30.00"), (1, "7.20", "29.50"))
            for said in (f"Model loading took {weights} GiB", f"Available KV cache memory: {cache} GiB")
        )
    )
    rows = {row.component: row for row in compare(estimate, log)}
    weights, cache, activation = rows["weights_bytes"], rows["available_kv_cache_bytes"], rows["activation_bytes"]
    assert weights.logged is not None
    assert cache.logged is not None
    assert (weights.logged.value_bytes, weights.workers) == (round(7.20 * GIB), 2)
    assert (cache.logged.value_bytes, cache.stage) == (round(29.5 * GIB), 0)
    assert weights.error_bytes == weights.predicted_bytes - weights.logged.value_bytes
    assert weights.error_ratio == pytest.approx(weights.error_bytes / weights.logged.value_bytes)
    assert (activation.logged, activation.error_bytes, activation.error_ratio) == (None, None, None)
