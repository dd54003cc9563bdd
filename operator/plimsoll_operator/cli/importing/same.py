"""What a manifest says and nothing follows from, in one place: what the API server writes itself, and what a plan's pods are like anyway.

Called by the translators, which take these fields and say nothing. Everything else that nobody takes is named with what to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from plimsoll_operator.api.forbidden import what_instead
from plimsoll_operator.cli.importing.draft import Draft
from plimsoll_operator.cli.importing.read import Part

_OF_THE_SERVER: Final = (
    "creationTimestamp", "deletionGracePeriodSeconds", "deletionTimestamp", "generateName", "generation", "managedFields",
    "ownerReferences", "resourceVersion", "selfLink", "uid",
)  # fmt: skip
"""Of metadata: what the API server, or a controller, writes about the object that there is."""
_NOTES_OF_THE_SERVER: Final = (
    "deployment.kubernetes.io/revision",
    "kubectl.kubernetes.io/last-applied-configuration",
    "kubectl.kubernetes.io/restartedAt",
)
SAME: Final[Mapping[str, tuple[Any, ...]]] = {
    "automountServiceAccountToken": (False,),
    "dnsPolicy": ("ClusterFirst",),
    "enableServiceLinks": (False, True),
    "hostIPC": (False,),
    "hostNetwork": (False,),
    "hostPID": (False,),
    "privileged": (False,),
    "restartPolicy": ("Always",),
    "schedulerName": ("default-scheduler",),
    "serviceAccountName": ("default",),
    "stdin": (True, False),
    "successThreshold": (1,),
    "terminationMessagePath": ("/dev/termination-log",),
    "terminationMessagePolicy": ("File", "FallbackToLogsOnError"),
    "tty": (True, False),
}
"""Of a pod and its containers: values that say what the pods of a plan are like anyway, or that nothing follows from."""
_EMPTY: Final[tuple[Any, ...]] = ("", [], {})
ADVICE: Final[Mapping[str, str]] = {
    "ephemeral-storage": "the plan asks for what weights and caches take on the node's disk",
    "initialDelaySeconds": "the startup probe waits as long as the plan predicts a start to take",
    "matchFields": "say in spec.placement.nodeSelector which nodes may be used",
    "minReadySeconds": "a replica counts when its engine answers",
    "paused": "set spec.replicas to 0 to keep a plan without pods",
    "podManagementPolicy": "replicas are started together",
    "progressDeadlineSeconds": "how long a start may take follows from the plan",
    "revisionHistoryLimit": "the plan keeps its own history",
    "scheme": "whether the engine speaks TLS follows from its arguments, and what the kubelet asks from that",
    "serviceName": "the pods are reached by their Service, which has the deployment's name",
    "strategy": "whether an update starts the new replica before it stops the old one follows from the GPUs that are free",
    "updateStrategy": "whether an update starts the new replica before it stops the old one follows from the GPUs that are free",
    "defaultMode": "files have the mode 0644: start a script by its interpreter",
    "requestGPU": "GPUs are counted whole: parts of a card are those of spec.placement.sharing",
    "readOnly": "an emptyDir can be written to",
    "envFrom": "list the variables in spec.template.env, each with valueFrom",
    "hostIPC": "the pods have a /dev/shm of their own, sized for their GPUs; nothing is to be done",
    "hostPID": "nothing of vLLM needs it; leave it out",
    "hostname": "the pods are reached by their Service, which has the deployment's name",
    "extraPorts": "the plan's pods listen on spec.engine.port; another port of theirs needs a Service of yours",
    "ports": "the plan's pods listen on spec.engine.port; another port of theirs needs a Service of yours",
    "resourceClaims": "GPUs are asked for by count; spec.placement.gpuProducts says which",
    "subdomain": "the pods are reached by their Service, which has the deployment's name",
    "volumeClaimTemplates": "make one claim yourself and name it in spec.template.volumes, or in spec.model.source",
    "workerTemplate": "the plan makes a replica's further pods itself",
    "workingDir": "write paths from the root on",
}
"""By the last key of a path, what to do about a field that nothing here has."""
_IN_PART: Final[Mapping[str, str]] = {
    "affinity": "say in spec.placement which nodes may be used, and in spec.template.affinity what is preferred",
}
"""The same about fields of which the API has a part."""
_OF_THE_OBJECT: Final[Mapping[str, str]] = {
    "metadata.annotations": "annotations of the object itself: write the ones you need on the InferenceDeployment",
    "metadata.finalizers": "nothing here acts for them",
    "metadata.labels": "labels of the object itself: write the ones you need on the InferenceDeployment",
}
_READ: Final = frozenset({
    "args", "command", "containers", "env", "imagePullSecrets", "initContainers", "labels", "metadata", "name", "nodeSelector", "replicas",
    "resources", "securityContext", "spec", "template", "tolerations", "value", "volumeMounts", "volumes",
})  # fmt: skip
"""What is taken wherever it can be read."""
_NO_FIELD: Final = "no field of an InferenceDeployment says this: leave it out, or keep as it is what needs it"


def take_what_says_nothing(obj: Part) -> None:
    """Kind, what the API server writes itself, and what nobody has set."""
    for key in ("apiVersion", "kind", "status"):
        obj.take(key)
    take_of_metadata(obj.part("metadata"))


def take_of_metadata(metadata: Part) -> None:
    """Of an object or of a template."""
    for key in _OF_THE_SERVER:
        metadata.take(key)
    notes = metadata.part("annotations")
    for key in _NOTES_OF_THE_SERVER:
        notes.take(key)


def take_same(part: Part, *, but: tuple[str, ...] = ()) -> None:
    """Fields that are as a plan's pods have them, and those that are empty."""
    for key in part.fields.keys() - set(but):
        value = part.peek(key)
        if any(value == same and isinstance(value, type(same)) for same in (*SAME.get(key, ()), *_EMPTY)):
            part.take(key)


def say_what_is_left(drafts: tuple[Draft, ...], ledger_left: tuple[str, ...]) -> None:
    """Name every field that nobody took: on the deployment whose own part of the file it is in, else on the first."""
    for path in ledger_left:
        own = max((one for one in drafts if path.startswith(one.root)), key=lambda one: len(one.root), default=drafts[0])
        own.lost(path, f"is not carried over: {advice(path)}")


def advice(path: str) -> str:
    """What to do about a field that nothing here has."""
    path = path.rpartition(": ")[2]
    for prefix, said in _OF_THE_OBJECT.items():
        if path == prefix or path.startswith((f"{prefix}.", f"{prefix}[")):
            return said
    key = path.rpartition(".")[2].partition("[")[0] or path.rpartition("[")[2].rstrip("]")
    if key == "volumes" and path.endswith("]"):
        return "nothing that is carried over mounts it"
    if key in _READ:
        return "it is not written as Kubernetes has it: look at its type"
    instead = what_instead(f"spec.template.{key}")
    return ADVICE.get(key) or _IN_PART.get(key) or (f"it {instead}" if instead else _NO_FIELD)
