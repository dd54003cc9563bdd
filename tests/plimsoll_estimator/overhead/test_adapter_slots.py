"""Slots of LoRA adapters, against the weights that starts of vLLM logged and the tensors of its code."""

from __future__ import annotations

import pytest

from plimsoll_estimator.catalogue import lookup
from plimsoll_estimator.engine_args import EngineArgs
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.estimate import prepare
from plimsoll_estimator.hardware import gpu_from
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.prepared import Prepared

GIB = 1 << 30
MIB = 1 << 20
QWEN_3_4B, QWEN_3_8B, LLAMA_32_1B = "Qwen/Qwen3-4B", "Qwen/Qwen3-8B", "meta-llama/Llama-3.2-1B-Instruct"


def prepared(name: str, version: str, slots: int | None, rank: int = 16) -> Prepared:
    config = lookup(name)
    assert config is not None, name
    args = (
        EngineArgs(max_model_len=8192)
        if slots is None
        else EngineArgs(max_model_len=8192, enable_lora=True, max_loras=slots, max_lora_rank=rank)
    )
    found = prepare(HfConfig(config.as_mapping()), args, gpu_from("NVIDIA-GeForce-RTX-4090"), EngineVersion.parse(version))
    assert isinstance(found, Prepared)
    return found


def slots_bytes(name: str, version: str, slots: int) -> int:
    with_slots, without = (prepared(name, version, count).stages[0].loaded_bytes for count in (slots, None))
    return with_slots - without


@pytest.mark.parametrize(("slots", "logged_gib"), [(1, 7.63), (8, 8.17), (16, 8.78), (64, 12.49)])
def test_slots_of_a_tied_head_are_as_logged(slots: int, logged_gib: float) -> None:
    """Qwen3-4B in vLLM 0.27.1 on an RTX 4090, rank 16 (tests/data/unseen/2026-11-30-public-logs.jsonl: lora*-4090-*)."""
    assert prepared(QWEN_3_4B, "0.27.1", slots).stages[0].loaded_bytes / GIB == pytest.approx(logged_gib, abs=0.02)


# A slot's end in bfloat16: (vocabulary + hidden size) x 16 x 2.
QWEN_END, LLAMA_END = (151936 + 2560) * 32, (128256 + 2048) * 32


@pytest.mark.parametrize(
    ("sentence", "name", "version", "ends"),
    [
        ("Qwen3 names no embedding for adapters yet", QWEN_3_4B, "0.15.1", 2),
        ("its head is the embedding", QWEN_3_4B, "0.16.0", 3),
        ("still", QWEN_3_4B, "0.27.1", 3),
        ("its head has a module of its own", QWEN_3_4B, "0.28.0", 2),
        ("as that of Llama always had", LLAMA_32_1B, "0.20.2", 2),
        ("an untied head is no embedding", QWEN_3_8B, "0.20.2", 2),
    ],
)
def test_a_head_that_is_the_embedding_gets_slots_twice(sentence: str, name: str, version: str, ends: int) -> None:
    """lora/model_manager.py: _create_lora_modules; models/qwen3.py: lm_head."""
    hidden, width, queries, keys, layers, vocabulary = {
        QWEN_3_4B: (2560, 9728, 4096, 1024, 36, 151936),
        QWEN_3_8B: (4096, 12288, 4096, 1024, 36, 151936),
        LLAMA_32_1B: (2048, 8192, 2048, 512, 16, 128256),
    }[name]
    layer = 4 * hidden + 2 * (queries + keys) + 3 * (hidden + width)
    assert slots_bytes(name, version, 1) == 32 * (layers * layer + ends * (vocabulary + hidden)), sentence


def test_large_tensors_keep_the_rest_of_their_blocks() -> None:
    """64 slots of Qwen3-4B: gate's and up's outputs and down's inputs are 19 MiB of 20; embedding and head 296.75 MiB, not rounded."""
    assert 19 * MIB == 9728 * 16 * 2 * 64
    per_slot = slots_bytes(QWEN_3_4B, "0.28.0", 1)
    assert slots_bytes(QWEN_3_4B, "0.28.0", 64) == 64 * per_slot + 36 * 3 * MIB


def test_graphs_are_captured_twice_from_0_11_1() -> None:
    """config/compilation.py has cudagraph_specialize_lora from 0.11.1 on."""
    pools = [prepared(QWEN_3_8B, version, 1).overheads[0] for version in ("0.11.0", "0.11.1")]
    alone = [prepared(QWEN_3_8B, version, None).overheads[0] for version in ("0.11.0", "0.11.1")]
    grown = [with_slots.cuda_graph_pool_bytes / without.cuda_graph_pool_bytes for with_slots, without in zip(pools, alone, strict=True)]
    assert grown[0] < 1.1
    assert grown[1] > 1.5
