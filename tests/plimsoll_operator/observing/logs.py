"""Logs of engines that started as planned, or otherwise, and a plan of sizes that a GPU has. Called by the tests of what is observed."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from tests.plimsoll_operator.plans import PLAN

from plimsoll_estimator import GIB, MIB, read_engine_log
from plimsoll_operator.api import Plan, PredictedMemory, StartStatus
from plimsoll_operator.observation import start_of

L4: Final = replace(
    PLAN,
    gpu_total_bytes=22 * GIB,
    allocated_bytes=20 * GIB,
    predicted=PredictedMemory(
        weights_bytes=14 * GIB, activation_bytes=GIB, cuda_graph_bytes=512 * MIB, non_torch_bytes=512 * MIB, kv_cache_bytes=4 * GIB
    ),
    kv_cache_interval_bytes=(3 * GIB, 5 * GIB),
    kv_cache_needed_bytes=2 * GIB,
    kv_cache_tokens=32_000,
)
"""16 of 20 GiB are for other things than KV cache."""


def log_of(
    plan: Plan = L4,
    *,
    version: str = "",
    weights_gib: float | None = None,
    kv_gib: float | None = None,
    tokens: int | None = None,
    more: str = "",
) -> str:
    """The lines of vLLM 0.19 that matter, with the plan's own figures but for those that are given."""
    predicted = plan.predicted
    weights = predicted.weights_bytes / GIB if weights_gib is None else weights_gib
    cache = predicted.kv_cache_bytes / GIB if kv_gib is None else kv_gib
    held = plan.kv_cache_tokens // plan.data_parallel_size if tokens is None else tokens
    said = version or plan.engine_version
    head = "(EngineCore_DP0 pid=271) INFO 11-30 10:00:00"
    return "\n".join(
        [
            f"(APIServer pid=1) INFO 11-30 10:00:00 [utils.py:299] vLLM API server version {said}",
            f"{head} [core.py:77] Initializing a V1 LLM engine (v{said}) with config: model='acme/tiny', dtype=torch.bfloat16",
            f"{head} [gpu_model_runner.py:4000] Model loading took {weights:.2f} GiB memory and 3.2 seconds",
            f"{head} [gpu_worker.py:298] Available KV cache memory: {cache:.2f} GiB",
            f"{head} [kv_cache_utils.py:1087] GPU KV cache size: {held:,} tokens",
            f"{head} [kv_cache_utils.py:1091] Maximum concurrency for 8,192 tokens per request: 3.91x",
            *([more] if more else []),
            "(APIServer pid=1) INFO:     Application startup complete.",
            "",
        ]
    )


def free_of(free_gib: float, total_gib: float) -> str:
    """The line with which an engine says what it found on its GPU."""
    return (
        f"(EngineCore_DP0 pid=271) INFO 11-30 10:00:00 [gpu_worker.py:1] Free memory on device ({free_gib:.2f}/{total_gib:.2f} GiB) "
        "on startup. Desired GPU memory utilization is (0.909, 20.0 GiB)."
    )


def start(log: str, plan: Plan = L4, pod: str = "chat-1") -> StartStatus:
    """The start that this log tells of."""
    return start_of(read_engine_log(log), plan, pod=pod, uid=f"uid-{pod}", restarts=0)
