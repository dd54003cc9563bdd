"""Laws of an estimate over every model of the catalogue: more never needs less, ranks share and never add, the same is the same."""

from __future__ import annotations

from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st
from tests.laws import law

from plimsoll_estimator import catalogue
from plimsoll_estimator.engine_args import EngineArgs
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import Unsupported
from plimsoll_estimator.estimate import estimate
from plimsoll_estimator.hardware import gpu_from
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.resolved import Estimate
from plimsoll_estimator.units import GIB

LAW = law(120)
H200 = gpu_from("NVIDIA-H200")
NAMES = st.sampled_from(catalogue.names())
VERSIONS = st.sampled_from(["0.8.5", "0.11.0", "0.15.1", "0.19.1", "0.25.1", "0.33.0"])
SIZES = st.sampled_from([1, 2, 4])
POOL_BYTES = 40 * GIB


def asked(name: str, version: str, changes: dict[str, Any] | None = None, **args: Any) -> Estimate | None:
    """The estimate with a KV pool of a given size, so that tokens speak of bytes per token; None where there is no rule."""
    entry = catalogue.entry(name)
    assert entry is not None
    config = entry.config if changes is None else HfConfig({**entry.config.as_mapping(), **changes})
    arguments = EngineArgs(**({"max_model_len": 2048} | args))
    try:
        return estimate(config, arguments, H200, EngineVersion.parse(version), available_kv_cache_bytes=POOL_BYTES)
    except Unsupported:
        return None


def planned(*answers: Estimate | None) -> tuple[Estimate, ...]:
    """The answers, where all got as far as a KV plan; vLLM refuses some sizes of some models, and then there is nothing to compare."""
    found = tuple(answer for answer in answers if answer is not None and answer.kv_plan is not None)
    assume(len(found) == len(answers))
    return found


def weights(answer: Estimate) -> int:
    return max(rank.weights_bytes for rank in answer.ranks)


def tokens(answer: Estimate) -> int:
    assert answer.kv_plan is not None
    return answer.kv_plan.kv_cache_tokens


@LAW
@given(name=NAMES, version=VERSIONS, size=SIZES)
def test_neither_weights_nor_cache_of_a_rank_grow_with_tensor_parallelism(name: str, version: str, size: int) -> None:
    few, many = planned(*(asked(name, version, tensor_parallel_size=ranks) for ranks in (size, 2 * size)))
    assert weights(many) <= weights(few)
    assert many.block_size is not None
    # The pool is cut into whole blocks, which hybrids make larger or smaller with the ranks: the rest may be a block more.
    assert tokens(many) + many.block_size > tokens(few), "the same pool holds no fewer tokens, so a token takes no more bytes"


@LAW
@given(name=NAMES, version=VERSIONS)
def test_wider_weights_never_need_less(name: str, version: str) -> None:
    half, full = planned(*(asked(name, version, dtype=dtype) for dtype in ("bfloat16", "float32")))
    assert weights(full) >= weights(half)


@LAW
@given(name=NAMES, version=VERSIONS)
def test_a_wider_cache_never_holds_more(name: str, version: str) -> None:
    narrow, wide = planned(*(asked(name, version, kv_cache_dtype=dtype) for dtype in ("fp8", "auto")))
    assert tokens(wide) <= tokens(narrow)


@LAW
@given(name=NAMES, version=VERSIONS, more=st.integers(1, 4))
def test_more_layers_never_need_less(name: str, version: str, more: int) -> None:
    entry = catalogue.entry(name)
    assert entry is not None
    config = entry.config.as_mapping()
    layers = config.get("num_hidden_layers")
    assume(isinstance(layers, int))
    # A config that lists its layers one by one would contradict itself with another number of them.
    assume(not any(isinstance(value, list) and len(value) == layers for value in config.values()))
    few, many = planned(asked(name, version), asked(name, version, {"num_hidden_layers": int(layers or 0) + more}))
    assert weights(many) >= weights(few)
    assert tokens(many) <= tokens(few)


@LAW
@given(name=NAMES, version=VERSIONS, size=SIZES)
def test_the_same_question_has_the_same_answer(name: str, version: str, size: int) -> None:
    assert asked(name, version, tensor_parallel_size=size) == asked(name, version, tensor_parallel_size=size)
