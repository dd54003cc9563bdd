"""The reader pod: its manifest, and what its status says. Pure.

Made and read by `user_rights`. A pod of the user's own namespace, so that the namespace's volumes and Secrets are read with the
namespace's rights and quotas and never with the controller's. It has no ServiceAccount token, no capability, no writable disk, no
GPU and a deadline. What it reports is input from outside: bounded, printable, never evaluated.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final, TypeAlias

from plimsoll_operator.controller.resolving.fetcher import FetchFailure
from plimsoll_operator.names import APP_NAME_LABEL, GPU_RESOURCE, MANAGED_LABEL, MANAGED_VALUE, READER_LABEL
from plimsoll_operator.ports import PODS, Manifest
from plimsoll_operator.profiles.access import ENDPOINT_VARIABLE, endpoint_of
from plimsoll_operator.read_request import ByPod, HubCache, ImageVolume, OnVolume, Pulling, ReadAs, ReadRequest
from plimsoll_operator.reasons import NoShape
from plimsoll_operator.reasons.no_shape import OF_NO_READER
from plimsoll_operator.text import without_tokens

CONTAINER: Final = "reader"
VOLUME_MOUNT: Final = "/volume"
READING_SECONDS: Final = 300
IMAGE_SECONDS: Final = 3600
"""The same where the node must pull an image with the weights first: the pod's time runs while it does."""
_ANNOTATIONS: Final = {
    # A pod without an owner would otherwise keep its node from being scaled down; this one is simply made again.
    "cluster-autoscaler.kubernetes.io/safe-to-evict": "true",
    # Admission lets no container run beside the reader (guard-pods.yaml of the chart), so meshes are asked to put none there.
    "linkerd.io/inject": "disabled",
    "sidecar.istio.io/inject": "false",
}
_NEVER_PULLED: Final = "ErrImageNeverPull"
"""The kubelet's word for an image, or an image volume, of pull policy Never that the node has not (pkg/kubelet/images/types.go)."""
_MEMORY_LIMIT: Final = "1Gi"
_MAX_SENTENCE: Final = 480
_REASONS: Final = {reason.exit_status: reason for reason in NoShape if reason.exit_status != OF_NO_READER}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderSettings:
    """What the administrator decides about reader pods. An empty image means that there are none; `offline`, that none asks a hub.

    `user` and `group` are as whom volumes are read where a spec does not say it; None is the image's own.
    """

    image: str
    pull_policy: str = "IfNotPresent"
    pull_secrets: tuple[str, ...] = ()
    hub_endpoint: str = ""
    offline: bool = False
    user: int | None = None
    group: int | None = None

    def __post_init__(self) -> None:
        """Refuse an endpoint that holds a password: pods are read by the namespace's users. Raises InvalidInput."""
        if self.hub_endpoint:
            endpoint_of(self.hub_endpoint, "hub endpoint")


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Not over yet, and why."""

    why: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The program ended well: its log holds the result."""


State: TypeAlias = Waiting | Ended | FetchFailure


def request_key(request: ReadRequest) -> str:
    """Names the reading in label and log: 32 hexadecimal digits, the same for the same reading."""
    identity = [request.namespace, request.model, request.revision, type(request.source).__name__, sorted(asdict(request.source).items())]
    if request.read_as != ReadAs():
        identity.append(sorted(asdict(request.read_as).items()))
    if request.pulling != Pulling():
        identity.append(sorted(asdict(request.pulling).items()))
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:32]


def pod_name(request: ReadRequest) -> str:
    """Follows from the reading, so that a pod is found again after a restart and there are never two."""
    return f"plimsoll-reader-{request_key(request)[:16]}"


def is_ours(pod: Manifest, request: ReadRequest) -> bool:
    """Whether the pod was made for this reading."""
    labels = pod["metadata"].get("labels") or {}
    return all(labels.get(key) == value for key, value in _labels(request).items())


def reading_of_ended(pod: Manifest | None) -> str | None:
    """The key of the reading whose pod this is, if it is a reader pod that has ended. Reads a trimmed pod."""
    if pod is None or (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed"):
        return None
    return (pod["metadata"].get("labels") or {}).get(READER_LABEL)


def reader_pod(request: ReadRequest, source: ByPod, settings: ReaderSettings) -> Manifest:
    """The pod that reads `request`. Valid under Pod Security's restricted profile; the image's own user is not root."""
    spec: Manifest = {
        "containers": [_container(request, source, settings)],
        "restartPolicy": "Never",
        "activeDeadlineSeconds": IMAGE_SECONDS if isinstance(source, ImageVolume) else READING_SECONDS,
        "terminationGracePeriodSeconds": 1,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}, **_as_whom(request, settings)},
        # A volume may be reachable from the GPU nodes only, which are usually kept free of other pods.
        "tolerations": [{"key": GPU_RESOURCE, "operator": "Exists", "effect": "NoSchedule"}],
    }
    if isinstance(source, OnVolume):
        spec["volumes"] = [{"name": "weights", **_volume(source, request.pulling)}]
    secrets = dict.fromkeys((*settings.pull_secrets, *request.pulling.secrets))
    if secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in secrets]
    metadata = {"namespace": request.namespace, "name": pod_name(request), "labels": _labels(request), "annotations": dict(_ANNOTATIONS)}
    return {"apiVersion": PODS.api_version, "kind": PODS.kind, "metadata": metadata, "spec": spec}


def _volume(source: OnVolume, pulling: Pulling) -> Manifest:
    """An image is mounted as data, read-only by its nature: no program of it is run."""
    if isinstance(source, ImageVolume):
        return {"image": {"reference": source.reference, **({"pullPolicy": pulling.policy} if pulling.policy is not None else {})}}
    return {"persistentVolumeClaim": {"claimName": source.claim, "readOnly": True}}


def _as_whom(request: ReadRequest, settings: ReaderSettings) -> Manifest:
    """Files of a volume may be their owner's alone: it is read as who will load it, else as the administrator says. Never as root."""
    if not isinstance(request.source, OnVolume):
        return {}
    said = request.read_as
    user, group = (settings.user, settings.group) if said.user is None else (said.user, None)
    group = said.group if said.group is not None else group
    given: Manifest = {"runAsUser": user} if user is not None else {}
    given |= {"runAsGroup": group} if group is not None else {}
    return given | ({"supplementalGroups": list(said.groups)} if said.groups else {})


def _labels(request: ReadRequest) -> dict[str, str]:
    return {APP_NAME_LABEL: "plimsoll-reader", MANAGED_LABEL: MANAGED_VALUE, READER_LABEL: request_key(request)}


def _container(request: ReadRequest, source: ByPod, settings: ReaderSettings) -> Manifest:
    arguments = [f"--request={request_key(request)}", f"--model={request.model}"]
    arguments += [f"--revision={request.revision}"] if request.revision is not None else []
    environment: list[Manifest] = [{"name": "PYTHONDONTWRITEBYTECODE", "value": "1"}]
    mounts: list[Manifest] = []
    if isinstance(source, OnVolume):
        flag = "--hub-cache" if isinstance(source, HubCache) else "--directory"
        arguments.append(f"{flag}={posixpath.normpath(posixpath.join(VOLUME_MOUNT, source.path))}")
        mounts = [{"name": "weights", "mountPath": VOLUME_MOUNT, "readOnly": True}]
    else:
        arguments.append("--hub")
        environment.append({"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": source.secret, "key": source.key}}})
        if settings.hub_endpoint:
            environment.append({"name": ENDPOINT_VARIABLE, "value": settings.hub_endpoint})
    return {
        "name": CONTAINER,
        "image": settings.image,
        "imagePullPolicy": settings.pull_policy,
        "command": ["python", "-m", "plimsoll_operator.profiles.reader"],
        "args": [argument.replace("$", "$$") for argument in arguments],  # Kubernetes would put variables in for $(NAME)
        "env": environment,
        "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"cpu": "1", "memory": _MEMORY_LIMIT}},
        "volumeMounts": mounts,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }


def state_of(pod: Manifest) -> State:
    """How far the reader is. Its own container decides: a sidecar that a mesh has put beside it may run for ever."""
    status = pod.get("status") or {}
    state = _container_state(pod)
    if state.get("terminated"):
        return _ended(state["terminated"], status, deadline_of(pod))
    if status.get("phase") == "Succeeded":
        return Ended()
    if status.get("phase") == "Failed":
        return _failed_outside(status, deadline_of(pod))
    waiting = state.get("waiting") or {}
    if waiting.get("reason") == _NEVER_PULLED:
        return _not_there(pod, waiting)
    if waiting.get("reason") not in (None, "", "ContainerCreating", "PodInitializing"):
        return Waiting(why=sentence(f"{waiting['reason']} {waiting.get('message') or ''}"))
    scheduled: Mapping[str, Any] = next((row for row in status.get("conditions") or () if row.get("type") == "PodScheduled"), {})
    if scheduled.get("status") == "False":
        return Waiting(why=sentence(f"{scheduled.get('reason') or ''} {scheduled.get('message') or ''}"))
    return Waiting(why="it reads" if status.get("phase") == "Running" else "it is being started")


def _not_there(pod: Manifest, waiting: Mapping[str, Any]) -> FetchFailure:
    """No kubelet ever pulls it: another pod, on another node, may find it."""
    node = sentence((pod.get("spec") or {}).get("nodeName") or "its node")
    said = sentence(waiting.get("message") or _NEVER_PULLED)
    todo = "with spec.model.source.image.pullPolicy Never it must be on every node that may read it: put it there, or say IfNotPresent"
    return FetchFailure(reason=NoShape.NOT_FOUND, message=f"the reader pod on {node} does not start: {said}; {todo}")


def deadline_of(pod: Manifest) -> int:
    """Seconds that the pod was given; text from outside, so no more than any reader gets."""
    given = (pod.get("spec") or {}).get("activeDeadlineSeconds")
    return min(given, IMAGE_SECONDS) if isinstance(given, int) and given > 0 else READING_SECONDS


def ended_at(pod: Manifest) -> str | None:
    """When the program ended, as the kubelet says it; None where it has not, or nobody knows."""
    return (_container_state(pod).get("terminated") or {}).get("finishedAt")


def seconds_since(stamp: str | None, now: datetime) -> float:
    """Seconds from an API server's timestamp to now; 0 where it says nothing."""
    try:
        then = datetime.fromisoformat(stamp or "")
    except ValueError:
        return 0.0
    return (now - then).total_seconds() if then.tzinfo is not None else 0.0


def _container_state(pod: Manifest) -> Mapping[str, Any]:
    rows = (pod.get("status") or {}).get("containerStatuses") or ()
    state: Mapping[str, Any] = next((row.get("state") or {} for row in rows if row.get("name") == CONTAINER), {})
    return state


def _ended(terminated: Mapping[str, Any], status: Mapping[str, Any], deadline: int) -> State:
    code = terminated.get("exitCode")
    if code == 0:
        return Ended()
    if status.get("reason") == "DeadlineExceeded":
        return _failed_outside(status, deadline)
    if terminated.get("reason") == "OOMKilled":
        return FetchFailure(reason=NoShape.UNSUPPORTED, message=f"reading its files takes more than {_MEMORY_LIMIT} of memory")
    reason = _REASONS.get(code) if isinstance(code, int) else None
    said = sentence(terminated.get("message") or "")
    if reason is None:
        return FetchFailure(reason=NoShape.UNREACHABLE, message=f"the reader pod ended with status {code}" + (f": {said}" if said else ""))
    return FetchFailure(reason=reason, message=said or f"the reader pod says {reason}")


def _failed_outside(status: Mapping[str, Any], deadline: int) -> FetchFailure:
    """Ended by Kubernetes: the deadline, an eviction, a lost node."""
    if status.get("reason") == "DeadlineExceeded":
        return FetchFailure(reason=NoShape.UNREACHABLE, message=f"the reader pod did not end within {deadline} seconds")
    said = sentence(f"{status.get('reason') or 'failed'} {status.get('message') or ''}")
    return FetchFailure(reason=NoShape.UNREACHABLE, message=f"the reader pod was ended: {said}")


def sentence(text: object) -> str:
    """Text from a pod's status for a condition: one line, printable, bounded, and without what looks like a hub token."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in str(text)).split())
    return without_tokens(line)[:_MAX_SENTENCE].rstrip(".: ")
