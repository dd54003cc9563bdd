"""docs/metrics.md has every series as it is exported, and asks for no other."""

import re

from tests.folders import ROOT
from tests.plimsoll_operator.reporting.exported import exported, exported_samples

PAGE = (ROOT / "docs" / "metrics.md").read_text("utf-8")
ROW = re.compile(r"^\| `(plimsoll_\w+)` \| (\w+) \| ([^|]*)\|", re.MULTILINE)


def test_the_page_has_every_series_with_type_and_labels() -> None:
    rows = {name: (kind, frozenset(re.findall(r"`(\w+)`", labels))) for name, kind, labels in ROW.findall(PAGE)}
    assert rows == exported()


def test_what_the_page_asks_for_is_exported() -> None:
    known = exported_samples()
    asked = set(re.findall(r"\bplimsoll_\w+", PAGE))
    assert asked - {"plimsoll_"} <= known.keys() | exported().keys()
    for name, matchers in re.findall(r"(plimsoll_\w+)\{([^}]*)\}", PAGE):
        assert set(re.findall(r"(\w+)\s*[=!]", matchers)) <= known[name]
