"""Node selectors of many tenants: which labels split pools, what others get of them, and that the rest is looked up on the nodes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.plimsoll_operator.cluster import NS, Clock
from tests.plimsoll_operator.controller_world import World
from tests.plimsoll_operator.nodes import gpu_node

from plimsoll_operator.api import MAX_POOLS, GPUPool, PlacementSpec, Plan, parse_object
from plimsoll_operator.capacity import MAX_LABEL_KEYS, CapacityIndex, pool_facts, pool_manifest
from plimsoll_operator.capacity.carriers import MAX_KEYS, Carriers
from plimsoll_operator.controller.booking.label_keys import KEYS_A_NAMESPACE, RELEASE_SECONDS, LabelKeys
from plimsoll_operator.controller.booking.ledger import Ledger
from plimsoll_operator.controller.cluster import trim
from plimsoll_operator.decision.request.placement import match
from plimsoll_operator.names import PLAN_ANNOTATION
from plimsoll_operator.ports import GPU_POOLS, INFERENCE_DEPLOYMENTS, NODES, Manifest

PRODUCT = "nvidia.com/gpu.product"
ZONE = "topology.kubernetes.io/zone"
HOST = "kubernetes.io/hostname"


@dataclass
class Cluster:
    """How many values the nodes carry of each label, and how many nodes there are."""

    carried: dict[str, int]
    nodes: int = 100
    now: float = 0.0

    def chosen(self, keys: LabelKeys) -> frozenset[str]:
        return keys.chosen(lambda label: self.carried.get(label, 0), self.nodes, self.now) - {PRODUCT}


def used(*wishes: tuple[str, Iterable[str]]) -> LabelKeys:
    keys = LabelKeys()
    for namespace, labels in wishes:
        keys.use((namespace, "one"), labels)
    return keys


MADE_UP = [f"made-up-{number:02}" for number in range(15)]
REAL = [f"real-{number:02}" for number in range(40)]
CHOICES: list[tuple[str, list[tuple[str, list[str]]], dict[str, int], int, set[str]]] = [
    ("keys that no node carries take no place", [("a", MADE_UP), ("b", [ZONE])], {ZONE: 3}, 100, {ZONE}),
    ("a namespace takes no more than its share", [("a", REAL[:9]), ("b", [ZONE])], {ZONE: 3, **dict.fromkeys(REAL, 2)}, 100,
     {*REAL[:KEYS_A_NAMESPACE], ZONE}),
    ("what two use counts once", [("a", REAL[:4]), ("b", REAL[:4])], dict.fromkeys(REAL, 2), 100, set(REAL[:4])),
    ("a name for each node is none to split by", [("a", [HOST])], {HOST: 100}, 100, set()),
    ("on a handful of nodes it is", [("a", [HOST])], {HOST: 8}, 8, {HOST}),
    ("a quarter of the nodes is many", [("a", [ZONE])], {ZONE: 12}, 44, set()),
    ("and fewer is not", [("a", [ZONE])], {ZONE: 11}, 44, {ZONE}),
    ("however many nodes there are", [("a", [ZONE])], {ZONE: 33}, 5000, set()),
    ("the product's is always one", [("a", [PRODUCT])], {PRODUCT: 2}, 100, set()),
]  # fmt: skip


@pytest.mark.parametrize(("why", "wishes", "carried", "nodes", "expected"), CHOICES, ids=[row[0] for row in CHOICES])
def test_pools_are_split_by_few_labels_that_nodes_carry(
    why: str, wishes: list[tuple[str, list[str]]], carried: dict[str, int], nodes: int, expected: set[str]
) -> None:
    assert Cluster(carried, nodes).chosen(used(*wishes)) == expected, why


def test_one_namespace_after_the_other_gets_a_key_until_there_is_no_place() -> None:
    keys = used(*((f"ns-{number:02}", [REAL[number]]) for number in range(30)))
    cluster = Cluster(dict.fromkeys(REAL, 2))
    first = cluster.chosen(keys)
    assert len(first) == MAX_LABEL_KEYS - 1
    keys.use(("aaa", "late"), [ZONE])
    cluster.carried[ZONE] = 2
    assert cluster.chosen(keys) == first, "nobody's key is put out for another's"


def test_a_key_that_nobody_uses_stays_for_a_while_and_makes_room_when_it_is_needed() -> None:
    keys, cluster = used(("a", [ZONE])), Cluster({ZONE: 3, **dict.fromkeys(REAL, 2)})
    assert cluster.chosen(keys) == {ZONE}
    keys.use(("a", "one"), [])
    cluster.now += RELEASE_SECONDS - 1
    assert cluster.chosen(keys) == {ZONE}, "pools are not renamed back and forth"
    cluster.now += RELEASE_SECONDS
    assert cluster.chosen(keys) == set()
    keys.use(("a", "one"), [ZONE])
    assert cluster.chosen(keys) == {ZONE}
    keys.use(("a", "one"), [])
    for number in range(MAX_LABEL_KEYS - 1):
        keys.use((f"ns-{number}", "one"), [REAL[number]])
    assert cluster.chosen(keys) == set(REAL[: MAX_LABEL_KEYS - 1])


def test_a_key_whose_values_have_become_far_too_many_goes() -> None:
    keys, cluster = used(("a", [ZONE])), Cluster({ZONE: 20}, nodes=100)
    assert cluster.chosen(keys) == {ZONE}
    cluster.carried[ZONE] = 45
    assert cluster.chosen(keys) == {ZONE}, "somewhat more is no reason"
    cluster.carried[ZONE] = 51
    assert cluster.chosen(keys) == set()


LABELS = st.dictionaries(st.sampled_from("abc"), st.sampled_from("xyz"), max_size=3)


@given(st.lists(st.tuples(st.sampled_from(["n1", "n2", "n3"]), st.none() | LABELS, st.sampled_from("abc")), max_size=30), LABELS)
def test_carriers_know_what_a_walk_over_all_nodes_tells(steps: list[tuple[str, dict[str, str] | None, str]], pairs: dict[str, str]) -> None:
    found, nodes = Carriers(), dict[str, dict[str, str]]()
    for name, labels, asked in steps:
        found.changed(name, labels)
        nodes.pop(name, None)
        if labels is not None:
            nodes[name] = labels
        assert found.values(asked) == len({row[asked] for row in nodes.values() if asked in row})
        assert found.nodes_with(pairs.items()) == {name for name, row in nodes.items() if pairs.items() <= row.items()}
    assert set(found._carried) == {label for row in nodes.values() for label in row}


def test_of_the_keys_that_somebody_asks_about_only_so_many_are_kept_and_of_made_up_ones_none() -> None:
    found = Carriers()
    found.changed("n", {f"k{number}": "x" for number in range(2 * MAX_KEYS)})
    for number in range(4 * MAX_KEYS):
        found.values(f"k{number}")
        found.values(f"made-up-{number}")
    assert len(found._by_key) == MAX_KEYS
    found.changed("n", None)
    assert (found.nodes, found.values("k0"), len(found._carried)) == (0, 0, 0)


CLUSTERS = st.lists(st.dictionaries(st.sampled_from(["zone", "rack", "slot"]), st.sampled_from("abc"), max_size=3), min_size=1, max_size=8)
SELECTORS = st.dictionaries(st.sampled_from(["zone", "rack", "slot", "none"]), st.sampled_from("abcd"), min_size=1, max_size=2)


@given(CLUSTERS, SELECTORS, st.lists(st.sampled_from(["zone", "rack", "slot"]), max_size=3))
def test_the_controller_plans_on_exactly_the_selected_nodes_and_the_webhook_says_the_same_or_nothing(
    nodes: list[dict[str, str]], selector: dict[str, str], others: list[str]
) -> None:
    ledger = Ledger(Clock())
    for number, labels in enumerate(nodes):
        ledger.node_changed(("", f"n{number}"), None, trim.node(gpu_node(f"n{number}", count=1 + number % 2, labels=labels)))
    ledger.use_label_keys(("other", "one"), others)
    pools = tuple(pool_facts(parse_object(GPUPool, pool_manifest(pool))) for pool in ledger.pools())
    placement = PlacementSpec(node_selector=selector)
    seen_by_webhook = match(placement, pools)
    seen_by_controller = match(placement, ledger.narrow((NS, "one"), selector, pools))
    assert sum(pool.nodes for pool in seen_by_controller.pools) == sum(selector.items() <= labels.items() for labels in nodes)
    assert not seen_by_controller.unindexed_keys
    if not seen_by_webhook.unindexed_keys:
        assert {pool.name for pool in seen_by_webhook.pools} == {pool.name for pool in seen_by_controller.pools}
    else:
        assert not seen_by_webhook.pools, "what it cannot tell apart it does not plan on"


def world(nodes: int, gpus: int = 4, **labels: str) -> World:
    found = World()
    for number in range(nodes):
        found.kube.create(NODES, gpu_node(f"n{number:03}", count=gpus, labels={**{HOST: f"n{number:03}"}, **labels}))
    found.hear()
    return found


def feasible(world: World, name: str) -> Manifest:
    rows: list[Manifest] = world.status(name)["conditions"]
    return next(row for row in rows if row["type"] == "Feasible")


def test_a_selector_by_host_name_makes_no_pool_a_node_and_plans_on_that_node() -> None:
    found = world(66)
    found.wish("here", 4, nodeSelector={HOST: "n007"})
    found.work()
    found.controller.pool_writer.write()
    assert len(found.kube.list_page(GPU_POOLS).items) == 1
    assert found.condition("here") == ("True", "Booked")
    assert len(found.status("here")["plan"]["pools"]) == 1
    found.wish("there-too", 4, nodeSelector={HOST: "n007"})
    found.wish("elsewhere", 4, nodeSelector={HOST: "n008"})
    found.work()
    found.pod("here", 4, "n007")
    found.work()
    assert found.condition("there-too") == ("False", "WaitingForGpus"), "the one node is taken"
    assert found.condition("elsewhere") == ("True", "Booked")


def test_a_label_that_no_node_has_is_said_and_takes_no_place() -> None:
    found = world(66)
    found.wish("nowhere", 4, nodeSelector=dict.fromkeys(MADE_UP, "x"))
    found.wish("zoned", 4, nodeSelector={ZONE: "a"})
    found.work()
    told = feasible(found, "nowhere")
    assert (told["status"], told["reason"]) == ("False", "NoMatchingPool")
    assert "has no node with made-up-00=x and made-up-01=x" in told["message"]
    for number in range(66):
        node = found.kube.get(NODES, "", f"n{number:03}")
        assert node is not None
        node["metadata"]["labels"][ZONE] = "ab"[number % 2]
        found.kube.replace(NODES, node)
    found.hear()
    found.clock.now += 61
    found.controller.ledger.expire()
    found.controller.relist.resync()
    found.work()
    assert feasible(found, "zoned")["status"] == "True"
    assert found.controller.ledger.pools()[0].indexed_label_keys == (PRODUCT, ZONE)


def test_keys_of_deleted_objects_are_released() -> None:
    found = world(4, zone="a")
    found.wish("zoned", 4, nodeSelector={"zone": "a"})
    found.work()
    assert "zone" in found.controller.ledger.pools()[0].indexed_label_keys
    found.kube.delete(INFERENCE_DEPLOYMENTS, NS, "zoned")
    found.controller.queue.add((NS, "zoned"))
    found.work()
    found.clock.now += RELEASE_SECONDS + 61
    found.controller.ledger.expire()
    found.clock.now += RELEASE_SECONDS + 61
    found.controller.ledger.expire()
    assert found.controller.ledger.pools()[0].indexed_label_keys == (PRODUCT,)


def test_a_label_that_splits_nothing_renames_no_pool() -> None:
    index = CapacityIndex()
    for number in range(3):
        index.node_event("ADDED", gpu_node(f"n{number}", count=4, labels={"zone": "a", "rack": "r" if number < 2 else "s"}))
    (before,) = index.pools()
    index.set_label_keys(["zone"])
    (after,) = index.pools()
    assert (after.name, dict(after.key.labels)["zone"]) == (before.name, "a")
    index.set_label_keys(["zone", "rack"])
    assert len({pool.name for pool in index.pools()} | {before.name}) == 3
    index.set_label_keys([])
    assert [pool.name for pool in index.pools()] == [before.name]


def test_a_plan_names_no_more_pools_than_its_status_holds_and_is_booked_on_certain_nodes() -> None:
    found = World()
    for number in range(MAX_POOLS + 6):
        node = gpu_node(f"n{number:03}", count=4)
        node["spec"] = {"taints": [{"key": "team", "value": f"t{number}", "effect": "NoSchedule"}]}
        found.kube.create(NODES, node)
    found.hear()
    tolerations = [{"key": "team", "operator": "Exists"}]
    for name, replicas in (("many", 1), ("more", MAX_POOLS + 6)):
        found.wish(name, 4, replicas, tolerations=tolerations)
        found.work()
    assert len(Plan.from_json(found.annotation("many", PLAN_ANNOTATION)).pools) == MAX_POOLS
    assert len(found.status("many")["plan"]["pools"]) == MAX_POOLS
    assert found.condition("many") == ("True", "Booked")
    assert found.condition("more")[0] == "False", "no promise on nodes that its plan does not name"
