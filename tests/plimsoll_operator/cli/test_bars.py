"""Bars of one GPU's memory below the figures of `plan` and `estimate`: on a terminal, and nowhere else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.laws import law
from tests.plimsoll_operator.decision_world import verdict

from plimsoll_estimator import GIB
from plimsoll_operator.cli import main
from plimsoll_operator.cli.bars import BESIDE_A_TABLE, SEGMENTS, bar_rows, memory_bar, painted
from plimsoll_operator.cli.plan_text import verdict_lines
from plimsoll_operator.cli.screen import Screen

TERMINAL = Screen(width=100, blocks=True)


@given(st.lists(st.integers(min_value=-(1 << 50), max_value=1 << 50), min_size=3, max_size=3), st.integers(min_value=1, max_value=1 << 50))
@law(300)
def test_a_bar_is_as_wide_as_it_was_asked_for_whatever_it_shows(parts: list[int], total: int) -> None:
    """An engine that does not fit fills the card; it never writes over the edge of the screen."""
    shown = memory_bar(parts, total, BESIDE_A_TABLE, Screen(width=80))
    assert len(shown) == BESIDE_A_TABLE
    assert set(shown[1:-1]) <= {plain for _, _, plain, _ in SEGMENTS}


def test_each_part_has_its_share_and_a_small_one_a_mark() -> None:
    assert memory_bar((14 * GIB, GIB // 100, 4 * GIB), 28 * GIB, 30, TERMINAL) == f"[{'█' * 14}{'▓'}{'▒' * 4}{'░' * 9}]"


def test_a_pipe_gets_no_bar() -> None:
    assert bar_rows((1, 1, 1), 4, Screen()) == ()
    assert bar_rows((1, 1, 1), 0, TERMINAL) == ()


def test_colours_change_no_letter() -> None:
    colourful = Screen(width=100, blocks=True, colour=True)
    plain = memory_bar((2, 1, 1), 8, 10, colourful)
    shown = painted(plain, colourful)
    assert shown.count("\x1b[") == 8
    assert "".join(part.partition("m")[2] if number else part for number, part in enumerate(shown.split("\x1b["))) == plain
    assert painted(plain, TERMINAL) == plain


def test_plan_shows_the_gpu_on_a_terminal_alone() -> None:
    found = verdict(engine={"maxModelLen": 8192})
    in_a_pipe, on_a_terminal = verdict_lines("x", found), verdict_lines("x", found, TERMINAL)
    added = [line for line in on_a_terminal if line not in in_a_pipe]
    assert [line.split()[0] for line in added] == ["one", "█"]
    assert len(in_a_pipe) == len(on_a_terminal) - 2


@pytest.mark.parametrize("colour", [True, False])
def test_estimate_shows_the_gpu_on_a_terminal(colour: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    if not colour:
        monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert main(["estimate", "--model", "meta-llama/Llama-3.1-8B-Instruct", "--gpu", "NVIDIA-L4", "--context", "8192"]) == 0
    lines = capsys.readouterr().out.splitlines()
    shown = next(line for line in lines if line.startswith("one GPU"))
    assert shown.count("█") > shown.count("▒") > 0
    assert ("\x1b[" in shown) is colour
    assert max(len(line) for line in lines) <= 100
