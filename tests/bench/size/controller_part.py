"""The controller at size: from cold, at rest, started anew, another leader, and 500 nodes that change. Beside a bare client.

Called by the run, one function after the other: each leaves the cluster as the next expects it. The bare client writes in the same run,
with as many threads and on the same API server, what the controller has written for one deployment; it decides nothing.
"""

from __future__ import annotations

import json
import statistics
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator

from tests.bench.size.asking import APPLY, MERGE
from tests.bench.size.bars import Found, number
from tests.bench.size.world import FLOORS, GPUS, TEAMS, SizeWorld, cpu_seconds, path_of, timed, wish
from tests.controlplane.cluster import Json, wait_until

SAMPLE = "sample-object"
FLOOR_OBJECTS = 150
NODES_CHANGED = 500
_APPS = "/apis/apps/v1"
_OF_SERVER = ("managedFields", "resourceVersion", "uid", "creationTimestamp", "generation", "selfLink")


class BareClient:
    """What the controller wrote for one deployment, to be written for others."""

    def __init__(self, world: SizeWorld) -> None:
        self._world = world
        bare = world.bare
        bare.write("POST", path_of(FLOORS), wish(FLOORS, SAMPLE))
        wait_until(lambda: "Ready" in json.dumps(self._status()), "the sample's status")
        world.audit.until_quiet(3, 60)
        self._parts = [
            (path_of(FLOORS, "{}", group=_APPS, plural="deployments"), self._child(_APPS, "deployments")),
            (path_of(FLOORS, "{}", group="/api/v1", plural="services"), self._child("/api/v1", "services")),
        ]
        events = bare.get(path_of(FLOORS, group="/api/v1", plural="events"))["items"]
        self._event = next(one for one in events if one["involvedObject"]["name"] == SAMPLE)
        self._said = self._status()
        self._runs = 0
        bare.write("DELETE", path_of(FLOORS, SAMPLE), None)

    def _status(self) -> Json:
        found: Json = self._world.bare.get(path_of(FLOORS, SAMPLE)).get("status", {})
        return found

    def _child(self, group: str, plural: str) -> Json:
        found = self._world.bare.get(path_of(FLOORS, SAMPLE, group=group, plural=plural))
        found.pop("status", None)
        for name in _OF_SERVER:
            found["metadata"].pop(name, None)
        for name in ("clusterIP", "clusterIPs"):
            found["spec"].pop(name, None)
        return found

    def run(self) -> tuple[float, float]:
        """Write for FLOOR_OBJECTS deployments that are there, while no controller runs. Seconds of time and of our CPU for each."""
        bare, first = self._world.bare, self._runs * FLOOR_OBJECTS
        self._runs += 1
        names = [f"floor-{row}" for row in range(first, first + FLOOR_OBJECTS)]
        bare.each(lambda row: bare.write("POST", path_of(FLOORS), wish(FLOORS, names[row])), range(FLOOR_OBJECTS))
        uids = {one["metadata"]["name"]: one["metadata"]["uid"] for one in bare.pages(path_of(FLOORS))}
        bodies = [list(self._bodies(name, uids[name])) for name in names]

        def write(row: int) -> None:
            for method, path, body, content in bodies[row]:
                bare.write(method, path, body, content=content)

        began = time.process_time()
        took = timed(lambda: bare.each(write, range(FLOOR_OBJECTS)))
        cpu = time.process_time() - began
        bare.write("DELETE", path_of(FLOORS), None)
        left = path_of(FLOORS, group=_APPS, plural="deployments")
        wait_until(lambda: not bare.get(left)["items"], "the bare client's children to go", timeout_s=300, every_s=1)
        return took / FLOOR_OBJECTS, cpu / FLOOR_OBJECTS

    def _bodies(self, name: str, uid: str) -> Iterator[tuple[str, str, bytes, str]]:
        """The five writes: both children, the event, and status twice, as when the child is made and when it has settled."""
        for path, child in self._parts:
            text = json.dumps(child).replace(SAMPLE, name)
            made = json.loads(text)
            made["metadata"]["ownerReferences"][0]["uid"] = uid
            yield "PATCH", f"{path.format(name)}?fieldManager=floor&force=true", json.dumps(made).encode(), APPLY
        own = wish(FLOORS, name)
        for turn in range(2):
            said = json.loads(json.dumps(self._said).replace(SAMPLE, name))
            said["conditions"] = said["conditions"][turn:]
            body = {"apiVersion": own["apiVersion"], "kind": own["kind"], "metadata": own["metadata"], "status": said}
            yield "PATCH", f"{path_of(FLOORS, name)}/status?fieldManager=floor&force=true", json.dumps(body).encode(), APPLY
        event = json.loads(json.dumps(self._event).replace(SAMPLE, name))
        event["metadata"] = {"namespace": FLOORS, "name": f"{name}.1"}
        yield "POST", path_of(FLOORS, group="/api/v1", plural="events"), json.dumps(event).encode(), "application/json"


def from_cold(world: SizeWorld) -> Iterator[Found]:
    """All deployments are there, and then a controller. The bare client writes before it and after it, without it."""
    empty = {program: world.memory_mib(program) for program in ("controller", "webhook")}
    client = BareClient(world)
    world.installation.stop("controller")
    before = client.run()
    world.fill()
    world.audit.new()
    world.start_controller()
    asked = world.audit.until_quiet(6, 60 + world.count)
    refused = [one for one in asked if one.code >= 400 and one.code not in (404, 409)]
    assert not refused, f"{len(refused)} requests were refused, such as {refused[0]}: this is not what is to be measured"
    cpu = cpu_seconds(world.pid("controller"))
    assert not (left := world.unsettled()), f"{len(left)} never settled, such as {left[:3]}"
    grown = {program: world.memory_mib(program) for program in empty}
    world.installation.stop("controller")
    after = client.run()
    writes = [one for one in asked if one.writes and one.namespace in TEAMS]
    took = writes[-1].at - writes[0].at
    floor = statistics.mean((before[0], after[0])) * world.count
    each = f"{took / world.count * 1000:.1f} ms each, floor {before[0] * 1000:.1f} before and {after[0] * 1000:.1f} after"
    cpus = f"CPU {cpu / world.count * 1000:.1f} ms each, floor {statistics.mean((before[1], after[1])) * 1000:.1f}"
    yield Found(bar="settle", value=took / floor, beside=f"{each}; {cpus}; {len(asked) / world.count:.1f} requests each")
    children = Counter((one.resource, one.namespace, one.name) for one in writes if one.resource in ("deployments", "services"))
    yield Found(bar="written-once", value=max(children.values()), beside=f"of {len(children)}")
    for program, bar in (("controller", "controller-memory"), ("webhook", "webhook-memory")):
        kib = (grown[program] - empty[program]) * 1024 / world.count
        yield Found(bar=bar, value=grown[program], beside=f"{empty[program]:.0f} MiB without, {kib:.1f} KiB for each deployment")


def started_anew(world: SizeWorld) -> Iterator[Found]:
    """Nobody has changed anything meanwhile."""
    world.audit.new()
    yield Found(bar="ready", value=world.start_controller())
    asked = world.audit.until_quiet(6, 600)
    about = Counter((one.verb, one.resource) for one in asked if one.namespace in TEAMS)
    yield Found(bar="restart", value=about.total(), beside=f"{dict(about.most_common(3))}; {len(asked)} in all, to list")
    time.sleep(world.rest_s)
    asked = world.audit.new()
    said = Counter((one.verb, one.resource) for one in asked)
    yield Found(bar="rest", value=len(asked), beside=f"in {world.rest_s:.0f} s {dict(said.most_common(3)) or ''}")
    url = f"http://127.0.0.1:{world.installation.ports['controller-metrics']}/metrics"
    scrapes, size = [], 0
    for _ in range(3):
        began = time.monotonic()
        with urllib.request.urlopen(url, timeout=60) as answer:
            size = len(answer.read())
        scrapes.append(time.monotonic() - began)
    yield Found(bar="scrape", value=statistics.median(scrapes), beside=f"{size / 1e6:.1f} MB")


def led_by_another(world: SizeWorld) -> Iterator[Found]:
    """The leader is told to stop, and somebody makes an object in that moment."""
    bare, namespace, installation = world.bare, TEAMS[0], world.installation
    standby = installation.start_standby()
    old = installation.leader()
    told = time.monotonic()
    installation.stop("controller")
    bare.write("POST", path_of(namespace), wish(namespace, "new", replicas=1))
    wait_until(lambda: installation.leader() not in ("", old), "another leader", every_s=0.02)
    led = time.monotonic()
    yield Found(bar="handed-over", value=led - told)
    child = path_of(namespace, "new", group=_APPS, plural="deployments")
    wait_until(lambda: bare.ask("GET", child)[0] == 200, "the new object's child", timeout_s=600, every_s=0.02)
    made = time.monotonic()
    pods = f"/api/v1/namespaces/{namespace}/pods"
    wait_until(lambda: bare.get(pods)["items"], "the new object's pod", every_s=0.02)
    pod = time.monotonic()
    standby.check()
    yield Found(bar="new-object", value=pod - led, beside=f"its Deployment after {number(made - led)} s")
    world.audit.until_quiet(6, 900)
    world.start_controller()
    installation.stop("controller-standby")
    wait_until(lambda: installation.leader() not in ("", old), "the first to lead again")
    bare.write("DELETE", path_of(namespace, "new"), None)
    world.audit.until_quiet(6, 900)


def nodes_change(world: SizeWorld) -> Iterator[Found]:
    """500 nodes, of as few pools as have them, get other figures of memory: their pools are others then."""
    bare = world.bare
    each = world.nodes // len(GPUS)
    kinds = min(len(GPUS), -(-NODES_CHANGED // max(1, each)))
    names = [f"n{row}" for row in range(world.nodes) if row % len(GPUS) < kinds][:NODES_CHANGED]
    affected = sum(1 for row in range(world.count) if row % len(GPUS) < kinds)
    world.audit.new()

    def change(row: int) -> None:
        memory = GPUS[int(names[row][1:]) % len(GPUS)].memory_mib - 512
        labels = {"metadata": {"labels": {"nvidia.com/gpu.memory": str(memory)}}}
        bare.write("PATCH", f"/api/v1/nodes/{names[row]}", labels, content=MERGE)

    began = time.time()
    bare.each(change, range(len(names)))
    ended = time.time()
    asked = world.audit.until_quiet(6, 600)
    said = Counter((one.verb, one.resource) for one in asked)
    last = max((one.at for one in asked), default=ended)
    beside = f"{len(asked)} for {affected} of {kinds} pools: {dict(said.most_common(4))}"
    yield Found(bar="node-change-requests", value=len(asked) / affected, beside=beside)
    yield Found(bar="node-change-settled", value=max(0.0, last - ended), beside=f"{len(names)} nodes, changed in {ended - began:.1f} s")
    assert not (left := world.unsettled()), f"{len(left)} are not as they were, such as {left[:3]}"
