"""Lines that only some releases or settings write: the V0 engine of 0.8, DEBUG, a cache of a fixed size, a budget that is not there."""

import pytest

from plimsoll_estimator import EngineLog, read_engine_log

GIB = 1 << 30
HEAD = "INFO 04-12 08:21:19 [worker.py:267] "


def gib(found: EngineLog, name: str) -> float | None:
    (worker,) = found.workers
    figure = getattr(worker, name)
    return None if figure is None else round(figure.value_bytes / GIB, 2)


def test_the_v0_engine_says_all_in_three_lines() -> None:
    # https://github.com/vllm-project/vllm/issues/16199 and https://github.com/vllm-project/vllm/pull/14447 have such lines
    found = read_engine_log(
        "INFO 04-12 08:20:00 [llm_engine.py:241] Initializing a V0 LLM engine (v0.8.3) with config: model='org/m', dtype=torch.float16, x\n"
        f"{HEAD}Memory profiling takes 17.59 seconds\n"
        f"{HEAD}the current vLLM instance can use total_gpu_memory (23.58GiB) x gpu_memory_utilization (0.99) = 23.35GiB\n"
        f"{HEAD}model weights take 21.21GiB; non_torch_memory takes 0.20GiB; PyTorch activation peak memory takes 0.37GiB; "
        "the rest of the memory reserved for KV Cache is 1.57GiB.\n"
    )
    names = ("total_bytes", "requested_bytes", "weights_bytes", "non_torch_bytes", "activation_bytes", "available_kv_cache_bytes")
    assert [gib(found, name) for name in names] == [23.58, 23.35, 21.21, 0.2, 0.37, 1.57]
    assert (found.engine, found.gpu_memory_utilization, found.times.profile_seconds) == ("V0", 0.99, 17.59)


@pytest.mark.parametrize(
    ("line", "figures"),
    [
        pytest.param(
            "Memory profiling takes 14.40 seconds. Total non KV cache memory: 10.22GiB; torch peak memory increase: 1.40GiB; non-torch "
            "forward increase memory: 0.02GiB; weights memory: 8.80GiB.",
            {"activation_bytes": 1.4, "non_torch_bytes": 0.02, "weights_bytes": 8.8},
            id="DEBUG until 0.25",
        ),
        pytest.param(
            "Memory profiling takes 2.50 seconds. Total non KV cache memory: 17.50GiB; torch peak memory increase: 1.20GiB; total consumed "
            "(from mem_get_info): 16.00GiB; weights memory: 15.30GiB.",
            {"consumed_bytes": 16.0, "weights_bytes": 15.3, "non_torch_bytes": 0.7, "activation_bytes": None},
            id="DEBUG since: the peak is no transient",
        ),
        pytest.param(
            "Initial free memory: 23.08 GiB; Requested memory: 0.80 (util), 18.82 GiB",
            {"free_bytes": 23.08, "requested_bytes": 18.82},
            id="DEBUG",
        ),
        pytest.param(
            "Initial free memory 78.50 GiB, reserved 12.00GiB memory for KV Cache as specified by kv_cache_memory_bytes config and skipped",
            {"available_kv_cache_bytes": 12.0},
            id="a cache of a fixed size",
        ),
        pytest.param(
            "Free memory on device (31.44/47.38 GiB) on startup is less than desired GPU memory utilization (0.95, 45.01 GiB). Decrease",
            {"free_bytes": 31.44, "total_bytes": 47.38, "requested_bytes": 45.01},
            id="a budget that is not there",
        ),
        pytest.param("Available KV cache memory: -1.55 GiB", {"available_kv_cache_bytes": -1.55}, id="nothing left, and more"),
        pytest.param(
            "Free memory on device (264/268 GiB) on startup. Actual usage is 205.08 GiB for weight, 3.75 GiB for peak activation, 1.63 GiB "
            "for non-torch memory, and 0.14 GiB for CUDAGraph memory. Current kv cache memory in use is 43.85 GiB.",
            {"weights_bytes": 205.08, "activation_bytes": 3.75, "non_torch_bytes": 1.63, "available_kv_cache_bytes": 43.85},
            id="one sentence left away",
        ),
        pytest.param(
            "Actual usage is 8.8 GiB for weight, 1.4 GiB for peak activation, 0.02 GiB for non-torch memory, and 0.68 GiB for CUDAGraph "
            "memory. Current kv cache memory in use is 9232221491 bytes.",
            {"cuda_graph_pool_bytes": 0.68, "available_kv_cache_bytes": 8.6},
            id="0.10 prints the cache in bytes",
        ),
    ],
)
def test_what_a_line_says(line: str, figures: dict[str, float | None]) -> None:
    found = read_engine_log(f"DEBUG 04-12 08:21:19 [gpu_worker.py:1] {line}\n")
    assert {name: gib(found, name) for name in figures} == figures


def test_graphs_that_are_not_deducted_are_only_an_estimate() -> None:
    """Until 0.19 the estimate is printed beside the advice to switch it on (https://github.com/vllm-project/vllm/pull/30515)."""
    found = read_engine_log(
        f"{HEAD}Estimated CUDA graph memory: 0.26 GiB total\n"
        f"{HEAD}In v0.19, CUDA graph memory profiling will be enabled by default (VLLM_MEMORY_PROFILER_ESTIMATE_CUDAGRAPHS=1), which more\n"
    )
    assert gib(found, "cuda_graph_estimate_bytes") == 0.26
    assert gib(found, "cuda_graph_bytes") is None


def test_graphs_are_told_by_two_shares_of_the_card_where_nothing_else_says_them() -> None:
    found = read_engine_log(
        f"{HEAD}CUDA graph memory profiling is enabled (default since v0.21.0). The current --gpu-memory-utilization=0.9200 is equivalent "
        "to --gpu-memory-utilization=0.9158 without CUDA graph memory profiling. To maintain\n"
        f"{HEAD}Free memory on device (15.28/16.0 GiB) on startup. Desired GPU memory utilization is (0.92, 14.72 GiB).\n"
    )
    (worker,) = found.workers
    assert worker.cuda_graph_bytes is not None
    assert worker.cuda_graph_bytes.value_bytes == pytest.approx(0.0042 * 16 * GIB, abs=worker.cuda_graph_bytes.off_by_bytes)
