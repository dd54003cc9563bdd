"""The hybrid KV cache manager: what switches it off by release, and what a cache without it holds.

By vllm/config/vllm.py, kv_connector/factory.py and v1/core/kv_cache_utils.py (unify_hybrid_kv_cache_specs) of 0.9.1 to 0.33.0.
"""

from __future__ import annotations

from typing import Any

import pytest

from plimsoll_estimator.arguments import parse_extra_args
from plimsoll_estimator.catalogue import lookup
from plimsoll_estimator.engine_args import EngineArgs
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import EngineRefusal, InvalidInput, Unsupported
from plimsoll_estimator.estimate import estimate
from plimsoll_estimator.hardware import gpu_from
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.models.register import shape_of
from plimsoll_estimator.resolve.cache_manager import groups_caches
from plimsoll_estimator.resolved import Estimate

GIB = 1 << 30


def config_of(name: str) -> HfConfig:
    found = lookup(name)
    assert found is not None, name
    return found


GEMMA_3, GPT_OSS = config_of("google/gemma-3-27b-it"), config_of("openai/gpt-oss-20b")
LLAMA_4, QWEN_3_5 = config_of("meta-llama/Llama-4-Scout-17B-16E-Instruct"), config_of("Qwen/Qwen3.5-27B")
LMCACHE, NIXL, EVENTS = {"kv_connector": "LMCacheConnectorV1"}, {"kv_connector": "NixlConnector"}, {"enable_kv_cache_events": True}
OFF: dict[str, Any] = {"disable_hybrid_kv_cache_manager": True}
ON: dict[str, Any] = {"disable_hybrid_kv_cache_manager": False}


def several(*names: str) -> dict[str, Any]:
    return {"kv_connector": "MultiConnector", "kv_connector_extra_config": {"connectors": [{"kv_connector": name} for name in names]}}


@pytest.mark.parametrize(
    ("sentence", "version", "said", "groups"),
    [
        ("nothing is in its way", "0.19.0", {}, True),
        ("the user switches it off", "0.33.0", OFF, False),
        ("any connector does at first", "0.11.2", {"kv_transfer_config": NIXL}, False),
        ("even where it is asked for", "0.12.0", {"kv_transfer_config": NIXL, **ON}, False),
        ("by default so from 0.13", "0.22.1", {"kv_transfer_config": NIXL}, False),
        ("but not where it is asked for, and the connector takes it", "0.18.0", {"kv_transfer_config": NIXL, **ON}, True),
        ("from 0.23 the connector's kind decides", "0.23.0", {"kv_transfer_config": NIXL}, True),
        ("and LMCache's knows no groups", "0.33.0", {"kv_transfer_config": LMCACHE}, False),
        ("several take groups where each does", "0.23.0", {"kv_transfer_config": several("NixlConnector", "OffloadingConnector")}, True),
        ("not where one does not", "0.23.0", {"kv_transfer_config": several("NixlConnector", "LMCacheConnectorV1")}, False),
        ("nor without any", "0.23.0", {"kv_transfer_config": several()}, False),
        ("a class from outside vLLM is known to nobody", "0.33.0",
         {"kv_transfer_config": {**NIXL, "kv_connector_module_path": "mine"}}, False),
        ("events of the cache switch it off up to 0.19", "0.19.1", {"kv_events_config": EVENTS}, False),
        ("and no longer", "0.20.0", {"kv_events_config": EVENTS}, True),
    ],
)  # fmt: skip
def test_the_manager_is_on_as_the_release_has_it(sentence: str, version: str, said: dict[str, Any], groups: bool) -> None:
    assert groups_caches(shape_of(GEMMA_3), EngineArgs(**said), EngineVersion.parse(version)) is groups, sentence


@pytest.mark.parametrize(
    ("sentence", "version", "said", "word"),
    [
        ("before its connector took groups", "0.17.1", {"kv_transfer_config": NIXL}, "NixlConnector"),
        ("a connector that never does", "0.33.0", {"kv_transfer_config": LMCACHE}, "LMCacheConnectorV1"),
        ("events up to 0.19", "0.13.0", {"kv_events_config": EVENTS}, "0.13.0"),
    ],
)
def test_who_asks_for_groups_beside_what_excludes_them_is_refused(sentence: str, version: str, said: dict[str, Any], word: str) -> None:
    with pytest.raises(EngineRefusal, match=word) as refusal:
        groups_caches(shape_of(GEMMA_3), EngineArgs(**said, **ON), EngineVersion.parse(version))
    assert refusal.value.reason == "HybridCacheUnsupported", sentence


def test_eagle_takes_groups_from_attention_in_chunks_alone() -> None:
    drafts = EngineArgs(speculative_method="eagle", num_speculative_tokens=3)
    for config, version, groups in ((LLAMA_4, "0.14.0", False), (GEMMA_3, "0.14.0", True), (LLAMA_4, "0.33.0", False)):
        assert groups_caches(shape_of(config), drafts, EngineVersion.parse(version)) is groups


def planned(config: HfConfig, version: str, gib: int = 20, **said: Any) -> Estimate:
    args = EngineArgs(max_model_len=said.pop("max_model_len", 131072), **said)
    gpu = gpu_from("NVIDIA-H100-80GB-HBM3")
    return estimate(config, args, gpu, EngineVersion.parse(version), available_kv_cache_bytes=gib * GIB)


@pytest.mark.parametrize("version", ["0.11.0", "0.19.0", "0.33.0"])
def test_without_groups_windows_hold_whole_requests(version: str) -> None:
    """gpt-oss-20b: 24 layers of 8 heads x 64, every other one a window of 128; without groups each keeps all 131,072 tokens."""
    page = 2 * 8 * 64 * 2 * 16
    alone = planned(GPT_OSS, version, **OFF).kv_plan
    grouped = planned(GPT_OSS, version).kv_plan
    assert alone is not None
    assert grouped is not None
    assert alone.kv_block_bytes == (24 * page,)
    assert alone.max_concurrency == pytest.approx((20 * GIB // (24 * page)) / (131072 // 16))
    assert grouped.kv_block_bytes == (12 * page,)
    assert 1.7 < grouped.max_concurrency / alone.max_concurrency < 2, "a window and the tokens in flight of each other layer"


def test_a_connector_costs_a_windowed_model_its_concurrency() -> None:
    with_it, without = (planned(GEMMA_3, "0.22.1", 70, **said).kv_plan for said in ({"kv_transfer_config": NIXL}, {}))
    assert with_it is not None
    assert without is not None
    assert 4 < without.max_concurrency / with_it.max_concurrency < 6, "52 of 62 layers see 1024 tokens"


def test_a_connector_holds_gpt_oss_to_the_concurrency_that_was_logged() -> None:
    """gpt-oss-20b over four L40S with NixlConnector, a start of December 2025 (code index 60297486118), 0.11 or 0.12: 35.64 GiB,
    "GPU KV cache size: 3,114,144 tokens", "Maximum concurrency for 8,192 tokens per request: 380.14x". Without it half as many more.
    """

    def planned(**said: Any) -> tuple[int, float]:
        args = EngineArgs(max_model_len=8192, tensor_parallel_size=4, enforce_eager=True, **said)
        pool = round(35.64 * GIB)
        found = estimate(GPT_OSS, args, gpu_from("NVIDIA-L40S"), EngineVersion(0, 11, 2), available_kv_cache_bytes=pool).kv_plan
        assert found is not None
        return found.kv_cache_tokens, found.max_concurrency

    tokens, concurrency = planned(kv_transfer_config=NIXL)
    assert tokens == pytest.approx(3_114_144, rel=1e-4), "the log rounds its pool to 0.01 GiB"
    assert concurrency == pytest.approx(380.14, rel=1e-4)
    assert planned()[1] > 1.5 * concurrency


def test_states_cannot_be_brought_to_the_kind_of_attention() -> None:
    refused = planned(QWEN_3_5, "0.19.0", **OFF)
    assert (refused.verdict, refused.reason) == ("refused", "KvCachesDiffer"), refused.message
    with pytest.raises(Unsupported, match="latent windows"):
        planned(config_of("sgl-project/DeepSeek-V4-Flash-FP8"), "0.33.0", tensor_parallel_size=8, max_model_len=8192, **OFF)


def test_both_flags_reach_the_arguments_and_a_connectors_is_refused_by_name() -> None:
    version = EngineVersion(0, 19)
    args = parse_extra_args(["--disable-hybrid-kv-cache-manager", "--kv-events-config", '{"publisher": "null"}'], version).engine_args
    assert args == {"disable_hybrid_kv_cache_manager": True, "kv_events_config": {"publisher": "null"}}
    with pytest.raises(InvalidInput, match="kv-transfer-config"):
        parse_extra_args(["--kv-transfer-config", '{"kv_connector": "NixlConnector"}'], version)


def test_arguments_that_hold_a_mapping_are_no_key() -> None:
    assert EngineArgs(disable_hybrid_kv_cache_manager=True).hashable
    assert not EngineArgs(kv_transfer_config=NIXL).hashable
    assert not EngineArgs(kv_events_config=EVENTS).hashable
