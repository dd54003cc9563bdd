"""An exception at every call that the controller makes, one after the other: the key recovers, and the others hardly wait.

The controller runs turn by turn on the test's clock, through the same borders as on its threads, while a hand plays the
ReplicaSets and kube-scheduler. The call fails with what nobody expects, before or after the API server has done its part.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

import pytest
from tests.plimsoll_operator.checkpoints import TINY
from tests.plimsoll_operator.cluster import NS, Clock, of_replica_set
from tests.plimsoll_operator.fake_kube import FakeKube, new_deployment
from tests.plimsoll_operator.nodes import gpu_node

from plimsoll_operator.controller.loops.quarantine import Unit
from plimsoll_operator.controller.process import Controller
from plimsoll_operator.controller.resolving.config_map import ConfigMaps
from plimsoll_operator.decision import decide
from plimsoll_operator.errors import OperatorError
from plimsoll_operator.names import CAPACITY_GATE, NAME_LABEL
from plimsoll_operator.ports import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    GPU_POOLS,
    INFERENCE_DEPLOYMENTS,
    MODEL_PROFILES,
    NODES,
    PODS,
    Account,
    Kube,
    Manifest,
    Page,
    Resource,
    WatchEvent,
)

TURN_SECONDS = 0.25
LONGEST_WAIT_SECONDS = 5.0
ENOUGH_SECONDS = 100.0
SMALL = "Qwen/Qwen2.5-1.5B-Instruct"

Answer = TypeVar("Answer")


class Crash(Exception):
    """What nobody expects."""


@dataclass(slots=True)
class CrashingKube:
    """Passes everything on, and raises a bug at one call: before the API server has seen it, or after it has done its part."""

    inner: FakeKube
    at: int = -1
    after: bool = False
    calls: list[str] = field(default_factory=list)

    def _pass(self, what: str, call: Callable[[], Answer]) -> Answer:
        number = len(self.calls)
        self.calls.append(what)
        if number == self.at and not self.after:
            raise Crash(what)
        answer = call()
        if number == self.at:
            raise Crash(what)
        return answer

    def get(self, resource: Resource, namespace: str, name: str) -> Manifest | None:
        return self._pass(f"get {resource.plural} {name}", lambda: self.inner.get(resource, namespace, name))

    def list_page(self, resource: Resource, *, namespace: str = "", selector: str = "", continue_token: str = "", limit: int = 500) -> Page:
        def page() -> Page:
            return self.inner.list_page(resource, namespace=namespace, selector=selector, continue_token=continue_token, limit=limit)

        return self._pass(f"list {resource.plural}", page)

    def watch(
        self, resource: Resource, *, resource_version: str, namespace: str = "", selector: str = "", timeout_seconds: int = 300
    ) -> Iterator[WatchEvent]:
        def events() -> Iterator[WatchEvent]:
            return self.inner.watch(resource, resource_version=resource_version, namespace=namespace, selector=selector)

        return self._pass(f"watch {resource.plural}", events)

    def apply(self, resource: Resource, manifest: Manifest, *, subresource: str = "") -> Manifest:
        what = f"apply {resource.plural}/{subresource} {manifest['metadata']['name']}"
        return self._pass(what, lambda: self.inner.apply(resource, manifest, subresource=subresource))

    def apply_new(self, resource: Resource, manifest: Manifest) -> Manifest:
        return self._pass(f"apply {resource.plural}/new {manifest['metadata']['name']}", lambda: self.inner.apply_new(resource, manifest))

    def merge_patch(self, resource: Resource, namespace: str, name: str, patch: Manifest) -> Manifest:
        return self._pass(f"patch {resource.plural} {name}", lambda: self.inner.merge_patch(resource, namespace, name, patch))

    def create(self, resource: Resource, manifest: Manifest) -> Manifest:
        return self._pass(f"create {resource.plural}", lambda: self.inner.create(resource, manifest))

    def dry_run_create(self, resource: Resource, manifest: Manifest) -> Manifest:
        return self._pass(f"dry run of {resource.plural}", lambda: self.inner.dry_run_create(resource, manifest))

    def may(self, account: Account, verb: str, resource: Resource, subresource: str = "") -> bool:
        return self.inner.may(account, verb, resource, subresource)

    def replace(self, resource: Resource, manifest: Manifest) -> Manifest:
        return self._pass(f"replace {resource.plural}", lambda: self.inner.replace(resource, manifest))

    def delete(self, resource: Resource, namespace: str, name: str) -> None:
        self._pass(f"delete {resource.plural} {name}", lambda: self.inner.delete(resource, namespace, name))

    def pod_log(self, namespace: str, name: str, *, container: str, limit_bytes: int, lines: int = 0, previous: bool = False) -> bytes:
        what = f"log {name}"
        return bytes(
            self._pass(
                what,
                lambda: self.inner.pod_log(namespace, name, container=container, limit_bytes=limit_bytes, lines=lines, previous=previous),
            )
        )


def spec(gpus: int = 1, replicas: int = 1, *, model: str = SMALL, engine: dict[str, Any] | None = None, **more: Any) -> Manifest:
    wanted = {"image": "vllm/vllm-openai:v0.19.0", "tensorParallelSize": gpus, "maxModelLen": 4096} | (engine or {})
    return {"model": {"name": model}, "replicas": replicas, "engine": wanted, **more}


# Deployments whose ways cross everything that the controller does: pods at once, behind a gate, scaled, refused, and read first.
WISHES = {
    "plain": spec(),
    "gated": spec(2, 2, placement={"waitForCapacity": True}),
    "grows": spec(),
    "refused": spec(engine={"maxModelLen": 30_000_000}),
    "read": spec() | {"model": {"name": "acme/tiny", "profile": {"configMapRef": {"name": "shape", "key": "config.json"}}}},
    "leaves": spec(),
}


class Run:
    """One life of a controller over a fresh cluster."""

    def __init__(self, at: int = -1, *, after: bool = False) -> None:
        self.inner = FakeKube()
        self.kube = CrashingKube(self.inner, at=at, after=after)
        for index in range(2):
            self.inner.create(NODES, gpu_node(f"n{index}", count=8))
        shape = {"metadata": {"namespace": NS, "name": "shape"}, "data": {"config.json": json.dumps(TINY)}}
        self.inner.create(CONFIG_MAPS, {"apiVersion": "v1", "kind": "ConfigMap"} | shape)
        for name, wish in WISHES.items():
            self.inner.create(INFERENCE_DEPLOYMENTS, new_deployment(NS, name, wish))
        self.clock = Clock()
        self.began = self.clock.now
        self.stop = threading.Event()
        kube: Kube = self.kube
        fetchers = [ConfigMaps(kube=kube, now=lambda: datetime(2026, 1, 1, tzinfo=UTC))]
        self.controller = Controller(kube, decide, identity="test", fetchers=fetchers, clock=self.clock)
        self.recovered = False
        self.done_at: dict[str, float] = {}

    def until_settled(self, wanted: dict[str, Any] | None) -> dict[str, Any]:
        """Turn until everything is as wanted, or for long enough where nobody knows; notes when each deployment got there."""
        grown = False
        while self.clock.now - self.began < (ENOUGH_SECONDS if wanted else 12.0):
            self._turn()
            if not grown and self.clock.now - self.began >= 2.0:
                grown = True
                self._grow()
            found = self.world()
            for name in WISHES:
                if wanted is not None and name not in self.done_at and grown and found.get(name) == wanted.get(name):
                    self.done_at[name] = self.clock.now - self.began
            if wanted is not None and grown and found == wanted:
                return found
        return self.world()

    def _guarded(self, work: Callable[[], Any]) -> bool:
        """As the process's own threads run their loops (controller.__main__)."""
        try:
            with self.controller.quarantine.border(Unit.THREAD, "a loop") as attempt:
                work()
        except OperatorError:
            return False
        return attempt.bug is None

    def _turn(self) -> None:
        self.clock.now += TURN_SECONDS
        controller = self.controller
        for informer in controller.informers:
            self._guarded(informer.relist)
        if not self.recovered:
            ready = all(informer.synced.is_set() for informer in controller.informers)
            self.recovered = ready and self._guarded(controller.relist.recover)
            if not self.recovered:
                return
        self._guarded(self._watched)
        while (key := controller.queue.take(0)) is not None:
            controller.worker.work_on(key)
        controller.tick()
        controller.pool_writer.write_all()
        while controller.profile_status.loop.run_once(0):
            pass
        while controller.resolver.work_once(self.stop, timeout_seconds=0):
            pass
        self._guarded(lambda: controller.upkeep.round(self.stop))
        self._kubernetes()

    def _watched(self) -> None:
        """The watcher's events."""
        for name in WISHES:
            self.controller.queue.add((NS, name))

    def _grow(self) -> None:
        """What users do in the middle of it: one deployment is scaled, one goes."""
        found = self.inner.get(INFERENCE_DEPLOYMENTS, NS, "grows")
        assert found is not None
        self.inner.replace(INFERENCE_DEPLOYMENTS, {**found, "spec": {**found["spec"], "replicas": 3}})
        self.inner.delete(INFERENCE_DEPLOYMENTS, NS, "leaves")

    def _kubernetes(self) -> None:
        """ReplicaSets make the pods that Deployments ask for, the scheduler binds those that no gate holds."""
        for child in self.inner.list_page(DEPLOYMENTS).items:
            name, template = child["metadata"]["name"], child["spec"]["template"]
            for number in range(child["spec"]["replicas"]):
                pod = self.inner.get(PODS, NS, f"{name}-{number}")
                if pod is None:
                    self.inner.create(PODS, self._pod(name, number, template))
                elif not pod["spec"].get("nodeName") and not pod["spec"].get("schedulingGates"):
                    self.inner.replace(PODS, {**pod, "spec": {**pod["spec"], "nodeName": f"n{number % 2}"}, "status": {"phase": "Running"}})
        for pod in self.inner.list_page(PODS).items:
            if self.inner.get(DEPLOYMENTS, NS, pod["metadata"]["labels"][NAME_LABEL]) is None:
                self.inner.delete(PODS, NS, pod["metadata"]["name"])

    def _pod(self, name: str, number: int, template: Manifest) -> Manifest:
        owned, made = of_replica_set(name), template["metadata"]
        metadata = {**made, **owned, "labels": {**made["labels"], **owned["labels"]}, "namespace": NS, "name": f"{name}-{number}"}
        metadata["creationTimestamp"] = "2026-01-01T00:00:00Z"
        return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"], "status": {"phase": "Pending"}}

    def world(self) -> dict[str, Any]:
        """What users see of each deployment, and of the pools, without times and versions."""
        found: dict[str, Any] = {}
        for item in self.inner.list_page(INFERENCE_DEPLOYMENTS).items:
            name, status = item["metadata"]["name"], item.get("status") or {}
            child = self.inner.get(DEPLOYMENTS, NS, name) or {}
            pods = [pod for pod in self.inner.list_page(PODS).items if pod["metadata"]["labels"].get(NAME_LABEL) == name]
            gates = sum(CAPACITY_GATE in json.dumps(pod["spec"].get("schedulingGates") or []) for pod in pods)
            rows = [(row["type"], row["status"], row["reason"]) for row in status.get("conditions") or ()]
            plan, replicas = (status.get("plan") or {}).get("digest"), (child.get("spec") or {}).get("replicas")
            found[name] = (sorted(rows), plan, replicas, len(pods), gates)
        for pool in self.inner.list_page(GPU_POOLS).items:
            status = pool.get("status") or {}
            found[f"pool {pool['metadata']['name']}"] = (status.get("nodes"), status.get("bookedGpus"), status.get("freeNodes"))
        for profile in self.inner.list_page(MODEL_PROFILES).items:
            conditions = (profile.get("status") or {}).get("conditions") or ()
            found[f"profile {profile['metadata']['name']}"] = [row["reason"] for row in conditions]
        return found


@pytest.fixture(scope="module")
def undisturbed() -> tuple[dict[str, Any], list[str], dict[str, float]]:
    """How it ends where nothing fails, the calls it takes, and when each deployment is there."""
    first = Run()
    wanted = first.until_settled(None)
    again = Run()
    assert again.until_settled(wanted) == wanted
    return wanted, again.kube.calls, again.done_at


@pytest.mark.thorough
def test_the_undisturbed_run_is_the_one_that_is_meant(undisturbed: tuple[Manifest, list[str], dict[str, float]]) -> None:
    wanted, calls, _ = undisturbed
    ready = {name: {kind: status for kind, status, _ in wanted[name][0]} for name in wanted if name in WISHES}
    assert {name: row["Feasible"] for name, row in ready.items()} == {
        "plain": "True", "gated": "True", "grows": "True", "refused": "False", "read": "True",
    }  # fmt: skip
    assert {name: wanted[name][2:] for name in ready} == {
        "plain": (1, 1, 0), "gated": (2, 2, 0), "grows": (3, 3, 0), "refused": (None, 0, 0), "read": (1, 1, 0),
    }  # fmt: skip
    verbs = {call.split()[0] for call in calls}
    assert verbs >= {"get", "list", "apply", "patch", "create"}


READS = ("get ", "list ", "watch ", "log ")


def crash_points(calls: list[str], *, after: bool) -> list[int]:
    """Every distinct call at its first two turns, a `get` at its first: more of the same say nothing new.

    A read that fails after it was answered leaves the world as one that fails before: it is done once.
    """
    seen: Counter[str] = Counter()
    seen_before = [(seen.update([call]), seen[call])[1] for call in calls]
    most = [1 if call.startswith("get ") else 2 for call in calls]
    return [number for number, times in enumerate(seen_before) if times <= most[number] and not (after and calls[number].startswith(READS))]


@pytest.mark.thorough
@pytest.mark.parametrize("after", [False, True], ids=["before the API server acts", "after it has acted"])
@pytest.mark.parametrize("part", range(4))
def test_a_crash_at_any_call_is_recovered_from_and_holds_up_nobody(
    undisturbed: tuple[Manifest, list[str], dict[str, float]], part: int, after: bool
) -> None:
    wanted, calls, usual = undisturbed
    points = crash_points(calls, after=after)
    assert len(points) > (25 if after else 70)
    for number in points[part::4]:
        run = Run(number, after=after)
        found = run.until_settled(wanted)
        what = run.kube.calls[number]
        assert found == wanted, (number, what)
        late = {name: at for name, at in run.done_at.items() if at > usual[name] + LONGEST_WAIT_SECONDS and name not in what.split()}
        assert not late, (number, what, late)
