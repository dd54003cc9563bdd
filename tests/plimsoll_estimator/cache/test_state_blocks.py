"""More sequences than state blocks: what each release does with models that keep recurrent state, hybrid or not.

Read in vLLM's sources: v0.17.1 and before model_executor/layers/mamba/ops/causal_conv1d.py (`assert num_cache_lines >= batch` where a layer
asks for validate_data: Gated DeltaNet and KDA do, MambaMixer does not); v0.18.0 to v0.19.1 config/compilation.py
(adjust_cudagraph_sizes_for_mamba_cache); v0.20.0 to v0.32.0 config/compilation.py (resolve_cudagraph_mode_and_sizes asks has_mamba_layers).
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from plimsoll_estimator import catalogue
from plimsoll_estimator.engine_args import EngineArgs
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.estimate import estimate
from plimsoll_estimator.hardware import gpu_from
from plimsoll_estimator.resolved import Estimate
from plimsoll_estimator.units import GIB

PURE, DELTA_NET, MAMBA_2 = "tiiuae/falcon-mamba-7b", "Qwen/Qwen3-Next-80B-A3B-Instruct", "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16"
SHORT_CONV, ATTENTION = "LiquidAI/LFM2-1.2B", "Qwen/Qwen2.5-7B-Instruct"


def beyond_blocks(model: str, version: str, beyond: int, args: EngineArgs, pool_bytes: int = GIB // 2) -> Estimate:
    """The model on four H200s with `beyond` more sequences than its cache has blocks."""

    def with_seqs(seqs: int) -> Estimate:
        config = catalogue.lookup(model)
        assert config is not None
        given = replace(args, tensor_parallel_size=4, kv_cache_memory_bytes=pool_bytes, max_model_len=1024, max_num_seqs=seqs)
        return estimate(config, given, gpu_from("NVIDIA-H200"), EngineVersion.parse(version))

    few = with_seqs(1)
    assert few.kv_plan is not None
    assert few.verdict == "starts"
    return with_seqs(few.kv_plan.num_gpu_blocks + beyond)


@pytest.mark.parametrize(
    ("sentence", "model", "version", "beyond", "refused"),
    [
        ("since 0.20.0 a model of nothing but Mamba is refused", PURE, "0.20.0", 1, True),
        ("as many sequences as blocks start", PURE, "0.20.0", 0, False),
        ("so it is in the newest", PURE, "0.33.0", 1, True),
        ("and whatever keeps a state beside attention", DELTA_NET, "0.33.0", 1, True),
        ("Mamba 2 too", MAMBA_2, "0.22.1", 1, True),
        ("0.19.1 captures fewer sizes", PURE, "0.19.1", 1, False),
        ("of every kind", DELTA_NET, "0.19.1", 64, False),
        ("so does 0.18.0", DELTA_NET, "0.18.0", 64, False),
        ("0.17.1 asserts at the capture of Gated DeltaNet", DELTA_NET, "0.17.1", 64, True),
        ("but not where no captured size is beyond the blocks", DELTA_NET, "0.17.1", 0, False),
        ("nor for Mamba 1, whose kernel does not look", PURE, "0.17.1", 64, False),
        ("nor for Mamba 2", MAMBA_2, "0.17.1", 64, False),
        ("attention alone has no state blocks", ATTENTION, "0.33.0", 1, False),
    ],
)
def test_each_release_does_what_its_sources_say(sentence: str, model: str, version: str, beyond: int, refused: bool) -> None:
    found = beyond_blocks(model, version, beyond, EngineArgs())
    assert (found.reason == "StateBlocksBelowSeqs") == refused, sentence
    if refused:
        assert found.kv_plan is not None
        assert f"lower max_num_seqs to at most {found.kv_plan.num_gpu_blocks}" in (found.message or "")


def test_a_short_convolution_is_a_state() -> None:
    assert beyond_blocks(SHORT_CONV, "0.33.0", 1, EngineArgs(), GIB // 32).reason == "StateBlocksBelowSeqs"


@pytest.mark.parametrize("version", ["0.17.1", "0.33.0"])
def test_eager_mode_captures_nothing(version: str) -> None:
    assert beyond_blocks(DELTA_NET, version, 64, EngineArgs(enforce_eager=True)).verdict == "starts"


@pytest.mark.parametrize(
    ("version", "mode", "refused"),
    [
        # config/compilation.py, 0.20.0:1430, 0.25.1:1452, 0.30.0:1529: "and cudagraph_mode.has_full_cudagraphs()"
        ("0.20.0", "piecewise", False),
        ("0.20.0", "none", False),
        ("0.28.0", "piecewise", False),
        ("0.28.0", "none", False),
        ("0.28.0", None, True),
        # 0.17.1: what is not captured is not asserted
        ("0.17.1", "none", False),
    ],
)
def test_blocks_are_asked_for_where_whole_graphs_are_captured(version: str, mode: str | None, refused: bool) -> None:
    model = DELTA_NET if version == "0.17.1" else PURE
    assert (beyond_blocks(model, version, 64, EngineArgs(cudagraph_mode=mode)).reason == "StateBlocksBelowSeqs") == refused


def test_a_smaller_capture_does_not_help_since_0_20_but_does_before() -> None:
    small = EngineArgs(max_cudagraph_capture_size=8)
    assert beyond_blocks(DELTA_NET, "0.17.1", 64, small).reason != "StateBlocksBelowSeqs"
    assert beyond_blocks(DELTA_NET, "0.33.0", 64, small).reason == "StateBlocksBelowSeqs"
