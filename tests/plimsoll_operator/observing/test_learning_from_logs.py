"""`plimsoll observe -o calibration`: logs as evidence, what of them has no vote, and the object that comes of it."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from tests.laws import law
from tests.plimsoll_operator.cli.report_world import observed, plan_of, served
from tests.plimsoll_operator.observing.learning_world import HEAD, MODELS, log_of_model, read

from plimsoll_estimator import GIB, MIB
from plimsoll_operator.api import EngineCalibration, parse_object
from plimsoll_operator.calibration import MOST_LOWERED_BYTES, MOST_RAISED_BYTES
from plimsoll_operator.cli import main
from plimsoll_operator.cli.observe_calibration import starts_of
from plimsoll_operator.cli.world import World
from plimsoll_operator.learning import NoVote, Seen


def logs(folder: Path, more_gib: float, *models: str) -> list[str]:
    paths = []
    for number, model in enumerate(models):
        paths.append(folder / f"{number}-{more_gib}.log")
        paths[-1].write_text(log_of_model(model, more_gib), "utf-8")
    return [str(path) for path in paths]


def asked(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any], str]:
    status = main(["observe", *words, "--gpu", "NVIDIA-L4", "-o", "calibration"])
    out, err = capsys.readouterr()
    return status, yaml.safe_load(out) if out else {}, err


def test_starts_of_two_namespaces_become_a_calibration_that_the_api_takes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, early, err = asked(capsys, *logs(tmp_path, 1.0, *MODELS[:2]), "-n", "blue")
    assert status == 0
    assert "2 models of 1 namespaces; nothing is added" in err
    path = tmp_path / "early.yaml"
    path.write_text(yaml.safe_dump(early))
    status, made, err = asked(capsys, *logs(tmp_path, 1.0, *MODELS[2:4]), "-n", "green", "--add", str(path))
    (row,) = parse_object(EngineCalibration, made).spec.corrections
    assert (status, row.product, row.interconnect, row.engine_minor) == (0, "NVIDIA-L4", "none", "0.19")
    assert GIB * 4 // 5 < row.add_bytes < GIB
    assert {(one.namespace, one.model) for one in row.evidence} == {("blue", m) for m in MODELS[:2]} | {("green", m) for m in MODELS[2:4]}
    assert "4 models of 2 namespaces; +0.8" in err


def test_a_start_as_predicted_is_evidence_that_nothing_is_to_be_added(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, made, _ = asked(capsys, *logs(tmp_path, 0.0, *MODELS), "-n", "blue")
    (row,) = parse_object(EngineCalibration, made).spec.corrections
    assert (status, row.add_bytes, len(row.evidence)) == (0, 0, len(MODELS))
    assert all(abs(one.observed_bytes - one.predicted_bytes) < 32 * MIB for one in row.evidence)


def test_an_engine_that_was_told_more_arguments_is_predicted_with_them() -> None:
    eager = read(log_of_model(MODELS[0], 0.0, enforce_eager=True))
    assert isinstance(eager, Seen | NoVote)
    found = read(log_of_model(MODELS[0]))
    assert isinstance(found, Seen)
    assert abs(found.residual_bytes) < 32 * MIB


FORGED = [
    ("a cache of more than the card", f"{HEAD} [gpu_worker.py:298] Available KV cache memory: 99999.00 GiB"),
    ("less than nothing", f"{HEAD} [gpu_worker.py:298] Available KV cache memory: -7.00 GiB"),
    ("a second figure that contradicts the first", f"{HEAD} [gpu_model_runner.py:4000] Model loading took 1.00 GiB memory and 3.2 seconds"),
    ("a number of a thousand digits", f"{HEAD} [gpu_worker.py:298] Available KV cache memory: {'9' * 1000}.00 GiB"),
    ("a worker that the engine does not have",
     "(Worker_TP7 pid=9) INFO 11-30 10:00:00 [gpu_model_runner.py:4000] Model loading took 1.00 GiB memory and 3.2 seconds\n"
     "(Worker_TP7 pid=9) INFO 11-30 10:00:00 [gpu_worker.py:298] Available KV cache memory: 0.10 GiB"),
    ("an end", "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."),
    ("a budget that its arguments do not give",
     f"{HEAD} [gpu_worker.py:1] Free memory on device (21.8/22.03 GiB) on startup. Desired GPU memory utilization is (0.9, 2.00 GiB)."),
]  # fmt: skip


@pytest.mark.parametrize(("why", "line"), FORGED, ids=[row[0] for row in FORGED])
def test_a_log_with_a_forged_line_moves_nothing_and_says_so(why: str, line: str) -> None:
    found = read(log_of_model(MODELS[0], more=line))
    if isinstance(found, Seen):
        assert found == read(log_of_model(MODELS[0])), "the line was not read as a figure at all"
    else:
        assert found.why


def test_weights_of_another_model_have_no_vote() -> None:
    found = read(log_of_model(MODELS[0], weights_off_gib=2.0))
    assert isinstance(found, NoVote)
    assert "another model, or another layout" in found.why


def test_what_lies_beyond_the_bounds_of_a_correction_has_no_vote() -> None:
    found = read(log_of_model(MODELS[0], 17.0))
    assert isinstance(found, NoVote)
    assert "no correction may be" in found.why


def test_a_line_of_ten_megabytes_is_read_as_far_as_lines_are() -> None:
    long = f"{HEAD} [gpu_worker.py:298] Available KV cache memory: " + "9" * (10 << 20)
    found = read(log_of_model(MODELS[0], more=long))
    assert isinstance(found, NoVote) or found == read(log_of_model(MODELS[0]))


@given(st.floats(allow_nan=True, allow_infinity=True), st.floats(allow_nan=True, allow_infinity=True), st.text(max_size=80))
@law(150)
def test_no_log_at_all_votes_beyond_the_bounds(cache: float, weights: float, noise: str) -> None:
    lines = [
        f"{HEAD} [gpu_model_runner.py:4000] Model loading took {weights:.2f} GiB memory and 3.2 seconds",
        f"{HEAD} [gpu_worker.py:298] Available KV cache memory: {cache:.2f} GiB",
        noise,
    ]
    head, tail = log_of_model(MODELS[0]).splitlines()[:4], "(APIServer pid=1) INFO:     Application startup complete."
    found = read("\n".join([*head, *lines, tail, ""]))
    if isinstance(found, Seen):
        assert -MOST_LOWERED_BYTES <= found.residual_bytes <= MOST_RAISED_BYTES
        assert 0 <= found.observed_bytes <= 23 * GIB


def test_a_poisoned_log_among_good_ones_is_named_and_the_rest_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = logs(tmp_path, 1.0, *MODELS[:2])
    bad = tmp_path / "bad.log"
    bad.write_text(log_of_model(MODELS[3], more=FORGED[0][1]), "utf-8")
    status, made, err = asked(capsys, *good, str(bad), "-n", "blue")
    (row,) = made["spec"]["corrections"]
    assert (status, len(row["evidence"])) == (0, 2)
    assert f"{bad} has no vote: it has figures that cannot be" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["x.log"], "--namespace"),
        (["x.log", "-n", "Not_A_Name"], "--namespace"),
        ([], "FILE"),
        (["x.log", "-n", "blue", "--add", "x.log"], "--add"),
    ],
)
def test_what_is_missing_is_said_in_a_line(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.log").write_text("kind: nothing\n")
    monkeypatch.chdir(tmp_path)
    assert main(["observe", *words, "-o", "calibration"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err


def test_without_a_vote_the_object_is_as_it_was_and_the_status_tells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.log"
    path.write_text("nothing of vLLM\n")
    status, made, err = asked(capsys, str(path), "-n", "blue")
    assert (status, made["spec"]["corrections"]) == (3, [])
    assert "has no vote" in err


def test_several_logs_are_shown_one_after_the_other_with_the_worst_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad.log"
    bad.write_text("nothing of vLLM\n")
    files = [*logs(tmp_path, 1.0, MODELS[0]), str(bad)]
    assert main(["observe", *files, "--gpu", "NVIDIA-L4"]) == 3
    out = " ".join(capsys.readouterr().out.split())  # lines are wrapped
    assert out.index("it served") < out.index("no start of vLLM in it")
    assert main(["observe", *files, "--gpu", "NVIDIA-L4", "-o", "json"]) == 3
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_what_the_controller_has_read_is_evidence_of_its_namespace() -> None:
    plan = plan_of()
    item, _ = served(seen=observed(plan, kv_gib=plan.predicted.kv_cache_bytes / GIB - 1))
    other, _ = served(seen=observed(plan_of(maxModelLen=4096)))
    world = World(deployments=[item, other, served()[0]])
    ((label, found),) = list(starts_of(world))
    assert label == "default/served, pod chat-1"
    assert isinstance(found, Seen)
    assert found.namespace == "default"
    assert abs(found.residual_bytes - GIB) < 16 * MIB
