"""The cluster that the end-to-end tests share: booted once for the session, or the one that PLIMSOLL_KUBECONFIG names."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.controlplane import FAKE_GPU_NODES, Cluster, ControlPlane, ExistingCluster

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
