"""`plimsoll gpus --engine-version`: release by compute capability, quantisation method and dtype, with where each is from.

Expected entries are read in the releases' own code: under model_executor/layers/quantization, awq.py, gptq.py, marlin.py, fp8.py and
modelopt.py, and DEPRECATED_QUANTIZATION_METHODS of __init__.py.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from tools.releases import EVERY_RELEASE

from plimsoll_operator.cli import main


def said(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert main(["gpus", *argv]) == 0
    return capsys.readouterr().out


def card(capsys: pytest.CaptureFixture[str], version: str, product: str) -> Any:
    found = json.loads(said(capsys, "--engine-version", version, "--gpu", product, "-o", "json"))
    (line,) = (line for line in found["gpus"] if line["product"] == product)
    return line


TAKEN = [  # why, release, product, method, its dtypes there (None: not taken), deprecated
    ("awq.py: [torch.half]", "0.10.0", "NVIDIA-L4", "awq", ["float16"], False),
    ("gptq.py: [torch.half]", "0.10.0", "NVIDIA-H200", "gptq", ["float16"], False),
    ("marlin.py: [torch.half]", "0.10.0", "NVIDIA-L4", "marlin", ["float16"], False),
    ("awq_marlin.py takes both", "0.10.0", "NVIDIA-L4", "awq_marlin", ["bfloat16", "float16"], False),
    ("and no Turing before 0.14", "0.13.0", "Tesla-T4", "awq_marlin", None, False),
    ("which has no bfloat16", "0.14.0", "Tesla-T4", "awq_marlin", ["float16"], False),
    ("fp8.py: 80 before 0.14", "0.13.0", "Tesla-T4", "fp8", None, False),
    ("then 75", "0.14.0", "Tesla-T4", "fp8", ["float16"], False),
    ("modelopt.py: 100, called nvfp4", "0.8.5", "NVIDIA-H200", "nvfp4", None, False),
    ("mxfp4.py: [torch.bfloat16]", "0.10.1", "NVIDIA-H200", "mxfp4", ["bfloat16"], False),
    ("deprecated since 0.14", "0.14.0", "NVIDIA-H200", "fbgemm_fp8", ["bfloat16", "float16"], True),
    ("and before it was not", "0.13.0", "NVIDIA-H200", "fbgemm_fp8", ["bfloat16", "float16"], False),
]


@pytest.mark.parametrize(("why", "version", "product", "method", "dtypes", "deprecated"), TAKEN, ids=[row[0] for row in TAKEN])
def test_a_method_is_shown_in_the_dtypes_that_release_and_card_take(
    why: str, version: str, product: str, method: str, dtypes: list[str] | None, deprecated: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    found = card(capsys, version, product)["quantization"].get(method)
    assert found == (None if dtypes is None else {"dtypes": dtypes, "deprecated": deprecated})


def test_the_table_says_the_same_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    out = said(capsys, "--engine-version", "0.10.0")
    assert re.search(r"^awq +7\.5 to 12\.1 +float16$", out, re.MULTILINE)
    assert re.search(r"^gptq +7\.0 to 12\.1 +float16$", out, re.MULTILINE)
    assert re.search(r"^marlin +8\.0 to 12\.1 +float16$", out, re.MULTILINE)
    assert re.search(r"^moe_wna16 +7\.0 to 7\.5 +float16\n +8\.0 to 12\.1 +bfloat16, float16$", out, re.MULTILINE)
    old = said(capsys, "--engine-version", "0.8.5")
    assert re.search(r"^12\.0 +no +V0 engine +bfloat16, float16, float32\n +NVIDIA-GeForce-RTX-5080, ", old, re.MULTILINE)
    assert "(vLLM 0.8.5 has no kernels for compute capability 12.0)" in old
    assert "* deprecated: refused without" not in old
    assert re.search(r"^fbgemm_fp8 \* ", said(capsys, "--engine-version", "0.14.0"), re.MULTILINE)


def test_a_card_is_in_one_row_with_those_that_are_served_alike(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [line for line in said(capsys, "--engine-version", "0.10.0").splitlines() if re.match(r"\d+\.\d ", line)]
    assert len(rows) == len(set(rows)) + 1, "10.0 twice: B200 for its PyTorch, GB200 for its host"
    out = said(capsys, "--engine-version", "0.10.0", "--gpu", "t4")
    assert [line for line in out.splitlines() if "NVIDIA" in line or "Tesla" in line] == ["            Tesla-T4"]


@pytest.mark.parametrize("version", [EVERY_RELEASE[0], "0.10.0", "0.14.0", "0.19.1", EVERY_RELEASE[-1], "0.40.0"])
def test_it_is_readable_in_eighty_columns(version: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert max(map(len, said(capsys, "--engine-version", version).splitlines())) <= 80


def test_each_column_has_its_source(capsys: pytest.CaptureFixture[str]) -> None:
    """A release that nobody has read says whose wheel stands for it."""
    found = json.loads(said(capsys, "--engine-version", "0.10.0", "-o", "json"))
    assert found["sources"].keys() == {"kernels", "dtypes", "fp8_cache", "quantization"} <= found["gpus"][0].keys()
    assert found["sources"]["kernels"] == "machine code in the wheels of vLLM 0.10.0 and of the PyTorch that it requires, 2.7.1"
    assert "get_min_capability and get_supported_act_dtypes" in found["sources"]["quantization"]
    assert "_is_v1_supported_oracle" in found["sources"]["fp8_cache"]
    newer = json.loads(said(capsys, "--engine-version", "0.40.0", "-o", "json"))["sources"]
    assert "the wheels of vLLM 0.33.0" in newer["kernels"]
    assert "in the wheel of vLLM 0.33.0" in newer["quantization"]
    assert "platforms/cuda.py" in newer["fp8_cache"]
    assert all(source in re.sub(r"\s+", " ", said(capsys, "--engine-version", "0.40.0")) for source in newer.values())


def test_what_has_no_rules_and_what_is_no_card_are_refused() -> None:
    assert main(["gpus", "--engine-version", "0.7.3"]) != 0
    assert main(["gpus", "--gpu", "abacus"]) != 0
