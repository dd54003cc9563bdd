"""What nobody has changed is recognised by what is known of it, also by a new leader: it is neither read nor written again.

And whatever is known too late, or was touched by others, is looked at as it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.plimsoll_operator.cluster import NS
from tests.plimsoll_operator.controller_world import World
from tests.plimsoll_operator.fake_kube import FakeKube

from plimsoll_operator.controller.children.intact import TOUCHED, as_set, as_wanted
from plimsoll_operator.controller.children.written import Written
from plimsoll_operator.controller.cluster.copies import Copies
from plimsoll_operator.ports import DEPLOYMENTS, FIELD_MANAGER, INFERENCE_DEPLOYMENTS, Manifest, Resource


@dataclass(slots=True)
class ReadingKube(FakeKube):
    """Counts what is read of single objects."""

    read: Counter[str] = field(default_factory=Counter)

    def get(self, resource: Resource, namespace: str, name: str) -> Manifest | None:
        self.read[f"{resource.kind} {name}"] += 1
        return FakeKube.get(self, resource, namespace, name)


def tell(world: World) -> None:
    """What the watch of InferenceDeployments tells of those there are."""
    for item in world.asked():
        world.controller.heard((NS, item["metadata"]["name"]), item["metadata"], gone=False)


def requests(world: World, work: Callable[[], None]) -> list[str]:
    """What is asked of the API server while `work` runs, reads and writes."""
    kube = world.kube
    assert isinstance(kube, ReadingKube)
    kube.read.clear()
    written = world.writes(work)
    return [*kube.read.elements(), *written]


@pytest.fixture
def kube() -> ReadingKube:
    """With a deployment that serves, one that waits behind its gate, and one that is refused."""
    found = ReadingKube()
    world = World(8, kube=found)
    world.wish("serves", 1)
    world.wish("waits", 8, waitForCapacity=True)
    world.wish("refused", 16)
    world.work()
    tell(world)
    world.work()
    return found


def looks(world: World) -> Callable[[], None]:
    def look() -> None:
        for name in ("serves", "waits", "refused"):
            world.controller.queue.add((NS, name))
        world.drain()

    return look


def test_a_new_leader_neither_reads_nor_writes_what_nobody_has_changed(kube: ReadingKube) -> None:
    world = World(kube=kube)
    assert requests(world, world.drain) == []
    tell(world)
    assert requests(world, world.drain) == []
    assert requests(world, looks(world)) == []


def test_what_was_said_before_is_not_said_again_by_a_new_leader(kube: ReadingKube) -> None:
    world = World(kube=kube)
    assert "Event" not in requests(world, world.drain)
    world.put({**world.one(INFERENCE_DEPLOYMENTS, "refused")["spec"], "replicas": 2}, "refused")
    tell(world)
    assert "InferenceDeployment/status" in requests(world, world.drain), "another generation has to be answered"


def meddle(kube: FakeKube, **container: Any) -> None:
    child = kube.get(DEPLOYMENTS, NS, "serves")
    assert child is not None
    child["spec"]["template"]["spec"]["containers"][0].update(container)
    kube.replace(DEPLOYMENTS, child)


@pytest.mark.parametrize("container", [{"image": "else/where:1"}, {"args": ["--host=0.0.0.0"]}, {"stdin": True}], ids=str)
def test_what_somebody_touched_while_nobody_led_is_put_back(kube: ReadingKube, container: dict[str, Any]) -> None:
    before = kube.get(DEPLOYMENTS, NS, "serves")
    assert before is not None
    meddle(kube, **container)
    world = World(kube=kube)
    assert "Deployment" in requests(world, world.drain)
    assert world.one(DEPLOYMENTS, "serves")["spec"] == before["spec"]


def test_what_somebody_has_written_is_read(kube: ReadingKube) -> None:
    world = World(kube=kube)
    world.drain()
    world.put({**world.one(INFERENCE_DEPLOYMENTS, "serves")["spec"], "replicas": 2}, "serves")
    assert requests(world, looks(world)) == [], "nobody has told yet"
    tell(world)
    found = requests(world, world.drain)
    assert "InferenceDeployment serves" in found
    assert world.one(DEPLOYMENTS, "serves")["spec"]["replicas"] == 2


def test_a_cache_that_has_not_heard_of_our_own_write_is_not_believed(kube: ReadingKube) -> None:
    world = World(kube=kube)
    world.drain()
    world.put({**world.one(INFERENCE_DEPLOYMENTS, "serves")["spec"], "replicas": 2}, "serves")
    tell(world)
    world.drain()
    tell(world)
    assert "Deployment serves" in requests(world, looks(world))
    world.hear()
    world.drain()
    tell(world)
    assert requests(world, looks(world)) == []


def test_status_is_not_written_over_what_has_moved_unheard(kube: ReadingKube) -> None:
    world = World(kube=kube)
    world.drain()
    world.put({**world.one(INFERENCE_DEPLOYMENTS, "serves")["spec"], "replicas": 3}, "serves")
    child = world.one(DEPLOYMENTS, "serves")
    world.kube.replace(DEPLOYMENTS, {**child, "status": {"observedGeneration": 1, "replicas": 1, "readyReplicas": 1}})
    world.hear()
    world.drain()
    status = world.status("serves")
    assert (status["observedGeneration"], status["ready"]) == (2, "1/3"), "of what it asks for now"


def test_a_status_that_follows_its_child_is_one_request(kube: ReadingKube) -> None:
    world = World(kube=kube)
    world.drain()
    child = world.one(DEPLOYMENTS, "serves")
    world.kube.replace(DEPLOYMENTS, {**child, "status": {"observedGeneration": 1, "replicas": 1, "readyReplicas": 1}})
    world.hear()
    assert requests(world, world.drain) == ["InferenceDeployment/status"]
    assert world.status("serves")["ready"] == "1/1"


CONTAINER = {
    "name": "engine",
    "image": "a/b:1",
    "args": ["x"],
    "resources": {"limits": {"nvidia.com/gpu": "1"}, "requests": {"cpu": "4000m"}},
}
WANTED: Manifest = {"spec": {"replicas": 1, "template": {"spec": {"containers": [CONTAINER], "automountServiceAccountToken": False}}}}
ENGINE: Manifest = {
    ".": {},
    "f:name": {},
    "f:image": {},
    "f:args": {},
    "f:resources": {"f:limits": {"f:nvidia.com/gpu": {}}, "f:requests": {"f:cpu": {}}},
}
FIELDS = {
    "f:template": {"f:spec": {"f:automountServiceAccountToken": {}, "f:containers": {'k:{"name":"engine"}': ENGINE}}},
    "f:replicas": {},
}
OURS = {"manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": {"f:metadata": {}, "f:spec": FIELDS}}
CONTROLLER = {"manager": "kube-controller-manager", "operation": "Update", "subresource": "status", "fieldsV1": {"f:status": {}}}
SCALED = {"manager": FIELD_MANAGER, "operation": "Update", "fieldsV1": {"f:spec": {"f:replicas": {}}}}


def stored(*rows: Manifest, container: Manifest = CONTAINER, replicas: int = 1) -> Manifest:
    """As the API server keeps it: defaults filled in, quantities in their own form."""
    kept = {**container, "terminationMessagePath": "/dev/termination-log", "imagePullPolicy": "Always"}
    kept["resources"] = {"limits": {"nvidia.com/gpu": "1"}, "requests": {"cpu": "4"}}
    spec = {"containers": [kept], "automountServiceAccountToken": False, "restartPolicy": "Always"}
    return {"metadata": {"managedFields": list(rows)}, "spec": {"replicas": replicas, "template": {"spec": spec}}}


@pytest.mark.parametrize(
    ("child", "intact"),
    [
        pytest.param(stored(OURS, CONTROLLER), True, id="defaults are the API server's own"),
        pytest.param(stored(OURS, SCALED, replicas=5), True, id="its size is another matter"),
        pytest.param(stored(OURS, container=CONTAINER | {"image": "else/where:1"}), False, id="another value under our own name"),
        pytest.param(stored(OURS, container=CONTAINER | {"name": "other"}), False, id="the container is gone"),
        pytest.param(stored(OURS, OURS | {"manager": "kubectl-edit"}), False, id="somebody else has set something"),
        pytest.param(stored(OURS, SCALED | {"fieldsV1": {"f:spec": FIELDS}}), False, id="an update under our own name"),
        pytest.param(stored(), False, id="nobody says who has set what"),
        pytest.param(stored(OURS, OURS), False, id="two applies of ours"),
        pytest.param(
            stored({**OURS, "fieldsV1": {"f:spec": {"f:template": {"f:spec": {"f:containers": {"k:odd": {}}}}}}}), False, id="odd keys"
        ),
        pytest.param(stored({**OURS, "fieldsV1": {"f:spec": []}}), False, id="odd fields"),
    ],
)
def test_a_child_is_as_applied_where_every_value_we_own_is_still_ours(child: Manifest, intact: bool) -> None:
    assert (as_set(child) == as_wanted(WANTED)) is intact


def test_what_is_touched_is_never_what_was_wanted() -> None:
    assert as_wanted({"spec": {}}) != TOUCHED


def test_many_items_with_many_keys_cost_no_more_than_reading_them() -> None:
    many: Manifest = {f'k:{{"name":"e{number}"}}': {} for number in range(20_000)}
    env = [{"name": f"e{number}", "value": "x"} for number in range(20_000)]
    child = stored({**OURS, "fieldsV1": {"f:spec": {"f:template": {"f:spec": {"f:containers": many}}}}})
    child["spec"]["template"]["spec"]["containers"] = env
    assert as_set(child) != TOUCHED


def test_a_copy_counts_while_its_version_is_the_one_heard_last() -> None:
    copies, raw = Copies(), {"metadata": {"namespace": "n", "name": "a", "resourceVersion": "5", "managedFields": [{}]}, "spec": {}}
    copies.keep(raw)
    assert copies.newest(("n", "a")) is None, "nobody has told that it is the newest"
    assert copies.hear(("n", "a"), "5")
    found = copies.newest(("n", "a"))
    assert found == {"metadata": {"namespace": "n", "name": "a", "resourceVersion": "5"}, "spec": {}}
    assert not copies.hear(("n", "a"), "6")
    assert copies.newest(("n", "a")) is None
    copies.keep_listed({**raw, "metadata": {**raw["metadata"], "resourceVersion": "7"}})
    assert copies.newest(("n", "a")) is not None
    copies.forget_all_but([])
    assert copies.newest(("n", "a")) is None


def test_what_the_budget_has_no_room_for_is_asked_of_the_api_server() -> None:
    copies = Copies(budget_bytes=4 * 1024)
    for name in ("a", "b", "c", "d", "e", "f", "g", "h"):
        copies.keep_listed({"metadata": {"namespace": "n", "name": name, "resourceVersion": "1"}, "spec": {}})
    kept = [name for name in "abcdefgh" if copies.newest(("n", name)) is not None]
    assert kept == ["b", "c", "d", "e", "f", "g", "h"]


@pytest.mark.parametrize(("version", "behind"), [("6", True), ("7", False), ("10", False), ("odd", True), (None, False)], ids=str)
def test_a_cache_is_behind_until_it_has_our_write_or_a_later_one(version: str | None, behind: bool) -> None:
    written = Written()
    written.wrote({"metadata": {"namespace": "n", "name": "a", "resourceVersion": "7"}})
    written.told(("n", "a"), None if version is None else {"metadata": {"resourceVersion": version}})
    assert written.behind(("n", "a")) is behind


@dataclass(slots=True)
class BusyKube(FakeKube):
    """Where something else happens while a child is made."""

    meanwhile: Callable[[], None] = lambda: None

    def apply_new(self, resource: Resource, manifest: Manifest) -> Manifest:
        made = FakeKube.apply_new(self, resource, manifest)
        if resource == DEPLOYMENTS:
            self.meanwhile()
        return made


def test_what_happens_during_the_first_look_is_looked_at() -> None:
    busy = BusyKube()
    world = World(8, kube=busy)

    def becomes_ready() -> None:
        child = world.one(DEPLOYMENTS, "new")
        busy.replace(DEPLOYMENTS, {**child, "status": {"observedGeneration": 1, "replicas": 1, "readyReplicas": 1, "availableReplicas": 1}})
        world.hear()

    busy.meanwhile = becomes_ready
    world.wish("new", 1)
    world.drain()
    tell(world)
    world.drain()
    assert world.status("new")["ready"] == "1/1"
