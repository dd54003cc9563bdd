"""examples/scaling asks for series that are exported, under their labels, and scales what can be scaled."""

import re
from typing import Any

import pytest
import yaml
from tests.folders import ROOT
from tests.plimsoll_operator.reporting.exported import exported_samples

from plimsoll_operator.life import DRAIN
from plimsoll_operator.names import API_VERSION

FOLDER = ROOT / "examples" / "scaling"
OBJECTS: dict[str, Any] = {path.stem: yaml.safe_load(path.read_text()) for path in sorted(FOLDER.glob("*.yaml"))}
QUERY: str = OBJECTS["keda"]["spec"]["triggers"][0]["metadata"]["query"]
SELECTED = re.compile(r"\b((?:plimsoll_|vllm:)\w+)\{([^}]*)\}")
KEDA = {"scaleTargetRef", "minReplicaCount", "maxReplicaCount", "cooldownPeriod", "triggers"}
"""Fields of KEDA's ScaledObject, whose schema the control plane of the tests does not have (keda.sh, ScaledObject specification)."""


@pytest.mark.parametrize("name", OBJECTS)
def test_what_is_scaled_is_the_deployment_and_never_its_child(name: str) -> None:
    target = OBJECTS[name]["spec"]["scaleTargetRef"]
    example = yaml.safe_load((ROOT / "examples" / "02-resized-to-one-l4.yaml").read_text())
    assert (target["apiVersion"], target["kind"], target["name"]) == (API_VERSION, "InferenceDeployment", example["metadata"]["name"])


def test_the_query_asks_for_series_and_labels_that_are_exported() -> None:
    known = exported_samples()
    asked = SELECTED.findall(QUERY)
    assert {name for name, _ in asked} == {"plimsoll_kv_cache_tokens", "vllm:num_requests_running", "vllm:num_requests_waiting"}
    for name, matchers in asked:
        labels = set(re.findall(r"(\w+)=", matchers))
        assert labels <= (known[name] if name.startswith("plimsoll_") else {"namespace", "service"})
        assert name.startswith("plimsoll_") or name in DRAIN, "what the engine's own end asks of it is there"


def test_the_page_points_at_both_and_the_fields_are_keda_s() -> None:
    page = (ROOT / "docs" / "day-2.md").read_text()
    assert all(f"../examples/scaling/{name}.yaml" in page for name in OBJECTS)
    assert set(OBJECTS["keda"]["spec"]) <= KEDA
    assert set(OBJECTS["keda"]["spec"]["triggers"][0]) == {"type", "name", "metadata"}
