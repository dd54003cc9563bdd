"""`plimsoll init MODEL`: the manifest as printed, and with every choice of its comments taken."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from tests.plimsoll_operator.cli.command import ask

from plimsoll_operator.api import parse_inference_deployment
from plimsoll_operator.cli import main


@pytest.mark.parametrize("argv", [["qwen3-8b"], ["qwen3-8b", "--gpu", "l4"], ["qwen3-8b", "-n", "team-a", "--engine-version", "0.19.0"]])
def test_what_is_printed_is_a_manifest_that_is_admitted(
    argv: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path, files: Callable[..., str]
) -> None:
    assert main(["init", *argv]) == 0
    text = capsys.readouterr().out
    (tmp_path / "m.yaml").write_text(text)
    assert yaml.safe_load(text)["metadata"]["name"] == "qwen3-8b"
    assert ask(capsys, tmp_path, "plan", "-f", str(tmp_path / "m.yaml"))[0] == 0


@pytest.mark.parametrize("argv", [["Qwen/Qwen3-8B"], ["Qwen/Qwen3-8B", "--gpu", "h100"], ["acme/in-house"]])
def test_every_choice_of_the_comments_may_be_taken(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", *argv]) == 0
    head, body = capsys.readouterr().out.split("apiVersion", 1)
    assert all(line.startswith("# ") for line in head.splitlines())
    taken = parse_inference_deployment(yaml.safe_load(re.sub(r"(?m)^( *)# ", r"\1", "apiVersion" + body)))
    assert taken.spec.placement.wait_for_capacity
    assert taken.spec.workload is not None
    assert taken.spec.workload.use_case == "chat"
    assert taken.spec.engine.extra_args


@pytest.mark.parametrize("model", ["a b", "", "x: y\nz", "a" * 300])
def test_a_model_that_no_manifest_could_name_is_refused(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", model]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "spec.model.name" in err
