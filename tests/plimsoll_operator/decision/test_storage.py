"""The node's disk: what a pod writes to it, which pools have room for that, and what becomes of plans that did not count it."""

import json
from dataclasses import replace
from typing import Any

import pytest
from tests.plimsoll_estimator.shipped import config_of
from tests.plimsoll_operator.decision_world import LLAMA_8B, LLAMA_70B, Files, admitted, manifest, offered, planned, refused, verdict
from tests.plimsoll_operator.full_hosts import store_of
from tests.plimsoll_operator.nodes import gpu_node, gpu_pod, status_of
from tests.plimsoll_operator.plans import PLAN

from plimsoll_estimator.units import GIB
from plimsoll_operator.api import FitPolicy, InferenceDeployment, ModelProfile, PlanStatus, parse_inference_deployment, parse_object
from plimsoll_operator.cli.plan_text import verdict_mapping
from plimsoll_operator.decision.decide import decide
from plimsoll_operator.gather import facts_for
from plimsoll_operator.names import API_VERSION
from plimsoll_operator.ports import Manifest
from plimsoll_operator.render import Origin, render_workload
from plimsoll_operator.verdict import Admit, Plan, Reason, Reject

# The published checkpoints: total_size of their model.safetensors.index.json.
FILES_8B, FILES_70B = 16_060_522_496, 141_107_412_992
CHUNKS = 10 * 10**9  # of xet, at most
CONFIG_8B = json.dumps(config_of(LLAMA_8B).as_mapping())
ON_DISK = {"volumes": [{"name": "c", "mountPath": "/cache", "persistentVolumeClaim": {"claimName": "c"}}]}
INLINE = {"profile": {"inline": CONFIG_8B}}
VOLUME = {"source": {"persistentVolumeClaim": {"claimName": "weights", "path": "llama"}}, **INLINE}
DRAFT = {"method": "draft_model", "model": LLAMA_8B, "numSpeculativeTokens": 3}
ORIGIN = Origin(generation=1, spec_digest="", replan="")


def env(name: str, value: str) -> Manifest:
    return {**ON_DISK, "env": [{"name": name, "value": value}]}


def scratch(**limit: str) -> Manifest:
    return {"volumes": [{"name": "tmp", "mountPath": "/scratch", "emptyDir": limit}]}


def wish(*, model: Manifest | None = None, name: str = LLAMA_8B, engine: Manifest | None = None, **spec: Any) -> InferenceDeployment:
    made = manifest(name, engine={"maxModelLen": 8192, **(engine or {})}, **spec)
    made["spec"]["model"] |= model or {}
    return parse_inference_deployment(made)


def plan_of(item: InferenceDeployment, *nodes: Manifest, **store: Any) -> Plan:
    found = decide(facts_for(item, Files(*(nodes or (gpu_node("h", "NVIDIA-H100-80GB-HBM3", 8, 81559),)), **store), applied_plan=None))
    assert isinstance(found, Admit), found
    return found.plan


NEEDS = [
    ("weights from the hub: the files, pieces of them beside, and the caches", {}, FILES_8B + CHUNKS),
    ("from a volume only the caches", {"model": VOLUME}, 0),
    ("a path inside the image downloads nothing", {"name": "/opt/llama", "model": INLINE}, 0),
    ("scratch volumes with a size limit come on top", {"template": scratch(sizeLimit="30Gi")}, FILES_8B + CHUNKS + 30 * GIB),
    ("scratch volumes of any size cannot be counted", {"template": scratch()}, FILES_8B + CHUNKS),
    ("scratch beside weights on a volume", {"model": VOLUME, "template": scratch(sizeLimit="30Gi")}, 30 * GIB),
    ("HF_HOME on a claim takes files and pieces", {"template": env("HF_HOME", "/cache/hf")}, 0),
    ("HF_HUB_CACHE on a claim takes the files alone", {"template": env("HF_HUB_CACHE", "/cache")}, CHUNKS),
    ("HF_XET_CACHE on a claim takes the pieces alone", {"template": env("HF_XET_CACHE", "/cache/")}, FILES_8B),
    ("--download-dir on a claim takes the files alone",
     {"template": ON_DISK, "engine": {"extraArgs": ["--download-dir", "/cache/w"]}}, CHUNKS),
    ("--download-dir with an equals sign", {"template": ON_DISK, "engine": {"extraArgs": ["--download-dir=/cache"]}}, CHUNKS),
    ("--download-dir under another spelling", {"template": ON_DISK, "engine": {"extraArgs": ["--download_d", "/cache"]}}, CHUNKS),
    ("--download-dir elsewhere brings the files back",
     {"template": env("HF_HOME", "/cache"), "engine": {"extraArgs": ["--download-dir=/w"]}}, FILES_8B),
    ("scratch space inside the claim is the node's", {"template": {"env": [{"name": "HF_HOME", "value": "/cache/hf"}], "volumes": [
        *ON_DISK["volumes"], {"name": "t", "mountPath": "//cache/hf/", "emptyDir": {}}]}}, FILES_8B + CHUNKS),
    ("a folder whose name only starts like the claim's", {"template": env("HF_HOME", "/cache2")}, FILES_8B + CHUNKS),
    ("a path that leaves the claim", {"template": env("HF_HOME", "/cache/../w")}, FILES_8B + CHUNKS),
    ("HF_HOME from a ConfigMap is not known", {"template": {**ON_DISK, "env": [
        {"name": "HF_HOME", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "k"}}}]}}, FILES_8B + CHUNKS),
    ("weights quantised while they load are downloaded whole", {"engine": {"quantization": "fp8"}}, FILES_8B + CHUNKS),
    ("four ranks read one download", {"engine": {"tensorParallelSize": 4}}, FILES_8B + CHUNKS),
    ("two engines in one pod read one download", {"engine": {"dataParallelSize": 2}}, FILES_8B + CHUNKS),
    ("a draft model is downloaded as well",
     {"name": LLAMA_70B, "engine": {"tensorParallelSize": 4, "speculative": DRAFT}},
     FILES_70B + FILES_8B + CHUNKS),
    ("small files have no more pieces than bytes", {"name": "Qwen/Qwen2.5-1.5B-Instruct"}, 2 * 3_087_428_608),
]  # fmt: skip


@pytest.mark.parametrize(("why", "spec", "written"), NEEDS, ids=[row[0] for row in NEEDS])
def test_what_a_pod_writes_to_its_node_s_disk(why: str, spec: Manifest, written: int) -> None:
    need = plan_of(wish(**spec)).ephemeral_storage_bytes
    assert 4 * GIB + written <= need < 5 * GIB + written + (1 << 20) * 64
    assert need % GIB == 0


def profile(total: int) -> ModelProfile:
    spec = {"model": LLAMA_8B, "config": CONFIG_8B, "weights": {"totalBytes": total, "byDtype": [{"dtype": "BF16", "bytes": total}]}}
    return parse_object(ModelProfile, {"apiVersion": API_VERSION, "kind": "ModelProfile", "metadata": {"name": "p", "namespace": "default"},
                                       "spec": spec})  # fmt: skip


def test_totals_of_the_headers_are_believed_before_the_model_as_built() -> None:
    need = plan_of(wish(), profiles=(profile(3 * FILES_8B),)).ephemeral_storage_bytes
    assert 0 <= need - (4 * GIB + 3 * FILES_8B + CHUNKS) < GIB


def test_every_pod_of_a_replica_over_nodes_downloads_all_files() -> None:
    nodes = [gpu_node(f"n{i}", "NVIDIA-A10G", 4, 23028) for i in range(3)]
    item = wish(name=LLAMA_70B, placement={"maxNodesPerReplica": 4})
    plan = plan_of(item, *nodes, lws=True)
    assert plan.nodes_per_replica > 1
    assert plan.ephemeral_storage_bytes >= FILES_70B + CHUNKS
    template = render_workload(item, plan, ORIGIN)["spec"]["leaderWorkerTemplate"]
    for side in ("leaderTemplate", "workerTemplate"):
        requests = template[side]["spec"]["containers"][0]["resources"]["requests"]
        assert requests["ephemeral-storage"] == f"{plan.ephemeral_storage_bytes // GIB}Gi"


def h100(name: str = "h", **more: Any) -> Manifest:
    return gpu_node(name, "NVIDIA-H100-80GB-HBM3", 8, 81559, **more)


POOLS = [
    ("100 GiB of disk do not hold a download of 141 GB", LLAMA_70B, {}, "100Gi", "spec.model.source"),
    ("the same weights on a volume need none of it", LLAMA_8B, {"model": VOLUME}, "20Gi", None),
    ("a disk that just holds it", LLAMA_8B, {}, "40Gi", None),
    ("a disk of which nothing is known is not checked", LLAMA_70B, {}, "0", None),
    ("scratch volumes alone can be too much", LLAMA_8B, {"model": VOLUME, "template": scratch(sizeLimit="90Gi")}, "64Gi",
     "spec.template.volumes"),
]  # fmt: skip


@pytest.mark.parametrize(("why", "model", "spec", "disk", "field"), POOLS, ids=[row[0] for row in POOLS])
def test_a_disk_that_is_too_small_is_refused_by_name(why: str, model: str, spec: Manifest, disk: str, field: str | None) -> None:
    found = decide(facts_for(wish(name=model, **spec), Files(h100(disk=disk)), applied_plan=None))
    if field is None:
        assert isinstance(found, Admit), found
        return
    assert isinstance(found, Reject), found
    assert (found.reason, found.field, found.component) == (Reason.EPHEMERAL_STORAGE, field, "ephemeral storage")
    assert found.available_bytes is not None
    assert found.needed_bytes is not None
    assert found.available_bytes <= int(disk[:-2]) * GIB < found.needed_bytes
    assert found.short_by_bytes == found.needed_bytes - found.available_bytes


def test_the_sentence_says_what_is_short_and_where_and_how_to_need_less() -> None:
    store = Files(h100(disk="96Gi"))
    found = refused(verdict(LLAMA_70B, engine={"maxModelLen": 8192}, template=scratch(sizeLimit="10Gi"), store=store))
    assert found.message == (
        f"{LLAMA_70B} does not fit: needed 155.0 GiB of ephemeral storage for its pod, available 96.0 GiB "
        f"(nodes of pool {store.pools[0].metadata.name} have too little ephemeral storage), short by 59.0 GiB."
    )
    assert "persistentVolumeClaim" in found.details[0]
    assert found.details[1].startswith("10.0 GiB of it")
    assert verdict_mapping(found)["details"] == list(found.details)


def test_a_plan_names_only_pools_with_the_disk_for_it() -> None:
    small, large = h100("small", disk="100Gi", labels={"rack": "a"}), h100("large", disk="1000Gi", labels={"rack": "b"})
    both = Files(small, large, keys=("rack",))
    (holds,) = (pool.metadata.name for pool in both.pools if (status_of(pool).ephemeral_storage_bytes or 0) > 500 * GIB)
    assert planned(verdict(LLAMA_70B, engine={"maxModelLen": 8192}, store=both)).pools == (holds,)


def test_what_is_offered_instead_fits_the_disk_as_well() -> None:
    nodes = (gpu_node("l40s", "NVIDIA-L40S", 8, 46068, disk="100Gi"), h100(disk="1000Gi"))
    asked = {"engine": {"maxModelLen": 8192}, "placement": {"gpuProducts": ["NVIDIA-L40S"]}}
    found = refused(verdict(LLAMA_70B, **asked, store=Files(*nodes)))
    assert found.reason == Reason.EPHEMERAL_STORAGE
    assert {"spec": {"placement": {"gpuProducts": ["NVIDIA-H100-80GB-HBM3"]}}} in [json.loads(offer.patch_json) for offer in found.offers]
    assert all(isinstance(offered(offer, LLAMA_70B, **asked, store=Files(*nodes)), Admit) for offer in found.offers)


def test_where_refusals_are_warnings_the_pod_says_what_it_writes() -> None:
    warn = {"apiVersion": API_VERSION, "kind": "FitPolicy", "metadata": {"name": "default"}, "spec": {"mode": "Warn"}}
    pinned = {"tensorParallelSize": 4, "gpuMemoryUtilization": 0.9, "maxModelLen": 8192}
    store = Files(h100(disk="100Gi"), policies=(parse_object(FitPolicy, warn),))
    found = admitted(verdict(LLAMA_70B, engine=pinned, store=store))
    assert found.overridden is not None
    assert found.overridden.reason == Reason.EPHEMERAL_STORAGE
    assert found.plan.ephemeral_storage_bytes > FILES_70B


def hog(disk: str) -> Manifest:
    return gpu_pod("hog", "h", requests={"ephemeral-storage": disk})


FREE = [
    ("the disk is free", 1, None, (True, True)),
    ("another pod has asked for the disk", 1, "480Gi", (False, False)),
    ("the disk holds as many replicas as are asked for, and no further one", 3, None, (True, False)),
    ("the GPUs do for one replica more than the disk does", 4, None, (False, False)),
]


@pytest.mark.parametrize(("why", "replicas", "held", "expected"), FREE, ids=[row[0] for row in FREE])
def test_what_is_called_free_has_the_disk_for_it(why: str, replicas: int, held: str | None, expected: tuple[bool, bool]) -> None:
    store = store_of(h100(disk="600Gi" if held is None else "500Gi"), pods=[hog(held)] if held else [])
    plan = planned(verdict(LLAMA_70B, engine={"maxModelLen": 4096, "tensorParallelSize": 2}, replicas=replicas, store=store,
                   template=scratch(sizeLimit="20Gi")))  # fmt: skip
    assert (plan.available_now, plan.may_surge) == expected


# Plans of releases that did not count it


def test_an_older_plan_reads_as_before_with_its_digest_and_its_pods() -> None:
    older = json.loads(PLAN.canonical_json())
    del older["ephemeral_storage_bytes"]
    read = Plan.from_json(json.dumps(older))
    assert (read, read.digest) == (PLAN, PLAN.digest)
    assert PLAN.digest == "24e2cb3480253c16", "the digest of this plan before the figure was known"
    requests = render_workload(wish(), read, ORIGIN)["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]
    assert "ephemeral-storage" not in requests


def test_the_pod_asks_for_what_the_plan_says_and_is_given_no_limit() -> None:
    plan = replace(PLAN, ephemeral_storage_bytes=30 * GIB)
    resources = render_workload(wish(), plan, ORIGIN)["spec"]["template"]["spec"]["containers"][0]["resources"]
    assert resources["requests"]["ephemeral-storage"] == "30Gi"
    assert "ephemeral-storage" not in resources["limits"]
    assert plan.digest != PLAN.digest
    assert Plan.from_json(plan.canonical_json()) == plan


@pytest.mark.parametrize("counted", [0, 30 * GIB], ids=["a plan from before", "a plan that counts the disk"])
def test_a_plan_is_read_back_from_the_status_whose_child_is_gone(counted: int) -> None:
    plan = replace(PLAN, ephemeral_storage_bytes=counted)
    assert PlanStatus.of(plan).as_plan() == plan
