"""A cluster as the command reads it: with the rights and in the namespace of whoever runs it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.plimsoll_operator.decision_world import LLAMA_8B, LLAMA_70B, manifest
from tests.plimsoll_operator.fake_kube import FakeKube
from tests.plimsoll_operator.nodes import H100, L4

from plimsoll_estimator import EngineVersion, InvalidInput
from plimsoll_operator.api import parse_inference_deployment
from plimsoll_operator.capacity import CapacityIndex, pool_manifest
from plimsoll_operator.cli import main
from plimsoll_operator.cli.fit.request import FitRequest
from plimsoll_operator.cli.fit.rows import table_of
from plimsoll_operator.cli.live import current_namespace, read_from
from plimsoll_operator.cli.world import World
from plimsoll_operator.decision import decide
from plimsoll_operator.errors import ApiFailure
from plimsoll_operator.gather import facts_for
from plimsoll_operator.names import API_VERSION
from plimsoll_operator.ports import FIT_POLICIES, GPU_POOLS, INFERENCE_DEPLOYMENTS, MODEL_PROFILES, NAMESPACES, Page, Resource


class OfOneNamespace(FakeKube):
    """What the API server says to somebody with `edit` in team-a and the right to read what is of the whole cluster."""

    forbidden: tuple[Resource, ...] = (MODEL_PROFILES, NAMESPACES, INFERENCE_DEPLOYMENTS)

    def list_page(self, resource: Resource, *, namespace: str = "", **options: Any) -> Page:
        if resource in self.forbidden and namespace != "team-a":
            raise ApiFailure(403, "Forbidden", f"{resource.plural} is forbidden at the cluster scope")
        return FakeKube.list_page(self, resource, namespace=namespace, **options)


def filled(kube: FakeKube, *, mode: str = "Enforce") -> FakeKube:
    index = CapacityIndex(())
    for node in (H100, L4):
        index.node_event("ADDED", node)
    for pool in index.pools():
        kube.create(GPU_POOLS, pool_manifest(pool))
    capped = {"namespaceSelector": {"matchLabels": {"team": "a"}}, "maxGpusPerReplica": 1, "mode": mode}
    kube.create(FIT_POLICIES, {"apiVersion": API_VERSION, "kind": "FitPolicy", "metadata": {"name": "small"}, "spec": capped})
    for name, team in (("team-a", "a"), ("default", "none")):
        kube.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {"team": team}}})
    return kube


def read(kube: FakeKube, namespace: str | None) -> World:
    world = World(namespace=namespace)
    read_from(kube, world)
    return world


@pytest.mark.parametrize("kind", [FakeKube, OfOneNamespace])
def test_who_may_only_edit_a_namespace_is_told_the_same_as_an_administrator(kind: type[FakeKube]) -> None:
    table = table_of(FitRequest(model=LLAMA_8B, version=EngineVersion.parse("0.19.0")), read(filled(kind()), "team-a"), (), "cluster")
    assert [(row.card.product, row.plan is not None) for row in table.rows] == [("NVIDIA-L4", True), ("NVIDIA-H100-80GB-HBM3", True)]


def test_the_policy_of_the_namespace_that_is_asked_about_holds() -> None:
    wish = parse_inference_deployment({**manifest(LLAMA_70B), "metadata": {"name": "x"}})

    def verdict(namespace: str | None) -> str:
        world = read(filled(FakeKube()), namespace)
        return type(decide(facts_for(world.placed(wish), world, applied_plan=None))).__name__

    assert (verdict("team-a"), verdict(None), verdict("default")) == ("Reject", "Admit", "Admit")


def test_an_object_that_names_its_namespace_keeps_it() -> None:
    placed = World(namespace="team-b").placed(parse_inference_deployment({**manifest(), "metadata": {"name": "x", "namespace": "team-a"}}))
    assert placed.metadata.namespace == "team-a"


@pytest.mark.parametrize("resource", [GPU_POOLS, FIT_POLICIES])
def test_who_may_not_read_what_is_decided_by_is_told_what_to_ask_for(resource: Resource) -> None:
    kube = OfOneNamespace()
    kube.forbidden = (resource,)
    with pytest.raises(InvalidInput, match="ask for the ClusterRole plimsoll-cluster-view"):
        read(kube, "team-a")


def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **context: str) -> None:
    path = tmp_path / "config"
    path.write_text(
        yaml.safe_dump(
            {
                "current-context": "c",
                "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u", **context}}],
                "clusters": [{"name": "k", "cluster": {"server": "http://127.0.0.1:1"}}],
                "users": [{"name": "u", "user": {}}],
            }
        )
    )
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(path))
    monkeypatch.setenv("KUBECONFIG", str(path))


def test_the_namespace_is_that_of_the_kubeconfig_s_context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config(tmp_path, monkeypatch, namespace="team-a")
    assert current_namespace() == "team-a"
    config(tmp_path, monkeypatch)
    assert current_namespace() is None


def test_where_no_cluster_answers_the_table_is_asked_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config(tmp_path, monkeypatch)
    assert main(["fit", LLAMA_8B, "-o", "name"]) == 0
    out, err = capsys.readouterr()
    assert "NVIDIA-H200" in out
    assert err.startswith("plimsoll fit: no cluster is asked, but the shipped table: cluster cannot be read")
    assert main(["fit", LLAMA_8B, "--cluster"]) == 2


def test_a_namespace_that_the_file_contradicts_is_refused_as_kubectl_does(
    files: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = files("x.yaml", manifest())
    nodes = ["--nodes", str(tmp_path / "nodes.yaml")]
    assert main(["plan", "-f", path, *nodes, "-n", "team-a"]) == 2
    assert "--namespace: 'team-a' is not default, which x names" in capsys.readouterr().err
    assert main(["plan", "-f", path, *nodes, "-n", "default"]) == 0
