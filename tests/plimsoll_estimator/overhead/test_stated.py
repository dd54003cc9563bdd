"""What arguments by class do to an estimate: reserves and their interval, host memory, connectors, and keys laid over config.json."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from plimsoll_estimator import catalogue
from plimsoll_estimator.arguments import parse_extra_args
from plimsoll_estimator.config_overrides import overridden
from plimsoll_estimator.connectors import held_by
from plimsoll_estimator.engine_args import EngineArgs
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import InvalidInput
from plimsoll_estimator.estimate import estimate
from plimsoll_estimator.hardware import gpu_from
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.resolved import Estimate

GIB = 1 << 30
MIB = 1 << 20
VERSION = EngineVersion(0, 33)
DENSE, EXPERTS, SEES = "Qwen/Qwen3-8B", "Qwen/Qwen3-30B-A3B", "Qwen/Qwen2.5-VL-7B-Instruct"


def told(name: str, *tokens: str, version: EngineVersion = VERSION, **given: Any) -> Estimate:
    entry = catalogue.entry(name)
    assert entry is not None, name
    parsed = parse_extra_args(tokens, version, reserves_unruled=True)
    args = EngineArgs.from_mapping({"max_model_len": 8192, **given, **parsed.engine_args})
    return estimate(entry.config, args, gpu_from(product="NVIDIA-H100-80GB-HBM3"), version)


def pool(answer: Estimate) -> int:
    return answer.ranks[0].available_kv_cache_bytes


def interval(answer: Estimate) -> tuple[int, int]:
    assert answer.available_kv_cache_interval_bytes is not None
    return answer.available_kv_cache_interval_bytes


def host(answer: Estimate) -> int:
    assert answer.host_memory_bytes is not None
    return answer.host_memory_bytes


def test_a_reserve_leaves_the_pool_and_widens_its_interval_by_as_much_on_both_sides() -> None:
    plain, reserved = told(DENSE), told(DENSE, "--attention-backend=FLASHINFER")
    reserve = 768 * MIB
    assert pool(plain) - pool(reserved) == reserve
    assert interval(reserved)[0] < interval(plain)[0] - reserve  # it may be twice as much
    assert interval(reserved)[1] >= interval(plain)[1]  # or nothing


def test_an_argument_without_a_rule_doubles_the_interval_and_says_so() -> None:
    plain, let = told(DENSE), told(DENSE, "--use-replayssm")
    assert pool(plain) == pool(let)
    assert pool(let) - interval(let)[0] >= 2 * (pool(plain) - interval(plain)[0]) - 2
    assert any("without a rule" in line for line in let.warnings)
    assert let.outside_budget is not None
    assert plain.outside_budget is not None
    assert let.outside_budget.post_kv_bytes >= 2 * plain.outside_budget.post_kv_bytes - 2


FILES = 2 * 8_190_735_360 + 12_583_488
"""Qwen3-8B as built on one rank: its safetensors in bfloat16, and the table of rotations."""
HOST = [
    # why, arguments, other fields, bytes of host memory more
    ("an engine's blocks", ["--kv-offloading-size", "10"], {}, 10 * GIB),
    ("whatever its ranks", ["--kv-offloading-size", "10"], {"tensor_parallel_size": 2}, 10 * GIB),
    ("each worker's chunks", ["--kv-transfer-config", '{"kv_connector":"LMCacheConnectorV1","kv_role":"kv_both"}'],
     {"tensor_parallel_size": 2}, 10 * 10**9),
    ("three more servers", ["--api-server-count", "4"], {}, 6 * GIB),
    ("a streamer's buffer holds no more than there is", ["--load-format", "runai_streamer"], {}, FILES),
    ("on each rank", ["--load-format", "runai_streamer"], {"tensor_parallel_size": 2}, 2 * FILES),
    ("as published", ["--load-format", "runai_streamer"], {"quantization": "fp8"}, FILES),
    ("a smaller limit", ["--load-format", "runai_streamer", '--model-loader-extra-config={"memory_limit": 5000000000}'], {}, 5 * 10**9),
]  # fmt: skip


@pytest.mark.parametrize(("why", "tokens", "given", "more"), HOST, ids=[row[0] for row in HOST])
def test_what_lies_in_host_memory_is_counted_there(why: str, tokens: list[str], given: dict[str, Any], more: int) -> None:
    assert host(told(DENSE, *tokens, **given)) - host(told(DENSE, **given)) == more


def test_a_streamer_s_buffer_has_a_limit_of_its_own_where_the_files_are_larger() -> None:
    given: dict[str, Any] = {"tensor_parallel_size": 8}
    large = "meta-llama/Llama-3.1-70B-Instruct"
    assert host(told(large, "--load-format=runai_streamer", **given)) - host(told(large, **given)) == 8 * 40 * 10**9


def test_sleep_and_fetched_layers_keep_a_copy_of_the_weights_in_host_memory() -> None:
    plain = told(DENSE)
    for tokens in (["--enable-sleep-mode"], ["--offload-group-size", "8"]):
        assert host(told(DENSE, *tokens)) - host(plain) == plain.ranks[0].weights_bytes
    assert pool(told(DENSE, "--offload-group-size", "8")) == pool(plain), "on the GPU all layers are counted"


def test_adapters_in_host_memory_are_whole_on_every_rank() -> None:
    lora: dict[str, Any] = {"enable_lora": True, "max_loras": 2}
    one, two = (host(told(DENSE, f"--max-cpu-loras={count}", **lora)) - host(told(DENSE, **lora)) for count in (4, 8))
    assert 0 < one < GIB
    assert two == 2 * one
    split = told(DENSE, "--max-cpu-loras=4", **lora, tensor_parallel_size=2)
    assert host(split) - host(told(DENSE, **lora, tensor_parallel_size=2)) == 2 * one


def test_the_processor_s_cache_is_as_large_as_asked_for() -> None:
    assert host(told(SEES, "--mm-processor-cache-gb=0")) == host(told(SEES)) - 4 * GIB
    assert host(told(DENSE, "--mm-processor-cache-gb=9")) == host(told(DENSE)), "a model of text alone has none"


def test_redundant_experts_and_one_layer_s_buffers_are_held() -> None:
    ways: dict[str, Any] = {"tensor_parallel_size": 4, "enable_expert_parallel": True}
    plain = told(EXPERTS, **ways)
    moved = told(EXPERTS, "--enable-eplb", **ways)
    more = told(EXPERTS, "--enable-eplb", '--eplb-config={"num_redundant_experts": 8}', **ways)
    expert = 3 * 2048 * 768 * 2
    assert pool(plain) - pool(moved) == 32 * expert
    assert pool(plain) - pool(more) == (48 * 2 + 34) * expert


def test_an_encoder_left_out_of_the_profile_run_is_counted_beside_the_budget() -> None:
    plain, skipped = told(SEES), told(SEES, "--skip-mm-profiling")
    assert plain.outside_budget is not None
    assert skipped.outside_budget is not None
    assert skipped.outside_budget.post_kv_bytes > plain.outside_budget.post_kv_bytes + 100 * MIB


def test_an_encoder_for_data_is_whole_on_each_rank() -> None:
    alone, split = told(SEES), told(SEES, tensor_parallel_size=4)
    data = told(SEES, "--mm-encoder-tp-mode=data", tensor_parallel_size=4)
    text = told(SEES, "--language-model-only"), told(SEES, "--language-model-only", tensor_parallel_size=4)
    tower = alone.ranks[0].weights_bytes - text[0].ranks[0].weights_bytes
    assert tower > GIB
    assert data.ranks[0].weights_bytes - text[1].ranks[0].weights_bytes == tower
    assert split.ranks[0].weights_bytes < data.ranks[0].weights_bytes
    assert pool(data) < pool(split)


def test_no_modality_is_limits_of_nothing() -> None:
    assert pool(told(SEES, "--language-model-only")) == pool(told(SEES, limit_mm_per_prompt={"image": 0, "video": 0, "audio": 0}))


def test_overridden_keys_change_the_shape() -> None:
    half = told(DENSE, '--hf-overrides={"num_hidden_layers": 18}')
    assert half.ranks[0].weights_bytes < 0.7 * told(DENSE).ranks[0].weights_bytes
    far = told(DENSE, '--hf-overrides={"max_position_embeddings": 65536}', max_model_len=65536)
    assert far.resolved is not None
    assert far.resolved.max_model_len == 65536
    assert told(DENSE, max_model_len=65536).verdict == "refused"


LAID = [
    ("a key", {"a": 1, "b": 2}, {"a": 3}, {"a": 3, "b": 2}),
    ("nested configs are merged", {"text_config": {"a": 1, "b": 2}}, {"text_config": {"a": 3}}, {"text_config": {"a": 3, "b": 2}}),
    (
        "other dictionaries are replaced",
        {"rope_scaling": {"factor": 2}},
        {"rope_scaling": {"type": "yarn"}},
        {"rope_scaling": {"type": "yarn"}},
    ),
    ("quantisation among them", {"quantization_config": {"bits": 4}}, {"quantization_config": {"b": 8}}, {"quantization_config": {"b": 8}}),
    ("rope by its older name", {"rope_parameters": {"x": 1}}, {"rope_scaling": {"y": 2}}, {"rope_scaling": {"y": 2}}),
]


@pytest.mark.parametrize(("why", "config", "overrides", "expected"), LAID, ids=[row[0] for row in LAID])
def test_overrides_are_laid_over_as_vllm_does(
    why: str, config: dict[str, Any], overrides: dict[str, Any], expected: dict[str, Any]
) -> None:
    given = HfConfig(config)
    once = overridden(given, overrides)
    assert once.as_mapping() == expected
    assert overridden(once, overrides).as_mapping() == expected
    assert overridden(given, overrides) is once, "worked out once"
    assert overridden(given, None) is given


def test_asking_for_what_the_runner_cannot_is_refused() -> None:
    old = EngineVersion(0, 10, 2)
    answer = told(DENSE, "--async-scheduling", version=old)
    assert answer.resolved is not None
    assert answer.resolved.async_scheduling
    with pytest.raises(InvalidInput, match="does not go with these drafts or pipeline stages"):
        told(DENSE, "--async-scheduling", version=old, pipeline_parallel_size=2)
    quiet = told(DENSE, "--no-async-scheduling")
    assert quiet.resolved is not None
    assert not quiet.resolved.async_scheduling


CONNECTORS = [
    ("NIXL registers the cache", {"kv_connector": "NixlConnector"}, (512 * MIB, 0, 0)),
    ("staged in host memory, it copies all of it", {"kv_connector": "NixlConnector", "kv_buffer_device": "cpu"}, None),
    ("blocks that state no bytes", {"kv_connector": "OffloadingConnector", "kv_connector_extra_config": {"num_cpu_blocks": 9}}, None),
    ("a module of the user's", {"kv_connector": "NixlConnector", "kv_connector_module_path": "mine"}, None),
    (
        "several add up",
        {
            "kv_connector": "MultiConnector",
            "kv_connector_extra_config": {
                "connectors": [
                    {"kv_connector": "NixlConnector", "kv_role": "kv_both"},
                    {"kv_connector": "OffloadingConnector", "kv_connector_extra_config": {"cpu_bytes_to_use": 7}},
                ]
            },
        },
        (768 * MIB, 0, 7),
    ),
    ("none of several", {"kv_connector": "MultiConnector", "kv_connector_extra_config": {"connectors": []}}, None),
    ("a pool of each worker", {"kv_connector": "P2pNcclConnector", "kv_buffer_size": 0}, (512 * MIB, 32 * GIB, 0)),
    (
        "per rank",
        {"kv_connector": "SimpleCPUOffloadConnector", "kv_connector_extra_config": {"cpu_bytes_to_use_per_rank": 5}},
        (256 * MIB, 5, 0),
    ),
    ("by default", {"kv_connector": "SimpleCPUOffloadConnector"}, (256 * MIB, 0, 8 * GIB)),
    ("a size that is none", {"kv_connector": "LMCacheConnectorV1", "kv_connector_extra_config": {"lmcache.max_local_cpu_size": "x"}}, None),
]


@pytest.mark.parametrize(("why", "config", "held"), CONNECTORS, ids=[row[0] for row in CONNECTORS])
def test_what_a_connector_holds(why: str, config: dict[str, Any], held: tuple[int, int, int] | None) -> None:
    assert held_by(config) == held


@pytest.mark.parametrize("role", ["kv_producer", "kv_consumer"])
def test_half_of_a_pair_says_that_the_other_is_planned_by_itself(role: str) -> None:
    answer = told(DENSE, "--kv-transfer-config", f'{{"kv_connector":"NixlConnector","kv_role":"{role}"}}')
    assert any(role in line and "planned by themselves" in line for line in answer.warnings)
    assert replace(answer, warnings=()).verdict == "starts"
