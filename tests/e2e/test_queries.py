"""Every query of the dashboard, and of the examples for autoscalers, evaluated by Prometheus' own engine (promtool) over what is exported.

promtool is fetched, or built once; a Prometheus that scrapes and a Grafana that draws are not to be had from the package indexes.
"""

import itertools
import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from tests.controlplane.assets import PROMETHEUS, obtain
from tests.e2e.installation import CHART, ROOT
from tests.plimsoll_operator.reporting.exported import exported_samples

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]
DASHBOARD = json.loads((CHART / "monitoring" / "dashboard.json").read_text())
QUERIES = [
    (panel["title"], number, target["expr"]) for panel in DASHBOARD["panels"] for number, target in enumerate(panel.get("targets", ()))
]
KEDA: str = yaml.safe_load((ROOT / "examples/scaling/keda.yaml").read_text())["spec"]["triggers"][0]["metadata"]["query"]
VALUES: Final[Mapping[str, tuple[str, ...]]] = {
    "component": ("weights", "kv_cache", "not_kv_cache"),
    "kind": ("predicted", "observed", "needed"),
    "state": ("total", "free", "booked"),
    "verdict": ("Reject", "Admit"),
    "result": ("hit", "miss"),
    "le": ("0.1", "1", "+Inf"),
}
"""Of the labels that queries select by, values that our processes give; any other label has one."""


def series() -> Iterator[dict[str, Any]]:
    """Every exported series with every such value, from one pod, growing by one a minute."""
    for name, labels in sorted(exported_samples().items()):
        names = sorted({*labels, "pod"})
        for values in itertools.product(*(VALUES.get(label, ("x",)) for label in names)):
            said = ",".join(f'{label}="{value}"' for label, value in zip(names, values, strict=True))
            yield {"series": f"{name}{{{said}}}", "values": "1+1x90"}


def evaluated(folder: Path, rows: list[dict[str, Any]], asked: list[dict[str, Any]]) -> subprocess.CompletedProcess[str]:
    file = folder / "queries.yaml"
    file.write_text(yaml.safe_dump({"tests": [{"interval": "1m", "input_series": rows, "promql_expr_test": asked}]}))
    promtool = obtain((PROMETHEUS,))["promtool"]
    return subprocess.run([promtool, "test", "rules", file], capture_output=True, text=True, timeout=120, check=False)


def answers(query: str) -> dict[str, Any]:
    """A test that holds where the query has an answer, whatever it is."""
    for variable in ("$namespace", "$name"):
        query = query.replace(variable, ".*")
    return {"expr": f"count({query}) > bool 0", "eval_time": "90m", "exp_samples": [{"labels": "{}", "value": 1}]}


def test_every_query_of_the_dashboard_has_an_answer(tmp_path: Path) -> None:
    assert len(QUERIES) > 15
    done = evaluated(tmp_path, list(series()), [answers(query) for _, _, query in QUERIES])
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_query_of_what_nobody_exports_would_be_found(tmp_path: Path) -> None:
    done = evaluated(tmp_path, list(series()), [answers("sum by (pool) (plimsoll_pool_gpu)")])
    assert done.returncode != 0


REPLICAS = [  # sentence, series and values at the end, replicas wanted at 0.8 a replica
    ("16 requests of 4,000 tokens fill two of 32,000", {"running": 12, "waiting": 4, "observed": 32_000, "predicted": 40_000}, 2.0),
    ("before an engine has started, as planned", {"running": 8, "waiting": 0, "predicted": 40_000}, 0.8),
]


@pytest.mark.parametrize(("why", "said", "wanted"), REPLICAS, ids=[row[0] for row in REPLICAS])
def test_an_autoscaler_is_told_how_many_replicas_hold_the_requests(why: str, said: dict[str, int], wanted: float, tmp_path: Path) -> None:
    ours, engines = 'namespace="team-a",name="llama-8b-l4",kind', 'namespace="team-a",service="llama-8b-l4"'
    rows = [{"series": f'plimsoll_kv_cache_tokens{{{ours}="{kind}"}}', "values": f"{said[kind]}x2"} for kind in said if kind[-2:] == "ed"]
    rows += [{"series": f'vllm:num_requests_{kind}{{{engines},pod="a"}}', "values": f"{said[kind]}x2"} for kind in ("running", "waiting")]
    done = evaluated(tmp_path, rows, [{"expr": KEDA, "eval_time": "2m", "exp_samples": [{"labels": "{}", "value": wanted}]}])
    assert done.returncode == 0, done.stdout + done.stderr
