"""Writes deploy/helm/plimsoll/monitoring/dashboard.json: the Grafana dashboard, from a table of panels.

    python -m tools.dashboard [OUT]

The file is what Grafana imports and what the chart puts into a ConfigMap. Tests hold it to this table, and every series in it to the code.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
DEFAULT_OUT: Final = ROOT / "deploy/helm/plimsoll/monitoring/dashboard.json"
_SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
_WIDE: Final = 24
_HALF: Final = 12
_ONE: Final = 'namespace=~"$namespace",name=~"$name"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One panel: queries by their legend, a unit of Grafana's, and how it is drawn."""

    title: str
    queries: Mapping[str, str]
    says: str
    unit: str = "short"
    kind: str = "timeseries"
    stacked: frozenset[str] = field(default_factory=frozenset)
    width: int = _HALF


def _max(by: str, series: str, more: str = "") -> str:
    """Both replicas of a process may export a series: the leader's counts, and it is the only one that has it."""
    return f"max by ({by}) ({series}{{{', '.join(part for part in (_ONE, more) if part)}}})"


CHAPTERS: Final[Mapping[str, tuple[Panel, ...]]] = {
    "Memory of one GPU of each deployment": (
        Panel(
            title="Predicted beside the budget",
            says="Components of the fullest rank, stacked, and utilisation x CUDA total of one GPU.",
            queries={
                "{{namespace}}/{{name}} {{component}}": _max("namespace, name, component", "plimsoll_gpu_memory_predicted_bytes"),
                "{{namespace}}/{{name}} budget": _max("namespace, name", "plimsoll_gpu_memory_allocated_bytes"),
            },
            unit="bytes",
            stacked=frozenset({"{{namespace}}/{{name}} {{component}}"}),
        ),
        Panel(
            title="Observed",
            says="What the engine logged at its start. not_kv_cache is all but the cache, also where a release names only some components.",
            queries={
                "{{namespace}}/{{name}} {{component}}": _max(
                    "namespace, name, component", "plimsoll_gpu_memory_observed_bytes", 'component=~"kv_cache|not_kv_cache"'
                )
            },
            unit="bytes",
            stacked=frozenset({"{{namespace}}/{{name}} {{component}}"}),
        ),
        Panel(
            title="Error of the prediction",
            says="(predicted - observed) / observed: above 0 more was predicted than was taken.",
            queries={
                "{{namespace}}/{{name}} {{component}}": _max("namespace, name, component", "plimsoll_gpu_memory_prediction_error_ratio")
            },
            unit="percentunit",
        ),
        Panel(
            title="KV cache of a replica",
            says="Tokens predicted, observed, and needed by one full request or the worksheet.",
            queries={"{{namespace}}/{{name}} {{kind}}": _max("namespace, name, kind", "plimsoll_kv_cache_tokens")},
        ),
        Panel(
            title="Plans that would be decided differently today",
            says="Proposed: another plan fits better. Reject: it runs, and would not be admitted.",
            queries={"": _max("namespace, name, verdict", "plimsoll_plan_rejudged")},
            kind="table",
            width=_WIDE,
        ),
    ),
    "GPU pools": (
        Panel(
            title="GPUs",
            says="Of each pool: all, free, and booked for pods that are on no node yet.",
            queries={"{{pool}} {{state}}": "max by (pool, state) (plimsoll_pool_gpus)"},
        ),
        Panel(
            title="Nodes that something is doubted of",
            says="plimsoll nodes --doubted says what contradicts what.",
            queries={"{{pool}} {{problem}}": "max by (pool, problem) (plimsoll_pool_problem_nodes)"},
        ),
        Panel(
            title="Memory of one GPU",
            says="As CUDA reports it, the least of the pool's nodes.",
            queries={"{{pool}}": "max by (pool) (plimsoll_pool_gpu_memory_bytes)"},
            unit="bytes",
            kind="bargauge",
            width=_WIDE,
        ),
    ),
    "Admission": (
        Panel(
            title="Reviews by verdict",
            says="A second, over five minutes.",
            queries={"{{operation}} {{verdict}}": "sum by (operation, verdict) (rate(plimsoll_admission_reviews_total[5m]))"},
            unit="reqps",
        ),
        Panel(
            title="Why requests are refused",
            says="The ten most frequent reasons of a day.",
            queries={"{{reason}}": 'topk(10, sum by (reason) (increase(plimsoll_admission_reviews_total{verdict="Reject"}[1d])) > 0)'},
            kind="bargauge",
        ),
        Panel(
            title="How long a review takes",
            says="From the parsed request to the answer; half of them and 99 of 100 are faster.",
            queries={
                f"p{share}": f"histogram_quantile(0.{share}, sum by (le) (rate(plimsoll_admission_review_duration_seconds_bucket[10m])))"
                for share in (50, 99)
            },
            unit="s",
        ),
        Panel(
            title="Days that the webhook's certificate lasts",
            says="It is renewed when a third is left.",
            queries={"": "(max(plimsoll_webhook_certificate_not_after_timestamp_seconds) - time()) / 86400"},
            unit="d",
            kind="stat",
        ),
    ),
    "Controller": (
        Panel(
            title="Looks at InferenceDeployments",
            says="A second, by outcome.",
            queries={"{{outcome}}": "sum by (outcome) (rate(plimsoll_reconcile_duration_seconds_count[5m]))"},
            unit="ops",
        ),
        Panel(
            title="How long one takes",
            says="95 of 100 are faster.",
            queries={
                "{{outcome}}": "histogram_quantile(0.95, sum by (le, outcome) (rate(plimsoll_reconcile_duration_seconds_bucket[10m])))"
            },
            unit="s",
        ),
        Panel(title="Deployments that wait", says="For the controller.", queries={"{{pod}}": "max by (pod) (plimsoll_workqueue_depth)"}),
        Panel(
            title="Since a kind was last heard of",
            says="News or a bookmark comes about once a minute.",
            queries={"{{pod}} {{kind}}": "max by (pod, kind) (plimsoll_watch_staleness_seconds)"},
            unit="s",
        ),
        Panel(
            title="Errors of Plimsoll itself",
            says="Each has its traceback in the log.",
            queries={"{{unit}}": "sum by (unit) (increase(plimsoll_internal_errors_total[1h]))"},
        ),
        Panel(
            title="What memories of answers keep, and how often they help",
            says="Bytes, and the share of lookups that found an answer.",
            queries={
                "{{pod}} {{memory}}": "max by (pod, memory) (plimsoll_remembered_bytes)",
                "{{memory}} hits": 'sum by (memory) (rate(plimsoll_remembered_lookups_total{result="hit"}[10m]))'
                " / (sum by (memory) (rate(plimsoll_remembered_lookups_total[10m])) > 0)",
            },
        ),
    ),
}


def dashboard() -> dict[str, Any]:
    """The whole dashboard as Grafana imports it (schema version 39, Grafana 10.4 and later)."""
    panels: list[dict[str, Any]] = []
    at = 0
    for chapter, rows in CHAPTERS.items():
        place = {"x": 0, "y": at, "w": _WIDE, "h": 1}
        panels.append({"id": len(panels) + 1, "type": "row", "title": chapter, "collapsed": False, "gridPos": place, "panels": []})
        at, left = at + 1, 0
        for row in rows:
            if left + row.width > _WIDE:
                at, left = at + 8, 0
            panels.append(_panel(row, len(panels) + 1, {"x": left, "y": at, "w": row.width, "h": 8}))
            left += row.width
        at += 8
    return {
        "uid": "plimsoll",
        "title": "Plimsoll",
        "description": "What engines were predicted to take and took, what is free, what is refused, and how Plimsoll itself does.",
        "tags": ["plimsoll", "vllm"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "timezone": "browser",
        "time": {"from": "now-24h", "to": "now"},
        "refresh": "1m",
        "templating": {"list": [_data_source(), _variable("namespace", ""), _variable("name", 'namespace=~"$namespace"')]},
        "panels": panels,
    }


def _data_source() -> dict[str, Any]:
    return {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "current": {}, "hide": 0}


def _variable(label: str, within: str) -> dict[str, Any]:
    query = f"label_values(plimsoll_gpu_memory_allocated_bytes{{{within}}}, {label})"
    return {
        "name": label,
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": query, "refId": label},
        "definition": query,
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def _panel(row: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    instant = row.kind in ("table", "bargauge", "stat")
    targets = [
        {
            "refId": chr(ord("A") + at),
            "datasource": _SOURCE,
            "expr": query,
            "legendFormat": legend or "__auto",
            "instant": instant,
            "range": not instant,
            "format": "table" if row.kind == "table" else "time_series",
        }
        for at, (legend, query) in enumerate(row.queries.items())
    ]
    custom = {"stacking": {"mode": "normal", "group": "A"}, "fillOpacity": 30} if row.stacked else {}
    lines = [legend for legend in row.queries if row.stacked and legend not in row.stacked]
    return {
        "id": number,
        "type": row.kind,
        "title": row.title,
        "description": row.says,
        "datasource": _SOURCE,
        "gridPos": place,
        "targets": targets,
        "fieldConfig": {
            "defaults": {"unit": row.unit, **({"custom": custom} if custom else {})},
            "overrides": [
                {
                    "matcher": {"id": "byFrameRefID", "options": chr(ord("A") + list(row.queries).index(legend))},
                    "properties": [
                        {"id": "custom.stacking", "value": {"mode": "none"}},
                        {"id": "custom.fillOpacity", "value": 0},
                        {"id": "custom.lineWidth", "value": 2},
                    ],
                }
                for legend in lines
            ],
        },
        "options": {},
    }


def text() -> str:
    """The file."""
    return json.dumps(dashboard(), indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    """Write it."""
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_OUT
    out.write_text(text(), "utf-8")
    print(out)


if __name__ == "__main__":
    main()
