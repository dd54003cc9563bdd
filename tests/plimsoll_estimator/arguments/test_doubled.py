"""What two arguments may not both say, by release: engine/arg_utils.py, create_engine_config, "... are mutually exclusive"."""

from __future__ import annotations

import pytest

from plimsoll_estimator import EngineVersion, InvalidInput
from plimsoll_estimator.arguments import parse_extra_args

SIZES, OLDER = ["--cudagraph-capture-sizes", "1", "2"], ["--cuda-graph-sizes", "1", "2"]
TWICE = [
    # arg_utils.py 0.11.2:1749 and 1756, 0.12.0:1719, 0.14.1:1733, 0.19.1:1934, 0.32.0:2790
    (['--compilation-config={"cudagraph_capture_sizes":[1,2]}', *SIZES], "0.11.1", True),
    (['--compilation-config={"cudagraph_capture_sizes":[1,2]}', *SIZES], "0.33.0", True),
    (["--compilation-config.cudagraph_capture_sizes=[1,2]", *SIZES], "0.19.1", True),
    (["-cc.cudagraph_capture_sizes=[1,2]", *SIZES], "0.32.0", True),
    (['--compilation-config={"cudagraph_capture_sizes":null}', *SIZES], "0.19.1", False),
    (['--compilation-config={"cudagraph_mode":"PIECEWISE"}', *SIZES], "0.19.1", False),
    (['--compilation-config={"cudagraph_capture_sizes":[1,2]}', *OLDER], "0.12.0", True),
    ([*SIZES, *OLDER], "0.11.2", True),
    # before, the scheduler's own sizes gave way (config/__init__.py 0.10.2: _set_cudagraph_sizes)
    (['--compilation-config={"cudagraph_capture_sizes":[1,2]}', *OLDER], "0.10.2", False),
    # 0.13.0:1649, 0.19.1:1884, 0.32.0:2688
    (['--attention-config={"backend":"FLASH_ATTN"}', "--attention-backend=FLASH_ATTN"], "0.13.0", True),
    (["--attention-config.backend=FLASH_ATTN", "--attention-backend=FLASH_ATTN"], "0.32.0", True),
    (['--attention-config={"use_cudnn_prefill":true}', "--attention-backend=FLASH_ATTN"], "0.19.1", False),
    # 0.16.0:1745, 0.19.1:1896, 0.33.0:2794; said not to is said
    (['--kernel-config={"enable_flashinfer_autotune":true}', "--enable-flashinfer-autotune"], "0.16.0", True),
    (['--kernel-config={"enable_flashinfer_autotune":true}', "--no-enable-flashinfer-autotune"], "0.33.0", True),
    # 0.20.0:2050, "specified via both ir_op_priority and KernelConfig.ir_op_priority": of one operation
    (['--ir-op-priority={"rms_norm":["native"]}', '--kernel-config={"ir_op_priority":{"rms_norm":["vllm_c"]}}'], "0.20.0", True),
    (['--ir-op-priority={"rms_norm":["native"]}', '--kernel-config={"ir_op_priority":{"fused_add":["vllm_c"]}}'], "0.26.0", False),
]


@pytest.mark.parametrize(("args", "release", "refused"), TWICE)
def test_what_is_said_twice_is_refused_by_the_releases_that_refuse_it(args: list[str], release: str, refused: bool) -> None:
    if not refused:
        parse_extra_args(args, EngineVersion.parse(release))
        return
    with pytest.raises(InvalidInput, match="exclude each other in vLLM"):
        parse_extra_args(args, EngineVersion.parse(release))


@pytest.mark.parametrize("flag", ["--spec-method=ngram", "--spec-tokens=2"])
def test_drafts_are_said_once(flag: str) -> None:
    """arg_utils.py 0.22.0:1679: "--spec-method and --speculative-config['method'] are mutually exclusive"."""
    with pytest.raises(InvalidInput, match="which another flag sets too"):
        parse_extra_args(['--speculative-config={"method":"ngram","num_speculative_tokens":2}', flag], EngineVersion(0, 22))


def test_the_largest_graph_is_said_once() -> None:
    """arg_utils.py 0.19.1:1942: "max_cudagraph_capture_size and compilation_config.max_cudagraph_capture_size are mutually exclusive"."""
    with pytest.raises(InvalidInput, match="say one of them"):
        parse_extra_args(
            ['--compilation-config={"max_cudagraph_capture_size":8}', "--max-cudagraph-capture-size=8"], EngineVersion(0, 19, 1)
        )
