"""Every object of the manifests that are kept, the API server takes in strict mode.

A LeaderWorkerSet's pods are asked about as those of Deployments, since no other kind than the API server's own is served here; the real
kind is asked in `make lws`.
"""

import pytest
from tests.controlplane import Cluster
from tests.controlplane.cluster import Json
from tests.documents import documents
from tests.e2e.strict import refusal
from tests.engine.manifests import GROUPS, golden, pods, public

pytestmark = pytest.mark.e2e


def of_the_api_server(made: Json) -> list[Json]:
    """The object, or Deployments of its pods."""
    if made["kind"] != "LeaderWorkerSet":
        return [made]
    name = made["metadata"]["name"]
    return [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": f"{name}-{role}"},
            "spec": {"selector": {"matchLabels": pod["metadata"]["labels"]}, "template": pod},
        }
        for role, pod in pods(made)
    ]


def kept(group: str) -> list[Json]:
    found = documents(golden(group).read_text("utf-8"))
    return [made for one in found for made in of_the_api_server(one)]


def test_what_is_kept_is_taken(cluster: Cluster, namespace: str) -> None:
    found = [one for group in (*GROUPS, *public()) for one in kept(group)]
    assert len(found) > 100
    refused = {f"{one['kind']} {one['metadata']['name']}": why for one in found if (why := refusal(cluster, namespace, one))}
    assert refused == {}


def test_a_field_that_nobody_knows_is_refused(cluster: Cluster, namespace: str) -> None:
    for made in kept("layouts")[:1] + kept("layouts")[-2:-1]:
        made["spec"]["replicaz"] = 1
        assert "replicaz" in refusal(cluster, namespace, made)
