"""What real vLLM answered to wishes as they were written, kept by `python -m tests.engine --answers`: Plimsoll still says the same of each.

The small form of `make engine-config`: no engine is needed. Each line has the release, the GPU, the spec, the list, and the answer.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.engine.compare import difference
from tests.engine.questions import answered
from tests.engine.wishes import Wish, whole
from tests.folders import DATA

LINES = [json.loads(line) for line in (DATA / "engine_answers.jsonl").read_text().splitlines()]
RELEASES = sorted({line["release"] for line in LINES})


def said_of(line: dict[str, Any]) -> str | None:
    """What is said otherwise of one line; None where both agree."""
    wish = Wish(number=0, product=line["product"], manifest=whole(line["spec"]))
    same = [one for one in answered(wish).asked if not one.of_plan and list(one.argv) == line["argv"]]
    if len(same) != 1:
        return "the wish is no longer written down as the list that the engine was asked about, or nothing is said of it"
    return difference(same[0], line)


@pytest.mark.parametrize("release", RELEASES)
def test_what_the_engine_answered_is_what_is_said(release: str) -> None:
    wrong = [(line["argv"], found) for line in LINES if line["release"] == release and (found := said_of(line)) is not None]
    assert wrong == []


def test_answers_are_of_several_releases_and_of_both_kinds() -> None:
    assert len(RELEASES) >= 5
    for release in RELEASES:
        of_release = [line for line in LINES if line["release"] == release]
        assert min(sum("resolved" in line for line in of_release), sum("refused" in line for line in of_release)) >= 10


def test_a_wrong_answer_would_be_seen() -> None:
    line = next(line for line in LINES if "resolved" in line)
    altered = {**line, "resolved": {**line["resolved"], "max_num_seqs": line["resolved"]["max_num_seqs"] + 1}}
    assert "max_num_seqs" in (said_of(altered) or "")
    refused = {**{key: value for key, value in line.items() if key != "resolved"}, "refused": {"where": "configuration", "words": "no"}}
    assert "refused by the configuration" in (said_of(refused) or "")
