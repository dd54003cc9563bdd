"""examples/cluster/nodes.yaml is the demo's cluster, so that an answer without a cluster is the one that the demo gives."""

import yaml
from tests.controlplane import FAKE_GPU_NODES
from tests.folders import ROOT

NODES = ROOT / "examples" / "cluster" / "nodes.yaml"


def test_the_nodes_to_plan_with_are_those_of_the_demo() -> None:
    text = NODES.read_text()
    assert text.startswith("# "), "it opens with a sentence that says what it shows"
    found = {item["metadata"]["name"]: item for item in yaml.safe_load(text)["items"]}
    assert set(found) == {node.name for node in FAKE_GPU_NODES}
    for node in FAKE_GPU_NODES:
        wanted, item = node.manifest(), found[node.name]
        assert item["metadata"]["labels"] == wanted["metadata"]["labels"]
        assert item["status"]["allocatable"] == wanted["status"]["allocatable"]
        assert item["status"]["conditions"] == [{"type": "Ready", "status": "True"}], "what is not ready has nothing free"
