"""The accuracy page: its thresholds hold, its figures are what they say, and refitting leaves the constants as they were."""

from __future__ import annotations

import copy
import json

from tests.folders import DATA, ROOT
from tools import accuracy as writer
from tools import measured_starts as starts

from plimsoll_estimator.overhead.constants import rows_changed, table

THRESHOLDS = json.loads((DATA / "accuracy_thresholds.json").read_text())


def test_accuracy_does_not_fall_below_the_committed_thresholds() -> None:
    now = starts.headline(starts.measure())
    assert set(THRESHOLDS["at_most"]) | set(THRESHOLDS["at_least"]) == set(now), "every headline figure has a threshold"
    worse = {key: now[key] for key, limit in THRESHOLDS["at_most"].items() if now[key] > limit}
    worse |= {key: now[key] for key, limit in THRESHOLDS["at_least"].items() if now[key] < limit}
    assert worse == {}


def measured(group: int, logged: float, predicted: float, **row: object) -> starts.Measured:
    case = {"engine_version": "0.19.0", "gpu": {"product": "G"}, "model": "a/b", "engine_args": {}}
    full = {"id": group, "case": case, "observed": {"pool": logged}, "same_measurement": group, "outcome": "started", "source": "s", **row}
    reply = {"verdict": "starts", "ranks": [{"available_kv_cache_bytes": predicted * (1 << 30)}]}
    return starts.Measured(full, reply)


def test_a_sweep_counts_once_with_its_mean() -> None:
    rows = [measured(1, 10.0, 11.0), measured(1, 10.0, 12.0), measured(2, 10.0, 9.0)]
    assert [error for _, error in starts.pool_errors(rows)] == [1.5, -1.0]
    assert starts.mean_abs(starts.pool_errors(rows)) == 1.25


def test_the_page_reports_every_table_and_the_worst_row_first() -> None:
    results = starts.measure()
    text = writer.page(results, {name: starts.measure([name]) for name, _ in writer.OTHER_TABLES}, [("some source", 3, 0.1, 0.2)])
    for title in ("Headline", "By component", "KV pool by release", "KV pool by GPU", "Worst", "Leave one source out", "Other tables"):
        assert f"## {title}" in text
    worst = max((error for _, error in starts.pool_errors(results)), key=abs)
    first = text.split("## Worst measurements")[1].splitlines()[4]
    assert f"{worst:+.2f}" in first
    assert "0.10 GiB shipped, 0.20 GiB blind" in text
    committed = (ROOT / "docs" / "accuracy.md").read_text(encoding="utf-8")
    refitted = "## Leave one source out"
    assert committed.partition(refitted)[0] == text.partition(refitted)[0], "the page is not today's: run `make accuracy`"


def test_a_constant_that_no_training_start_feels_is_dropped_and_the_others_are_refitted() -> None:
    saved = copy.deepcopy(dict(table()))
    try:
        rows = [pair for pair in starts.representatives() if pair[0]["case"]["engine_args"].get("tensor_parallel_size", 1) == 1][:6]
        before = starts.total_error(starts.answers_of(rows))
        starts.refit(rows, starts.felt(rows))
        left = [entry for rows in table().values() for entry in rows]
        assert not any(entry.get("when", {}).get("min_tensor_parallel", 1) > 1 for entry in left)
        assert starts.total_error(starts.answers_of(rows)) <= before
    finally:
        for name, entries in table().items():
            entries[:] = saved[name]
        rows_changed()
