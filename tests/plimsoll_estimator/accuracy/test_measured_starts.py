"""Accuracy on measured starts: the estimator against what vLLM logged, and constants fitted without a source against that source."""

import json
import statistics
from collections import defaultdict
from collections.abc import Mapping
from functools import cache
from typing import Any

import pytest
from tests.folders import DATA

from plimsoll_estimator.cases import answer_case
from plimsoll_estimator.catalogue import lookup
from plimsoll_estimator.hf_config import HfConfig

ROWS = DATA / "startups.jsonl"
GIB = 1 << 30


def merged(base: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in patch.items():
        inner = result.get(key)
        parts = key != "quantization_config" and isinstance(value, dict) and isinstance(inner, dict)
        result[key] = merged(inner or {}, value) if parts else value
    return result


def config_of(row: Mapping[str, Any]) -> dict[str, Any]:
    found = lookup(row["case"]["model"])
    assert found is not None, row["case"]["model"]
    config = merged(found.as_mapping(), row.get("config_patch", {}))
    return {key: value for key, value in config.items() if key not in row.get("config_drop", [])}


@cache
def answered() -> tuple[tuple[dict[str, Any], dict[str, Any]], ...]:
    rows = [json.loads(line) for line in ROWS.read_text(encoding="utf-8").splitlines()]
    return tuple((row, answer_case({**row["case"], "model_config": config_of(row)}, no_lookup)) for row in rows if row["table"] == "main")


def no_lookup(name: str) -> HfConfig | None:
    return None


def pool_errors() -> dict[int, tuple[dict[str, Any], float, float]]:
    """One entry per distinct measurement: row, mean error in GiB, logged GiB."""
    found: dict[int, list[tuple[dict[str, Any], float]]] = defaultdict(list)
    for row, reply in answered():
        if "pool" in row["observed"] and reply.get("ranks"):
            found[row["same_measurement"]].append((row, reply["ranks"][0]["available_kv_cache_bytes"] / GIB - row["observed"]["pool"]))
    return {k: (v[0][0], statistics.fmean(e for _, e in v), v[0][0]["observed"]["pool"]) for k, v in found.items()}


def test_nearly_every_measured_start_is_answered() -> None:
    replies = [reply["verdict"] for _, reply in answered()]
    assert replies.count("invalid") == 0
    assert replies.count("unsupported") <= 0.02 * len(replies)


def test_the_kv_pool_is_within_the_stated_error() -> None:
    errors = pool_errors()
    assert statistics.fmean(abs(e) for _, e, _ in errors.values()) <= 0.40
    assert sum(abs(e) for _, e, _ in errors.values()) <= 0.01 * sum(logged for _, _, logged in errors.values())
    assert sum(e > 0.5 for _, e, _ in errors.values()) <= 0.03 * len(errors)


def test_no_release_on_no_gpu_is_off_by_more_than_a_gib() -> None:
    cells: dict[tuple[str, str], list[float]] = defaultdict(list)
    for row, error, _ in pool_errors().values():
        minor = ".".join(row["case"]["engine_version"].split(".")[:2])
        cells[minor, row["case"]["gpu"]["product"]].append(abs(error))
    assert statistics.fmean(statistics.fmean(cell) for cell in cells.values()) <= 0.6
    assert all(statistics.fmean(cell) <= 1.0 for cell in cells.values() if len(cell) >= 3)


def test_weights_and_concurrency_are_as_logged() -> None:
    weights, concurrency = [], []
    for row, reply in answered():
        logged = row["observed"]
        if "weights" in logged and reply.get("ranks"):
            weights.append(abs(reply["ranks"][0]["weights_bytes"] / GIB / logged["weights"] - 1))
        if "concurrency" in logged and reply.get("max_concurrency"):
            concurrency.append(abs(reply["max_concurrency"] / logged["concurrency"] - 1))
    assert statistics.fmean(weights) <= 0.005
    assert statistics.fmean(concurrency) <= 0.02


def test_what_started_is_accepted_and_what_failed_is_refused() -> None:
    wrong = []
    for row, reply in answered():
        expected = "starts" if row["outcome"] == "started" else "refused"
        if reply["verdict"] in ("starts", "refused") and reply["verdict"] != expected:
            wrong.append((row["id"], row["outcome"], reply["verdict"], reply["reason"]))
    assert wrong == []


@pytest.mark.parametrize("source", ["github.com/llm-d-incubation/llm-d-planner", "github.com/dennislee22/vLLM-benchmarking"])
def test_the_large_sources_do_not_hide_the_rest(source: str) -> None:
    others = [abs(e) for row, e, _ in pool_errors().values() if row["source"] != source]
    assert len(others) >= 20
    assert statistics.fmean(others) <= 0.6
