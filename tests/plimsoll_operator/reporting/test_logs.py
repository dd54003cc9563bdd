"""The controller's log as JSON: a line for each thing decided, which says what it is about and which nobody's input can forge."""

import io
import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from tests.plimsoll_operator.fake_kube import FakeKube

from plimsoll_operator.controller.__main__ import _arguments
from plimsoll_operator.controller.reporting.events import EventRecorder
from plimsoll_operator.logs import JsonLines, configure

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """What a handler of ours writes of the whole process, beside those that there are."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield stream
    root.setLevel(level)
    root.removeHandler(handler)


def test_a_decision_is_one_object_that_says_of_what_it_speaks(written: io.StringIO) -> None:
    recorder = EventRecorder(FakeKube(), identity="leader", now=lambda: NOW)
    for _ in range(2):
        recorder.post(("team", "chat"), "u", kind="Normal", reason="PlanApplied", action="Plan", note="1 x NVIDIA-L4\nper replica")
    (line,) = written.getvalue().splitlines()
    told = json.loads(line)
    assert told.pop("time").endswith("Z")
    assert told == {
        "level": "INFO",
        "logger": "plimsoll_operator.controller.reporting.events",
        "message": "team/chat: PlanApplied: 1 x NVIDIA-L4 per replica",
        "namespace": "team",
        "name": "chat",
        "reason": "PlanApplied",
    }


def test_whatever_is_said_stays_one_line_and_a_traceback_goes_with_it(written: io.StringIO) -> None:
    try:
        raise ValueError('a "quote"\n{"level": "forged"}')
    except ValueError:
        logging.getLogger("x").exception("one\ntwo \u2028 three")
    (line,) = written.getvalue().splitlines()
    told = json.loads(line)
    assert told["message"] == "one\ntwo \u2028 three"
    assert "forged" in told["traceback"]


def test_the_form_is_asked_for_by_flag_or_environment(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--namespace", "plimsoll-system"]
    assert _arguments(asked).log_format == "text"
    monkeypatch.setenv("PLIMSOLL_LOG_FORMAT", "json")
    assert _arguments(asked).log_format == "json"
    assert _arguments([*asked, "--log-format", "text"]).log_format == "text"
    monkeypatch.setenv("PLIMSOLL_LOG_FORMAT", "xml")
    with pytest.raises(SystemExit):
        _arguments(asked)
    assert "'xml' is none of text, json" in capsys.readouterr().err


def test_a_process_writes_in_the_form_it_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging, "root", logging.RootLogger(logging.WARNING))
    stream = io.StringIO()
    configure("INFO", "json", stream)
    logging.root.info("begun")
    assert json.loads(stream.getvalue())["message"] == "begun"
