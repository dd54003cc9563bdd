"""What commands show on a narrow, a usual and a wide terminal and in a pipe is as the kept files have it; `make shown` writes them anew."""

import re

import pytest
from tests.plimsoll_operator.cli.fit_world import FOLDER
from tests.plimsoll_operator.cli.screens import PIPED, SCREENS, all_screens

DRAWN = all_screens()
ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


@pytest.mark.parametrize("name", sorted(DRAWN))
def test_a_screen_is_as_it_is_kept(name: str) -> None:
    assert DRAWN[name] == (FOLDER / f"{name}.txt").read_text("utf-8")


@pytest.mark.parametrize("name", sorted({*PIPED, "status-pipe", "doctor-pipe"}))
def test_a_pipe_gets_plain_text(name: str) -> None:
    assert not ESCAPE.search(DRAWN[name])


@pytest.mark.parametrize("width", [width for width, screen in SCREENS.items() if screen.width])
def test_sentences_of_conditions_and_findings_stay_within_the_terminal(width: str) -> None:
    for command in ("status", "doctor"):
        shown = ESCAPE.sub("", DRAWN[f"{command}-{width}"]).splitlines()
        told = [line for line in shown if not line.startswith(("POD", "x-"))]  # a pod's last words are not broken
        assert max(map(len, told)) <= int(width), told
