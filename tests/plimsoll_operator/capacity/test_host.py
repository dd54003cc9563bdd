"""Host memory, CPU and ephemeral storage beside GPUs: as the scheduler counts pods, as pools keep it, and as decisions use it.

Requests follow Kubernetes' resource helpers (component-helpers, `PodRequests`): sidecars, init containers, pod-level resources, overhead.
"""

import random
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.laws import law
from tests.plimsoll_operator.decision_world import LLAMA_8B, Files, admitted, planned, verdict
from tests.plimsoll_operator.full_hosts import CPU, DISK, MEM, store_of
from tests.plimsoll_operator.nodes import GPU, H100, L4, gpu_node, gpu_pod, index_of, status_of

from plimsoll_operator.api import GPUPool, parse_object
from plimsoll_operator.capacity import Booking, CapacityIndex, gpus_for, pool_facts, pool_manifest
from plimsoll_operator.capacity.booking import book_nodes
from plimsoll_operator.capacity.pods import pod_requests
from plimsoll_operator.capacity.tally import MAX_ROWS, STEPS, Free, Host, Tally
from plimsoll_operator.facts import FreeNodes
from plimsoll_operator.pod import PodRequests
from plimsoll_operator.ports import Manifest

GIB = 1 << 30


def asks(limits: dict[str, str] | None = None, always: bool = False, **requests: str) -> Manifest:
    resources = {"requests": {key.replace("_", "-"): value for key, value in requests.items()}}
    if limits:
        resources["limits"] = limits
    return {"resources": resources} | ({"restartPolicy": "Always"} if always else {})


REQUESTS = [  # why, pod spec, what is counted
    ("containers add up", {"containers": [asks(cpu="1", memory="1Gi"), asks(cpu="500m", memory="1Gi")]}, {CPU: 1500, MEM: 2 * GIB}),
    ("a limit without a request is the request", {"containers": [asks(limits={CPU: "2", DISK: "1Gi"})]}, {CPU: 2000, DISK: GIB}),
    ("a request beside a limit counts", {"containers": [asks(limits={CPU: "4"}, cpu="1")]}, {CPU: 1000}),
    ("an init container runs alone", {"containers": [asks(cpu="1")], "initContainers": [asks(cpu="3")]}, {CPU: 3000}),
    ("a sidecar runs beside the containers", {"containers": [asks(cpu="1")], "initContainers": [asks(cpu="1", always=True)]}, {CPU: 2000}),
    ("an init container runs beside the sidecars before it",
     {"containers": [asks(cpu="1")], "initContainers": [asks(cpu="2", always=True), asks(cpu="2"), asks(cpu="8", always=True)]},
     {CPU: 11000}),
    ("pod-level resources replace the containers' sum", {"containers": [asks(cpu="1", memory="4Gi")],
        "resources": {"requests": {CPU: "3", MEM: "2Gi"}}}, {CPU: 3000, MEM: 2 * GIB}),
    ("a pod-level limit is its request", {"containers": [asks(cpu="1")], "resources": {"limits": {CPU: "3"}}}, {CPU: 3000}),
    ("storage and GPUs have no pod level", {"containers": [asks(limits={GPU: "2"}, ephemeral_storage="1Gi")],
        "resources": {"requests": {DISK: "9Gi", GPU: "9"}}}, {GPU: 2, DISK: GIB}),
    ("overhead comes on top of all", {"containers": [asks(cpu="1")], "resources": {"requests": {CPU: "2"}},
        "overhead": {CPU: "250m", MEM: "120Mi"}}, {CPU: 2250, MEM: 120 << 20}),
    ("a fraction of a byte is a byte", {"containers": [asks(memory="1500m")]}, {MEM: 2}),
    ("a resource that nobody counts here", {"containers": [asks(limits={"hugepages-2Mi": "1Gi"})]}, {}),
    ("AMD's and Intel's GPUs too", {"containers": [asks(limits={"amd.com/gpu": "2", "gpu.intel.com/i915": "1"})]},
     {"amd.com/gpu": 2, "gpu.intel.com/i915": 1}),
]  # fmt: skip


@pytest.mark.parametrize(("why", "spec", "expected"), REQUESTS, ids=[row[0] for row in REQUESTS])
def test_a_pod_is_counted_as_the_scheduler_counts_it(why: str, spec: Manifest, expected: dict[str, int]) -> None:
    assert pod_requests(spec) == expected


def test_what_a_foreign_pod_holds_of_the_host_is_not_free() -> None:
    index = index_of(L4, pods=[gpu_pod("a", "l4", requests={"memory": "100Gi", "cpu": "7"})])
    (pool,) = index.pools()
    (row,) = pool.free_nodes
    # 180 GiB are kept as 176, of which 64ths are free: 80 GiB of the node are 29 of 64 parts.
    assert (pool.key.host_memory_bytes, row.gpus, row.host_memory_bytes) == (176 * GIB, 4, 176 * GIB * 29 // 64)
    assert row.host_cpu_millis is not None
    assert row.host_cpu_millis <= 40000
    index.pod_event("MODIFIED", gpu_pod("a", "l4", phase="Succeeded", requests={"memory": "100Gi", "cpu": "7"}))
    assert index.pools()[0].free_nodes[0].host_memory_bytes == 176 * GIB


def test_a_written_pool_gives_its_hosts_back_and_an_older_one_is_still_read() -> None:
    (derived,) = index_of(L4, pods=[gpu_pod("a", "l4", requests={"memory": "100Gi", GPU: 1})]).pools()
    written = pool_manifest(derived)
    facts = pool_facts(parse_object(GPUPool, written))
    assert (facts.free_nodes, facts.nodes_by_free_gpus) == (derived.free_nodes, ((3, 1),))
    for row in written["status"]["nodesByFreeGpus"]:
        for name in ("hostMemoryBytes", "hostCpuMillis", "ephemeralStorageBytes"):
            del row[name]
    older = pool_facts(parse_object(GPUPool, written))
    assert older.free == (FreeNodes(gpus=3, nodes=1),)
    assert gpus_for(older.free, PodRequests(gpus=1, host_memory_bytes=1 << 60)) == ((3, 1),)


def test_a_node_whose_kubelet_runs_all_the_pods_it_may_has_nothing_free() -> None:
    small = gpu_node("s", "NVIDIA-L4", 4, 23034)
    small["status"]["allocatable"]["pods"] = "2"
    index = index_of(small, pods=[gpu_pod("a", "s"), gpu_pod("b", "s")])
    assert index.pools()[0].free_gpus == 0
    index.pod_event("DELETED", gpu_pod("b", "s"))
    assert index.pools()[0].free_gpus == 4


def test_a_host_that_is_promised_to_more_pods_than_it_holds_is_named() -> None:
    (pool,) = index_of(L4, pods=[gpu_pod("a", "l4", requests={"memory": "181Gi"})]).pools()
    assert [row.problem for row in pool.problems] == ["Overcommitted"]
    assert pool.free_nodes[0].host_memory_bytes == 0


ROWS = (FreeNodes(gpus=8, nodes=2, host_memory_bytes=100, host_cpu_millis=9000, ephemeral_storage_bytes=50), FreeNodes(gpus=4, nodes=1))
USABLE = [  # why, GPUs, memory, CPU, storage, nodes by GPUs that such pods can take
    ("nothing is asked of the host", 2, 0, 0, 0, ((4, 1), (8, 2))),
    ("the host has room for as many pods as there are GPUs", 2, 25, 0, 0, ((4, 1), (8, 2))),
    ("memory for three pods of two GPUs", 2, 33, 0, 0, ((4, 1), (6, 2))),
    ("CPU for two pods", 2, 0, 4000, 0, ((4, 3),)),
    ("storage for none", 2, 0, 0, 51, ((0, 2), (4, 1))),
    ("the scarcest decides", 2, 25, 4000, 40, ((2, 2), (4, 1))),
    ("where the host is not known only GPUs count", 4, 1 << 60, 0, 0, ((0, 2), (4, 1))),
]  # fmt: skip


@pytest.mark.parametrize(("why", "gpus", "memory", "cpu", "storage", "expected"), USABLE, ids=[row[0] for row in USABLE])
def test_gpus_count_only_as_far_as_their_host_has_room(
    why: str, gpus: int, memory: int, cpu: int, storage: int, expected: tuple[tuple[int, int], ...]
) -> None:
    wanted = PodRequests(gpus=gpus, host_memory_bytes=memory, host_cpu_millis=cpu, ephemeral_storage_bytes=storage)
    assert gpus_for(ROWS, wanted) == expected


def test_bookings_take_host_memory_with_their_gpus() -> None:
    rows = (FreeNodes(gpus=8, nodes=1, host_memory_bytes=100, host_cpu_millis=9000, ephemeral_storage_bytes=50),)
    after, booked = book_nodes(rows, (Booking(pods=9, each=PodRequests(gpus=2, host_memory_bytes=40)),))
    assert booked == 4
    assert [(row.gpus, row.host_memory_bytes) for row in after] == [(4, 20)]


SIZES = st.lists(st.tuples(st.integers(0, 8) | st.integers(0, 2000), *[st.integers(0, STEPS)] * 3), max_size=400)


def crowd(gpus: int, nodes: int = 400, seed: int = 1) -> list[tuple[int, int, int, int]]:
    rng = random.Random(seed)
    return [(rng.randint(0, gpus), rng.randint(0, STEPS), rng.randint(0, STEPS), rng.randint(0, STEPS)) for _ in range(nodes)]


@law(100)
@given(SIZES, st.integers(1, 1 << 40))
@example(crowd(8), 1 << 37)
@example(crowd(1000), 1 << 37)
@example(crowd(1, nodes=90), 1 << 37)
def test_a_pool_has_few_rows_none_of_which_reservations_what_no_node_has(sizes: list[tuple[int, int, int, int]], whole: int) -> None:
    tally, host = Tally(), Host(memory_bytes=whole, cpu_millis=whole, storage_bytes=0)
    for gpus, memory, cpu, storage in sizes:
        tally.add(Free(gpus=gpus, memory_steps=memory, cpu_steps=cpu, storage_steps=storage), (), 1)
    rows = tally.rows(host)
    assert len(rows) <= MAX_ROWS
    assert rows if sizes else not rows
    for free in {row.gpus for row in rows}:
        assert sum(row.nodes for row in rows if row.gpus >= free) <= sum(gpus >= free for gpus, *_ in sizes)
    assert sum(row.nodes for row in rows) == len(sizes)
    memories = [(row.host_memory_bytes, row.nodes) for row in rows if row.host_memory_bytes is not None]
    assert len(memories) == len(rows)
    for threshold in {memory for memory, _ in memories}:
        real = sum(whole * memory // STEPS >= threshold for _, memory, _, _ in sizes)
        assert sum(nodes for memory, nodes in memories if memory >= threshold) <= real
    assert all(row.ephemeral_storage_bytes is None for row in rows)
    for gpus, memory, cpu, storage in sizes:
        tally.add(Free(gpus=gpus, memory_steps=memory, cpu_steps=cpu, storage_steps=storage), (), -1)
    assert (tally.rows(host), tally.nodes) == ((), 0)


# What the decision makes of it


HOG = gpu_pod("hog", "l4", requests={"memory": "175Gi"})


def test_free_gpus_on_a_full_host_are_not_available() -> None:
    wish = {"engine": {"maxModelLen": 8192}}
    assert planned(verdict(LLAMA_8B, **wish, store=store_of(L4))).available_now
    found = admitted(verdict(LLAMA_8B, **wish, store=store_of(L4, pods=[HOG])))
    assert not found.plan.available_now
    assert not found.plan.may_surge
    assert any("not enough GPUs are free now" in line for line in found.warnings)


def test_a_place_that_is_free_altogether_comes_before_a_cheaper_one_whose_host_is_full() -> None:
    wish = {"engine": {"maxModelLen": 8192}}
    assert planned(verdict(LLAMA_8B, **wish, store=store_of(L4, H100))).product == "NVIDIA-L4"
    found = admitted(verdict(LLAMA_8B, **wish, store=store_of(L4, H100, pods=[HOG])))
    assert (found.plan.product, found.plan.available_now) == ("NVIDIA-H100-80GB-HBM3", True)
    both = [HOG, gpu_pod("other", "h100", requests={"memory": "1499Gi"})]
    waits = admitted(verdict(LLAMA_8B, **wish, store=store_of(L4, H100, pods=both)))
    assert (waits.plan.product, waits.plan.available_now) == ("NVIDIA-L4", False)


def test_several_replicas_are_available_only_with_a_host_for_each() -> None:
    (pool,) = store_of(gpu_node("w", "NVIDIA-L4", 8, 23034, host="40Gi", cpu="190")).pools
    store = Files()
    store.pools = [pool]
    need = planned(verdict(LLAMA_8B, engine={"maxModelLen": 8192}, store=store)).host_memory_bytes
    has = status_of(pool).nodes_by_free_gpus[0].host_memory_bytes
    assert has is not None
    most = has // need
    assert 1 < most < 8
    for replicas, available in ((most, True), (most + 1, False)):
        assert planned(verdict(LLAMA_8B, engine={"maxModelLen": 8192}, replicas=replicas, store=store)).available_now is available


def test_where_pods_of_others_cannot_be_seen_nothing_is_called_free_and_it_is_said() -> None:
    index = CapacityIndex(free_is_known=False)
    index.node_event("ADDED", L4)
    (derived,) = index.pools()
    assert (derived.free_gpus, derived.free_nodes, derived.gpus) == (0, (), 4)
    written = pool_manifest(derived)
    assert "freeGpus" not in written["status"]
    store = Files()
    store.pools = [parse_object(GPUPool, written)]
    found = admitted(verdict(LLAMA_8B, engine={"maxModelLen": 8192}, store=store))
    assert not found.plan.available_now
    assert [line for line in found.warnings if "not known: pods of other namespaces may not be listed" in line]
    known = replace(derived, free_is_known=True)
    assert pool_manifest(known)["status"]["freeGpus"] == 0
