"""`plimsoll observe`: a log beside the prediction of the same start, what is asked for where the log does not say it, and its status."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from tests.folders import DATA
from tests.plimsoll_operator.cli.observe_screens import LOGS, SCREENS, shown

from plimsoll_operator.cli import main

LLAMA = LOGS / "llama31-8b-0.17.1.log"
A100 = "NVIDIA-A100-SXM4-80GB"
MANIFEST = f"""apiVersion: inference.plimsoll.dev/v1alpha1
kind: InferenceDeployment
metadata: {{name: chat}}
spec:
  model: {{name: Qwen/Qwen3-8B}}
  engine: {{image: "vllm/vllm-openai:v0.20.0"}}
  placement: {{gpuProducts: [{A100}]}}
"""


def ask(capsys: pytest.CaptureFixture[str], *argv: str | Path) -> tuple[int, str, str]:
    status = main(["observe", *map(str, argv)])
    out, err = capsys.readouterr()
    return status, out, err


def data(capsys: pytest.CaptureFixture[str], *argv: str | Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(ask(capsys, *argv, "-o", "json")[1])
    return found


@pytest.mark.parametrize("name", SCREENS)
def test_a_log_alone_is_shown_as_it_was(name: str) -> None:
    assert shown(name) == (DATA / "screens" / f"{name}.txt").read_text("utf-8")


def test_every_logged_component_has_its_error_and_its_print(capsys: pytest.CaptureFixture[str]) -> None:
    found = data(capsys, LLAMA, "--gpu", A100)
    rows = {row["component"]: row for row in found["components"]}
    assert found["status"] == 0
    assert (found["release"], found["model"], found["gpu"]["product"]) == ("0.17.1", "meta-llama/Llama-3.1-8B-Instruct", A100)
    assert {name for name, row in rows.items() if row["logged_bytes"] is not None} == {
        "weights_bytes",
        "available_kv_cache_bytes",
        "cuda_graph_pool_bytes",
    }
    for row in rows.values():
        if row["logged_bytes"] is None:
            assert row["error_bytes"] is row["error_ratio"] is None
        else:
            assert row["error_bytes"] == row["predicted_bytes"] - row["logged_bytes"]
            assert row["error_ratio"] == pytest.approx(row["error_bytes"] / row["logged_bytes"])
    assert abs(rows["weights_bytes"]["error_bytes"]) <= rows["weights_bytes"]["logged_off_by_bytes"]
    assert found["kv_cache_tokens"]["logged"] == 457024
    assert found["kv_cache_tokens"]["predicted"] == pytest.approx(457024, rel=0.02)
    assert found["times"]["load_seconds"] == 10.746077


def test_the_predictions_are_those_of_estimate(capsys: pytest.CaptureFixture[str]) -> None:
    found = data(capsys, LLAMA, "--gpu", A100)
    estimate = ["--model", found["model"], "--gpu", A100, "--engine-version", "0.17.1", "--max-model-len", "32768", "-o", "json"]
    main(["estimate", *estimate])
    (rank,) = json.loads(capsys.readouterr()[0])["ranks"]
    assert {row["component"]: row["predicted_bytes"] for row in found["components"]}.items() <= rank.items()


def test_arguments_behind_the_log_overrule_those_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    as_logged, otherwise = data(capsys, LLAMA, "--gpu", A100), data(capsys, LLAMA, "--gpu", A100, "--gpu-memory-utilization", "0.5")
    kv = [next(row for row in found["components"] if row["component"].startswith("available")) for found in (as_logged, otherwise)]
    assert kv[1]["predicted_bytes"] < kv[0]["predicted_bytes"] - (20 << 30)


@pytest.mark.parametrize(
    ("log", "argv", "asked"),
    [
        pytest.param(LLAMA, [], ["--gpu PRODUCT is needed"], id="few logs name the GPU"),
        pytest.param(LOGS / "r1-qwen-14b-0.8.5.log", ["--gpu", A100], ["--model NAME of the catalogue or --config"], id="a folder"),
        pytest.param(
            LOGS / "qwen25-7b-pp2-main-2026-07.log",
            ["--gpu", A100],
            ["--engine-version is needed: the log says 0.1.dev18496"],
            id="a checkout",
        ),
        pytest.param(LLAMA, ["--gpu", A100, "--quantization", "awq"], ["nothing is predicted: "], id="what cannot have started"),
    ],
)
def test_what_a_prediction_lacks_is_said_with_the_option_that_gives_it(
    log: Path, argv: list[str], asked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = ask(capsys, log, *argv)
    assert status == 3
    said = " ".join(out.split())
    assert all(text in said for text in asked)
    assert "weights" in out, "the log's own figures are shown"


def test_stages_are_compared_each_with_its_workers(capsys: pytest.CaptureFixture[str]) -> None:
    found = data(capsys, LOGS / "qwen25-7b-pp2-main-2026-07.log", "--gpu", "NVIDIA-L40S", "--engine-version", "0.24.0")
    weights = [row for row in found["components"] if row["component"] == "weights_bytes"]
    assert [(row["stage"], row["workers"]) for row in weights] == [(0, 1), (1, 1)]
    assert all(abs(row["error_ratio"]) < 0.02 for row in weights)


def test_the_log_s_release_counts_and_a_manifest_gives_model_and_gpu(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "chat.yaml").write_text(MANIFEST, "utf-8")
    log = LOGS / "qwen3-8b-2xt4-0.22.1.log"
    found = data(capsys, log, "-f", tmp_path / "chat.yaml", "--gpu", "Tesla-T4", "--engine-version", "0.20.0")
    assert (found["release"], found["model"], found["gpu"]["product"]) == ("0.22.1", "Qwen/Qwen3-8B", "Tesla-T4")
    assert "--engine-version 0.20.0 is not what the log says: 0.22.1 counts" in found["notes"]
    assert data(capsys, log, "-f", tmp_path / "chat.yaml")["gpu"]["product"] == A100
    (tmp_path / "none.yaml").write_text("kind: Pod\napiVersion: v1\nmetadata: {name: x}\n", "utf-8")
    status, _, err = ask(capsys, log, "-f", tmp_path / "none.yaml")
    assert (status, "has no InferenceDeployment" in err) == (2, True)


def test_a_card_that_is_not_the_table_s_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "engine.log"
    usage = "Free memory on device (38.0/39.39 GiB) on startup. Desired GPU memory utilization is (0.9, 35.45 GiB)."
    log.write_text(LLAMA.read_text("utf-8") + f"INFO 05-16 21:39:29 [a.py:1] {usage}\n", "utf-8")
    text = LLAMA.read_text("utf-8").replace("(APIServer pid=229492) INFO:     Application startup complete.\n", "")
    log.write_text(f"{text}(EngineCore_DP0 pid=1) INFO 05-16 21:39:29 [gpu_worker.py:1] {usage}\n", "utf-8")
    found = data(capsys, log, "--gpu", A100)
    assert any("the log's count" in note for note in found["notes"])
    assert "is more than the GPU has" in " ".join(found["left_out"]), "55.79 GiB of cache on a card of 39.39"


def test_every_log_of_the_corpus_is_answered_with_a_status_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    statuses = {path.stem: ask(capsys, path, "--gpu", A100)[0] for path in sorted(LOGS.glob("*.log"))}
    assert set(statuses.values()) <= {0, 1, 3}
    assert {name for name, status in statuses.items() if status == 1} == {
        "laguna-kv-refusal-0.25.1",
        "nemotron-no-kernel-0.26.0",
        "qwen25-7b-t4-out-of-memory-0.19.1",
        "qwen36-27b-type-error-0.27.1",
    }


def test_a_log_comes_by_a_pipe_too_and_tokens_are_not_shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    text = "OSError: You are trying to access a gated repo. hf_abcdefghijklmn\n\xff".encode("latin-1")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text)))
    status, out, _ = ask(capsys, "-")
    assert status == 1
    assert "ModelGated" in out
    assert "tokenSecretRef" in out
    assert "hf_" not in out
    assert ask(capsys, "/no/such/file.log")[0] == 2


def test_a_text_without_a_start_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.log").write_text("hello\n", "utf-8")
    status, out, _ = ask(capsys, tmp_path / "x.log")
    assert status == 3
    assert "no start of vLLM in it" in " ".join(out.split())


def test_phases_of_the_start_stand_beside_their_prediction(capsys: pytest.CaptureFixture[str]) -> None:
    rows = {row["phase"]: row for row in data(capsys, LLAMA, "--gpu", A100)["phases"]}
    assert set(rows) == {"read", "compile", "capture"}
    for row in rows.values():
        low, high = row["predicted_seconds"]
        assert low <= row["logged_seconds"] <= high
    alone = data(capsys, LOGS / "glm51-nvfp4-tp8-0.20.2.log")["phases"]
    assert [row["predicted_seconds"] for row in alone] == [None, None, None]
    assert ask(capsys, LOGS / "gemma4-26b-gb10-0.20.0.log", "--gpu", "gb10")[1].count("longer") == 0


def test_a_phase_beyond_the_slowest_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    slow = LLAMA.read_text("utf-8").replace("Graph capturing finished in 6 secs", "Graph capturing finished in 600 secs")
    (tmp_path / "slow.log").write_text(slow, "utf-8")
    out = ask(capsys, tmp_path / "slow.log", "--gpu", A100)[1]
    assert [line.split()[-1] for line in out.splitlines() if line.startswith("capturing graphs")] == ["longer"]
