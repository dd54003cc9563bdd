"""Rules and dashboard as Prometheus itself reads them, by promtool: expressions, and which alerts fire for which series.

promtool is fetched, or built once from pinned Go modules (three minutes on two cores); the chart's rendering is helm's.
"""

import json
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.controlplane import Cluster
from tests.controlplane.assets import PROMETHEUS, obtain
from tests.e2e.installation import CHART, NAMESPACE, RELEASE

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]
RULES = CHART / "monitoring" / "rules.yaml"
DASHBOARD = json.loads((CHART / "monitoring" / "dashboard.json").read_text())
_ONE = '{namespace="team",name="chat"'


@pytest.fixture(scope="module")
def promtool() -> Path:
    return obtain((PROMETHEUS,))["promtool"]


def run(promtool: Path, *arguments: str | Path) -> str:
    done = subprocess.run([promtool, *arguments], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@dataclass(frozen=True, kw_only=True)
class Case:
    """Series as promtool writes them, minute by minute, and whether the alert fires at this time, and of whom."""

    alert: str
    series: Mapping[str, str]
    at: str
    fires: Iterable[Mapping[str, str]] = field(default_factory=tuple)


def _error(values: str, component: str = "not_kv_cache") -> dict[str, str]:
    return {f'plimsoll_gpu_memory_prediction_error_ratio{_ONE},component="{component}"}}': values}


def _tokens(**kinds: str) -> dict[str, str]:
    return {f'plimsoll_kv_cache_tokens{_ONE},kind="{kind}"}}': values for kind, values in kinds.items()}


CHAT = {"namespace": "team", "name": "chat"}
CASES = {
    "a bug of ours": Case(
        alert="PlimsollInternalError",
        series={'plimsoll_internal_errors_total{unit="key",pod="a"}': "0 0 1 1 1"},
        at="4m",
        fires=[{"unit": "key"}],
    ),
    "no bug for an hour": Case(
        alert="PlimsollInternalError", series={'plimsoll_internal_errors_total{unit="key",pod="a"}': "3x60"}, at="1h"
    ),
    "a certificate that ends in ten days": Case(
        alert="PlimsollCertificateEnds",
        series={"plimsoll_webhook_certificate_not_after_timestamp_seconds": "864000x5"},
        at="1m",
        fires=[{}],
    ),
    "one that ends in thirty": Case(
        alert="PlimsollCertificateEnds", series={"plimsoll_webhook_certificate_not_after_timestamp_seconds": "2592000x5"}, at="1m"
    ),
    "nothing heard for six minutes": Case(
        alert="PlimsollStale",
        series={
            'plimsoll_watch_staleness_seconds{pod="a",kind="Node"}': "360",
            'plimsoll_watch_staleness_seconds{pod="b",kind="Node"}': "9",
        },
        at="0m",
        fires=[{"pod": "a", "kind": "Node"}],
    ),
    "reviews that take four seconds": Case(
        alert="PlimsollSlowReviews",
        series={
            f'plimsoll_admission_review_duration_seconds_bucket{{le="{bound}"}}': f"0+{step}x30"
            for bound, step in (("2.5", 0), ("5.0", 10), ("+Inf", 10))
        },
        at="20m",
        fires=[{}],
    ),
    "reviews that take milliseconds": Case(
        alert="PlimsollSlowReviews",
        series={f'plimsoll_admission_review_duration_seconds_bucket{{le="{bound}"}}': "0+10x30" for bound in ("0.005", "2.5", "+Inf")},
        at="20m",
    ),
    "no review at all": Case(
        alert="PlimsollSlowReviews",
        series={f'plimsoll_admission_review_duration_seconds_bucket{{le="{bound}"}}': "0x30" for bound in ("0.005", "+Inf")},
        at="20m",
    ),
    "a queue that stays long": Case(
        alert="PlimsollQueueGrows", series={'plimsoll_workqueue_depth{pod="a"}': "80x20"}, at="15m", fires=[{"pod": "a"}]
    ),
    "a queue that was empty in between": Case(
        alert="PlimsollQueueGrows", series={'plimsoll_workqueue_depth{pod="a"}': "80x10 0 80x10"}, at="15m"
    ),
    "a plan that would be refused now": Case(
        alert="PlimsollPlanNoLongerFits",
        series={f'plimsoll_plan_rejudged{_ONE},verdict="Reject"}}': "1x70"},
        at="65m",
        fires=[CHAT],
    ),
    "a plan that would be better": Case(
        alert="PlimsollPlanNoLongerFits", series={f'plimsoll_plan_rejudged{_ONE},verdict="Proposed"}}': "1x70"}, at="65m"
    ),
    "nodes that nothing is planned on": Case(
        alert="PlimsollNodesLeftOut",
        series={'plimsoll_pool_problem_nodes{pool="l4",problem="Unlabelled"}': "2x70"},
        at="65m",
        fires=[{"pool": "l4", "problem": "Unlabelled"}],
    ),
    "a cordoned node": Case(
        alert="PlimsollNodesLeftOut", series={'plimsoll_pool_problem_nodes{pool="l4",problem="Cordoned"}': "2x70"}, at="65m"
    ),
    "an engine that takes a quarter more": Case(alert="PlimsollNeedMoreThanPredicted", series=_error("-0.2x20"), at="15m", fires=[CHAT]),
    "one that takes less": Case(alert="PlimsollNeedMoreThanPredicted", series=_error("0.4x20"), at="15m"),
    "a single component that is off while the sum holds": Case(
        alert="PlimsollNeedMoreThanPredicted", series=_error("-0.5x20", "activation") | _error("-0.01x20"), at="15m"
    ),
    "a cache below what is asked for": Case(
        alert="PlimsollCacheBelowNeed", series=_tokens(observed="7000x20", needed="8192x20"), at="15m", fires=[CHAT]
    ),
    "a cache that holds it": Case(alert="PlimsollCacheBelowNeed", series=_tokens(observed="9000x20", needed="8192x20"), at="15m"),
    "a cache that nobody has read": Case(alert="PlimsollCacheBelowNeed", series=_tokens(needed="8192x20"), at="15m"),
}


def _rule(alert: str) -> dict[str, Any]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    found: dict[str, Any] = next(rule for group in groups for rule in group["rules"] if rule.get("alert") == alert)
    return found


def test_the_rules_are_rules(promtool: Path) -> None:
    assert "SUCCESS" in run(promtool, "check", "rules", "--lint=all", "--lint-fatal", RULES)


def test_alerts_fire_when_they_should_and_at_no_other_time(promtool: Path, tmp_path: Path) -> None:
    """Labels only: the words of a summary carry the figure, and are checked by promtool's own templates when the rules are."""
    tests = [
        {
            "name": name,
            "interval": "1m",
            "input_series": [{"series": series, "values": values} for series, values in case.series.items()],
            "promql_expr_test": [
                {
                    "expr": f'sum without (alertstate) (ALERTS{{alertname="{case.alert}",alertstate="firing"}})',
                    "eval_time": case.at,
                    "exp_samples": [
                        {"labels": _labels({"alertname": case.alert, **_rule(case.alert)["labels"], **labels}), "value": 1}
                        for labels in case.fires
                    ],
                }
            ],
        }
        for name, case in CASES.items()
    ]
    file = tmp_path / "cases.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests}))
    run(promtool, "test", "rules", file)
    assert {case.alert for case in CASES.values() if case.fires} == {
        rule["alert"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"] if "alert" in rule
    }


def _labels(labels: Mapping[str, str]) -> str:
    return "{" + ", ".join(f'{name}="{value}"' for name, value in labels.items()) + "}"


def test_every_query_of_the_dashboard_is_one(promtool: Path) -> None:
    """Grafana itself cannot be had from the package indexes: its file is held to its table, and each query to Prometheus' own parser."""
    queries = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ())]
    assert len(queries) > 15
    for query in queries:
        run(promtool, "--experimental", "promql", "format", query)


def test_the_chart_brings_none_of_it_unless_it_is_asked_to_and_then_all_as_it_is(cluster: Cluster) -> None:
    def rendered(*settings: str) -> dict[str, dict[str, Any]]:
        text = cluster.helm("template", RELEASE, CHART, "--namespace", NAMESPACE, "--set", ",".join(settings))
        return {one["kind"]: one for one in yaml.safe_load_all(text) if one and one["kind"] in KINDS}

    assert rendered("monitoring.rules.enabled=false") == {}
    found = rendered(*(f"monitoring.{part}.enabled=true" for part in KINDS.values()), "monitoring.rules.labels.release=prometheus")
    assert set(found) == set(KINDS)
    assert found["PrometheusRule"]["spec"] == yaml.safe_load(RULES.read_text())
    assert found["PrometheusRule"]["metadata"]["labels"]["release"] == "prometheus"
    assert json.loads(found["ConfigMap"]["data"]["plimsoll.json"]) == DASHBOARD
    assert found["ConfigMap"]["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert found["PodMonitor"]["spec"]["podMetricsEndpoints"] == [{"port": "metrics"}]


KINDS = {"PodMonitor": "podMonitor", "PrometheusRule": "rules", "ConfigMap": "dashboard"}
