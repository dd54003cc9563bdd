"""Whoever gets hold of the controller's token can do the controller's work and nothing else: a real API server, the chart's rights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.controlplane import ControlPlane
from tests.controlplane.cluster import Json
from tests.e2e.installation import GROUP, NAMESPACE, RELEASE
from tests.e2e.rights_world import (
    HUB,
    NAME,
    PULLED,
    STRANGER,
    TEAM,
    TOKEN,
    VOLUME,
    Caller,
    Change,
    World,
    begin,
    beside,
    caller,
    changed,
    event,
    group_of,
    in_container,
    in_pod,
    in_security,
    lease,
    mounting,
    moved,
    owned,
    pods_of,
    pool,
    profile,
    reader,
    strangers,
    with_env,
)
from tests.e2e.templates import NAKED, TEMPLATES

from plimsoll_operator.read_request import Volume

pytestmark = pytest.mark.e2e
Attempt = Callable[[Caller, World], tuple[int, Json]]
READ_ONLY_CLAIM = {"name": "weights", "persistentVolumeClaim": {"claimName": "weights", "readOnly": True}}


@pytest.fixture(scope="module")
def world(workdir: Path) -> Iterator[World]:
    with ControlPlane.start(workdir / "rights", only_api=True) as plane:
        yield begin(plane)


@pytest.fixture(scope="module")
def thief(world: World) -> Caller:
    return caller(world.plane, f"{RELEASE}-controller")


def attack(make: Callable[[World], Json], change: Change) -> Attempt:
    return lambda thief, world: thief.create(changed(make(world), change))


def child(world: World) -> Json:
    return world.child("other", uid="11111111-1111-1111-1111-111111111111")


def group(world: World) -> Json:
    made = group_of(world)
    made["metadata"]["name"] = "other-group"
    made["metadata"]["labels"][f"{GROUP}/name"] = made["metadata"]["ownerReferences"][0]["name"] = "other"
    return made


def as_engine(made: Json) -> Json:
    for pod in pods_of(made):
        pod["serviceAccountName"] = "engine"
        del pod["automountServiceAccountToken"]
    return made


def new_service(world: World) -> Json:
    made = world.service()
    made["metadata"]["name"] = made["spec"]["selector"][f"{GROUP}/name"] = made["metadata"]["labels"][f"{GROUP}/name"] = "other"
    made["metadata"]["ownerReferences"][0]["name"] = "other"
    return made


def adopting(world: World) -> Json:
    return {"metadata": {key: world.child()["metadata"][key] for key in ("labels", "ownerReferences")}}


def volume_reader(_world: World) -> Json:
    return reader(VOLUME)


def token_reader(_world: World) -> Json:
    return reader(TOKEN)


def theirs(kind: str, name: str = STRANGER) -> Json:
    return next(one for one in strangers() if one["kind"] == kind and one["metadata"]["name"] == name)


def of(kind: str) -> Json:
    """Names one of the controller's own objects."""
    names = {"LeaderWorkerSet": f"{NAME}-group", "Pod": f"{NAME}-1"}
    return {"kind": kind, "metadata": {"namespace": TEAM, "name": names.get(kind, NAME)}}


OTHER_IMAGE = {"op": "replace", "path": "/spec/containers/0/image", "value": "evil/tool:1"}
MORE_NODES = {"op": "add", "path": "/spec/tolerations/-", "value": {"operator": "Exists"}}
GATE_OFF = {"op": "remove", "path": "/spec/schedulingGates"}
GATES_OFF = {"spec": {"schedulingGates": None}}
TO_STRANGER = {f"{GROUP}/name": STRANGER}
SELECTING = {"spec": {"selector": {f"{GROUP}/name": None, "app": STRANGER}}}
PRIVILEGED_TEMPLATE = {"spec": {"template": {"spec": {"hostPID": True}}}}
APPS = {"matchLabels": {"app": STRANGER}}
NO_CHILD = "that an InferenceDeployment controls"

ATTACKS: list[tuple[str, Attempt, str]] = [
    *((f"a Deployment with {what}", attack(child, change), said) for what, change, said in TEMPLATES),
    *((f"a LeaderWorkerSet with {what}", attack(group, change), said) for what, change, said in TEMPLATES),
    (
        "a LeaderWorkerSet whose leaders alone are privileged",
        attack(group, lambda made: made["spec"]["leaderWorkerTemplate"]["leaderTemplate"]["spec"].update(hostPID=True)),
        "host's namespaces",
    ),
    ("a Deployment of nobody's", attack(child, lambda made: made["metadata"].pop("ownerReferences")), NO_CHILD),
    ("a Deployment of a ConfigMap", attack(child, owned(apiVersion="v1", kind="ConfigMap")), NO_CHILD),
    ("a Deployment of another group's InferenceDeployment", attack(child, owned(apiVersion="evil.dev/v1")), NO_CHILD),
    ("a Deployment that its owner does not control", attack(child, owned(controller=False)), NO_CHILD),
    ("a Deployment that is not named after its owner", attack(child, owned(name="chat")), NO_CHILD),
    ("a LeaderWorkerSet that is not named after its owner", attack(group, owned(name="chat")), NO_CHILD),
    ("a Deployment that hides whose it is", attack(child, lambda made: made["metadata"].pop("labels")), "says whose it is"),
    ("a Deployment that cannot be deleted", attack(child, lambda made: made["metadata"].update(finalizers=["evil.dev/x"])), "no finalizer"),
    (
        "a Deployment that adopts others' pods",
        attack(
            child,
            lambda made: (
                made["spec"].update(selector={"matchLabels": {"app": STRANGER}}),
                made["spec"]["template"]["metadata"]["labels"].update(app=STRANGER),
            ),
        ),
        "no pods but their own",
    ),
    ("a Deployment in kube-system", lambda thief, world: thief.create(moved(child(world), namespace="kube-system")), "in kube-system"),
    ("a Deployment beside the controller's own", lambda thief, world: thief.create(moved(child(world), namespace=NAMESPACE)), NAMESPACE),
    ("a Service in kube-system", lambda thief, world: thief.create(moved(new_service(world), namespace="kube-system")), "in kube-system"),
    ("another's Deployment, taken over", lambda thief, world: thief.patch(theirs("Deployment"), adopting(world)), "the controller"),
    ("another's Deployment, patched", lambda thief, _: thief.patch(theirs("Deployment"), {"spec": {"replicas": 0}}), "the controller"),
    ("another's Deployment, deleted", lambda thief, _: thief.delete(theirs("Deployment")), "is none"),
    ("its own child, made privileged", lambda thief, _: thief.patch(of("Deployment"), PRIVILEGED_TEMPLATE), "host's namespaces"),
    (
        "its own child, disowned",
        lambda thief, _: thief.patch(of("Deployment"), {"metadata": {"ownerReferences": None}}),
        NO_CHILD,
    ),
    (
        "its own child, handed to an owner that is not there",
        lambda thief, world: thief.patch(
            of("Deployment"), {"metadata": {"ownerReferences": [{**world.child()["metadata"]["ownerReferences"][0], "uid": "u"}]}}
        ),
        "another owner",
    ),
    ("a Service open to the world", attack(new_service, lambda made: made["spec"].update(type="LoadBalancer")), "to the outside"),
    ("a Service on every node", attack(new_service, lambda made: made["spec"].update(type="NodePort")), "to the outside"),
    ("a Service that takes over an address", attack(new_service, lambda made: made["spec"].update(externalIPs=["8.8.8.8"])), "outside"),
    (
        "a Service that is another name",
        attack(new_service, lambda made: made["spec"].update(type="ExternalName", externalName="evil.dev")),
        "outside",
    ),
    ("a Service of others' pods", attack(new_service, lambda made: made["spec"].update(selector={"app": STRANGER})), "no pods but those"),
    ("a Service of all pods", attack(new_service, lambda made: made["spec"].pop("selector")), "no pods but those"),
    ("its own Service, led to others' pods", lambda thief, _: thief.patch(of("Service"), SELECTING), "no pods but those"),
    (
        "another's Service, led elsewhere",
        lambda thief, _: thief.patch(theirs("Service"), {"spec": {"selector": TO_STRANGER}}),
        "the controller",
    ),
    ("another's Service, deleted", lambda thief, _: thief.delete(theirs("Service")), "is none"),
    ("a budget of nobody's", attack(World.budget, lambda made: made["metadata"].pop("ownerReferences")), NO_CHILD),
    ("a budget of others' pods", attack(World.budget, lambda made: made["spec"].update(selector=APPS)), "no pods but those"),
    ("a budget of all pods", attack(World.budget, lambda made: made["spec"].update(selector={})), "no pods but those"),
    ("another's budget, deleted", lambda thief, _: thief.delete(theirs("PodDisruptionBudget")), "is none"),
    ("a privileged pod", lambda thief, _: thief.create({**theirs("Pod"), "metadata": {"namespace": TEAM, "name": "x"}}), "reader pods"),
    (
        "a privileged pod in kube-system",
        lambda thief, _: thief.create(changed(moved(theirs("Pod"), namespace="kube-system"), in_pod(hostPID=True))),
        "in kube-system",
    ),
    ("a reader pod in kube-system", lambda thief, _: thief.create(reader(VOLUME, "kube-system")), "in kube-system"),
    ("another's pod with another image", lambda thief, _: thief.edit(theirs("Pod"), OTHER_IMAGE), "behind its capacity gate"),
    (
        "another's pod with another label",
        lambda thief, _: thief.patch(theirs("Pod"), {"metadata": {"labels": {"app": "x"}}}),
        "behind its capacity gate",
    ),
    ("another's gate", lambda thief, _: thief.patch(theirs("Pod", "gated"), GATES_OFF), "behind its capacity gate"),
    ("another's pod, deleted", lambda thief, _: thief.delete(theirs("Pod")), "deletes no pods but reader pods"),
    ("an engine's pod, deleted", lambda thief, _: thief.delete(of("Pod")), "deletes no pods but reader pods"),
    (
        "an engine's pod with another image",
        lambda thief, _: thief.edit(of("Pod"), OTHER_IMAGE),
        "takes its capacity gate off",
    ),
    (
        "an engine's pod that tolerates more once its gate is off",
        lambda thief, _: thief.edit(of("Pod"), GATE_OFF, MORE_NODES),
        "takes its capacity gate off",
    ),
    (
        "an engine's pod that other Services find once its gate is off",
        lambda thief, _: thief.patch(of("Pod"), {**GATES_OFF, "metadata": {"labels": {"app": STRANGER}}}),
        "no label",
    ),
    (
        "a profile that a person wrote",
        lambda thief, _: thief.patch(profile("ModelProfile", "written", managed=False), {"spec": {"config": "[]"}}),
        "made itself",
    ),
    ("and its deletion", lambda thief, _: thief.delete(profile("ModelProfile", "written", managed=False)), "made itself"),
    ("a profile in a person's name", lambda thief, _: thief.create(profile("ModelProfile", "new", managed=False)), "made itself"),
    (
        "an administrator's ClusterModelProfile",
        lambda thief, _: thief.patch(profile("ClusterModelProfile", "written", managed=False), {"spec": {"config": "[]"}}),
        "made itself",
    ),
    (
        "an administrator's ClusterModelProfile, deleted",
        lambda thief, _: thief.delete(profile("ClusterModelProfile", "written", managed=False)),
        "made itself",
    ),
    (
        "an administrator's ClusterModelProfile, taken over by the label",
        lambda thief, _: thief.apply(profile("ClusterModelProfile", "written", managed=True)),
        "made itself",
    ),
    (
        "an administrator's ClusterModelProfile, deleted",
        lambda thief, _: thief.delete(profile("ClusterModelProfile", "written", managed=False)),
        "made itself",
    ),
    (
        "GPUs that nobody has",
        lambda thief, _: thief.create(pool("new", derived=True, product="NVIDIA-L4", maxNodes=99)),
        "declares no GPUs",
    ),
    ("an administrator's GPUPool", lambda thief, _: thief.patch(pool("declared", derived=False), {"spec": {"cost": 1}}), "spec"),
    ("and its deletion", lambda thief, _: thief.delete(pool("declared", derived=False)), "has derived"),
    (
        "a derived GPUPool that somebody has corrected, deleted",
        lambda thief, _: thief.delete(pool("corrected", derived=True)),
        "has derived",
    ),
    (
        "an Event about something else",
        lambda thief, _: thief.create(event(apiVersion="v1", kind="Pod")),
        "speaks of InferenceDeployments only",
    ),
    ("an Event in another's name", lambda thief, _: thief.create({**event(), "reportingController": "kubelet"}), "in its own name"),
    ("another Lease", lambda thief, _: thief.create(lease("another")), "no Lease but its own"),
]

# What no reader pod may differ in.
READERS: list[tuple[str, Callable[[World], Json], Change, str]] = [
    ("another image", volume_reader, in_container(image="evil/tool:1"), "not evil/tool:1"),
    ("another program", volume_reader, in_container(command=["sh", "-c"]), "runs the program"),
    (
        "something run when it starts",
        volume_reader,
        in_container(lifecycle={"postStart": {"exec": {"command": ["sh"]}}}),
        "runs the program",
    ),
    ("all of a Secret", token_reader, in_container(envFrom=[{"secretRef": {"name": "keys"}}]), "runs the program"),
    ("a second container", volume_reader, beside(**NAKED), "one container"),
    ("a container before it", volume_reader, in_pod(initContainers=[NAKED]), "has none of initContainers"),
    ("the host's network", volume_reader, in_pod(hostNetwork=True), "has none of hostNetwork"),
    ("a node of its own choice", volume_reader, in_pod(nodeName="control-plane"), "has none of nodeName"),
    ("an account", volume_reader, in_pod(serviceAccountName="admin"), "without an account's token"),
    ("the namespace's token", volume_reader, in_pod(automountServiceAccountToken=True), "without an account's token"),
    ("no end", volume_reader, in_pod(activeDeadlineSeconds=86400), "at most five minutes"),
    ("an hour without an image to pull", volume_reader, in_pod(activeDeadlineSeconds=3600), "at most five minutes"),
    ("the priority of the system", volume_reader, in_pod(priorityClassName="system-node-critical"), "one container"),
    ("privilege", volume_reader, in_security(privileged=True, allowPrivilegeEscalation=True), "without root"),
    ("a capability", volume_reader, in_security(capabilities={"drop": ["ALL"], "add": ["SYS_ADMIN"]}), "without root"),
    ("root", volume_reader, in_pod(securityContext={"runAsNonRoot": False, "seccompProfile": {"type": "RuntimeDefault"}}), "without root"),
    (
        "a folder of the host",
        volume_reader,
        in_pod(volumes=[{"name": "weights", "hostPath": {"path": "/"}}]),
        "one claim",
    ),
    (
        "a Secret as files",
        volume_reader,
        in_pod(volumes=[{"name": "weights", "secret": {"secretName": "k"}}]),
        "one claim",
    ),
    (
        "a claim that it may write to",
        volume_reader,
        lambda made: pods_of(made)[0]["volumes"][0]["persistentVolumeClaim"].update(readOnly=False),
        "read-only",
    ),
    (
        "an image beside a token",
        token_reader,
        in_pod(volumes=[{"name": "weights", "image": {"reference": "evil/data:1"}}]),
        "or a token",
    ),
    ("an image beside a claim", volume_reader, mounting(image={"reference": "evil/data:1"}), "one claim or image"),
    ("a second claim", volume_reader, mounting(persistentVolumeClaim={"claimName": "b", "readOnly": True}), "one claim"),
    ("a claim beside a token", token_reader, in_pod(volumes=[READ_ONLY_CLAIM]), "or a token"),
    (
        "a hub of the thief's",
        token_reader,
        lambda made: pods_of(made)[0]["containers"][0]["env"][-1].update(value="https://evil.dev"),
        "own hub",
    ),
    ("a proxy of the thief's", token_reader, with_env(name="HTTPS_PROXY", value="https://evil.dev"), "own hub"),
    ("a second Secret", token_reader, with_env(name="B", valueFrom={"secretKeyRef": {"name": "k", "key": "k"}}), "one token"),
    ("a GPU", volume_reader, in_container(resources={"limits": {"nvidia.com/gpu": "8"}}), "no device"),
    ("a label that other Services select", volume_reader, lambda made: made["metadata"]["labels"].update(app=STRANGER), "no others"),
]


@pytest.mark.parametrize(("what", "attempt", "said"), ATTACKS, ids=[row[0] for row in ATTACKS])
def test_the_controllers_token_does_not_write(thief: Caller, world: World, what: str, attempt: Attempt, said: str) -> None:
    status, answer = attempt(thief, world)
    assert status == 403, f"{what}: {answer}"
    assert said in answer["message"], answer["message"]


@pytest.mark.parametrize(("what", "make", "change", "said"), READERS, ids=[row[0] for row in READERS])
def test_a_reader_pod_has_no(thief: Caller, world: World, what: str, make: Callable[[World], Json], change: Change, said: str) -> None:
    status, answer = thief.create(changed(make(world), change))
    assert status == 403, f"{what}: {answer}"
    assert said in answer["message"], answer["message"]


WORK: list[tuple[str, Attempt]] = [
    ("makes a Deployment", lambda thief, world: thief.apply(child(world))),
    ("makes pods that run as an account it was given", lambda thief, world: thief.apply(as_engine(child(world)))),
    ("makes groups that run as an account it was given", lambda thief, world: thief.apply(as_engine(group(world)))),
    ("makes a Deployment by POST", lambda thief, world: thief.create(child(world))),
    ("makes a LeaderWorkerSet", lambda thief, world: thief.apply(group(world))),
    ("makes a budget", lambda thief, world: thief.apply(world.budget())),
    ("makes a Service", lambda thief, world: thief.apply(new_service(world))),
    (
        "puts a new plan into its Deployment",
        lambda thief, world: thief.apply(changed(world.child(), in_container(image="vllm/vllm-openai:v1"))),
    ),
    ("scales its Deployment", lambda thief, _: thief.patch(of("Deployment"), {"spec": {"replicas": 3}})),
    ("scales its LeaderWorkerSet", lambda thief, _: thief.patch(of("LeaderWorkerSet"), {"spec": {"replicas": 3}})),
    ("takes its Deployment away", lambda thief, _: thief.delete(of("Deployment"))),
    ("puts its Service right", lambda thief, world: thief.apply(world.service())),
    ("takes its Service away", lambda thief, _: thief.delete(of("Service"))),
    ("lifts its gate", lambda thief, _: thief.patch(of("Pod"), GATES_OFF)),
    ("makes a pod that reads a volume", lambda thief, world: thief.create(volume_reader(world))),
    ("makes a pod that reads an image", lambda thief, _: thief.create(reader(PULLED))),
    ("makes pods that mount images", attack(child, mounting(image={"reference": "ghcr.io/acme/llama:1"}))),
    ("makes pods with volumes of a driver it was given", attack(child, mounting(csi={"driver": "csi.example.com"}))),
    ("makes pods that lock memory for RDMA", attack(child, in_security(capabilities={"drop": ["ALL"], "add": ["IPC_LOCK"]}))),
    ("makes a pod that reads a hub", lambda thief, world: thief.create(token_reader(world))),
    ("takes a reader pod away", lambda thief, _: thief.delete(reader(Volume(claim="weights", path="a")))),
    ("keeps what was read", lambda thief, _: thief.apply(profile("ModelProfile", "new", managed=True))),
    ("keeps it up to date", lambda thief, _: thief.apply(profile("ClusterModelProfile", "read", managed=True))),
    ("takes a profile away with its ConfigMap", lambda thief, _: thief.delete(profile("ModelProfile", "read", managed=True))),
    ("takes one away that nobody asks for", lambda thief, _: thief.delete(profile("ClusterModelProfile", "read", managed=True))),
    ("derives a pool", lambda thief, _: thief.apply(pool("new", derived=True))),
    ("annotates a pool that somebody has corrected", lambda thief, _: thief.apply(pool("corrected", derived=True))),
    ("takes a derived pool away", lambda thief, _: thief.delete(pool("derived", derived=True))),
    ("tells what it has done", lambda thief, _: thief.create(event())),
    ("leads", lambda thief, _: thief.create(lease())),
]


@pytest.mark.parametrize(("what", "attempt"), WORK, ids=[row[0] for row in WORK])
def test_the_controller(thief: Caller, world: World, what: str, attempt: Attempt) -> None:
    status, answer = attempt(thief, world)
    assert status in (200, 201), f"{what}: {answer}"


def test_hub_of_the_readers_is_the_controllers(world: World) -> None:
    assert any(row.get("value") == HUB for row in token_reader(world)["spec"]["containers"][0]["env"])
