"""Which CUDA graphs a list of arguments asks for, by release: config/vllm.py, __post_init__ and OPTIMIZATION_LEVEL_TO_CONFIG."""

from __future__ import annotations

import pytest

from plimsoll_estimator import EngineArgs, EngineVersion, InvalidInput, catalogue, gpu_from
from plimsoll_estimator.arguments import parse_extra_args
from plimsoll_estimator.resolve import resolve


def asked(release: str, *args: str) -> object:
    return parse_extra_args(args, EngineVersion.parse(release)).engine_args.get("cudagraph_mode")


@pytest.mark.parametrize(
    ("release", "args", "kind"),
    [
        # 0.14.1:116 to 161, 0.19.1:177 to 234, 0.25.1:207 to 270, 0.32.0:261 to 324: NONE, PIECEWISE, FULL_AND_PIECEWISE twice
        ("0.14.1", ["-O0"], "none"),
        ("0.19.1", ["-O1"], "piecewise"),
        ("0.25.1", ["-O2"], None),
        ("0.32.0", ["-O3"], None),
        ("0.32.0", ["--optimization-level=0"], "none"),
        # _apply_optimization_level_defaults sets what nobody has said
        ("0.19.1", ["-O0", '--compilation-config={"cudagraph_mode":"FULL"}'], None),
        ("0.19.1", ["-O1", "-cc.cudagraph_mode=NONE"], "none"),
        ("0.19.1", ["-O2", '--compilation-config={"cudagraph_mode":"piecewise"}'], "piecewise"),
        # 0.19.1:907: pieces that nothing compiles are "Overriding to NONE"; 0.30.0:1019 and 0.32.0:1086 leave FULL_DECODE_ONLY
        ("0.19.1", ["-O0", "-cc.cudagraph_mode=FULL_AND_PIECEWISE"], "none"),
        ("0.32.0", ["-O0", "-cc.cudagraph_mode=FULL_AND_PIECEWISE"], None),
        ("0.32.0", ["-O0", "-cc.cudagraph_mode=PIECEWISE"], "none"),
        ("0.25.1", ['--compilation-config={"mode":0}'], "none"),
        ("0.25.1", ['--compilation-config={"mode":"VLLM_COMPILE"}'], None),
        ("0.32.0", ['--compilation-config={"mode":"NONE"}'], None),
        ("0.25.1", ['--compilation-config={"mode":3.0}'], None),
        ("0.25.1", ['--compilation-config={"mode":true}'], "none"),
        ("0.25.1", ['--compilation-config={"cudagraph_mode":1}'], "piecewise"),
        ("0.25.1", ['--compilation-config={"cudagraph_mode":0}'], "none"),
        ("0.25.1", ["-O0", '--compilation-config={"mode":3}'], "none"),
        # 0.12.0:648: every kind, whole ones too
        ("0.12.0", ["-O0", "-cc.cudagraph_mode=FULL"], "none"),
        # 0.11.1:465: the level is one of compilation
        ("0.11.1", ["-O0"], "none"),
        ("0.11.1", ["-O3"], None),
        ("0.11.1", ["-O.cudagraph_mode=PIECEWISE"], "piecewise"),
        ("0.10.2", ["-O0"], None),
        ("0.33.0", [], None),
    ],
)
def test_the_kind_follows_from_mode_and_level(release: str, args: list[str], kind: str | None) -> None:
    assert asked(release, *args) == kind


@pytest.mark.parametrize(
    ("value", "words"),
    [
        # config/compilation.py: validate_cudagraph_mode_before and validate_mode_before, called in 0.14.1, 0.19.1, 0.25.1 and 0.32.0
        ('{"cudagraph_mode":"NOPE"}', "cudagraph_mode: 'NOPE' must be one of NONE, PIECEWISE"),
        ('{"cudagraph_mode":" NONE"}', "must be one of"),
        ('{"cudagraph_mode":3}', "must be one of"),
        ('{"cudagraph_mode":[2,1]}', "must be one of"),
        ('{"cudagraph_mode":"full_decode_only"}', None),
        ('{"cudagraph_mode":null}', None),
        ('{"mode":4}', "must be one of NONE, STOCK_TORCH_COMPILE"),
        ('{"mode":"3"}', "must be one of"),
        ('{"mode":"vllm_compile"}', None),
        ('{"cudagraph_capture_sizes":[1],"max_cudagraph_capture_size":[2]}', "must be a whole number"),
        ('{"max_cudagraph_capture_size":16.5}', "must be a whole number|must be whole numbers"),
        ('{"cudagraph_capture_sizes":[1.5]}', "must be a list of whole numbers|must be whole numbers"),
        ('{"cudagraph_capture_sizes":["x"]}', "must be a list of whole numbers|must be whole numbers"),
        ('{"cudagraph_capture_sizes":["1",2.0]}', None),
        ('{"max_cudagraph_capture_size":"16"}', None),
    ],
)
@pytest.mark.parametrize("release", ["0.14.1", "0.19.1", "0.25.1", "0.32.0"])
def test_what_the_class_refuses_is_refused(release: str, value: str, words: str | None) -> None:
    if words is None:
        asked(release, f"--compilation-config={value}")
        return
    with pytest.raises(InvalidInput, match=words):
        asked(release, f"--compilation-config={value}")


def test_a_kind_by_its_key_is_held_too() -> None:
    with pytest.raises(InvalidInput, match="must be one of"):
        asked("0.19.1", "-cc.cudagraph_mode=NOPE")


@pytest.mark.parametrize("release", ["0.11.1", "0.19.1", "0.32.0"])
@pytest.mark.parametrize(("sizes", "largest"), [((1, 2, 4, 8, 16384), 8), ((1, 8192), 8192), ((16384,), 0)])
def test_sizes_beyond_a_batch_are_not_captured(release: str, sizes: tuple[int, ...], largest: int) -> None:
    # config/vllm.py 0.11.1:870, 0.19.1:1418, 0.32.0:2461: "if i <= max_num_tokens"
    version = EngineVersion.parse(release)
    given = parse_extra_args(["--cudagraph-capture-sizes", *map(str, sizes)], version).engine_args
    config = catalogue.lookup("Qwen/Qwen3-8B")
    assert config is not None
    args = EngineArgs.from_mapping({**given, "max_num_batched_tokens": 8192})
    assert resolve(config, args, gpu_from("NVIDIA-H100-80GB-HBM3"), version).max_cudagraph_capture_size == largest
