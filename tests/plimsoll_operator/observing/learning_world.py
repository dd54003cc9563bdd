"""Starts that teach, logs that engines of the catalogue's models would write, and their reading. Called by the tests of calibration."""

from __future__ import annotations

import json
from typing import Any, Final

from plimsoll_estimator import GIB, EngineArgs, EngineVersion, Prepared, catalogue, gpu_from, prepare, read_engine_log, requested_bytes
from plimsoll_operator.learning import Kind, NoVote, Seen, seen_in_log

MODELS: Final = ("Qwen/Qwen3-0.6B", "Qwen/Qwen3-1.7B", "Qwen/Qwen3-4B", "Qwen/Qwen2.5-1.5B-Instruct", "meta-llama/Llama-3.2-1B-Instruct")
L4_ALONE: Final = Kind(engine_minor="0.27", product="NVIDIA-L4", interconnect="none", cause="v2")
VERSION: Final = EngineVersion.parse("0.19.0")
HEAD: Final = "(EngineCore_DP0 pid=271) INFO 11-30 10:00:00"


def seen(model: str, namespace: str, residual: int, kind: Kind = L4_ALONE) -> Seen:
    return Seen(kind=kind, model=model, namespace=namespace, predicted_bytes=4 * GIB, observed_bytes=4 * GIB + residual)


def prepared(model: str, **arguments: Any) -> Prepared:
    """As an engine of 0.19 on one L4 is prepared."""
    config = catalogue.lookup(model)
    assert config is not None, model
    found = prepare(config, EngineArgs.from_mapping({"max_model_len": 4096, **arguments}), gpu_from("NVIDIA-L4"), VERSION)
    assert isinstance(found, Prepared)
    return found


def log_of_model(model: str, more_gib: float = 0.0, *, more: str = "", weights_off_gib: float = 0.0, **arguments: Any) -> str:
    """What such an engine logs whose activations and the rest take so much more than is predicted."""
    found = prepared(model, **arguments)
    rank = found.estimate().ranks[0]
    budget, weights = requested_bytes(found.resolved) / GIB, rank.weights_bytes / GIB + weights_off_gib
    cache = rank.available_kv_cache_bytes / GIB - more_gib - weights_off_gib
    given = json.dumps({"model": model, "max_model_len": 4096, **arguments}).replace("true", "True")
    return "\n".join(
        [
            "(APIServer pid=1) INFO 11-30 10:00:00 [utils.py:299] vLLM API server version 0.19.0",
            f"(APIServer pid=1) INFO 11-30 10:00:00 [utils.py:233] non-default args: {given}",
            f"{HEAD} [core.py:77] Initializing a V1 LLM engine (v0.19.0) with config: model='{model}', dtype=torch.bfloat16",
            f"{HEAD} [gpu_worker.py:1] Free memory on device (21.8/22.03 GiB) on startup. "
            f"Desired GPU memory utilization is (0.9, {budget:.2f} GiB).",
            f"{HEAD} [gpu_model_runner.py:4000] Model loading took {weights:.2f} GiB memory and 3.2 seconds",
            f"{HEAD} [gpu_worker.py:298] Available KV cache memory: {cache:.2f} GiB",
            *([more] if more else []),
            "(APIServer pid=1) INFO:     Application startup complete.",
            "",
        ]
    )


def read(log: str, model: str = MODELS[0], namespace: str = "blue") -> Seen | NoVote:
    """What the log counts for."""
    found = prepared(model)
    return seen_in_log(read_engine_log(log), found, found.estimate(), model=model, namespace=namespace)
