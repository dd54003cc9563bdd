"""The batch door: one answer line per case, whatever the case is."""

import io
import json
from typing import Any

import pytest
from tests.plimsoll_estimator.overhead_models import model

from plimsoll_estimator.cases import answer_case, run_cases
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.overhead import covered_percent

LLAMA = model(tie_word_embeddings=False, rope_scaling={"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 8192})
H100 = {"product": "NVIDIA-H100-80GB-HBM3", "total_memory_bytes": 85029615043}


def nothing(name: str) -> HfConfig | None:
    return None


def case(**changes: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "id": "a",
        "model_config": LLAMA,
        "engine_version": "0.19.0",
        "gpu": H100,
        "engine_args": {"max_model_len": 8192, "gpu_memory_utilization": 0.95},
    }
    return {key: value for key, value in {**base, **changes}.items() if value is not ...}


def test_a_start_that_was_measured_is_answered_within_a_tenth_of_a_gib() -> None:
    reply = answer_case(case(), nothing)
    assert reply["verdict"] == "starts"
    assert abs(reply["ranks"][0]["available_kv_cache_bytes"] / 2**30 - 58.11) < 0.1
    assert abs(reply["ranks"][0]["weights_bytes"] / 2**30 - 14.99) < 0.01
    low, high = reply["interval"]["available_kv_cache_bytes"]
    assert low < 58.11 * 2**30 < high


def test_a_given_pool_leaves_only_planning_to_judge() -> None:
    reply = answer_case(case(available_kv_cache_bytes=16 << 30, engine_args={"tensor_parallel_size": 2, "max_model_len": 8192}), nothing)
    assert reply["verdict"] == "starts"
    assert reply["num_gpu_blocks"] == (16 << 30) // (1 << 20)
    assert sum(rank["count"] for rank in reply["ranks"]) == 2


@pytest.mark.parametrize(
    ("changes", "verdict", "names"),
    [
        ({"surprise": 1}, "invalid", "surprise"),
        ({"engine_args": {"max_model_length": 1}}, "invalid", "max_model_length"),
        ({"engine_args": {"max_num_seqs": "many"}}, "invalid", "max_num_seqs"),
        ({"engine_args": {"max_num_seqs": 0}}, "invalid", "max_num_seqs"),
        ({"engine_args": {"gpu_memory_utilization": 1.5}}, "invalid", "gpu_memory_utilization"),
        ({"gpu": {"product": "NVIDIA-L4", "color": "green"}}, "invalid", "color"),
        ({"gpu": ...}, "invalid", "gpu"),
        ({"model_config": ...}, "invalid", "model"),
        ({"model_config": ..., "model": "nobody/nothing"}, "invalid", "nobody/nothing"),
        ({"model_config": []}, "invalid", "model_config"),
        ({"model_config": {}}, "invalid", "architectures"),
        ({"model_config": {**LLAMA, "hidden_size": "wide"}}, "invalid", "hidden_size"),
        ({"engine_version": "latest"}, "invalid", "latest"),
        ({"available_kv_cache_bytes": -1}, "invalid", "available_kv_cache_bytes"),
        ({"weights": {"total_bytes": "much"}}, "invalid", "total_bytes"),
        ({"engine_version": "0.6.6"}, "unsupported", "0.6.6"),
        ({"gpu": {"product": "AMD-Instinct-MI300X"}}, "unsupported", "AMD-Instinct-MI300X"),
        ({"model_config": {**LLAMA, "architectures": ["TotallyNewForCausalLM"]}}, "unsupported", "TotallyNew"),
        ({"engine_args": {"tensor_parallel_size": 3}}, "refused", "3"),
    ],
)
def test_what_is_wrong_with_a_case_is_named(changes: dict[str, Any], verdict: str, names: str) -> None:
    reply = answer_case(case(**changes), nothing)
    assert reply["verdict"] == verdict
    assert reply["reason"][0].isupper()
    assert names in reply["message"]
    assert reply["id"] == "a"


@pytest.mark.parametrize("odd", [[], "text", 3, None, True])
def test_a_case_that_is_no_object_is_invalid(odd: object) -> None:
    assert answer_case(odd, nothing)["verdict"] == "invalid"


@pytest.mark.parametrize(
    ("sentence", "utilisation", "verdict", "says"),
    [
        ("far from the edge nothing is said", 0.5, "starts", None),
        ("what only the middle of the interval starts is not to be relied on", 0.207, "starts", "do not rely on it"),
        ("what only its upper end starts is refused, and that is said", 0.205, "refused", "taken as refused"),
        ("what no end of it starts is plainly refused", 0.18, "refused", None),
    ],
)
def test_an_answer_on_the_edge_says_so(sentence: str, utilisation: float, verdict: str, says: str | None) -> None:
    reply = answer_case(case(engine_args={"max_model_len": 1024, "max_num_seqs": 256, "gpu_memory_utilization": utilisation}), nothing)
    assert (reply["verdict"], reply["on_the_edge"]) == (verdict, says is not None), sentence
    told = reply["message"]
    assert says is None or (says in told and f"on the edge: {covered_percent()} % of such starts leave" in told), told


def test_a_given_pool_has_no_edge() -> None:
    assert answer_case(case(available_kv_cache_bytes=1 << 30), nothing)["on_the_edge"] is False


@pytest.mark.parametrize("found", ["cold", "warm", None])
def test_which_start_is_meant_can_be_stated(found: str | None) -> None:
    reply = answer_case(case(engine_args={"compile_cache": found}), nothing)
    assert reply["verdict"] == "starts"
    assert answer_case(case(engine_args={"compile_cache": "lukewarm"}), nothing)["verdict"] == "invalid"


def test_every_line_gets_its_answer_in_order_and_bad_json_sets_the_exit_status() -> None:
    out = io.StringIO()
    lines = [json.dumps(case(id=1)), "{not json", "", json.dumps(case(id=2, engine_version="0.1.0"))]
    assert run_cases(lines, out, nothing) == 2
    replies = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [(r["id"], r["verdict"]) for r in replies] == [(1, "starts"), (None, "invalid"), (2, "unsupported")]


def test_whatever_the_verdicts_json_lines_end_with_status_zero() -> None:
    assert run_cases([json.dumps(case(gpu=None))], io.StringIO(), nothing) == 0


def test_a_model_is_looked_up_by_name_when_no_config_is_given() -> None:
    reply = answer_case(case(model="some/llama", model_config=...), lambda name: HfConfig(LLAMA) if name == "some/llama" else None)
    assert reply["verdict"] == "starts"
