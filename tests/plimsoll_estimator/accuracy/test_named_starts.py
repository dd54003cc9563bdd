"""Starts whose log is an instance of a kind of mistake that was made once, each held by itself: totals of a batch could hide one of them.

Arguments and figures are the log's, by row of tests/data/unseen, which have the addresses.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pytest
from tests.folders import DATA
from tools.measured_starts import case_of

from plimsoll_estimator import GIB, catalogue
from plimsoll_estimator.cases import answer_case


@cache
def rows() -> dict[str, Any]:
    """The rows of all batches by their name."""
    found = (json.loads(line) for path in sorted((DATA / "unseen").glob("*.jsonl")) for line in path.read_text().splitlines())
    return {row["id"]: row for row in found}


def answered(name: str, **said: Any) -> dict[str, Any]:
    """What is answered to the start, with what its source says beside the row."""
    case = case_of(rows()[name])
    return answer_case({**case, "engine_args": {**case["engine_args"], **said}}, catalogue.lookup)


def gib(answer: dict[str, Any], figure: str) -> float:
    return float(answer["ranks"][0][figure]) / GIB


def test_the_v2_runner_s_sampler_does_not_warm_up_beside_gemma_4_on_an_l4() -> None:
    """0.26.0, the batch as vLLM sets it: the cache was allocated, and then the sampler's warm-up asked for more than was left."""
    name = "gemma4-e4b-l4-0.26.0"
    answer, logged = answered(name), rows()[name]["observed"]
    assert (answer["verdict"], answer["reason"]) == ("refused", "OutOfMemorySamplerWarmUp")
    assert gib(answer, "weights_bytes") == pytest.approx(logged["weights"], abs=0.1)
    assert gib(answer, "available_kv_cache_bytes") == pytest.approx(logged["pool"], abs=0.3)
    assert answered(name, max_num_seqs=64)["verdict"] == "starts", "with fewer requests to sample it has room"


@pytest.mark.parametrize("name", ["kimi-k25-h100x8-seqs64", "kimi-k25-h100x8-default"])
def test_kimi_k25_s_tower_is_whole_on_every_gpu_where_data_is_split_over_them(name: str) -> None:
    """0.15.0 on eight H100: both starts had --mm-encoder-tp-mode data, and both failed. Int4 experts, tower of 0.77 GiB."""
    logged = rows()[name]["observed"]
    answer, split = answered(name, mm_encoder_tp_mode="data"), answered(name)
    assert answer["verdict"] == "refused"
    assert gib(answer, "weights_bytes") == pytest.approx(logged["weights"], abs=0.02)
    assert gib(split, "weights_bytes") == pytest.approx(logged["weights"] - 0.68, abs=0.02), "cut over eight it is another figure"
    if "pool" in logged:
        assert gib(answer, "available_kv_cache_bytes") == pytest.approx(logged["pool"], abs=0.35)


SLOTS = ["lora1-4090-080-warm", "lora8-4090-080-warm", "lora16-4090-080-warm", "lora64-4090-080-warm", "lora64-4090-085-cold"]


@pytest.mark.parametrize("name", SLOTS)
def test_graphs_of_a_start_with_adapters_take_what_a_24_gb_card_logged(name: str) -> None:
    """Qwen3-4B on a 4090, 0.27.1: "Graph capturing finished", 1.28 GiB with 1 slot and with 64; twice the graphs of one without."""
    logged = rows()[name]["observed"]
    answer, plain = answered(name), answered(name, enable_lora=None, max_loras=None, max_lora_rank=None)
    assert gib(answer, "cuda_graph_pool_bytes") == pytest.approx(logged["graph_pool"], abs=0.06)
    assert gib(plain, "cuda_graph_pool_bytes") == pytest.approx(logged["graph_pool"] / 2, abs=0.06)
    assert gib(answer, "available_kv_cache_bytes") == pytest.approx(logged["pool"], abs=0.25)


def test_a_start_that_worked_with_6_mib_to_spare_is_said_to_be_on_the_edge() -> None:
    """Qwen3-8B in AWQ on a 3060: 32,768 tokens were refused with "estimated maximum model length is 26608", 26,608 then started.

    One request of 26,608 tokens needs 3.654 GiB and the log had 3.66 both times: no estimate tells which side of that it will be.
    """
    works, fails = "qwen3-8b-awq-3060-26k", "qwen3-8b-awq-3060-32k"
    assert (rows()[works]["outcome"], rows()[fails]["outcome"]) == ("started", "kv_too_small")
    answer = answered(works)
    assert answer["needed_kv_cache_bytes"] == 26608 * 36 * 2 * 8 * 128 * 2
    assert 0 < rows()[works]["observed"]["pool"] * GIB - answer["needed_kv_cache_bytes"] < 0.01 * GIB
    assert (answer["verdict"], answer["on_the_edge"]) == ("refused", True), "doubt goes against the model, and is said"
    assert "on the edge" in answer["message"]
    assert answered(fails)["verdict"] == "refused"
    assert not answered(works, max_model_len=8192)["on_the_edge"], "far from it nothing is said"


def test_a_block_that_a_rank_cuts_is_refused_in_vllm_s_words_said_once() -> None:
    """Qwen3-30B-A3B in fp8 over four H100, 0.10.2 (layers/quantization/fp8.py: Fp8MoEMethod.create_weights): 768 over 4 is 192."""
    answer = answered("qwen3-30b-a3b-fp8-tp4")
    assert (answer["verdict"], answer["reason"]) == ("refused", "QuantizationBlockMismatch")
    assert answer["message"] == "The output_size of gate's and up's weight = 192 is not divisible by weight quantization block_n = 128."
    assert answered("qwen3-30b-a3b-fp8-tp4", enable_expert_parallel=True)["verdict"] == "starts", "whole experts are not cut"
