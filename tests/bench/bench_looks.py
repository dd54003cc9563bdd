"""CPU of a look at a deployment that nobody has changed, held to floors of the same run. Run: make bench

Most looks are such: a child's event, a policy's edit, the resync. Neither how many deployments there are may matter, nor how many replicas
one has, nor into how many pools the nodes fall. The floor is reading the deployment from its JSON, which nobody can leave out. The least of
many rounds counts: whatever else the machine does only adds.
"""

from __future__ import annotations

import json
from functools import partial

from tests.bench.timing import FLOOR, Action, Row, hold, show, taken
from tests.plimsoll_operator.cluster import NS, SMALL, of_replica_set
from tests.plimsoll_operator.controller_world import World
from tests.plimsoll_operator.nodes import gpu_node, gpu_pod

from plimsoll_operator.api import read_deployment
from plimsoll_operator.names import PLAN_DIGEST_ANNOTATION
from plimsoll_operator.ports import NODES, PODS

MOST_FLOORS = 8.0
MOST_GROWTH = 1.5
CALLS = 10
ROUNDS = 30


def tell(world: World) -> None:
    """What the watch of InferenceDeployments tells of them."""
    for item in world.asked():
        world.controller.heard((NS, item["metadata"]["name"]), item["metadata"], gone=False)


def settled(world: World) -> World:
    for _ in range(3):
        world.work()
        tell(world)
        world.drain()
    return world


def filled(deployments: int = 1, replicas: int = 1, pools: int = 1) -> World:
    """So many deployments of so many replicas, all of whose pods are on nodes, beside nodes of so many other kinds."""
    world = World(*[8] * (deployments * replicas // 8 + 1))
    for number in range(1, pools):
        world.kube.create(NODES, gpu_node(f"other-{number}", taints=[{"key": f"of-{number}", "effect": "NoSchedule"}]))
    for number in range(deployments):
        world.wish(f"d{number}", 1, replicas=replicas)
    settled(world)
    for number in range(deployments):
        made = of_replica_set(f"d{number}")
        annotations = {PLAN_DIGEST_ANNOTATION: world.annotation(f"d{number}", PLAN_DIGEST_ANNOTATION)}
        for pod in range(replicas):
            place = number * replicas + pod
            found = gpu_pod(
                f"d{number}-{pod}", f"n{place // 8}", 1, annotations=annotations, creationTimestamp="2026-01-01T00:00:00Z", **made
            )
            found["metadata"]["uid"] = f"u-{place}"
            world.kube.create(PODS, found)
    return settled(world)


def look(world: World) -> None:
    for _ in range(CALLS):
        world.controller.queue.add((NS, "d0"), unchanged=True)
        world.drain()


def read(text: str) -> None:
    for _ in range(CALLS):
        read_deployment(json.loads(text))


def test_a_look_costs_the_same_whatever_the_cluster_has() -> None:
    worlds = {
        "one deployment": filled(),
        "200 deployments": filled(deployments=200),
        "one of 1,000 replicas": filled(replicas=1000),
        "204 pools": filled(pools=204),
    }
    text = json.dumps(worlds["one deployment"].asked()[0])
    actions = {FLOOR: Action(run=partial(read, text), calls=CALLS)}
    actions |= {name: Action(run=partial(look, world), calls=CALLS) for name, world in worlds.items()}
    found = taken(actions, ROUNDS)
    floor = found.pop(FLOOR)
    rows: list[Row] = [(name, time, MOST_FLOORS, floor) for name, time in found.items()]
    show(f"a look at an unchanged deployment of {SMALL}; floor: reading it", rows)
    hold(rows)
    for name, time in found.items():
        assert time.least <= MOST_GROWTH * found["one deployment"].least, name
