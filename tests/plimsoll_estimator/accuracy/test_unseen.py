"""Batches of starts scored before they were used: their form, their first scores, and what today's estimator may not lose of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.folders import DATA, ROOT
from tools import unseen
from tools.measured_starts import GIB, Measured

BARS = json.loads((DATA / "accuracy_thresholds.json").read_text())["unseen"]


def row(**changed: Any) -> dict[str, Any]:
    case = {"model": "Qwen/Qwen3-8B", "engine_version": "0.19.0", "gpu": {"product": "NVIDIA-L4"}, "engine_args": {"max_model_len": 4096}}
    plain = {"id": "a", "url": "https://example.org", "case": case, "observed": {"pool": 4.0}, "outcome": "started", "assumed": {}}
    return {**plain, "judged": ["pool", "verdict"], **changed}


def judged(said: str, outcome: str, pool: float = 4.0) -> Any:
    reply = {
        "verdict": said,
        "ranks": [{"available_kv_cache_bytes": pool * GIB}],
        "interval": {"available_kv_cache_bytes": [3.9 * GIB, 4.5 * GIB]},
    }
    return Measured(row(outcome=outcome), reply)


@pytest.mark.parametrize(
    ("said", "outcome", "verdict"),
    [
        ("starts", "started", "right"),
        ("refused", "kv_too_small", "right"),
        ("invalid", "refused_heads", "right"),
        ("starts", "oom", "false accept"),
        ("refused", "started", "false refusal"),
        ("invalid", "started", "false refusal"),
        ("unsupported", "oom", "silent"),
    ],
)
def test_a_start_is_judged_by_whether_the_engine_came_up(said: str, outcome: str, verdict: str) -> None:
    assert unseen.verdict(judged(said, outcome)) == verdict


def test_figures_count_what_is_judged_alone() -> None:
    results = [
        judged("starts", "started", pool=4.25),
        judged("starts", "oom", pool=3.5),
        Measured(row(judged=[]), {"verdict": "starts", "ranks": []}),
    ]
    found = unseen.figures(results)
    assert (found["starts"], found["verdicts"], found["right"], found["false_accepts"]) == (3, 2, 1, 1)
    assert (found["pools"], found["pool_error_gib"], found["inside"]) == (2, 0.38, 2)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"url": ""}, "is not a row of a batch"),
        ({"remarks": "a key that there is not"}, "is not a row of a batch"),
        ({"judged": ["pool"], "observed": {}}, "has no pool to judge"),
    ],
)
def test_a_row_of_another_form_is_refused(tmp_path: Path, changed: dict[str, Any], words: str) -> None:
    path = tmp_path / "batch.jsonl"
    path.write_text(json.dumps(row(**changed)) + "\n")
    with pytest.raises(ValueError, match=words):
        unseen.batch(path)


def test_a_batch_has_one_first_score(tmp_path: Path) -> None:
    path, kept = tmp_path / "batch.jsonl", tmp_path / "first.json"
    path.write_text(json.dumps(row()) + "\n")
    kept.write_text('{"batches": []}')
    found = unseen.figures(unseen.batch(path))
    unseen.write_first(path, found, "a batch", "2026-12-01", kept)
    assert [(score["file"], score["scored"], score["first"]) for score in unseen.first_scores(kept)] == [
        ("batch.jsonl", "2026-12-01", found)
    ]
    with pytest.raises(ValueError, match="has its first score already"):
        unseen.write_first(path, found, "again", "2026-12-02", kept)


def test_every_batch_is_on_the_page_with_its_first_score() -> None:
    files = sorted(path.name for path in unseen.FOLDER.glob("*.jsonl"))
    assert sorted(score["file"] for score in unseen.first_scores()) == files
    for score in unseen.first_scores():
        assert score["first"]["starts"] == len((unseen.FOLDER / score["file"]).read_text().splitlines()), "no row is added after the score"
    text = (ROOT / "docs" / "accuracy.md").read_text()
    assert all(" | ".join((score["name"], score["scored"])) in text for score in unseen.first_scores())


def test_what_is_right_today_stays_right() -> None:
    for file, bars in BARS.items():
        found = unseen.figures(unseen.batch(unseen.FOLDER / file))
        assert found["false_accepts"] <= bars["false_accepts"], file
        assert found["false_refusals"] <= bars["false_refusals"], file
        assert found["right"] >= bars["right"], file
        assert found["pool_error_gib"] <= bars["pool_error_gib"], file
        assert found["inside"] >= 0.85 * found["pools"], file
    assert set(BARS) == {score["file"] for score in unseen.first_scores()}


def test_starts_on_amd_gpus_are_not_answered() -> None:
    results = unseen.batch(unseen.ROCM)
    assert {result.reply["verdict"] for result in results} == {"unsupported"}
    assert all(result.row["judged"] == [] for result in results), "evidence for rules to come, no target"
