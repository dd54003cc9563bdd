"""Reader pods: what they may do, how their end becomes a profile of their namespace, and what else never does."""

import json
import math
import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from tests.plimsoll_operator.checkpoints import bytes_of, tiny_tensors
from tests.plimsoll_operator.hub_server import COMMIT, MODEL, TOKEN, HubServer
from tests.plimsoll_operator.kubelet import MADE, Kubelet
from tests.plimsoll_operator.resolving.reader_world import (
    BY_TOKEN,
    NOW,
    ON_CLAIM,
    PRIVATE,
    SETTINGS,
    VOLUME,
    failed,
    fetch,
    look,
    reader_pods,
)

from plimsoll_estimator.errors import InvalidInput
from plimsoll_operator.api import ModelSpec, PodSecurity, TemplateSpec
from plimsoll_operator.api.model_profile import ProfileOrigin
from plimsoll_operator.api.model_source import PersistentVolumeClaimSource
from plimsoll_operator.controller.resolving.fetcher import Fetched
from plimsoll_operator.controller.resolving.reader_pod import ReaderSettings, Waiting, pod_name, reader_pod, request_key, state_of
from plimsoll_operator.controller.resolving.user_rights import FORGOTTEN_SECONDS, OLDEST_SECONDS, UserRights, sweep
from plimsoll_operator.names import NAME_LABEL
from plimsoll_operator.ports import PODS, Manifest
from plimsoll_operator.read_request import OperatorHub, ReadRequest, Volume, read_request_of


def test_a_volume_becomes_a_profile_of_that_volume_in_that_namespace(kube: Kubelet, tmp_path: Path) -> None:
    found = fetch(kube)
    assert isinstance(found, Fetched), found
    assert not found.cluster
    spec = found.spec
    said = ("acme/in-house", None, "volume weights/llama", "2026-11-25T12:00:05Z")
    assert (spec.model, spec.revision, spec.source, spec.obtained_at) == said
    assert spec.origin == ProfileOrigin(persistent_volume_claim=PersistentVolumeClaimSource(claim_name="weights", path="llama"))
    assert spec.weights is not None
    assert spec.weights.total_bytes == bytes_of(tiny_tensors())
    assert len(spec.digest or "") == 16
    assert reader_pods(kube) == [], "the pod is taken away when its log is read"


def test_the_hub_is_read_with_the_users_token_which_stays_in_the_pod(kube: Kubelet, hub: HubServer) -> None:
    found = fetch(kube, PRIVATE, settings=ReaderSettings(image="x", hub_endpoint=hub.url))
    assert isinstance(found, Fetched), found
    assert (found.cluster, found.spec.revision, found.spec.requested_revision, found.spec.origin) == (False, COMMIT, "main", None)
    assert {headers.get("authorization") for _, headers in hub.seen} == {f"Bearer {TOKEN}"}
    assert TOKEN not in repr(found) + json.dumps(kube.made)


def test_the_pod_has_no_right_that_reading_does_not_need() -> None:
    for wanted, source in ((VOLUME, ON_CLAIM), (PRIVATE, BY_TOKEN)):
        pod = reader_pod(wanted, source, SETTINGS)
        spec, (container,) = pod["spec"], pod["spec"]["containers"]
        assert pod["metadata"]["namespace"] == wanted.namespace
        assert (spec["automountServiceAccountToken"], spec["restartPolicy"], spec["enableServiceLinks"]) == (False, "Never", False)
        assert spec["activeDeadlineSeconds"] <= 600
        assert pod["metadata"]["annotations"] == {
            "cluster-autoscaler.kubernetes.io/safe-to-evict": "true",
            "linkerd.io/inject": "disabled",
            "sidecar.istio.io/inject": "false",
        }
        assert spec["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"hostNetwork", "hostPID", "hostIPC", "serviceAccountName", "nodeName", "initContainers"}.isdisjoint(spec)
        assert set(container["resources"]["limits"]) == {"cpu", "memory"}
        assert NAME_LABEL not in pod["metadata"]["labels"], "it is never counted as an engine pod"


def test_a_volume_is_mounted_read_only_and_a_token_comes_from_its_secret_alone() -> None:
    (container,) = reader_pod(VOLUME, ON_CLAIM, SETTINGS)["spec"]["containers"]
    assert container["volumeMounts"] == [{"name": "weights", "mountPath": "/volume", "readOnly": True}]
    assert [row["name"] for row in container["env"]] == ["PYTHONDONTWRITEBYTECODE"]
    pod = reader_pod(PRIVATE, BY_TOKEN, SETTINGS)
    assert "volumes" not in pod["spec"]
    (row,) = [row for row in pod["spec"]["containers"][0]["env"] if row["name"] == "HF_TOKEN"]
    assert row["valueFrom"] == {"secretKeyRef": {"name": "hub", "key": "token"}}


def test_arguments_are_the_users_words_and_never_variables_or_options() -> None:
    source = Volume(claim="weights", path="$(HOME)/a")
    asked = ReadRequest(namespace="t", model="acme/x", revision="v1", source=source)
    arguments = reader_pod(asked, source, SETTINGS)["spec"]["containers"][0]["args"]
    assert arguments[1:] == ["--model=acme/x", "--revision=v1", "--directory=/volume/$$(HOME)/a"]


def test_an_endpoint_with_a_password_is_not_shown_to_the_namespace() -> None:
    mirror = "https://mirror.example/hf"
    (container,) = reader_pod(PRIVATE, BY_TOKEN, ReaderSettings(image="x", hub_endpoint=mirror))["spec"]["containers"]
    assert {"name": "HF_ENDPOINT", "value": mirror} in container["env"]
    with pytest.raises(InvalidInput, match="not shown") as raised:
        ReaderSettings(image="x", hub_endpoint="https://me:secret@mirror.example")
    assert "secret" not in str(raised.value)


def test_offline_no_pod_asks_a_hub_and_volumes_are_read(kube: Kubelet) -> None:
    settings = ReaderSettings(image="x", offline=True)
    found = failed(fetch(kube, PRIVATE, settings=settings))
    assert (found.reason, found.retry_after_seconds, kube.made) == ("Unreachable", math.inf, [])
    assert isinstance(fetch(kube, settings=settings), Fetched)


AS_WHOM = [
    ("nobody says it", {}, {}, {}),
    ("the administrator does", {}, {"user": 1000, "group": 100}, {"runAsUser": 1000, "runAsGroup": 100}),
    ("the spec does, alone", {"runAsUser": 2000}, {"user": 1000, "group": 100}, {"runAsUser": 2000}),
    ("the spec gives groups", {"fsGroup": 7, "supplementalGroups": [3]}, {"user": 1000}, {"runAsUser": 1000, "supplementalGroups": [3, 7]}),
    ("the spec gives a group", {"runAsGroup": 5}, {"user": 1000, "group": 100}, {"runAsUser": 1000, "runAsGroup": 5}),
]


@pytest.mark.parametrize(("who", "security", "settings", "runs_as"), AS_WHOM, ids=[row[0] for row in AS_WHOM])
def test_a_volume_is_read_as_who_will_load_it(who: str, security: Manifest, settings: Manifest, runs_as: Manifest) -> None:
    model = ModelSpec.model_validate({"name": "acme/x", "source": {"persistentVolumeClaim": {"claimName": "weights", "path": "llama"}}})
    template = TemplateSpec(security_context=PodSecurity.model_validate(security))
    wanted, plain = read_request_of("team", model, template), read_request_of("team", model)
    assert wanted is not None
    assert plain is not None
    pod = reader_pod(wanted, ON_CLAIM, ReaderSettings(image="x", **settings))
    assert pod["spec"]["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}, **runs_as}
    assert wanted.profile_name == plain.profile_name, "the shape is the same, whoever could read it"
    assert (pod_name(wanted) == pod_name(plain)) is not bool(security), "another reader is another pod"


def test_a_token_is_used_by_the_image_s_own_user() -> None:
    pod = reader_pod(PRIVATE, BY_TOKEN, ReaderSettings(image="x", user=1000, group=100))
    assert "runAsUser" not in pod["spec"]["securityContext"]


def test_what_is_not_known_of_a_volume_is_noted(kube: Kubelet, tmp_path: Path) -> None:
    for path in (tmp_path / "weights" / "llama").glob("*.safetensors*"):
        path.unlink()
    found = fetch(kube)
    assert isinstance(found, Fetched)
    assert found.spec.weights is None
    assert "not known: bytes by dtype" in found.notes[0]


def test_what_it_answers() -> None:
    rights = UserRights(kube=Kubelet(), settings=SETTINGS, now=lambda: NOW)
    operator = ReadRequest(namespace="", model=MODEL, revision="main", source=OperatorHub())
    assert [rights.answers(wanted) for wanted in (VOLUME, PRIVATE, operator)] == [True, True, False]


def test_without_an_image_it_says_so() -> None:
    assert failed(fetch(Kubelet(), settings=ReaderSettings(image=""))).reason == "Unsupported"


CLAIMS = [(None, "NotFound", "there is no PersistentVolumeClaim team/weights"), ("Pending", "Unreachable", "is Pending, not Bound")]


@pytest.mark.parametrize(("phase", "reason", "words"), CLAIMS)
def test_a_claim_that_is_not_bound_is_named_and_not_bound_by_looking(phase: str | None, reason: str, words: str) -> None:
    kube = Kubelet()
    if phase is not None:
        kube.claim("team", "weights", phase)
    found = failed(fetch(kube))
    assert found.reason == reason
    assert words in found.message
    assert kube.made == []


STUCK = [
    ("no node", {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
      "message": "0/5 nodes are available: 5 Insufficient memory."}]}, "0/5 nodes are available"),
    ("no image", {"phase": "Pending", "state": {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}}},
     "ImagePullBackOff Back-off pulling image"),
    ("no Secret", {"phase": "Pending", "state": {"waiting": {"reason": "CreateContainerConfigError", "message": 'secret "hub" not found'}}},
     'secret "hub" not found'),
]  # fmt: skip


@pytest.mark.parametrize(("why", "status", "words"), STUCK, ids=[row[0] for row in STUCK])
def test_a_pod_that_cannot_start_is_named(why: str, status: Manifest, words: str, kube: Kubelet) -> None:
    kube.holds = True
    look(kube)
    kube.stand(kube.made[0], **status)
    found = failed(look(kube))
    assert found.reason == "Resolving"
    assert words in found.message
    assert len(reader_pods(kube)) == 1


def test_an_image_that_is_never_pulled_and_is_not_there_ends_the_reading(kube: Kubelet) -> None:
    """The kubelet would wait for it for ever; the next pod may land on a node that has it."""
    kube.holds = True
    look(kube)
    said = 'Container image "acme/llama:1" is not present with pull policy of Never'
    kube.stand(kube.made[0], phase="Pending", state={"waiting": {"reason": "ErrImageNeverPull", "message": said}})
    found = failed(look(kube))
    assert found.reason == "NotFound"
    assert found.message.startswith(f"the reader pod on its node does not start: {said}; with spec.model.source.image.pullPolicy Never")
    assert reader_pods(kube) == []


def test_a_pod_is_found_again_by_the_next_leader(kube: Kubelet) -> None:
    kube.holds = True
    assert [failed(look(kube)).reason for _ in range(3)] == ["Resolving"] * 3
    kube.play(kube.made[0])
    assert isinstance(look(kube), Fetched)
    assert len(kube.made) == 1


class Impatient(threading.Event):
    def wait(self, timeout: float | None = None) -> bool:
        raise AssertionError("the resolver's threads are everybody's: a look waits for nothing")


def test_pods_that_never_end_keep_no_thread(kube: Kubelet) -> None:
    kube.holds = True
    rights = UserRights(kube=kube, settings=SETTINGS, now=lambda: NOW)
    for number in range(50):
        for _ in range(2):
            assert failed(rights.fetch(replace(VOLUME, model=f"acme/{number}"), Impatient())).reason == "Resolving"
    assert len(kube.made) == 50


def test_readings_do_not_share_pods() -> None:
    others = [
        ReadRequest(namespace="other", model="acme/in-house", revision=None, source=Volume(claim="weights", path="llama")),
        ReadRequest(namespace="team", model="acme/in-house", revision="v1", source=Volume(claim="weights", path="llama")),
        ReadRequest(namespace="team", model="acme/other", revision=None, source=Volume(claim="weights", path="llama")),
        ReadRequest(namespace="team", model="acme/in-house", revision=None, source=Volume(claim="weights", path="qwen")),
    ]
    assert len({request_key(wanted) for wanted in (VOLUME, PRIVATE, *others)}) == 6


def test_forgotten_pods_are_swept_and_no_others(kube: Kubelet) -> None:
    kube.holds = True
    fetch(kube)
    fetch(kube, PRIVATE)
    kube.create(PODS, {"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "team", "name": "theirs", "creationTimestamp": MADE}})
    assert sweep(kube, NOW) == 0
    kube.end(kube.made[0], log=b"")
    assert sweep(kube, NOW + timedelta(seconds=FORGOTTEN_SECONDS)) == 0
    assert sweep(kube, NOW + timedelta(seconds=FORGOTTEN_SECONDS + 1)) == 1
    assert sweep(kube, NOW + timedelta(seconds=OLDEST_SECONDS + 1)) == 1
    assert [pod["metadata"]["name"] for pod in kube.list_page(PODS).items] == ["theirs"]


def test_where_only_some_namespaces_pods_may_be_listed_those_are_swept(kube: Kubelet) -> None:
    kube.holds = True
    kube.claim("other", "weights")
    for namespace in ("team", "other"):
        look(kube, replace(VOLUME, namespace=namespace))
    late = NOW + timedelta(seconds=OLDEST_SECONDS + 1)
    assert sweep(kube, late, ("other",)) == 1
    assert [pod["metadata"]["namespace"] for pod in reader_pods(kube)] == ["team"]


def test_a_status_of_nothing_is_no_end() -> None:
    assert isinstance(state_of({"metadata": {}}), Waiting)
