"""With `controller.hostNetwork` of the chart the controller may give pods their node's network, and nothing else of the node."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.controlplane import ControlPlane
from tests.e2e.installation import RELEASE
from tests.e2e.rights_world import Caller, Change, World, begin, both, caller, changed, in_container, in_pod

pytestmark = pytest.mark.e2e
ON_HOST = in_pod(hostNetwork=True, dnsPolicy="ClusterFirstWithHostNet")
PORT = {"name": "http", "containerPort": 8000, "protocol": "TCP"}


@pytest.fixture(scope="module")
def world(workdir: Path) -> Iterator[World]:
    with ControlPlane.start(workdir / "host-network", only_api=True) as plane:
        yield begin(plane, "controller.hostNetwork=true")


@pytest.fixture(scope="module")
def thief(world: World) -> Caller:
    return caller(world.plane, f"{RELEASE}-controller")


def test_pods_may_have_the_nodes_network_and_the_ports_they_listen_on(thief: Caller, world: World) -> None:
    own = both(ON_HOST, in_container(ports=[{**PORT, "hostPort": 8000}]))
    status, answer = thief.apply(changed(world.child(), own))
    assert status == 200, answer


REFUSED: list[tuple[str, Change, str]] = [
    ("another port of the node, for a pod of its own network", in_container(ports=[{**PORT, "hostPort": 8000}]), "port of a node"),
    ("the host's processes with it", both(ON_HOST, in_pod(hostPID=True)), "host's namespaces"),
    ("a node of its own choice with it", both(ON_HOST, in_pod(nodeName="control-plane")), "past the scheduler"),
]


@pytest.mark.parametrize(("what", "change", "said"), REFUSED, ids=[row[0] for row in REFUSED])
def test_but_not(thief: Caller, world: World, what: str, change: Change, said: str) -> None:
    status, answer = thief.apply(changed(world.child(), change))
    assert status == 403, f"{what}: {answer}"
    assert said in answer["message"], answer["message"]
