"""What becomes of the public manifests that are kept, the API server takes in strict mode: no unknown field, none that it refuses."""

import json
from pathlib import Path

import pytest
from tests.controlplane import Cluster
from tests.controlplane.cluster import wait_until

from plimsoll_operator.cli.manifests import manifests

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "tests/data/imported"
PATH = "/apis/inference.plimsoll.dev/v1alpha1/namespaces/default/inferencedeployments"
FILES = sorted(FOLDER.glob("*.imported.yaml"))


@pytest.fixture(scope="module")
def api(cluster: Cluster) -> Cluster:
    """The cluster with our kinds, whether or not a chart has brought them already."""
    cluster.kubectl("apply", "--server-side", "-f", str(ROOT / "crds"))
    wait_until(lambda: cluster.request("GET", PATH)[0] == 200, "inferencedeployments to be served")
    return cluster


@pytest.mark.parametrize("path", FILES, ids=[path.name for path in FILES])
def test_what_was_imported_is_taken(api: Cluster, path: Path) -> None:
    for obj in manifests(path):
        status, answer = api.request("POST", f"{PATH}?dryRun=All&fieldValidation=Strict", json.loads(json.dumps(obj)))
        said = str(answer.get("message", ""))
        assert status == 201 or said.startswith("admission webhook"), said
