"""One decision behind every door: command line (files and cluster), dry run and controller give the same plan, byte for byte."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tests.controlplane import ControlPlane
from tests.controlplane.cluster import wait_until
from tests.e2e.demo import EXAMPLES, EXPECTED
from tests.e2e.installation import GROUP, Installation

pytestmark = pytest.mark.e2e
PLAN = f"{GROUP}/plan"
RUNNING = [name for name, expected in EXPECTED.items() if expected.outcome == "runs"]


def all_free(installation: Installation) -> bool:
    """Whether no pool has a GPU in use: what other tests left is gone and the controller has seen it go."""
    pools = installation.cluster.get("gpupools")["items"]
    return all(pool["status"]["freeGpus"] == pool["status"]["totalGpus"] and not pool["status"].get("bookedGpus") for pool in pools)


def planned(installation: Installation, *arguments: str | Path) -> str:
    """Return the plan that `plimsoll plan -o json` prints, in its canonical form."""
    command = [Path(sys.executable).parent / "plimsoll", "plan", "-o", "json", *arguments]
    environment = installation.cluster.environment(installation.cluster.kubeconfig)
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return json.dumps(json.loads(done.stdout)["plan"], sort_keys=True, separators=(",", ":"))


def noted_on_dry_run(cluster: ControlPlane, namespace: str) -> dict[str, str]:
    """Return what the webhook noted about the namespace's dry run in the API server's audit log."""
    prefix = f"validate.{GROUP}/"
    for event in cluster.audit_events():
        if event.get("objectRef", {}).get("namespace") == namespace and "dryRun=All" in event["requestURI"]:
            return {key.removeprefix(prefix): value for key, value in event.get("annotations", {}).items() if key.startswith(prefix)}
    return {}


@pytest.mark.parametrize("example", RUNNING)
def test_the_same_plan_from_every_door(
    installation: Installation, own_plane: ControlPlane, namespace: str, tmp_path: Path, example: str
) -> None:
    cluster = own_plane
    wait_until(lambda: all_free(installation), "all GPUs to be free")
    manifest = yaml.safe_load((EXAMPLES / example).read_text())
    name, manifest["metadata"]["namespace"] = manifest["metadata"]["name"], namespace
    wish, nodes = tmp_path / "wish.yaml", tmp_path / "nodes.yaml"
    wish.write_text(yaml.safe_dump(manifest))
    nodes.write_text(cluster.kubectl("get", "nodes,pods", "-A", "-o", "yaml").stdout)

    from_files = planned(installation, "-f", wish, "--nodes", nodes)
    from_cluster = planned(installation, "-f", wish, "--cluster")
    cluster.kubectl("apply", "--dry-run=server", "-f", str(wish))
    dry_run = wait_until(lambda: noted_on_dry_run(cluster, namespace), "the dry run in the audit log")
    assert cluster.get("-n", namespace, "infd")["items"] == []
    cluster.kubectl("apply", "-f", str(wish))

    def applied() -> str | None:
        children = cluster.get("-n", namespace, "deployments")["items"]
        return next((child["metadata"]["annotations"][PLAN] for child in children if child["metadata"]["name"] == name), None)

    from_controller = wait_until(applied, "the controller's plan on the Deployment")
    assert json.loads(from_files)["tensor_parallel_size"] == EXPECTED[example].tensor_parallel_size
    assert from_files == from_cluster == from_controller
    assert dry_run["verdict"] in ("Admit", "Resize")
    assert dry_run["plan"] == from_controller
