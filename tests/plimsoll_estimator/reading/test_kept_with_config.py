"""What is worked out from a config is kept with it, bounded, and goes when it goes."""

from __future__ import annotations

import gc
import json
import weakref

import pytest

from plimsoll_estimator.catalogue import lookup
from plimsoll_estimator.engine_args import EngineArgs
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import InvalidInput
from plimsoll_estimator.estimate import prepare
from plimsoll_estimator.hardware import gpu_from
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.kept import MOST_KEPT, kept_with_config

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"


class Mark:
    """Something of which one can tell that it is gone."""


def config(**keys: object) -> HfConfig:
    return HfConfig.from_json(json.dumps(keys))


def test_one_question_of_one_config_is_worked_out_once() -> None:
    asked: list[int] = []

    @kept_with_config
    def twice(of: HfConfig, number: int) -> int:
        asked.append(number)
        return 2 * number

    one, other = config(a=1), config(a=1)
    assert [twice(one, 3), twice(one, 3), twice(one, 4), twice(other, 3)] == [6, 6, 8, 6]
    assert asked == [3, 4, 3]


def test_what_raises_is_asked_again() -> None:
    @kept_with_config
    def read(of: HfConfig) -> int:
        return of.int("a")

    broken = config(a="x")
    for _ in range(2):
        with pytest.raises(InvalidInput):
            read(broken)
    assert not broken.kept


def test_a_config_keeps_a_bounded_number_of_answers() -> None:
    @kept_with_config
    def twice(of: HfConfig, number: int) -> int:
        return 2 * number

    one = config(a=1)
    for number in range(5 * MOST_KEPT):
        assert twice(one, number) == 2 * number
        assert len(one.kept) <= MOST_KEPT


def test_answers_go_with_their_config() -> None:
    @kept_with_config
    def mark(of: HfConfig) -> Mark:
        return Mark()

    one = config(a=1)
    found = weakref.ref(mark(one))
    assert found() is not None
    del one
    assert found() is None


def test_a_config_that_stays_does_not_keep_the_drafts_it_was_asked_with() -> None:
    @kept_with_config
    def pair(of: HfConfig, seen: tuple[object, ...]) -> Mark:
        return Mark()

    target = config(a=1)
    marks = [weakref.ref(pair(target, ("x", config(draft=number)))) for number in range(100)]
    gc.collect()
    assert sum(mark() is not None for mark in marks) <= 4
    assert not target.kept
    draft = config(draft=0)
    assert pair(target, ("x", draft)) is pair(target, ("x", draft))


@pytest.mark.uninstrumented
@pytest.mark.parametrize("name", [LLAMA, "google/gemma-3-27b-it", "Qwen/Qwen2.5-VL-7B-Instruct", "deepseek-ai/DeepSeek-R1"])
def test_an_estimate_keeps_no_config_alive_and_none_waits_for_the_garbage_collector(name: str) -> None:
    base = lookup(name)
    assert base is not None
    gpu, alive = gpu_from("NVIDIA-H100-80GB-HBM3"), []
    prepare(base, EngineArgs(max_model_len=8192), gpu, EngineVersion(0, 33))
    gc.disable()
    try:
        for number in range(20):
            one = HfConfig.from_json(json.dumps({**base.as_mapping(), "pad": number}))
            one.kept["mark"] = mark = Mark()
            alive.append(weakref.ref(mark))
            prepare(one, EngineArgs(max_model_len=8192), gpu, EngineVersion(0, 33))
        del one, mark
        assert not any(mark() for mark in alive)
    finally:
        gc.enable()
