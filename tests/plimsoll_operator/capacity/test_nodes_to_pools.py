import random
from collections import Counter
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.folders import ROOT
from tests.laws import law
from tests.plimsoll_operator.nodes import gpu_node, gpu_pod, groups_of, index_of

from plimsoll_operator.capacity.booking import Booking, book_nodes, by_gpus, fits_now
from plimsoll_operator.capacity.index import CapacityIndex, EventType
from plimsoll_operator.capacity.pods import parse_pod, pod_requests
from plimsoll_operator.capacity.problems import Problem
from plimsoll_operator.capacity.quantities import floor_quantity
from plimsoll_operator.facts import FreeNodes
from plimsoll_operator.pod import PodRequests
from plimsoll_operator.ports import Manifest

MIB = 1 << 20


TRUST = [
    ("a plain node is trusted", gpu_node(), True, set()),
    ("more allocatable than labelled means two products on one node", gpu_node(units=6), False, {"MixedProducts"}),
    ("fewer allocatable than labelled counts what is left", gpu_node(units=3), True, {"FewerAllocatableThanLabelled"}),
    ("labels without any allocatable GPU are stale", gpu_node(units=0), False, {"NoAllocatableGpus"}),
    ("memory of 23 TiB in MiB is bytes mistaken", gpu_node(memory_mib=23034 * MIB), False, {"MemoryAbsurd"}),
    ("memory of 22 is GiB mistaken for MiB", gpu_node(memory_mib=22), False, {"MemoryAbsurd"}),
    ("a slice of more memory than the whole card", gpu_node(product="NVIDIA-A100-SXM4-40GB-MIG-1g.5gb", memory_mib=81920), False,
     {"MemoryContradictsProduct"}),
    ("no memory at all", gpu_node(memory_mib=0), False, {"MemoryAbsurd"}),
    ("no GPU of the product, and yet four to hand out", gpu_node(count=0, units=4), False, {"MixedProducts"}),
    ("a count that is also a memory", gpu_node(count=23034), False, {"CountAbsurd"}),
    ("replicas that no card is cut into", gpu_node(labels={"nvidia.com/gpu.replicas": "1000"}), False,
     {"CountAbsurd", "FewerAllocatableThanLabelled"}),
    ("an L4 with 80 GiB is another card", gpu_node(memory_mib=81559), False, {"MemoryContradictsProduct"}),
    ("an invalid MIG mix is not planned with", gpu_node(product="NVIDIA-A100-SXM4-40GB-MIG-INVALID", count=0, memory_mib=0, units=0),
     False, {"MigInvalid", "NoAllocatableGpus"}),
    ("a shared product whose strategy no label names", gpu_node(product="Tesla-T4-SHARED", memory_mib=15360), False,
     {"SharedWithoutStrategy"}),
    ("a label that is no number", gpu_node(labels={"nvidia.com/gpu.count": "four"}), False, {"BadLabel"}),
    ("a negative count is no number", gpu_node(labels={"nvidia.com/gpu.count": "-4"}), False, {"BadLabel"}),
    ("a product that is no label value", gpu_node(product="NVIDIA L4; rm -rf"), False, {"BadLabel"}),
    ("allocatable GPUs without a product label", gpu_node(labels={"nvidia.com/gpu.product": None}), False, {"NoProduct"}),
    ("an unknown product without a memory label", gpu_node(product="NVIDIA-Z9", labels={"nvidia.com/gpu.memory": None}), False,
     {"MemoryUnknown"}),
    ("a cordoned node stays in its pool", gpu_node(unschedulable=True), True, {"Cordoned"}),
    ("a node that is not ready stays in its pool", gpu_node(ready="Unknown"), True, {"NotReady"}),
    ("ten thousand GPUs on one node", gpu_node(count=10000), False, {"CountAbsurd"}),
]  # fmt: skip


@pytest.mark.parametrize(("why", "item", "trusted", "problems"), TRUST, ids=[row[0] for row in TRUST])
def test_doubtful_nodes_are_named_and_excluded(why: str, item: Manifest, trusted: bool, problems: set[str]) -> None:
    (pool,) = index_of(item).pools()
    assert (not pool.key.excluded_for, {row.problem for row in pool.problems}) == (trusted, problems)
    if not trusted or problems & {"Cordoned", "NotReady"}:
        assert pool.free_gpus == 0


@pytest.mark.parametrize("problem", list(Problem))
def test_every_doubt_has_a_sentence_and_a_line_in_the_documentation(problem: Problem) -> None:
    assert problem.sentence
    assert f"`{problem}`" in (ROOT / "docs" / "capacity.md").read_text(encoding="utf-8")


def test_known_products_offer_what_cuda_reports_and_never_more_than_the_label() -> None:
    (pool,) = index_of(gpu_node()).pools()
    assert 22.0 * 2**30 < pool.key.usable_memory_bytes < 23034 * MIB
    (unknown,) = index_of(gpu_node(product="NVIDIA-RTX-A9999", memory_mib=24000)).pools()
    assert unknown.key.usable_memory_bytes == 23400 * MIB
    assert not unknown.key.memory_is_exact


def test_time_slicing_and_mps_are_told_apart() -> None:
    sliced = gpu_node(product="Tesla-T4-SHARED", count=1, memory_mib=15360, units=4,
                  labels={"nvidia.com/gpu.replicas": "4", "nvidia.com/gpu.sharing-strategy": "time-slicing"})  # fmt: skip
    mps = gpu_node("n2", product="Tesla-T4-SHARED", count=1, memory_mib=15360, units=4,
               labels={"nvidia.com/gpu.replicas": "4", "nvidia.com/gpu.sharing-strategy": "mps"})  # fmt: skip
    pools = {pool.key.sharing: pool for pool in index_of(sliced, mps).pools()}
    assert pools["mps"].key.usable_memory_bytes == pools["time-slicing"].key.usable_memory_bytes // 4
    assert {pool.free_gpus for pool in pools.values()} == {4}
    assert {pool.key.product for pool in pools.values()} == {"Tesla-T4"}


def test_mixed_mig_makes_a_pool_per_profile_beside_the_whole_gpus() -> None:
    item = gpu_node(product="NVIDIA-A100-SXM4-40GB", count=2, memory_mib=40960, labels={
        "nvidia.com/gpu.count": "3", "nvidia.com/mig-1g.10gb.product": "NVIDIA-A100-SXM4-40GB-MIG-1g.10gb",
        "nvidia.com/mig-1g.10gb.count": "4",
        "nvidia.com/mig-1g.10gb.memory": "9728"})  # fmt: skip
    item["status"]["allocatable"]["nvidia.com/mig-1g.10gb"] = "4"
    pools = index_of(item).pools()
    assert {(p.key.resource, p.key.sharing, p.free_gpus) for p in pools} == {
        ("nvidia.com/gpu", "none", 2), ("nvidia.com/mig-1g.10gb", "mig", 4)}  # fmt: skip
    assert next(p.key.usable_memory_bytes for p in pools if p.key.sharing == "mig") == 9728 * MIB


def container(gpus: int | str, **extra: str) -> Manifest:
    return {"resources": {"requests": {"nvidia.com/gpu": gpus}}, **extra}


REQUESTS = [
    ("containers add up", {"containers": [container(1), container("2")]}, 3),
    ("an init container runs alone", {"containers": [container(1)], "initContainers": [container(4)]}, 4),
    ("a sidecar runs beside the containers", {"containers": [container(1)], "initContainers": [container(2, restartPolicy="Always")]}, 3),
    ("a sidecar runs beside later init containers", {"containers": [container(1)], "initContainers":
        [container(2, restartPolicy="Always"), container(3)]}, 5),
    ("an earlier init container does not see the sidecar", {"containers": [container(1)], "initContainers":
        [container(3), container(2, restartPolicy="Always")]}, 3),
    ("a limit alone is a request", {"containers": [{"resources": {"limits": {"nvidia.com/gpu": "2"}}}]}, 2),
    ("pod-level resources do not cover GPUs", {"containers": [container(1)], "resources": {"requests": {"cpu": "8"}}}, 1),
    ("no GPU is no request", {"containers": [{}]}, 0),
]  # fmt: skip


@pytest.mark.parametrize(("why", "spec", "gpus"), REQUESTS, ids=[row[0] for row in REQUESTS])
def test_requests_are_counted_as_the_scheduler_counts(why: str, spec: Manifest, gpus: int) -> None:
    assert pod_requests(spec).get("nvidia.com/gpu", 0) == gpus


def test_pods_hold_gpus_from_binding_to_their_end() -> None:
    index = index_of(gpu_node())
    unbound = gpu_pod("a", "n1", 2)
    del unbound["spec"]["nodeName"]
    steps: list[tuple[EventType, Manifest, int]]
    steps = [("ADDED", unbound, 4), ("MODIFIED", gpu_pod("a", "n1", 2, "Pending"), 2), ("MODIFIED", gpu_pod("a", "n1", 2), 2),
             ("MODIFIED", gpu_pod("a", "n1", 2, deletionTimestamp="2026-01-01T00:00:00Z"), 2),
             ("MODIFIED", gpu_pod("a", "n1", 2, "Succeeded"), 4), ("DELETED", gpu_pod("a", "n1", 2), 4)]  # fmt: skip
    for kind, item, expected in steps:
        index.pod_event(kind, item)
        assert index.pools()[0].free_gpus == expected


def test_a_pod_that_comes_before_its_node_counts() -> None:
    index = index_of(pods=[gpu_pod("a", "n1", 3)])
    index.node_event("ADDED", gpu_node())
    assert index.pools()[0].nodes_by_free_gpus == ((1, 1),)


def test_pools_split_by_the_keys_that_selectors_use_and_only_then() -> None:
    zones = [gpu_node(f"n{i}", labels={"topology.kubernetes.io/zone": zone}) for i, zone in enumerate("aab")]
    index = index_of(*zones)
    assert [pool.nodes for pool in index.pools()] == [3]
    assert index.set_label_keys(["topology.kubernetes.io/zone"])
    assert sorted(pool.nodes for pool in index.pools()) == [1, 2]
    assert not index.set_label_keys(["topology.kubernetes.io/zone"])


HAPPENED: st.SearchStrategy[EventType] = st.sampled_from(("ADDED", "DELETED"))


@law(50)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 4), HAPPENED), max_size=30), st.randoms())
def test_events_leave_what_a_fresh_count_would(events: list[tuple[int, int, EventType]], rng: random.Random) -> None:
    index = CapacityIndex()
    pods: dict[int, Manifest] = {}
    for number in range(3):
        index.node_event("ADDED", gpu_node(f"n{number}"))
    for uid, gpus, kind in events:
        item = gpu_pod(str(uid), f"n{uid % 3}", gpus)
        index.pod_event(kind, item)
        if kind == "ADDED":
            pods[uid] = item
        else:
            pods.pop(uid, None)
    nodes = [gpu_node(f"n{number}") for number in range(3)]
    rest = list(pods.values())
    rng.shuffle(nodes)
    rng.shuffle(rest)
    assert index.pools() == index_of(*nodes, pods=rest).pools()


HELD = st.lists(st.tuples(st.integers(0, 2), st.integers(1, 5), st.booleans(), st.booleans()), max_size=12)


@law(100)
@given(HELD)
def test_what_is_asked_without_some_pods_is_what_a_count_without_them_says_and_changes_nothing(
    held: list[tuple[int, int, bool, bool]],
) -> None:
    nodes = [gpu_node(f"n{number}", labels={"zone": "ab"[number % 2]}) for number in range(3)]
    index, rest = index_of(*nodes), index_of(*nodes)
    for uid, (where, gpus, planned, is_own) in enumerate(held):
        for one in (index, *(() if is_own else (rest,))):
            one.pod_event("ADDED", gpu_pod(str(uid), f"n{where}", gpus), planned=planned)
    before = index.pools()
    own = [str(uid) for uid, row in enumerate(held) if row[3]]
    booked = {pool.name: [Booking(pods=2, each=PodRequests(gpus=1))] for pool in before}
    assert index.pools(booked, without=[*own, "nobody"]) == rest.pools(booked)
    assert index.narrowed([("zone", "a")], booked, without=own) == rest.narrowed([("zone", "a")], booked)
    assert index.pools() == before


def book(histogram: Iterable[tuple[int, int]], bookings: Iterable[Booking]) -> tuple[tuple[tuple[int, int], ...], int]:
    after, booked = book_nodes((FreeNodes(gpus=gpus, nodes=nodes) for gpus, nodes in histogram), bookings)
    return by_gpus(after), booked


def test_bookings_take_the_emptiest_nodes() -> None:
    assert book(((1, 1), (4, 2)), (Booking(pods=2, each=PodRequests(gpus=2)),)) == (((1, 1), (2, 2)), 4)
    assert fits_now(((4, 2),), 4, 2)
    assert not fits_now(((2, 4),), 4, 1)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 5)), max_size=5), st.integers(1, 9), st.integers(0, 12))
def test_what_fits_now_is_what_booking_would_place(histogram: list[tuple[int, int]], gpus: int, pods: int) -> None:
    assert fits_now(histogram, gpus, pods) == (book(histogram, (Booking(pods=pods, each=PodRequests(gpus=gpus)),))[1] == gpus * pods)
    index = index_of(gpu_node(), gpu_node("n2"))
    name = index.pools()[0].name
    (pool,) = index.pools({name: [Booking(pods=1, each=PodRequests(gpus=3))]})
    assert (pool.nodes_by_free_gpus, pool.booked_gpus, pool.free_gpus) == (((1, 1), (4, 1)), 3, 5)


QUANTITIES = [
    ("1Gi", 1, 2**30), ("1500m", 1, 1), ("1500m", 1000, 1500), ("1e3", 1, 1000), ("4", 1, 4), (4, 1, 4), ("0.5", 1000, 500),
    ("1E", 1, 10**18), ("-4", 1, 0), ("4 Gi", 1, 0), (None, 1, 0), (True, 1, 0), (4.5, 1, 0), ("9" * 70, 1, 0), ("E", 1, 0),
]  # fmt: skip


@pytest.mark.parametrize(("text", "scale", "expected"), QUANTITIES)
def test_quantities_round_down_and_never_raise(text: object, scale: int, expected: int) -> None:
    assert floor_quantity(text, scale=scale) == expected


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(["4", "1e9", "81559", "NVIDIA-L4"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
MIG = [f"nvidia.com/mig-1g.5gb.{key}" for key in ("product", "count", "memory")]
GPU = [f"nvidia.com/gpu.{key}" for key in ("product", "count", "memory", "replicas", "sharing-strategy", "compute.major")]
LABELS = st.dictionaries(
    st.sampled_from(GPU + MIG) | st.text(max_size=12),
    JUNK | st.from_regex(r"\A-?[0-9]{1,12}(Mi|G|\.5)?\Z"),
)


@law(300)
@given(LABELS, JUNK, JUNK, JUNK, JUNK)
def test_hostile_objects_never_raise_and_never_gain_memory(
    labels: Manifest, units: object, taints: object, conditions: object, spec: object
) -> None:
    allocatable = {"nvidia.com/gpu": units, "nvidia.com/mig-1g.5gb": "4", "memory": units}
    item = {"metadata": {"name": "n", "labels": labels}, "spec": {"taints": taints},
            "status": {"allocatable": allocatable, "conditions": conditions}}  # fmt: skip
    for group in groups_of(item):
        if group.trusted:
            assert 0 < group.usable_memory_bytes <= 2 << 40
            if group.product == "NVIDIA-L4":
                assert group.usable_memory_bytes <= 23034 * MIB
    index_of(item, {"metadata": labels, "spec": spec, "status": units}).pools()
    parse_pod({"metadata": {"uid": "u"}, "spec": {"nodeName": "n", "containers": spec, "initContainers": taints}, "status": conditions})


HISTOGRAMS = st.dictionaries(st.integers(0, 8), st.integers(1, 6), max_size=5)
BOOKINGS = st.lists(st.builds(Booking, pods=st.integers(0, 9), each=st.builds(PodRequests, gpus=st.integers(1, 8))), max_size=4)


@law(200)
@given(HISTOGRAMS, BOOKINGS)
def test_what_is_booked_is_taken_off_the_nodes_and_no_node_is_lost(histogram: dict[int, int], bookings: list[Booking]) -> None:
    after, booked = book(histogram.items(), bookings)
    assert sum(nodes for _, nodes in after) == sum(histogram.values())
    assert sum(free * nodes for free, nodes in after) + booked == sum(free * nodes for free, nodes in histogram.items())
    assert booked <= sum(row.pods * row.each.gpus for row in bookings)


@law(200)
@given(st.lists(st.integers(0, 8), min_size=1, max_size=8), st.integers(0, 9), st.integers(1, 8), st.randoms(use_true_random=False))
def test_of_pods_of_one_size_what_is_called_available_finds_a_node_however_they_were_placed(
    nodes: list[int], pods: int, gpus: int, order: random.Random
) -> None:
    """Each pod of the booking on any node that has room: if the books say that one more fits, it fits."""
    after, _ = book(Counter(nodes).items(), [Booking(pods=pods, each=PodRequests(gpus=gpus))])
    for _ in range(pods):
        holding = [number for number, free in enumerate(nodes) if free >= gpus]
        if holding:
            nodes[order.choice(holding)] -= gpus
    assert fits_now(after, gpus, 1) == (max(nodes) >= gpus)


def test_of_pods_of_several_sizes_the_books_follow_the_scheduler_and_are_no_bound() -> None:
    """Spread over nodes of 8 and 7, pods of 6, 5 and 2 leave 2 on one; packed otherwise they leave 1 on each."""
    bookings = [Booking(pods=1, each=PodRequests(gpus=gpus)) for gpus in (2, 5, 6)]
    assert book(((8, 1), (7, 1)), bookings) == (((0, 1), (2, 1)), 13)
