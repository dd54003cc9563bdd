"""Blocks of a mixed load, by hand and by law. The figures follow from the groups that vLLM's planner makes."""

from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.laws import law
from tests.plimsoll_estimator.shipped import config_of

from plimsoll_estimator import ResolvedArgs
from plimsoll_estimator.engine_args import EngineArgs
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.hardware import gpu_from
from plimsoll_estimator.kv_cache import Requests, blocks_for, kv_cache_layout, plan_kv_cache
from plimsoll_estimator.models.register import shape_of
from plimsoll_estimator.resolve import resolve
from plimsoll_estimator.resolved import KvPlan
from plimsoll_estimator.shape import Shape

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"  # 32 layers of full attention: one group, 16 tokens a block
GEMMA = "google/gemma-3-27b-it"  # 52 of 62 layers keep a window of 1024 tokens
MAMBA = "tiiuae/falcon-mamba-7b"  # recurrent state only


@cache
def resolved(model: str, version: str, **args: Any) -> tuple[Shape, ResolvedArgs]:
    gpu = gpu_from("NVIDIA-H100-80GB-HBM3")
    given_ = EngineArgs(max_model_len=8192, **args)
    return shape_of(config_of(model)), resolve(config_of(model), given_, gpu, EngineVersion.parse(version))


def blocks(model: str, *load: Requests, version: str = "0.33.0", prefix_caching: bool = True, lookahead: int = 0) -> int:
    layout = kv_cache_layout(*resolved(model, version))
    return blocks_for(layout, load, prefix_caching=prefix_caching, lookahead_tokens=lookahead)


def many(count: int, tokens: int, shared: int = 0) -> Requests:
    return Requests(count=count, tokens=tokens, shared_tokens=shared)


BY_HAND = [
    ("a request takes whole blocks", LLAMA, [many(1, 17)], 2),
    ("requests do not share a block", LLAMA, [many(10, 17)], 20),
    ("classes add up", LLAMA, [many(10, 17), many(3, 160)], 50),
    ("whole blocks of a common prefix are held once: 10 x (10 - 6) + 6", LLAMA, [many(10, 160, shared=96)], 46),
    ("a prefix of less than a block is everybody's own", LLAMA, [many(10, 160, shared=15)], 100),
    ("of 100 common tokens 6 blocks are whole", LLAMA, [many(10, 160, shared=100)], 46),
    ("none in flight hold nothing, nor does their prefix", LLAMA, [many(0, 160, shared=96)], 0),
    ("recurrent state does not grow with the tokens", MAMBA, [many(4, 16), many(4, 4096)], 2 * 4 * 1),
]  # fmt: skip


@pytest.mark.parametrize(("why", "model", "load", "held"), BY_HAND, ids=[row[0] for row in BY_HAND])
def test_blocks_by_hand(why: str, model: str, load: list[Requests], held: int) -> None:
    state_per_request = blocks(model, many(1, 1)) if model == MAMBA else 1
    assert blocks(model, *load) == held * state_per_request


def test_without_prefix_caching_every_request_holds_its_own() -> None:
    assert blocks(LLAMA, many(10, 160, shared=96), prefix_caching=False) == 100


def test_speculative_tokens_take_slots_too() -> None:
    assert blocks(LLAMA, many(10, 160), lookahead=5) == 110


def test_windows_stop_growing_and_are_not_shared() -> None:
    longest = blocks(GEMMA, many(1, 8192))
    full_only = blocks(GEMMA, many(2, 8192, shared=8192)) - longest
    assert 0 < full_only < longest, "the second request holds windows of its own, the full layers' prefix is there already"
    assert blocks(GEMMA, many(1, 8192)) < 2 * blocks(GEMMA, many(1, 4096)), "a window is not held twice as long"


@pytest.mark.parametrize("version", ["0.10.2", "0.19.0", "0.33.0"])
@pytest.mark.parametrize("model", [LLAMA, GEMMA, MAMBA])
def test_one_full_request_is_what_the_planner_counts(model: str, version: str) -> None:
    shape, args = resolved(model, version)
    plan = plan_kv_cache(shape, args, (20 << 30,))
    assert isinstance(plan, KvPlan)
    held = blocks(model, many(1, 8192), version=version)
    assert held == pytest.approx(plan.num_gpu_blocks / plan.max_concurrency)


LOAD = st.builds(
    lambda count, tokens, share: Requests(count=count, tokens=tokens, shared_tokens=tokens * share // 100),
    st.integers(0, 500),
    st.integers(1, 8192),
    st.integers(0, 100),
)


@law(100)
@given(st.sampled_from([LLAMA, GEMMA, MAMBA]), LOAD, LOAD, st.integers(0, 100), st.integers(0, 4096))
def test_more_requests_or_tokens_never_hold_less(model: str, load: Requests, other: Requests, more: int, longer: int) -> None:
    held = blocks(model, load)
    assert blocks(model, load, other) >= held
    assert blocks(model, many(load.count + more, load.tokens, load.shared_tokens)) >= held
    assert blocks(model, many(load.count, load.tokens + longer, load.shared_tokens)) >= held
    assert blocks(model, load, prefix_caching=False) >= held
