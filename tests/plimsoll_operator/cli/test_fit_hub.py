"""`plimsoll fit` of a model that only the hub knows: headers, never weights."""

from pathlib import Path

import pytest
import yaml
from tests.plimsoll_operator.hub_server import MODEL, HubServer

from plimsoll_operator.cli import main


def test_a_model_of_the_hub_is_read_by_its_headers_alone(hub: HubServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", MODEL, "--gpu", "l4", "-o", "manifest"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["spec"]["model"] == {"name": MODEL}
    weights = [headers for path, headers in hub.seen if path.endswith(".safetensors")]
    assert weights
    assert all("range" in headers for headers in weights)


def test_who_is_offline_asks_no_hub(hub: HubServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", MODEL, "--gpu", "l4", "--offline"]) == 2
    assert hub.seen == []


def test_a_model_of_the_catalogue_or_of_a_profile_asks_no_hub(hub: HubServer, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["profile", "fetch", MODEL]) == 0
    (tmp_path / "p.yaml").write_text(capsys.readouterr().out)
    hub.seen.clear()
    assert main(["fit", MODEL, "--gpu", "l4", "--profiles", str(tmp_path / "p.yaml")]) == 0
    assert main(["fit", "qwen3-8b", "--gpu", "l4"]) == 0
    assert hub.seen == []


def test_what_the_hub_answers_and_what_is_called_alike_is_said_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert main(["fit", "meta-llama/Llama-3.1-8B-Instrct", "--gpu", "l4"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "cannot be reached" in err
    assert "meta-llama/Llama-3.1-8B-Instruct" in err
