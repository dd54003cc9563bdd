"""Shared and partitioned GPUs: off unless asked for, and never more than Kubernetes and the device plugin can promise."""

import pytest
from tests.plimsoll_operator.decision_world import Files, deployment, planned, refused, verdict
from tests.plimsoll_operator.nodes import L4, gpu_node, gpu_pod
from tests.plimsoll_operator.shared_cards import SLICED, SMALL, shared

from plimsoll_operator.api import GPUPool, parse_object
from plimsoll_operator.capacity import CapacityIndex, pool_facts, pool_manifest
from plimsoll_operator.decision import decide
from plimsoll_operator.gather import facts_for
from plimsoll_operator.ports import Manifest
from plimsoll_operator.render import Origin, render_deployment
from plimsoll_operator.verdict import Admit, Plan, Reason, Reject, Verdict

LLAMA_8B = "meta-llama/Llama-3.1-8B-Instruct"


SLICED_T4 = shared("sliced-t4", "Tesla-T4", 1, 15360, 4, "time-slicing")
RENAMED = shared("renamed", "NVIDIA-L4", 2, 23034, 2, "time-slicing", renamed=True)
MPS = shared("mps", "NVIDIA-L4", 2, 23034, 2, "mps")
MIG_SINGLE = gpu_node("mig", "NVIDIA-A100-SXM4-80GB-MIG-1g.10gb", 7, 9728, host="180Gi", cpu="47")


def mig_mixed() -> Manifest:
    made = gpu_node("mixed", "NVIDIA-A100-SXM4-80GB", 0, 81920, host="180Gi", cpu="47")
    del made["status"]["allocatable"]["nvidia.com/gpu"]
    made["status"]["allocatable"]["nvidia.com/mig-1g.10gb"] = "7"
    made["metadata"]["labels"] |= {
        "nvidia.com/mig-1g.10gb.product": "NVIDIA-A100-SXM4-80GB-MIG-1g.10gb",
        "nvidia.com/mig-1g.10gb.count": "7",
        "nvidia.com/mig-1g.10gb.memory": "9728",
    }
    return made


def asked(sharing: str | None, model: str = SMALL, *, store: Files, engine: Manifest | None = None) -> Verdict:
    return verdict(model, store=store, engine=engine or {"maxModelLen": 2048}, placement={"sharing": sharing} if sharing else {})


ADMITTED = [
    ("time-slicing", "time-slicing", SLICED, "nvidia.com/gpu", ["NVIDIA-L4", "NVIDIA-L4-SHARED"], "nvidia.com/gpu.product"),
    ("a renamed resource", "time-slicing", RENAMED, "nvidia.com/gpu.shared", ["NVIDIA-L4", "NVIDIA-L4-SHARED"], "nvidia.com/gpu.product"),
    ("MPS", "mps", MPS, "nvidia.com/gpu", ["NVIDIA-L4", "NVIDIA-L4-SHARED"], "nvidia.com/gpu.product"),
    ("MIG, single strategy", "mig", MIG_SINGLE, "nvidia.com/gpu", ["NVIDIA-A100-SXM4-80GB-MIG-1g.10gb"], "nvidia.com/gpu.product"),
    ("MIG, mixed strategy", "mig", mig_mixed(), "nvidia.com/mig-1g.10gb", ["NVIDIA-A100-SXM4-80GB-MIG-1g.10gb"],
     "nvidia.com/mig-1g.10gb.product"),
]  # fmt: skip


@pytest.mark.parametrize(("why", "sharing", "item", "resource", "products", "label"), ADMITTED, ids=[row[0] for row in ADMITTED])
def test_what_is_asked_for_is_used_and_the_pod_asks_for_its_resource(
    why: str, sharing: str, item: Manifest, resource: str, products: list[str], label: str
) -> None:
    found = asked(sharing, store=Files(item))
    assert isinstance(found, Admit), found
    plan = found.plan
    assert (plan.sharing, plan.gpu_resource, plan.tensor_parallel_size, plan.gpus_per_replica) == (sharing, resource, 1, 1)
    manifest = render_deployment(deployment(SMALL), plan, Origin(generation=1, spec_digest="", replan=""))
    pod = manifest["spec"]["template"]["spec"]
    assert pod["containers"][0]["resources"]["limits"] == {resource: "1"}
    (term,) = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    first, how = term["matchExpressions"]
    assert (first["key"], first["values"]) == (label, products)
    assert how["operator"] == ("In" if sharing in ("time-slicing", "mps") else "NotIn")
    assert Plan.from_json(plan.canonical_json()) == plan


@pytest.mark.parametrize("item", [SLICED, MPS, MIG_SINGLE, mig_mixed()], ids=["time-slicing", "mps", "mig single", "mig mixed"])
def test_sharing_is_off_unless_asked_for(item: Manifest) -> None:
    found = refused(asked(None, store=Files(item)))
    assert found.reason == Reason.NO_MATCHING_POOL


def test_whole_gpus_are_not_taken_where_a_share_is_asked_for() -> None:
    found = refused(asked("time-slicing", store=Files(L4)))
    assert found.reason == Reason.NO_MATCHING_POOL
    assert "has whole GPUs, not time-slicing" in found.message


def test_a_time_sliced_engine_stays_within_its_part_and_takes_no_more_than_it_needs() -> None:
    plan = planned(asked("time-slicing", store=Files(SLICED)))
    whole = planned(asked(None, store=Files(L4)))
    thousandths = int(plan.gpu_memory_utilization[2:])
    assert thousandths < 500, "two replicas share the card"
    assert plan.gpu_total_bytes == whole.gpu_total_bytes, "vLLM sees the whole card"
    assert plan.kv_cache_needed_bytes <= plan.kv_cache_interval_bytes[0], "what is chosen surely starts"
    step = plan.gpu_total_bytes // 1000
    assert plan.kv_cache_interval_bytes[0] - plan.kv_cache_needed_bytes < 2 * step + (1 << 20), "and a thousandth less would not surely"
    longer = planned(asked("time-slicing", store=Files(SLICED), engine={"maxModelLen": 32768}))
    assert int(longer.gpu_memory_utilization[2:]) > thousandths


def test_mps_plans_on_its_client_s_part_as_the_card() -> None:
    plan = planned(asked("mps", store=Files(MPS)))
    whole = planned(asked(None, store=Files(L4)))
    assert plan.gpu_total_bytes == whole.gpu_total_bytes // 2
    assert int(plan.gpu_memory_utilization[2:]) > 800


UNSAFE = [
    ("more than the part", {"model": LLAMA_8B, "engine": {"maxModelLen": 2048}}, "on 1 of 2 time-sliced parts of NVIDIA-L4"),
    ("a pinned utilisation above the part", {"engine": {"maxModelLen": 2048, "gpuMemoryUtilization": 0.6}}, "needed"),
    ("a pinned utilisation of exactly the part, since what is outside the budget counts too",
     {"engine": {"maxModelLen": 2048, "gpuMemoryUtilization": 0.5}}, "needed"),
    ("a replica of two", {"engine": {"maxModelLen": 2048, "tensorParallelSize": 2}}, "serves a replica of one"),
]  # fmt: skip


@pytest.mark.parametrize(("why", "case", "words"), UNSAFE, ids=[row[0] for row in UNSAFE])
def test_what_could_take_a_neighbour_s_memory_is_refused(why: str, case: Manifest, words: str) -> None:
    found = refused(asked("time-slicing", store=Files(SLICED), **case))
    assert found.reason == Reason.SHARING_UNSAFE, found
    assert words in found.message


def test_a_refusal_counts_the_cache_that_one_request_needs_not_what_a_whole_card_would_leave() -> None:
    found = refused(asked("time-slicing", model=LLAMA_8B, store=Files(SLICED)))
    request = 2048 * 2 * 32 * 8 * 128 * 2
    assert found.component == "weights"
    assert "KV cache 0.3" in found.message, f"{request} bytes of KV cache for 2048 tokens"


def test_a_pinned_utilisation_within_the_part_is_honoured() -> None:
    plan = planned(asked("time-slicing", store=Files(SLICED), engine={"maxModelLen": 2048, "gpuMemoryUtilization": 0.4}))
    assert plan.gpu_memory_utilization == "0.400"


@pytest.mark.parametrize(("of_ours", "reason"), [(True, None), (False, Reason.SHARING_UNSAFE)])
def test_strangers_on_time_sliced_gpus_make_them_unsafe_and_our_own_pods_do_not(of_ours: bool, reason: Reason | None) -> None:
    index = CapacityIndex()
    index.node_event("ADDED", SLICED)
    index.pod_event("ADDED", gpu_pod("p", "sliced", 1), planned=of_ours)
    store = Files()
    store.pools = [parse_object(GPUPool, pool_manifest(pool)) for pool in index.pools()]
    found = asked("time-slicing", store=store)
    assert (found.reason if isinstance(found, Reject) else None) == reason
    index.pod_event("DELETED", gpu_pod("p", "sliced", 1))
    assert pool_facts(parse_object(GPUPool, pool_manifest(index.pools()[0]))).foreign_gpus == 0


def test_several_engines_share_one_card_until_its_parts_are_given_away() -> None:
    index = CapacityIndex()
    index.node_event("ADDED", SLICED_T4)
    for number in range(3):
        index.pod_event("ADDED", gpu_pod(f"p{number}", "sliced-t4", 1), planned=True)
    store = Files()
    store.pools = [parse_object(GPUPool, pool_manifest(pool)) for pool in index.pools()]
    first = decide(facts_for(deployment(SMALL, engine={"maxModelLen": 1024, "dtype": "half"}, placement={"sharing": "time-slicing"}), store,
                             applied_plan=None))  # fmt: skip
    assert isinstance(first, Admit), first
    assert first.plan.available_now
    two = decide(facts_for(deployment(SMALL, replicas=2, engine={"maxModelLen": 1024, "dtype": "half"},
                                      placement={"sharing": "time-slicing"}), store, applied_plan=None))  # fmt: skip
    assert isinstance(two, Admit)
    assert not two.plan.available_now


def test_a_part_of_a_sliced_card_costs_its_part_and_is_counted_as_a_gpu() -> None:
    whole, sliced = (Files(node).pool_facts()[0] for node in (gpu_node("t4", "Tesla-T4", 1, 15360), SLICED_T4))
    assert (sliced.gpu_cost, whole.gpu_cost) == (sliced.usable_memory_bytes // 4, whole.usable_memory_bytes)
    assert (sliced.most_pods(1), whole.most_pods(1)) == (4, 1)
