"""docs/performance.md claims what the bench at size holds, of runs that were made, and says why where it was not held."""

from __future__ import annotations

import pytest
from tests.bench.size.bars import BARS, Found, Kind, Run, number
from tests.bench.size.page import CAUSES, DEFAULT_OUT, beside_others, figure, kept, missed, page


def test_the_page_is_what_the_kept_runs_say() -> None:
    assert DEFAULT_OUT.read_text("utf-8") == page(), "run python -m tests.bench.size.page, or make shown"


def test_every_bar_of_the_bench_is_a_claim_of_the_page_and_no_other_is() -> None:
    text = DEFAULT_OUT.read_text("utf-8").split("## What was seen")[0]
    rows = [row.split(" | ")[:2] for row in text.splitlines() if row.startswith("| ") and not row.startswith(("| what", "| deployments"))]
    claims = {(what.removeprefix("| "), held) for what, held in rows if held.startswith("at ")}
    assert claims == {(bar.what, bar.text()) for bar in BARS.values()}


def test_every_bar_was_measured_by_some_kept_run() -> None:
    assert {name for name in BARS if any(figure(run, name) for run in kept())} == set(BARS)


def test_what_was_missed_has_a_cause_on_the_page_and_what_was_held_has_none() -> None:
    assert set(missed(kept())) == set(CAUSES)


@pytest.mark.parametrize(
    ("value", "held"), [(1.5, True), (1.51, False)], ids=["as much as the bar is within it", "more is not, however little"]
)
def test_a_bar_is_held_to_the_figure(value: float, held: bool) -> None:
    run = Run(day="2026-01-01", deployments=1, nodes=1, machine="", found=(Found(bar="settle", value=value),))
    assert (run.missed() == []) is held


def test_a_bar_has_one_side_and_ratios_say_of_what() -> None:
    for name, bar in BARS.items():
        assert (bar.at_most is None) != (bar.at_least is None), name
        assert bar.kind is not Kind.RATIO or "beside" in bar.what.lower(), name


@pytest.mark.parametrize(("value", "said"), [(0.0, "0"), (0.19749, "0.197"), (2.0, "2"), (30106.3, "30106"), (99.96, "100")])
def test_figures_are_told_to_three_places(value: float, said: str) -> None:
    assert number(value) == said


def test_a_run_of_the_same_size_takes_the_earlier_ones_place() -> None:
    sizes = [(run.deployments, run.nodes) for run in kept()]
    again = Run(day="2026-01-02", deployments=sizes[0][0], nodes=sizes[0][1], machine="another", found=())
    found = beside_others(again, kept())
    assert [(run.deployments, run.nodes) for run in found] == sizes == sorted(set(sizes))
    assert again in found
