"""What Prometheus and Grafana are given asks for series and labels that are exported, and says what its page says."""

import itertools
import json
import re
from typing import Any

import pytest
import yaml
from tests.folders import ROOT
from tests.plimsoll_operator.reporting.exported import exported_samples
from tools import dashboard

FOLDER = ROOT / "deploy/helm/plimsoll/monitoring"
RULES = [rule for group in yaml.safe_load((FOLDER / "rules.yaml").read_text())["groups"] for rule in group["rules"]]
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "dashboard.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [
    *((rule.get("alert") or rule["record"], rule["expr"]) for rule in RULES),
    *((panel["title"], target["expr"]) for panel in PANELS for target in panel["targets"]),
    *((one["name"], one["definition"]) for one in DASHBOARD["templating"]["list"] if one["type"] == "query"),
]
GROUPING = re.compile(r"\b(?:by|ignoring|on) \(([^)]*)\)")
SELECTED = re.compile(r"\b(plimsoll_\w+)(?:\{([^}]*)\})?")
ADDED = {"pod"}
"""Labels that the PodMonitor brings."""


@pytest.mark.parametrize(("what", "query"), QUERIES, ids=[f"{number} {row[0]}" for number, row in enumerate(QUERIES)])
def test_what_is_asked_for_is_exported(what: str, query: str) -> None:
    known = exported_samples()
    records = {rule["record"]: rule for rule in RULES if "record" in rule}
    bare = re.sub("|".join(map(re.escape, sorted(records, key=len, reverse=True))), "", query)
    selected = SELECTED.findall(bare)
    assert selected or bare != query, f"{what} asks for nothing of ours"
    labels = set(ADDED)
    for name, matchers in selected:
        assert name in known, what
        assert set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers)) <= known[name], what
        labels |= known[name]
    for group in GROUPING.findall(bare):
        assert set(re.split(r",\s*", group)) <= labels, what


def test_every_series_is_on_the_dashboard() -> None:
    """But the number of a budget's tokens and the like, nothing is exported that nobody is shown."""
    shown = {name for _, query in QUERIES for name, _ in SELECTED.findall(query)}
    missing = {name for name in exported_samples() if name not in shown and not name.endswith(("_sum", "_count"))}
    assert missing == set()


def test_the_dashboard_is_what_its_table_says() -> None:
    assert (FOLDER / "dashboard.json").read_text() == dashboard.text(), "run python -m tools.dashboard"


def test_no_panel_covers_another_and_each_says_what_it_shows() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for spot in itertools.product(range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])):
            assert taken.setdefault(spot, panel["title"]) == panel["title"]
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    assert all(panel["description"] and panel["targets"] for panel in PANELS)
    assert {target["datasource"]["uid"] for panel in PANELS for target in panel["targets"]} == {"${datasource}"}


def test_every_alert_says_what_it_is_about_and_has_a_row_on_the_page() -> None:
    alerts = [rule for rule in RULES if "alert" in rule]
    page = (ROOT / "docs/metrics.md").read_text()
    rows = re.findall(r"^\| `(Plimsoll\w+)` \| ([^|]+) \|", page, re.MULTILINE)
    assert dict(rows) == {rule["alert"]: rule["labels"]["severity"] for rule in alerts}
    for rule in alerts:
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["description"].endswith(".")


def test_every_record_is_named_by_what_it_is_of_and_documented() -> None:
    page = (ROOT / "docs/metrics.md").read_text()
    for rule in RULES:
        if "record" in rule:
            assert re.fullmatch(r"\w+:plimsoll_\w+:\w+|plimsoll:\w+:\w+", rule["record"])
            assert f"`{rule['record']}`" in page
