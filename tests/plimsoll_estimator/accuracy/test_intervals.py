"""Intervals are calibrated on logged starts with their own source left out, and users are told what starts nobody had seen did."""

from __future__ import annotations

import json
import statistics
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from tools import intervals, unseen

from plimsoll_estimator.overhead.intervals import CAUSES, calibrated_bytes, covered_percent, table
from plimsoll_estimator.units import GIB


@cache
def starts() -> tuple[intervals.Logged, ...]:
    return tuple(intervals.logged_starts())


def logged(blind: float, first: float | None = None, source: str = "a", **changes: Any) -> intervals.Logged:
    plain = intervals.Logged(
        source=source, release="0.19", gpu="G", cause="v1", scale_gib=0.5, below_gib=0.0, above_gib=0.0, blind=blind, first=first
    )
    return replace(plain, **changes)


def test_what_is_shipped_is_what_the_tool_makes_of_the_logged_starts() -> None:
    assert table() == intervals.calibrated(starts()), "run `python -m tools.intervals`"


def test_nine_of_ten_logged_starts_end_inside_with_their_own_source_left_out() -> None:
    found = intervals.coverage(starts())
    inside, of = found[intervals.ALL]
    assert of >= 200
    assert inside >= 0.9 * of
    for name, (held, count) in found.items():
        assert held >= 0.8 * count, name


def test_users_are_told_what_starts_did_that_nobody_had_looked_at() -> None:
    inside, of = intervals.coverage(starts())[intervals.FIRST]
    assert covered_percent() == 100 * inside // of
    assert of == sum(start.first is not None for start in starts())


def test_first_answers_are_those_of_the_first_scores() -> None:
    """What was predicted when a batch was first scored has the mean error that was written down then."""
    answers = unseen.first_answers()
    for score in unseen.first_scores():
        rows = {row["id"]: row for row in map(json.loads, (unseen.FOLDER / score["file"]).read_text().splitlines())}
        pools = {name: pool for name, pool in answers[score["file"]].items() if "pool" in rows[name]["observed"]}
        errors = [abs(pool - rows[name]["observed"]["pool"]) for name, pool in pools.items()]
        assert statistics.fmean(errors) == pytest.approx(score["first"]["pool_error_gib"], abs=0.011), score["file"]
        assert len(errors) == score["first"]["pools"], score["file"]


def test_an_error_counts_beyond_what_is_doubted_openly_on_its_own_side() -> None:
    start = logged(0.0, below_gib=1.0, above_gib=0.25)
    assert start.score(0.9) == 0.0
    assert start.score(1.505) == pytest.approx(1.0)
    assert start.score(-0.755) == pytest.approx(1.0)
    assert start.half_gib(2.0) == (2.0, 1.25)


def test_the_quantile_is_the_largest_where_there_are_too_few_to_tell() -> None:
    assert intervals.quantile([1.0, 3.0, 2.0]) == 3.0
    assert intervals.quantile([float(n) for n in range(1, 101)]) == 94.0


def test_a_source_has_no_say_in_what_is_expected_of_it() -> None:
    others = [logged(0.5, source=f"s{n}") for n in range(40)]
    (wild,) = (pair for pair in intervals.left_out([*others, logged(9.0, source="wild")]) if pair[0].source == "wild")
    assert wild[1] == intervals.factors_of(others)["v1"]
    assert intervals.held([wild], lambda start: start.blind) == (0, 1)


def test_every_cause_has_a_factor_and_none_is_taken_for_the_least_doubt() -> None:
    widths = [calibrated_bytes(cause, 2 * GIB) for cause in CAUSES]
    assert min(widths) == calibrated_bytes(None, 2 * GIB) > 0
    assert calibrated_bytes("experts", 4 * GIB) > calibrated_bytes("experts", 2 * GIB)
