"""Whole estimates against vLLM's own code: arguments, weights as built, blocks, tokens, concurrency, refusals.

tests/data/engine_cases.json says which release made each figure. The cases are models and arguments that the other tables lack.
"""

import json
from typing import Any

import pytest
from tests.folders import DATA as DATA_FOLDER

from plimsoll_estimator.cases import answer_case
from plimsoll_estimator.units import GIB

DATA: dict[str, Any] = json.loads((DATA_FOLDER / "engine_cases.json").read_text())
TOTAL_GIB = {"h100": 79.18, "l4": 22.03}
PRODUCT = {"h100": "NVIDIA-H100-80GB-HBM3", "l4": "NVIDIA-L4"}


def name_of(case: dict[str, Any]) -> str:
    sizes = "-".join(f"{key}={value}" for key, value in case["engine_args"].items())
    return f"{case['model']}@{case['version']}-{case['gpu']}-{sizes or 'defaults'}"


def answered(case: dict[str, Any]) -> dict[str, Any]:
    gpu = {"product": PRODUCT[case["gpu"]], "total_memory_bytes": int(TOTAL_GIB[case["gpu"]] * GIB)}
    asked = {
        "id": name_of(case),
        "model_config": DATA["configs"][case["model"]],
        "engine_version": case["version"],
        "gpu": gpu,
        "engine_args": case["engine_args"],
        "available_kv_cache_bytes": int(case["available_gib"] * GIB),
    }
    return answer_case(asked, lambda name: None)


@pytest.mark.parametrize("case", [case for case in DATA["cases"] if "refused" not in case], ids=name_of)
def test_what_the_engine_builds_and_plans(case: dict[str, Any]) -> None:
    reply = answered(case)
    stages = reply["ranks"][:: case["engine_args"].get("tensor_parallel_size", 1)] if _spelt_out(reply, case) else reply["ranks"]
    assert [stage["weights_created_bytes"] for stage in stages] == case["created_bytes"]
    if "plan" in case and case["plan"] is None:  # a model without a KV cache
        assert (reply["verdict"], reply["kv_cache_tokens"]) == ("starts", 0)
    elif "plan" in case:
        assert reply["verdict"] == "starts"
        assert {key: reply[key] for key in ("num_gpu_blocks", "kv_cache_tokens")} == {
            key: case["plan"][key] for key in ("num_gpu_blocks", "kv_cache_tokens")
        }
        assert reply["max_concurrency"] == pytest.approx(case["plan"]["max_concurrency"], abs=0.0051)
    else:
        assert (reply["verdict"], reply["estimated_max_model_len"]) == ("refused", case["estimated_max_model_len"])
    made = {**reply["resolved"], "max_model_len": reply["max_model_len"], "block_size": reply["block_size"]}
    assert {key: made[key] for key in case["resolved"]} == case["resolved"]


@pytest.mark.parametrize("case", [case for case in DATA["cases"] if "refused" in case], ids=name_of)
def test_what_the_engine_refuses(case: dict[str, Any]) -> None:
    assert answered(case)["verdict"] == "refused", case["refused"]


def _spelt_out(reply: dict[str, Any], case: dict[str, Any]) -> bool:
    """Whether every rank is listed, rather than one a stage with its count."""
    args = case["engine_args"]
    ranks: int = args.get("tensor_parallel_size", 1) * args.get("pipeline_parallel_size", 1)
    return len(reply["ranks"]) == ranks
