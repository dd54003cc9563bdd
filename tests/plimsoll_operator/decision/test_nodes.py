"""Replicas over several nodes: when they are chosen, how they are cut, what they need."""

import dataclasses
import json

import pytest
from tests.plimsoll_operator.decision_world import (
    LLAMA_8B,
    LLAMA_70B,
    Files,
    admitted,
    deployment,
    manifest,
    offered,
    planned,
    refused,
    verdict,
)
from tests.plimsoll_operator.nodes import H100, gpu_node

from plimsoll_operator.api import FitPolicySpec, GPUPool, parse_inference_deployment, parse_object
from plimsoll_operator.decision import decide
from plimsoll_operator.gather import facts_for
from plimsoll_operator.names import API_VERSION
from plimsoll_operator.ports import Manifest
from plimsoll_operator.verdict import Admit, Plan, Reject, Verdict

DEEPSEEK, LLAMA_405B, QWEN_14B = "deepseek-ai/DeepSeek-V3", "meta-llama/Llama-3.1-405B", "Qwen/Qwen2.5-14B-Instruct"


def h100s(count: int, gpus: int = 8) -> list[Manifest]:
    return [gpu_node(f"h{number}", "NVIDIA-H100-80GB-HBM3", gpus, 81559) for number in range(count)]


def a10gs(count: int) -> list[Manifest]:
    return [gpu_node(f"a{number}", "NVIDIA-A10G", 1, 23028) for number in range(count)]


def sizes(plan: Plan) -> tuple[int, ...]:
    return (plan.tensor_parallel_size, plan.pipeline_parallel_size, plan.data_parallel_size, plan.nodes_per_replica)


CHOSEN = [
    ("one node that serves is enough, whatever is allowed", LLAMA_70B, {}, h100s(4), 4, (2, 1, 1, 1)),
    ("stages on one node come before a second node", QWEN_14B, {"dtype": "float16"},
     [gpu_node(f"t{n}", "Tesla-T4", 3, 15360) for n in range(4)], 4, (1, 3, 1, 1)),
    ("two whole nodes: tensor parallel inside, a stage each", LLAMA_405B, {}, h100s(4), 4, (8, 2, 1, 2)),
    ("the fewest nodes that serve", LLAMA_405B, {}, h100s(8, gpus=4), 8, (4, 3, 1, 3)),
    ("nodes of one GPU: a stage each", LLAMA_8B, {"maxModelLen": 65536}, a10gs(4), 4, (1, 2, 1, 2)),
    ("a pinned tensor parallel size leaves the stages to the nodes", LLAMA_405B, {"tensorParallelSize": 4}, h100s(4), 4, (4, 4, 1, 2)),
    ("pinned sizes are spread so that tensor parallel groups stay in a node", LLAMA_405B, {"tensorParallelSize": 4,
     "pipelineParallelSize": 3}, h100s(4), 4, (4, 3, 1, 3)),
    ("tensor parallelism crosses nodes where it is pinned so", LLAMA_405B, {"tensorParallelSize": 16}, h100s(2), 2, (16, 1, 1, 2)),
    ("sixteen engines share the experts of two nodes", DEEPSEEK, {"dataParallelSize": 16, "expertParallel": True}, h100s(2), 2,
     (1, 1, 16, 2)),
    ("not enough nodes exist", LLAMA_405B, {}, h100s(1), 4, None),
    ("not enough nodes are allowed", LLAMA_405B, {}, h100s(8, gpus=4), 2, None),
    ("three engines cannot be cut over two nodes", DEEPSEEK, {"tensorParallelSize": 4, "dataParallelSize": 3}, h100s(2), 2, None),
]  # fmt: skip


@pytest.mark.parametrize(("why", "model", "engine", "nodes", "most", "expected"), CHOSEN, ids=[row[0] for row in CHOSEN])
def test_the_layout_over_nodes(
    why: str, model: str, engine: Manifest, nodes: list[Manifest], most: int, expected: tuple[int, int, int, int] | None
) -> None:
    found = verdict(model, engine={"maxModelLen": 8192} | engine, store=Files(*nodes, lws=True), placement={"maxNodesPerReplica": most})
    plan = found.plan if isinstance(found, Admit) else None
    assert (sizes(plan) if plan is not None else None) == expected
    if plan is not None:
        assert plan.gpus_per_pod * plan.nodes_per_replica == plan.gpus_per_replica
        assert plan.gpus_per_pod <= max(int(item["status"]["allocatable"]["nvidia.com/gpu"]) for item in nodes)


def test_a_replica_over_nodes_runs_on_one_product_even_where_several_are_listed() -> None:
    both = {"gpuProducts": ["NVIDIA-H100-80GB-HBM3", "NVIDIA-A100-SXM4-80GB"], "maxNodesPerReplica": 2}
    a100s = [gpu_node(f"a{number}", "NVIDIA-A100-SXM4-80GB", 8, 81920) for number in range(2)]
    plan = planned(verdict(LLAMA_405B, engine={"maxModelLen": 8192}, store=Files(*h100s(2), *a100s, lws=True), placement=both))
    assert (len(plan.gpu_products), plan.nodes_per_replica) == (1, 2)


FREE = [
    ("two replicas on four free nodes", 2, 4, 8, True),
    ("three replicas would need six", 3, 4, 8, False),
    ("half of a node used is half a node too few: groups are whole or nothing", 2, 4, 7, False),
]


@pytest.mark.parametrize(("why", "replicas", "nodes", "free", "available"), FREE, ids=[row[0] for row in FREE])
def test_availability_counts_whole_groups(why: str, replicas: int, nodes: int, free: int, available: bool) -> None:
    store = Files(*h100s(nodes), lws=True)
    facts = facts_for(
        deployment(LLAMA_405B, engine={"maxModelLen": 8192}, replicas=replicas, placement={"maxNodesPerReplica": 2}),
        store,
        applied_plan=None,
    )
    histogram = ((8, nodes),) if free == 8 else ((free, 1), (8, nodes - 1))
    pools = tuple(dataclasses.replace(pool, nodes_by_free_gpus=histogram, free_nodes=()) for pool in facts.pools)
    found = admitted(decide(dataclasses.replace(facts, pools=pools)))
    assert found.plan.available_now is available
    assert found.plan.may_surge is False


def test_free_nodes_for_one_group_more_let_an_update_surge() -> None:
    found = admitted(
        verdict(LLAMA_405B, engine={"maxModelLen": 8192}, store=Files(*h100s(4), lws=True), placement={"maxNodesPerReplica": 2})
    )
    assert found.plan.may_surge


@pytest.mark.parametrize(("most", "reason"), [(2, None), (1, "InsufficientGpuMemory")])
def test_nodes_of_a_declared_pool_come_as_far_as_it_may_grow(most: int, reason: str | None) -> None:
    spec = {"declared": True, "product": "NVIDIA-H100-80GB-HBM3", "usableMemoryBytes": "79Gi", "gpusPerNode": 8, "maxNodes": most}
    store = Files(lws=True)
    store.pools = [parse_object(GPUPool, {"apiVersion": API_VERSION, "kind": "GPUPool", "metadata": {"name": "later"}, "spec": spec})]
    found = verdict(LLAMA_405B, engine={"maxModelLen": 8192}, store=store, placement={"maxNodesPerReplica": 2})
    if reason is None:
        plan = planned(found)
        assert (sizes(plan), plan.available_now) == ((8, 2, 1, 2), False)
    else:
        assert refused(found).reason == reason


def test_without_the_api_a_plan_that_cannot_be_made_is_refused_with_what_to_install() -> None:
    wish = {"engine": {"maxModelLen": 8192}, "placement": {"maxNodesPerReplica": 2}}
    found = verdict(LLAMA_405B, store=Files(*h100s(2)), **wish)
    assert isinstance(found, Reject)
    assert (found.reason.value, found.field) == ("LeaderWorkerSetMissing", "spec.placement.maxNodesPerReplica")
    assert "install LeaderWorkerSet" in found.message
    assert isinstance(verdict(LLAMA_405B, store=Files(*h100s(2), lws=True), **wish), Admit)
    assert isinstance(verdict(LLAMA_70B, store=Files(*h100s(2)), **wish), Admit), "one node serves: nothing is missing"


def test_releases_that_need_ray_to_span_nodes_are_refused_by_name() -> None:
    engine = {"maxModelLen": 8192, "tensorParallelSize": 8, "pipelineParallelSize": 2}
    store = Files(*h100s(2), lws=True)
    found = refused(verdict(LLAMA_405B, version="0.10.2", engine=engine, store=store, placement={"maxNodesPerReplica": 2}))
    assert (type(found), found.reason.value, found.field) == (Reject, "EngineRefuses", "spec.placement.maxNodesPerReplica")
    assert "0.11.1" in found.message


def test_a_replica_over_nodes_may_wait_for_capacity() -> None:
    store = Files(*h100s(2), lws=True)
    placement = {"maxNodesPerReplica": 2, "waitForCapacity": True}
    assert isinstance(verdict(LLAMA_405B, engine={"maxModelLen": 8192}, store=store, placement=placement), Admit)


def test_a_name_too_long_for_the_pods_of_a_group_is_refused_before_anything_is_made() -> None:
    def named(length: int) -> Verdict:
        wish = manifest(LLAMA_405B, engine={"maxModelLen": 8192}, placement={"maxNodesPerReplica": 2})
        wish["metadata"]["name"] = "x" * length
        return decide(facts_for(parse_inference_deployment(wish), Files(*h100s(2), lws=True), applied_plan=None))

    assert isinstance(named(40), Admit)
    assert (refused(named(41)).reason.value, refused(named(41)).field) == ("InvalidSpec", "metadata.name")


def test_a_second_node_is_offered_where_one_is_too_small_and_groups_can_be_made() -> None:
    wish = {"engine": {"maxModelLen": 8192}}
    found = refused(verdict(LLAMA_405B, store=Files(*h100s(2), lws=True), **wish))
    nodes = [offer for offer in found.offers if "maxNodesPerReplica" in offer.patch_json]
    assert [json.loads(offer.patch_json) for offer in nodes] == [{"spec": {"placement": {"maxNodesPerReplica": 2}}}]
    assert "16 x NVIDIA-H100-80GB-HBM3 per replica on 2 nodes" in nodes[0].summary
    assert isinstance(offered(nodes[0], LLAMA_405B, store=Files(*h100s(2), lws=True), **wish), Admit)
    assert not any("maxNodes" in offer.patch_json for offer in refused(verdict(LLAMA_405B, store=Files(*h100s(2)), **wish)).offers)


def test_the_cap_on_gpus_per_replica_holds_over_nodes() -> None:
    store = Files(*h100s(2), lws=True)
    facts = facts_for(deployment(LLAMA_405B, engine={"maxModelLen": 8192}, placement={"maxNodesPerReplica": 2}), store, applied_plan=None)
    assert isinstance(decide(facts), Admit)
    assert isinstance(decide(dataclasses.replace(facts, policy=FitPolicySpec(max_gpus_per_replica=8))), Reject)


def test_the_applied_plan_over_nodes_is_kept_where_a_larger_node_has_come() -> None:
    wish = deployment(LLAMA_405B, engine={"maxModelLen": 8192}, placement={"maxNodesPerReplica": 2})
    plan = planned(decide(facts_for(wish, Files(*h100s(2), lws=True), applied_plan=None)))
    larger = Files(*h100s(2), gpu_node("b", "NVIDIA-B200", 8, 183359), lws=True)
    assert planned(decide(facts_for(wish, larger, applied_plan=None))).nodes_per_replica == 1
    assert planned(decide(facts_for(wish, larger, applied_plan=plan))).digest == plan.digest
    assert Plan.from_json(plan.canonical_json()) == plan


def test_a_pod_is_checked_against_its_own_nodes_host_memory() -> None:
    small = [gpu_node(f"h{number}", "NVIDIA-H100-80GB-HBM3", 8, 81559, host="30Gi") for number in range(2)]
    found = refused(verdict(LLAMA_405B, engine={"maxModelLen": 8192}, store=Files(*small, lws=True), placement={"maxNodesPerReplica": 2}))
    assert (type(found), found.reason.value) == (Reject, "HostMemory")
    assert isinstance(verdict(LLAMA_405B, engine={"maxModelLen": 8192}, store=Files(H100, lws=True)), Reject)


EARLY = [  # why, release, sizes, what is decided
    ("whole engines on each node", "0.11.0", {"dataParallelSize": 4, "tensorParallelSize": 4}, Admit),
    ("from the first release that counts engines by node", "0.9.0", {"dataParallelSize": 4, "tensorParallelSize": 4}, Admit),
    ("one engine on two nodes", "0.11.0", {"tensorParallelSize": 16}, Reject),
    (
        "engines that a node has no whole number of",
        "0.11.0",
        {"dataParallelSize": 1, "pipelineParallelSize": 2, "tensorParallelSize": 8},
        Reject,
    ),
    ("a release before", "0.8.5", {"dataParallelSize": 4, "tensorParallelSize": 4}, Reject),
]


@pytest.mark.parametrize(("why", "version", "sizes", "kind"), EARLY, ids=[row[0] for row in EARLY])
def test_before_one_engine_spans_nodes_whole_engines_do(why: str, version: str, sizes: dict[str, int], kind: type[Admit | Reject]) -> None:
    nodes = [gpu_node(f"h{number}", "NVIDIA-H100-80GB-HBM3", 8, 81559) for number in range(2)]
    spans = {"placement": {"maxNodesPerReplica": 2}}
    found = verdict(version=version, engine={"maxModelLen": 8192, **sizes}, store=Files(*nodes, lws=True), **spans)
    assert isinstance(found, kind), found
    if isinstance(found, Admit):
        assert found.plan.nodes_per_replica == 2


@pytest.mark.parametrize(("image", "warned"), [("vllm/vllm-openai:v0.19.0", False), ("acme/vllm:1", True)])
def test_on_arm64_hosts_only_vllms_own_image_is_known_to_be_built_for_them(image: str, warned: bool) -> None:
    store = Files(gpu_node("g", "NVIDIA-GH200-480GB", 1, 97871, host="480Gi"))
    found = admitted(verdict(engine={"maxModelLen": 8192, "image": image, "version": "0.19.0"}, store=store))
    assert any("arm64" in line for line in found.warnings) is warned
    on_x86 = admitted(
        verdict(engine={"maxModelLen": 8192, "image": image, "version": "0.19.0"}, store=Files(gpu_node("h", "NVIDIA-L4", 1, 23034)))
    )
    assert not any("arm64" in line for line in on_x86.warnings)
