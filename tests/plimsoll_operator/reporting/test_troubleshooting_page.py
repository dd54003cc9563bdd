"""docs/troubleshooting.md leads from what people see to every reason that the code can set."""

import re

from tests.folders import ROOT

from plimsoll_operator.cli.explain import EXPLAINED
from plimsoll_operator.reasons import CONDITION_REASONS, Reason

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text("utf-8")
NAMED = set(re.findall(r"`([A-Z][A-Za-z]+)`", PAGE))
CONDITIONS = {"ModelResolved", "Feasible", "CapacityAvailable", "Progressing", "Available", "Ready", "Stalled"}
CONDITIONS |= {"AsPredicted", "Accepted", "Applied"}
OTHER_WORDS = {"Unknown", "False", "True", "Evicted", "OOMKilled"}


def test_every_reason_has_a_place() -> None:
    reasons = {str(reason) for reason in (*Reason, *CONDITION_REASONS)} - {str(Reason.FITS)}
    assert reasons - NAMED == set()


def test_no_word_is_sent_for_that_nobody_says() -> None:
    assert NAMED - EXPLAINED.keys() - CONDITIONS - OTHER_WORDS == set()
