"""The cluster that the end-to-end tests share: booted once for the session, or the one that PLIMSOLL_KUBECONFIG names."""

import os
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.controlplane import FAKE_GPU_NODES, Cluster, ControlPlane, ExistingCluster
from tests.controlplane.cluster import wait_until
from tests.controlplane.node import images
from tests.controlplane.node.real_node import RealNode
from tests.e2e import engines
from tests.e2e.installation import CHART, NAMESPACE, RELEASE, Installation
from tests.e2e.witness import Witness

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def workdir() -> Path:
    """A new folder below .work for data and logs; the logs stay, for reading after a failure."""
    base = ROOT / ".work"
    base.mkdir(exist_ok=True)
    return Path(tempfile.mkdtemp(prefix="e2e-", dir=base))


@pytest.fixture(scope="session")
def cluster(workdir: Path) -> Iterator[Cluster]:
    """A cluster with fake GPU nodes where kwok can play them."""
    named = os.environ.get("PLIMSOLL_KUBECONFIG")
    if named:
        with ExistingCluster.connect(workdir, Path(named)) as existing:
            existing.add_nodes(FAKE_GPU_NODES)
            yield existing
        return
    with ControlPlane.start(workdir) as plane:
        plane.add_nodes(FAKE_GPU_NODES)
        yield plane


@pytest.fixture(scope="session")
def installation(cluster: Cluster) -> Installation:
    """Plimsoll on that cluster, both programs ready and the fake nodes' pools derived."""
    installed = Installation(cluster=cluster)
    installed.install()
    products = {node.gpu.product for node in FAKE_GPU_NODES}
    wait_until(lambda: len(cluster.get("gpupools")["items"]) >= len(products), "the GPUPools of the fake nodes")
    return installed


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what asks for the control plane that we boot ourselves, so that other clusters select it out: -m "not own_plane"."""
    for item in items:
        if "own_plane" in getattr(item, "fixturenames", ()):
            item.add_marker("own_plane")


@pytest.fixture(scope="session")
def own_plane(installation: Installation) -> ControlPlane:
    """The control plane that we boot ourselves, with both programs as processes beside it: it can be stopped, and its files read."""
    cluster = installation.cluster
    assert isinstance(cluster, ControlPlane), 'this cluster is not ours: select the test out with -m "not own_plane"'
    return cluster


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A namespace of the test's own, emptied at its end so that the next test finds the GPUs free."""
    name = f"t-{uuid.uuid4().hex[:8]}"
    cluster.kubectl("create", "namespace", name)
    yield name
    # Owners first: the garbage collector is quicker than the namespace's own emptying, which pauses for seconds.
    cluster.kubectl("delete", "inferencedeployments", "--all", "-n", name, "--wait=false", check=False)
    wait_until(lambda: not cluster.pods(name), f"the pods of {name} to go")
    cluster.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="session")
def gpu_node(workdir: Path) -> Iterator[RealNode]:
    """A real node that says it has two GPUs, with Plimsoll installed by its chart. Only where `make node` runs the tests."""
    with RealNode.boot(workdir / "node", images=images.handed(), gpus=2) as plane:
        plane.helm("install", RELEASE, CHART, "--namespace", NAMESPACE, "--create-namespace", "--set", "hub.offline=true", "--wait")
        plane.kubectl("create", "namespace", engines.TEAM)
        wait_until(lambda: plane.get("gpupools")["items"], "the GPUPool of the node")
        yield plane


@pytest.fixture
def team(gpu_node: RealNode) -> Iterator[RealNode]:
    """Each test begins and ends without wishes and pods: there are two GPUs for all. All along, status may not contradict the pods."""
    witness = Witness(gpu_node, engines.TEAM, within_s=engines.SAID_WITHIN_S)
    yield gpu_node
    contradicted = witness.end()
    gpu_node.kubectl("delete", "infd", "--all", "-n", engines.TEAM)
    wait_until(lambda: not gpu_node.pods(engines.TEAM), "the pods to go", timeout_s=90)
    assert contradicted == []
    assert witness.looks > 0
