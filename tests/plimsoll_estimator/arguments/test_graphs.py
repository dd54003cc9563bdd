"""Which CUDA graphs a list of arguments asks for, by release: config/vllm.py, __post_init__ and OPTIMIZATION_LEVEL_TO_CONFIG."""

from __future__ import annotations

import pytest

from plimsoll_estimator import EngineVersion
from plimsoll_estimator.arguments import parse_extra_args


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
