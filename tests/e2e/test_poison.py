"""Objects that one tenant with `edit` makes to end the controller for everybody: each stays where it is, and a neighbour is decided.

What a case leaves behind stays until the last test, in which a new leader begins among all of it.
"""

import json
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.controlplane import Cluster, ControlPlane
from tests.controlplane.cluster import Json, wait_until
from tests.controlplane.nodes import FAKE_GPU_NODES, FakeNode
from tests.e2e.installation import GROUP, Installation, policy
from tests.e2e.wishes import Wishes, wish

pytestmark = pytest.mark.e2e
DECIDED_WITHIN_S = 10.0
TENANT = "mallory"
PLAN = f"{GROUP}/plan"
GENERATION = f"{GROUP}/generation"
DECIDED = f"{GROUP}/decided-at"


class Tenant:
    """Somebody with `edit` in one namespace and nothing else."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.cluster = cluster
        self.namespace = namespace
        cluster.kubectl("create", "rolebinding", "tenant", "-n", namespace, "--clusterrole=edit", f"--user={TENANT}")

    def apply(self, manifest: Json) -> str:
        """Apply it; return what kubectl says, refused or not."""
        done = self.cluster.kubectl("apply", f"--as={TENANT}", "-n", self.namespace, "-f", "-", stdin=json.dumps(manifest), check=False)
        return done.stdout + done.stderr

    def create(self, manifest: Json) -> str:
        """Create it: an apply would write the whole of it into an annotation."""
        done = self.cluster.kubectl("create", f"--as={TENANT}", "-n", self.namespace, "-f", "-", stdin=json.dumps(manifest), check=False)
        return done.stdout + done.stderr

    def annotate(self, name: str, **values: str) -> None:
        """Write annotations on the Deployment of that name."""
        patch = json.dumps({"metadata": {"annotations": {key.replace("__", "/"): value for key, value in values.items()}}})
        self.cluster.kubectl("patch", "deployment", name, f"--as={TENANT}", "-n", self.namespace, "--type=merge", "-p", patch)


@pytest.fixture(scope="module")
def tenant(installation: Installation) -> Iterator[Tenant]:
    cluster, name = installation.cluster, f"evil-{uuid.uuid4().hex[:6]}"
    cluster.kubectl("create", "namespace", name)
    yield Tenant(cluster, name)
    cluster.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="module")
def identity(installation: Installation) -> str:
    """The leader at the beginning."""
    return wait_until(installation.leader, "a leader")


@pytest.fixture
def neighbour(installation: Installation, namespace: str) -> Wishes:
    return Wishes(installation.cluster, namespace)


def decided(neighbour: Wishes, name: str) -> None:
    """The neighbour's own deployment gets its verdict and pods in time."""
    neighbour.create(wish(name))
    began = time.monotonic()
    wait_until(lambda: neighbour.condition(name, "Feasible") == "True", f"{name} to be decided", timeout_s=DECIDED_WITHIN_S)
    wait_until(lambda: neighbour.child(name) is not None, f"{name} to have a Deployment", timeout_s=DECIDED_WITHIN_S)
    assert time.monotonic() - began < DECIDED_WITHIN_S


def inline(config: str) -> Json:
    manifest = wish("inline", model="acme/inline")
    manifest["spec"]["model"]["profile"] = {"inline": config}
    return manifest


def nested(depth: int) -> str:
    return '{"architectures":["LlamaForCausalLM"],"a":' + "[" * depth + "]" * depth + "}"


def profile(depth: int) -> Json:
    spec = {"model": "acme/deep", "config": nested(depth)}
    return {"apiVersion": f"{GROUP}/v1alpha1", "kind": "ModelProfile", "metadata": {"name": f"deep-{depth}"}, "spec": spec}


def hand_made(name: str, **annotations: str) -> Json:
    """A Deployment with our labels. It has no owner: the garbage collector would take one whose owner is not there."""
    labels = {"app.kubernetes.io/managed-by": "plimsoll", f"{GROUP}/name": name}
    container = {"name": "c", "image": "registry.example/c:1"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    metadata = {"name": name, "labels": labels, "annotations": annotations}
    spec = {"replicas": 0, "selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


def cores(text: str) -> Json:
    """Sizes that somebody has pinned, so that there is a plan where the policy only warns."""
    manifest = wish("cores")
    manifest["spec"]["engine"] |= {"tensorParallelSize": 1, "gpuMemoryUtilization": 0.9}
    manifest["spec"]["template"] = {"resources": {"cpu": text, "memory": "999999999999T"}}
    return manifest


def context_parallel() -> Json:
    manifest = wish("dcp", model="deepseek-ai/DeepSeek-V2-Lite", products=("NVIDIA-H100-80GB-HBM3",))
    manifest["spec"]["engine"] |= {"image": "vllm/vllm-openai:v0.9.2", "tensorParallelSize": 2, "decodeContextParallelSize": 2}
    manifest["spec"]["engine"]["extraArgs"] = ["--trust-remote-code"]
    return manifest


@pytest.mark.parametrize(
    "poison",
    [
        pytest.param([inline('{"architectures":["\\ud800"]}')], id="a lone surrogate in an inline config"),
        pytest.param([inline(nested(990))], id="an inline config nested as deep as Python's parser goes"),
        pytest.param([profile(depth) for depth in (65, 500, 985, 992, 999, 5000)], id="nested profiles"),
        pytest.param([hand_made("digits", **{GENERATION: "9" * 4301, PLAN: "{}"})], id="a generation of 4301 digits"),
        pytest.param([hand_made("nothing", **{PLAN: "null", GENERATION: ""})], id="a plan that is nothing"),
        pytest.param([hand_made("unicode", **{GENERATION: "\u0663", DECIDED: "\u2028" * 90, PLAN: "[" * 50_000})], id="a plan nested"),
        pytest.param([context_parallel()], id="a size that its release has no argument for"),
    ],
)
def test_a_poison_object_stays_with_its_tenant(
    installation: Installation, tenant: Tenant, identity: str, neighbour: Wishes, poison: list[Json]
) -> None:
    said = [tenant.apply(manifest) for manifest in poison]
    assert all(said)
    decided(neighbour, "next-door")
    assert installation.leader() == identity, "the controller has ended"


def test_more_cores_than_a_status_of_32_bits_holds_where_the_policy_only_warns(
    installation: Installation, tenant: Tenant, identity: str, neighbour: Wishes
) -> None:
    cluster, mine = installation.cluster, Wishes(installation.cluster, tenant.namespace)

    def warned() -> bool:
        done = cluster.kubectl(
            "create", f"--as={TENANT}", "-n", tenant.namespace, "-f", "-", stdin=json.dumps(cores("9999999")), check=False
        )
        return done.returncode == 0

    with policy(cluster, tenant.namespace, mode="Warn"):
        wait_until(warned, "the webhook to see the policy")
        decided(neighbour, "next-door")
        wait_until(lambda: mine.condition("cores", "Feasible") == "False", "its own verdict")
        assert installation.leader() == identity, "the controller has ended"
        cluster.kubectl("delete", "infd", "cores", "-n", tenant.namespace)


EDITS: dict[str, object] = {
    "gpus_per_replica": 0,
    "nodes_per_replica": 0,
    "pools": ["p"] * 65,
    "max_model_len": None,
    "tensor_parallel_size": -1,
    "engine_version": "x",
    "kv_cache_interval_bytes": [],
    "node_selectors": [[1]],
}


def edited(field: str) -> str:
    return f"edited-{field.replace('_', '-')}"


@pytest.mark.parametrize("field", EDITS)
def test_an_edited_plan_is_put_right(installation: Installation, tenant: Tenant, identity: str, neighbour: Wishes, field: str) -> None:
    mine = Wishes(installation.cluster, tenant.namespace)
    name = edited(field)  # one each: what is changed again and again is put back more and more slowly
    mine.create(wish(name))
    wait_until(lambda: mine.child(name) is not None, "the Deployment")
    child = mine.child(name)
    assert child is not None
    plan = json.loads(child["metadata"]["annotations"][PLAN])
    tenant.annotate(name, **{PLAN: json.dumps(plan | {field: EDITS[field]})})
    # Its own controller looks again when it is touched, and puts the plan back.
    mine.patch(name, {"metadata": {"annotations": {f"{GROUP}/replan": f"{field}-{time.time()}"}}})
    wait_until(lambda: json.loads((mine.child(name) or child)["metadata"]["annotations"][PLAN]).get(field) == plan[field], "the plan")
    decided(neighbour, "next-door")
    assert installation.leader() == identity


def test_as_many_nodes_as_a_status_cannot_list_and_a_selector_by_hostname(
    installation: Installation, tenant: Tenant, identity: str, neighbour: Wishes
) -> None:
    cluster = installation.cluster
    gpu = next(node.gpu for node in FAKE_GPU_NODES if node.gpu.product == "NVIDIA-L4")
    nodes = [FakeNode(name=f"many-{number}", gpu=gpu, gpus=1) for number in range(66)]
    cluster.add_nodes(nodes)
    try:
        manifest = wish("pinned")
        manifest["spec"]["placement"] = {"nodeSelector": {"kubernetes.io/hostname": "many-3"}}
        tenant.apply(manifest)
        mine = Wishes(cluster, tenant.namespace)
        wait_until(lambda: mine.condition("pinned", "Feasible") == "True", "the selector by hostname to be decided")
        decided(neighbour, "next-door")
        tenant.apply(wish("ordinary"))
        wait_until(lambda: mine.condition("ordinary", "Feasible") == "True", "an ordinary plan on many pools")
        assert installation.leader() == identity
        cluster.kubectl("delete", "infd", "pinned", "ordinary", "-n", tenant.namespace)
    finally:
        cluster.remove_nodes(nodes)


def stray_pod(name: str, **spec: object) -> Json:
    """A pod of the tenant's that never runs."""
    container = {"name": "c", "image": "registry.example/c:1", **spec}
    gates = [{"name": "example.com/never"}] if "env" in spec else []
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [container], "schedulingGates": gates}}


def test_made_up_kinds_of_gpu_by_thousands_delay_nobody(
    installation: Installation, tenant: Tenant, identity: str, neighbour: Wishes
) -> None:
    for number in range(10):
        limits = {f"amd.com/{number}-{index}": "1" for index in range(6000)}
        assert "created" in tenant.create(stray_pod(f"kinds-{number}", resources={"limits": limits, "requests": limits}))
    decided(neighbour, "next-door")
    assert installation.leader() == identity


LARGE_PODS = 60
MOST_MIB = 260
"""Of a leader that begins: a hundred without such pods, and several for each of them while a list was read as one page."""


def plan_of(wishes: Wishes, field: str) -> tuple[str, str]:
    """Of the child whose plan's field is edited: its uid, and its plan."""
    child = wishes.child(edited(field))
    assert child is not None
    return child["metadata"]["uid"], child["metadata"]["annotations"][PLAN]


def test_a_new_leader_begins_among_all_of_it(installation: Installation, tenant: Tenant, neighbour: Wishes) -> None:
    if not isinstance(installation.cluster, ControlPlane):
        pytest.fail("this test stops and starts the controller's own process")
    kept = Wishes(installation.cluster, tenant.namespace)
    before = {field: plan_of(kept, field) for field in EDITS}
    installation.stop("controller")
    tenant.annotate("digits", **{GENERATION: "1" * 4301})
    for field, value in EDITS.items():
        tenant.annotate(edited(field), **{PLAN: json.dumps(json.loads(before[field][1]) | {field: value})})
    for number in range(LARGE_PODS):  # in JSON each of these characters is six
        assert "created" in tenant.create(stray_pod(f"large-{number}", env=[{"name": "A", "value": "<" * 480_000}]))
    installation.start_controller()
    decided(neighbour, "afterwards")
    status = Path(f"/proc/{installation.cluster.processes['controller'].pid}/status").read_text()
    peak = next(int(line.split()[1]) >> 10 for line in status.splitlines() if line.startswith("VmHWM:"))
    print(f"{peak} MiB at most while it begins beside {LARGE_PODS} pods of 3 MB")
    assert peak < MOST_MIB, f"{peak} MiB"
    log = installation.log("controller")
    assert "Traceback" not in log, log[log.index("Traceback") :][:3000]
    wait_until(lambda: {field: plan_of(kept, field) for field in EDITS} == before, "the edited plans to be put right, on the same children")
