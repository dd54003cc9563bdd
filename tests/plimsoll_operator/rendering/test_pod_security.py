"""As whom engine pods run: under Pod Security's restricted profile where the user asks for it, and unchanged where nobody does."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.plimsoll_operator.decision_world import LLAMA_8B, Files, refused, verdict
from tests.plimsoll_operator.nodes import gpu_node
from tests.plimsoll_operator.plans import PLAN

from plimsoll_operator.api import ApiError, Plan, parse_inference_deployment
from plimsoll_operator.names import API_VERSION
from plimsoll_operator.pod import HOME_MOUNT
from plimsoll_operator.ports import Manifest
from plimsoll_operator.render import Origin, digest_of, render_workload
from plimsoll_operator.verdict import Reason, Reject

CLAIM = {"persistentVolumeClaim": {"claimName": "c", "path": "m"}}
TOKEN = {"huggingFace": {"tokenSecretRef": {"name": "s", "key": "k"}}}
USER = {"runAsUser": 1000}
TWO_NODES = replace(PLAN, nodes_per_replica=2, gpus_per_replica=4, tensor_parallel_size=4)


def workload(plan: Plan = PLAN, *, source: Manifest | None = None, **spec: Any) -> Manifest:
    """What is applied for an ordinary deployment with these additions."""
    model = {"name": "a/b"} | ({"source": source} if source else {})
    obj = {
        "apiVersion": API_VERSION,
        "kind": "InferenceDeployment",
        "metadata": {"name": "x", "namespace": "n", "uid": "u"},
        "spec": {"model": model, "engine": {"image": "vllm/vllm-openai:v0.19.0"}, **spec},
    }
    return render_workload(parse_inference_deployment(obj), plan, Origin(generation=1, spec_digest="", replan=""))


def pods(manifest: Manifest) -> list[Manifest]:
    """The pod specs in it."""
    spec = manifest["spec"]
    if "leaderWorkerTemplate" in spec:
        return [spec["leaderWorkerTemplate"][part]["spec"] for part in ("leaderTemplate", "workerTemplate")]
    return [spec["template"]["spec"]]


def secured(security: Manifest, plan: Plan = PLAN, **more: Any) -> Manifest:
    """The pod under these settings."""
    template = {"securityContext": security, "sidecars": [{"name": "proxy", "image": "example/proxy:1"}], **more.pop("template", {})}
    return pods(workload(plan, template=template, **more))[0]


def restricted(pod: Manifest) -> list[str]:
    """What Pod Security's restricted profile (v1.36) finds at fault: the fields that our pods can have."""
    context, faults = pod.get("securityContext", {}), []
    for container in [*pod.get("initContainers", ()), *pod["containers"]]:
        own = container.get("securityContext", {})
        if own.get("allowPrivilegeEscalation") is not False:
            faults.append("allowPrivilegeEscalation")
        if own.get("capabilities", {}).get("drop") != ["ALL"] or own["capabilities"].get("add"):
            faults.append("capabilities")
        if own.get("runAsNonRoot", context.get("runAsNonRoot")) is not True:
            faults.append("runAsNonRoot")
        if own.get("runAsUser", context.get("runAsUser")) == 0:
            faults.append("runAsUser")
        if own.get("seccompProfile", context.get("seccompProfile", {})).get("type") not in ("RuntimeDefault", "Localhost"):
            faults.append("seccompProfile")
    kinds = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
    return faults + [row["name"] for row in pod["volumes"] if not (set(row) - {"name"}) <= kinds]


# What was rendered of the plans of earlier releases: a digest of a child's spec that moves restarts everybody's pods on an upgrade.
EARLIER = replace(PLAN, pod_form=0)
UNCHANGED = [
    ("a model from the hub", workload(EARLIER), "d8f67aef70d4ecf1"),
    ("weights on a volume", workload(EARLIER, source=CLAIM), "a6ecd68901d786f6"),
    (
        "an overlay, with a slash at the end of a path and a sidecar's variable",
        workload(
            EARLIER,
            template={
                "labels": {"team": "a"},
                "env": [{"name": "NCCL_DEBUG", "value": "INFO"}],
                "volumes": [{"name": "d", "mountPath": "/data/", "emptyDir": {}}],
                "sidecars": [{"name": "p", "image": "x:1", "args": ["$(A)"]}],
                "resources": {"cpu": "4"},
            },
        ),
        "8914823950ea5d6e",
    ),
    (
        "arguments with a dollar that means nothing",
        workload(EARLIER, engine={"image": "vllm/vllm-openai:v0.19.0", "extraArgs": ["--seed=1", "--api-key=a$b"]}),
        "bad0ded2b78ac409",
    ),
    ("a user's token", workload(EARLIER, source=TOKEN), "65772b1a8ca467fa"),
    ("a replica over two nodes", workload(replace(TWO_NODES, pod_form=0), placement={"maxNodesPerReplica": 2}), "a6795749e0110ccf"),
]


@pytest.mark.parametrize(("why", "manifest", "digest"), UNCHANGED, ids=[row[0] for row in UNCHANGED])
def test_what_asks_for_nothing_is_rendered_as_it_always_was(why: str, manifest: Manifest, digest: str) -> None:
    assert digest_of(manifest["spec"]) == digest


def test_a_pod_that_asks_for_nothing_is_not_restricted_only_for_want_of_a_user() -> None:
    assert set(restricted(pods(workload())[0])) == {"runAsNonRoot"}


IDS = st.integers(1, (1 << 31) - 1)
SETTINGS = st.fixed_dictionaries(
    {"runAsUser": IDS},
    optional={
        "runAsGroup": st.integers(0, 1 << 20),
        "fsGroup": st.integers(0, 1 << 20),
        "fsGroupChangePolicy": st.sampled_from(["Always", "OnRootMismatch"]),
        "supplementalGroups": st.lists(st.integers(0, 1 << 20), max_size=4),
        "readOnlyRootFilesystem": st.booleans(),
        "runAsNonRoot": st.just(True),
    },
)
SOURCES = st.sampled_from([None, CLAIM, TOKEN])


@given(SETTINGS, SOURCES, st.booleans())
def test_every_pod_with_a_user_is_valid_under_the_restricted_profile(settings: Manifest, source: Manifest | None, over_nodes: bool) -> None:
    plan, placement = (TWO_NODES, {"maxNodesPerReplica": 2}) if over_nodes else (PLAN, {})
    template = {"securityContext": settings, "sidecars": [{"name": "proxy", "image": "example/proxy:1"}]}
    for pod in pods(workload(plan, source=source, placement=placement, template=template)):
        assert restricted(pod) == []
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}


def test_each_setting_reaches_the_pod() -> None:
    given_ = USER | {"runAsGroup": 0, "fsGroup": 2000, "fsGroupChangePolicy": "OnRootMismatch", "supplementalGroups": [3, 4]}
    wanted = given_ | {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert secured(given_)["securityContext"] == wanted


HOMES = [
    ("a user of its own", USER, True),
    ("not root, as the image says", {"runAsNonRoot": True}, True),
    ("an image that cannot be written to", {"readOnlyRootFilesystem": True}, True),
    ("a group alone", {"fsGroup": 2000}, False),
]


@pytest.mark.parametrize(("why", "security", "moves"), HOMES, ids=[row[0] for row in HOMES])
def test_the_home_of_an_engine_that_cannot_write_to_root_s_is_a_volume_of_the_pod(why: str, security: Manifest, moves: bool) -> None:
    engine = secured(security)["containers"][0]
    mounted = {row["mountPath"] for row in engine["volumeMounts"] if row["name"] == "hub-cache"}
    environment = {row["name"]: row["value"] for row in engine["env"]}
    assert (HOME_MOUNT in mounted) is moves
    assert environment == ({"HOME": HOME_MOUNT, "USER": "vllm"} if moves else {})


def test_weights_on_a_volume_leave_room_for_a_home_too() -> None:
    pod = secured(USER, source=CLAIM)
    assert {"name": "hub-cache", "emptyDir": {}} in pod["volumes"]
    assert {"name": "hub-cache", "mountPath": HOME_MOUNT} in pod["containers"][0]["volumeMounts"]


def test_a_home_that_the_user_names_is_kept() -> None:
    engine = secured(USER, template={"env": [{"name": "HOME", "value": "/data"}]})["containers"][0]
    assert [row for row in engine["env"] if row["name"] == "HOME"] == [{"name": "HOME", "value": "/data"}]


def test_a_read_only_root_leaves_tmp_writable_and_is_the_engine_s_alone() -> None:
    pod = secured({"readOnlyRootFilesystem": True})
    engine, sidecar = pod["containers"]
    assert engine["securityContext"]["readOnlyRootFilesystem"] is True
    assert {"name": "hub-cache", "mountPath": "/tmp", "subPath": "tmp"} in engine["volumeMounts"]
    assert "readOnlyRootFilesystem" not in sidecar["securityContext"]
    own = secured({"readOnlyRootFilesystem": True}, template={"volumes": [{"name": "t", "mountPath": "/tmp/", "emptyDir": {}}]})
    assert [row["name"] for row in own["containers"][0]["volumeMounts"] if row["mountPath"].startswith("/tmp")] == ["t"]


def test_nobody_mounts_over_that_home() -> None:
    volumes = [{"name": "t", "mountPath": "/home//vllm", "emptyDir": {}}]
    store = Files(gpu_node("l4", "NVIDIA-L4", 4, 23034, host="180Gi", cpu="47"))
    free = verdict(LLAMA_8B, engine={"maxModelLen": 8192}, template={"volumes": volumes}, store=store)
    taken = refused(verdict(LLAMA_8B, engine={"maxModelLen": 8192}, template={"volumes": volumes, "securityContext": USER}, store=store))
    assert not isinstance(free, Reject)
    assert (taken.reason, taken.field) == (Reason.INVALID_SPEC, "spec.template.volumes[0].mountPath")


REFUSED = [
    ("root", {"runAsUser": 0}),
    ("a profile of the node's", {"seccompProfile": {"type": "Unconfined"}}),
    ("capabilities", {"capabilities": {"add": ["SYS_ADMIN"]}}),
    ("privilege", {"privileged": True}),
    ("sysctls", {"sysctls": []}),
    ("an id beyond the kernel's", {"fsGroup": 1 << 31}),
]


@pytest.mark.parametrize(("why", "security"), REFUSED, ids=[row[0] for row in REFUSED])
def test_nothing_in_it_gives_more_than_a_pod_has_without(why: str, security: Manifest) -> None:
    with pytest.raises(ApiError):
        workload(template={"securityContext": security})
