"""From a wish to a decision where only the namespace may read the model: the whole controller, real programs, in-memory API server."""

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from tests.plimsoll_operator.checkpoints import TINY, bytes_of, tiny_tensors, write_checkpoint
from tests.plimsoll_operator.cluster import IMAGE, Cluster
from tests.plimsoll_operator.hub_server import COMMIT, MODEL, TOKEN, HubServer
from tests.plimsoll_operator.kubelet import MADE, Kubelet
from tests.plimsoll_operator.nodes import gpu_node

from plimsoll_operator.controller.resolving.fetcher import Fetcher
from plimsoll_operator.controller.resolving.reader_pod import ReaderSettings
from plimsoll_operator.controller.resolving.sources import namespace_sources
from plimsoll_operator.names import READER_LABEL
from plimsoll_operator.ports import (
    CLUSTER_MODEL_PROFILES,
    CONFIG_MAPS,
    DEPLOYMENTS,
    EVENTS,
    INFERENCE_DEPLOYMENTS,
    MODEL_PROFILES,
    PODS,
    Manifest,
)

VOLUME: Manifest = {"source": {"persistentVolumeClaim": {"claimName": "weights", "path": "llama"}}}
PRIVATE: Manifest = {"source": {"huggingFace": {"tokenSecretRef": {"name": "hub"}}}}
MAPPED: Manifest = {"profile": {"configMapRef": {"name": "shape"}}}


class World(Cluster):
    """A node with L4s, and a kubelet that runs reader pods where it is told to."""

    def __init__(self, kube: Kubelet, endpoint: str = "") -> None:
        self.kubelet, self.endpoint = kube, endpoint
        super().__init__(gpu_node("a"), kube=kube, fetchers=self.sources(kube))

    def sources(self, kube: Kubelet) -> list[Fetcher]:
        settings = ReaderSettings(image="plimsoll/operator:test", hub_endpoint=self.endpoint)
        return list(namespace_sources(kube, settings, now=lambda: datetime.fromisoformat(MADE)))

    def restart(self) -> None:
        self.lead(fetchers=self.sources(self.kubelet))

    def wish(self, namespace: str, name: str = "mine", model: str = "acme/in-house", **of_model: Any) -> None:
        self.put({"model": {"name": model, **of_model}, "engine": {"image": IMAGE}}, name, namespace)

    def profiles(self, namespace: str) -> list[Manifest]:
        return [row for row in self.kube.list_page(MODEL_PROFILES).items if row["metadata"]["namespace"] == namespace]

    def readers(self) -> list[Manifest]:
        return [pod for pod in self.kube.list_page(PODS).items if READER_LABEL in (pod["metadata"].get("labels") or {})]


@pytest.fixture
def world(tmp_path: Path) -> World:
    write_checkpoint(tmp_path / "weights" / "llama")
    kube = Kubelet({"weights": tmp_path / "weights"})
    for namespace in ("team", "other"):
        kube.claim(namespace, "weights")
    return World(kube)


def test_the_volume_decides_the_deployment_in_its_namespace_alone(world: World) -> None:
    world.wish("team", **VOLUME)
    world.settle(read=False)
    assert world.said("ModelResolved", "mine", "team")[1] == "Resolving"
    assert world.child("mine", "team") is None
    world.settle()
    assert world.said("Feasible", "mine", "team")[:2] == ("True", "Fits")
    assert world.child("mine", "team") is not None
    (profile,) = world.profiles("team")
    assert profile["spec"]["origin"] == VOLUME["source"]
    assert profile["spec"]["weights"]["totalBytes"] == bytes_of(tiny_tensors())
    assert world.profiles("other") == []
    assert world.readers() == []


@pytest.mark.thorough
def test_many_deployments_on_one_volume_are_one_pod(world: World) -> None:
    for number in range(20):
        world.wish("team", f"mine-{number}", **VOLUME)
    world.settle()
    assert len(world.kubelet.made) == 1
    assert all(world.said("Feasible", f"mine-{number}", "team")[0] == "True" for number in range(20))


FORGERIES = [
    ("another program's log", lambda _: b"Hello\n"),
    ("a flood", lambda log: b"x" * (1 << 20) + log),
    ("half of it", lambda log: log[:-100]),
]


@pytest.mark.thorough
@pytest.mark.parametrize(("why", "forge"), FORGERIES, ids=[row[0] for row in FORGERIES])
def test_a_forged_log_raises_a_condition_and_an_event_and_moves_nobody_else(
    why: str, forge: Callable[[bytes], bytes], world: World
) -> None:
    world.wish("other", **VOLUME)
    world.settle()
    before = world.kube.get(INFERENCE_DEPLOYMENTS, "other", "mine"), world.profiles("other"), world.child("mine", "other")
    world.kubelet.forge = forge
    world.wish("team", **VOLUME)
    world.settle()
    status, reason, message = world.said("ModelResolved", "mine", "team")
    assert (status, reason, "is not believed" in message) == ("False", "Invalid", True)
    assert world.child("mine", "team") is None
    assert world.profiles("team") == []
    notes = [event["note"] for event in world.kube.list_page(EVENTS).items if event["metadata"]["namespace"] == "team"]
    assert any("is not believed" in note for note in notes), notes
    assert (world.kube.get(INFERENCE_DEPLOYMENTS, "other", "mine"), world.profiles("other"), world.child("mine", "other")) == before


@pytest.mark.thorough
def test_a_namespaces_profile_never_answers_for_another_namespace(world: World) -> None:
    inline = json.dumps(TINY)
    world.wish("team", "inline", profile={"inline": inline})
    world.wish("team", **VOLUME)
    world.wish("other", "by-name")
    world.wish("other", "by-config-map", **MAPPED)
    world.settle()
    assert [world.said("Feasible", name, "team")[0] for name in ("inline", "mine")] == ["True", "True"]
    assert [world.said("Feasible", name, "other")[0] for name in ("by-name", "by-config-map")] == ["Unknown", "Unknown"]


def test_a_known_name_does_not_answer_for_the_files_on_a_volume(world: World, tmp_path: Path) -> None:
    """The folder is called like an 8B model; what lies in it is tiny, and that is what is planned."""
    name = "meta-llama/Llama-3.1-8B-Instruct"
    world.wish("team", model=name, **VOLUME)
    world.settle(read=False)
    assert world.said("Feasible", "mine", "team")[0] == "Unknown"
    world.settle()
    plan = world.status("mine", "team")["plan"]
    assert plan["maxModelLen"] == TINY["max_position_embeddings"]


@pytest.mark.thorough
def test_the_users_token_is_in_no_object_of_the_cluster(hub: HubServer, tmp_path: Path) -> None:
    world = World(Kubelet(secrets={("hub", "token"): TOKEN}), endpoint=hub.url)
    world.wish("team", model=MODEL, **PRIVATE)
    world.wish("team", "wrong", model="acme/unknown", **PRIVATE)
    world.settle()
    assert world.said("Feasible", "mine", "team")[0] == "True"
    assert world.said("ModelResolved", "wrong", "team")[1] == "NotFound"
    (profile,) = world.profiles("team")
    assert profile["spec"]["revision"] == COMMIT
    plan = world.status("mine", "team")["plan"]
    assert plan["modelRevision"] == COMMIT, "the pods are started with what was planned"
    written = (INFERENCE_DEPLOYMENTS, MODEL_PROFILES, CLUSTER_MODEL_PROFILES, PODS, DEPLOYMENTS, EVENTS)
    said: list[Any] = [event.object for resource in written for event in world.kube.watch(resource, resource_version="0")]
    said += [world.controller.recorder.render().decode(), *(log.decode() for log in world.kube.logs.values())]
    assert MODEL in json.dumps(said)
    assert TOKEN not in json.dumps(said)


def test_a_config_map_decides_its_deployment_and_a_change_of_it_is_proposed(world: World) -> None:
    manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "team", "name": "shape"}}
    world.wish("team", **MAPPED)
    world.settle()
    assert world.said("ModelResolved", "mine", "team")[:2] == ("False", "NotFound")
    world.kube.create(CONFIG_MAPS, {**manifest, "data": {"config.json": json.dumps(TINY)}})
    world.restart()
    world.settle()
    assert world.said("Feasible", "mine", "team")[0] == "True"
    before = world.one(DEPLOYMENTS, "mine", "team")
    world.kube.replace(CONFIG_MAPS, {**manifest, "data": {"config.json": json.dumps(TINY | {"max_position_embeddings": 2048})}})
    world.controller.upkeep.reread(world.stop)
    world.settle()
    status = world.status("mine", "team")
    assert (status["plan"]["maxModelLen"], status["proposedPlan"]["maxModelLen"]) == (4096, 2048)
    assert world.one(DEPLOYMENTS, "mine", "team")["spec"] == before["spec"], "running pods are never touched"
    world.kube.delete(CONFIG_MAPS, "team", "shape")
    for informer in world.controller.informers:
        informer.relist()
    world.controller.upkeep.reread(world.stop)
    world.settle()
    assert world.profiles("team") == []
    assert world.said("ModelResolved", "mine", "team")[:2] == ("False", "NotFound")
    assert world.one(DEPLOYMENTS, "mine", "team")["spec"] == before["spec"], "not even where the ConfigMap is gone"
