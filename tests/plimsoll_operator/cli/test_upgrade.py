"""`plimsoll plan` under other releases of vLLM, offline, in every kind of output."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import pytest
import yaml
from tests.plimsoll_operator.decision_world import manifest
from tests.plimsoll_operator.nodes import H100, L4, T4

from plimsoll_operator.cli import main
from plimsoll_operator.ports import Manifest

ONE_L4 = {"gpuProducts": ["NVIDIA-L4"]}


class Ask(Protocol):
    """The command on these objects: its status, and what it says on both streams."""

    def __call__(self, *items: Manifest, argv: Sequence[str] = ()) -> tuple[int, str, str]: ...


def named(name: str, context: int = 16384, **engine: Any) -> Manifest:
    item = manifest(engine={"tensorParallelSize": 1, "maxModelLen": context} | engine, placement=ONE_L4)
    return item | {"metadata": {"name": name}}


@pytest.fixture
def plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Ask:
    (tmp_path / "nodes.yaml").write_text(yaml.safe_dump({"kind": "NodeList", "apiVersion": "v1", "items": [H100, L4, T4]}))

    def ask(*items: Manifest, argv: Sequence[str] = ()) -> tuple[int, str, str]:
        (tmp_path / "x.yaml").write_text(yaml.safe_dump_all(items))
        status = main(["plan", "-f", str(tmp_path / "x.yaml"), "--nodes", str(tmp_path / "nodes.yaml"), *argv])
        return status, *capsys.readouterr()

    return ask


def test_another_release_is_judged_and_what_the_manifest_must_change_is_said(plan: Ask) -> None:
    status, out, _ = plan(named("x"), argv=["--engine-version", "0.26.0"])
    assert status == 0
    assert "engine                  vLLM 0.26.0\n" in out
    assert out.endswith(
        "  in the manifest: spec.engine.image from vllm/vllm-openai:v0.19.0 to vllm/vllm-openai:v0.26.0\n"
        '    {"spec":{"engine":{"image":"vllm/vllm-openai:v0.26.0"}}}\n'
    )
    assert plan(named("x"), argv=["--engine-version", "0.19.0"])[1] == plan(named("x"))[1], "its own release changes nothing"


def test_json_of_another_release_is_the_plan_that_the_changed_manifest_would_get(plan: Ask) -> None:
    _, out, _ = plan(named("x"), argv=["--engine-version", "0.26.0", "-o", "json"])
    changed = named("x", image="vllm/vllm-openai:v0.26.0")
    assert json.loads(out)["plan"] == json.loads(plan(changed, argv=["-o", "json"])[1])["plan"]
    assert json.loads(out)["plan"]["engine_version"] == "0.26.0"


def test_yaml_of_another_release_carries_the_edits(plan: Ask) -> None:
    data = yaml.safe_load(plan(named("x"), argv=["--engine-version", "0.26.0", "-o", "yaml"])[1])
    assert (data["name"], data["engine_version"], data["verdict"]) == ("x", "0.26.0", "Admit")
    assert data["patch"] == {"spec": {"engine": {"image": "vllm/vllm-openai:v0.26.0"}}}
    assert data["manifest"] == [
        {"field": "spec.engine.image", "old": "vllm/vllm-openai:v0.19.0", "new": "vllm/vllm-openai:v0.26.0"},
    ]


def test_releases_stand_side_by_side_for_every_object_and_the_worst_status_wins(plan: Ask) -> None:
    argv = ["--compare-engine", "0.26.0,0.33.0", "--compare-engine", "0.26.0"]
    status, out, _ = plan(named("roomy"), named("tight", 37000), argv=argv)
    assert status == 1, "what fits the present release and not the next one is no reason to roll"
    lines = out.splitlines()
    assert lines[0].startswith("roomy: vLLM 0.26.0 still fits: KV cache tokens ")
    assert lines[1].startswith("roomy: vLLM 0.33.0 still fits")
    assert "tight: vLLM 0.26.0 no longer fits, on the edge" in lines
    headers = [line.split() for line in lines if line.split()[:2] == ["vLLM", "0.19.0"] and "0.33.0" in line]
    assert headers == [["vLLM", "0.19.0", "vLLM", "0.26.0", "vLLM", "0.33.0"]] * 2
    for row in (
        "verdict",
        "gpu-memory-utilization",
        "weights",
        "activation",
        "CUDA graphs",
        "non-torch",
        "KV cache tokens",
        "full requests",
    ):
        assert sum(line[2:].startswith(row) for line in lines) == 2
    assert any(line.startswith("* verdict") and "Admit, on the edge" in line and "Reject (InsufficientKvCache)" in line for line in lines)


def test_every_row_that_differs_has_a_star_and_no_other(plan: Ask) -> None:
    _, out, _ = plan(named("x"), argv=["--compare-engine", "0.26.0"])
    table = [line for line in out.split("\n\n")[0].splitlines() if line[:2] in ("* ", "  ")][1:]
    assert {line[0] for line in table} == {"*", " "}
    for line in table:
        cells = [cell for cell in line[2:].split("  ") if cell.strip()][-2:]
        assert (line[0] == "*") == (cells[0].strip() != cells[1].strip()), line


def test_json_and_yaml_say_the_same_one_document_an_object(plan: Ask) -> None:
    argv = ["--compare-engine", "0.26.0,0.33.0"]
    rows = [json.loads(line) for line in plan(named("roomy"), named("tight", 37000), argv=[*argv, "-o", "json"])[1].splitlines()]
    assert rows == list(yaml.safe_load_all(plan(named("roomy"), named("tight", 37000), argv=[*argv, "-o", "yaml"])[1]))
    roomy, tight = rows
    assert [other["outcome"] for other in roomy["others"]] == ["StillFits", "StillFits"]
    assert tight["others"][0]["outcome"] == "NoLongerFits"
    assert tight["others"][0]["on_the_edge"] is True
    for change in roomy["others"][0]["differences"]["figures"]:
        part, _, inner = change["name"].partition(".")
        before, after = roomy["present"]["plan"][part], roomy["others"][0]["plan"][part]
        shown = (before[inner], after[inner]) if inner else (before, after)
        assert isinstance(shown[0], list) or (change["old"], change["new"]) == shown
    assert "--max-model-len=16384" in roomy["present"]["arguments"]


def test_what_a_release_refuses_by_name_is_a_column_and_bad_input_for_the_status(plan: Ask) -> None:
    status, out, err = plan(named("x", extraArgs=["--max-num-partial-prefills=1"]), argv=["--compare-engine", "0.33.0"])
    assert (status, err) == (2, "")
    assert "x: vLLM 0.33.0 no longer fits\n" in out
    assert "  spec.engine.extraArgs: --max-num-partial-prefills" in out


def test_the_present_release_may_be_named_too(plan: Ask) -> None:
    _, out, _ = plan(named("x"), argv=["--engine-version", "0.26.0", "--compare-engine", "0.33.0"])
    assert "vLLM 0.26.0, the present release" in out
    assert out.count("in the manifest: ") == 2


def test_a_comparison_with_the_same_release_says_so(plan: Ask) -> None:
    status, out, _ = plan(named("x"), argv=["--compare-engine", "0.19.0"])
    assert (status, out) == (0, "x: vLLM 0.19.0 is compared with itself: no other release was named for it\n")


BAD = [
    ("no release", ["--engine-version", "main"], "--engine-version: 'main' is not a vLLM release number"),
    ("one of several", ["--compare-engine", "0.26.0,0.19.7"], "--compare-engine: '0.19.7' is no release of vLLM"),
    ("an empty one", ["--compare-engine", "0.26.0,"], "--compare-engine: '' is not a vLLM release number"),
    ("too old", ["--compare-engine", "0.7.2"], "--compare-engine: '0.7.2' is older than 0.8.0"),
    ("too many", ["--compare-engine", ",".join(f"0.{minor}.0" for minor in range(20, 29))], "--compare-engine: 9 releases are more than 8"),
]


@pytest.mark.parametrize(("why", "argv", "words"), BAD, ids=[row[0] for row in BAD])
def test_a_release_that_cannot_be_judged_is_one_line_and_status_2(why: str, argv: list[str], words: str, plan: Ask) -> None:
    status, out, err = plan(named("x"), argv=argv)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert words in err
