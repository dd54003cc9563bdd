"""Plain Kubernetes workloads whose pods run vLLM: Deployment, StatefulSet, DaemonSet, Job, LeaderWorkerSet, Pod, their like, and patches.

llm-d's guides are patches of such workloads, which name no image: it comes from elsewhere, and is assumed. One translator of `registry`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from plimsoll_operator.api import Manifest
from plimsoll_operator.cli.importing.draft import Choices, Draft
from plimsoll_operator.cli.importing.hugging_face import hugging_face_server, runs_hugging_face_server
from plimsoll_operator.cli.importing.pod import lay_metadata
from plimsoll_operator.cli.importing.read import Others, Part, mapping
from plimsoll_operator.cli.importing.same import take_what_says_nothing
from plimsoll_operator.cli.importing.server import lay_server, servers_of
from plimsoll_operator.names import MANAGED_LABEL, MANAGED_VALUE

_KINDS: Final = {
    ("apps", "DaemonSet"): "spec.template",
    ("apps", "Deployment"): "spec.template",
    ("apps", "ReplicaSet"): "spec.template",
    ("apps", "StatefulSet"): "spec.template",
    ("argoproj.io", "Rollout"): "spec.template",
    ("batch", "Job"): "spec.template",
    ("", "Pod"): "",
    ("leaderworkerset.x-k8s.io", "LeaderWorkerSet"): "spec.leaderWorkerTemplate",
}
"""Where the template of the pods is."""
_OF_THE_LEADER: Final = ("leaderTemplate", "workerTemplate")
_INSTEAD: Final = {
    "DaemonSet": "a DaemonSet has a pod on every node that it selects: say in spec.replicas how many there should be",
    "Job": "a Job ends, and a server does not: an InferenceDeployment is started anew when it ends",
}


_PATCH: Final = (
    "without an image it is a patch, and what it is laid over is not read: import the two merged, as kubectl kustomize prints them"
)


def takes(obj: Manifest) -> bool:
    """Whether it is such a workload, and none that a plan has made itself."""
    made_here = mapping(obj, "metadata", "labels").get(MANAGED_LABEL) == MANAGED_VALUE
    return _kind(obj) in _KINDS and not made_here


def translate(obj: Part, _others: Others, choices: Choices) -> tuple[Draft, ...]:
    """One InferenceDeployment, or none where no container starts vLLM. Raises InvalidInput naming the field."""
    kind = str(obj.peek("kind"))
    path = _KINDS[_kind({"apiVersion": obj.peek("apiVersion"), "kind": kind})]
    template, nodes = _pod_template(obj, path)
    spec = template.part("spec")
    servers = list(servers_of(spec))
    if not servers and not any(map(runs_hugging_face_server, spec.entries("containers"))):
        return ()
    metadata = obj.part("metadata")
    name = metadata.text("name") or "vllm"
    draft = Draft(origin=f"{kind} {name}", ledger=obj.ledger, choices=choices)
    draft.name(name, metadata.text("namespace"), metadata.at("name"))
    if kind != "Pod":
        _take_selector(obj.part("spec", "selector", "matchLabels"), template.part("metadata", "labels"))
        draft.put("spec.replicas", obj.part("spec").whole("replicas"), obj.part("spec").at("replicas"))
        lay_metadata(draft, template.part("metadata"))
    else:
        labels = template.part("metadata").with_fields({"name": None, "namespace": None})
        lay_metadata(draft, labels)
    take_what_says_nothing(obj)
    if servers and not servers[0].container.has("image") and choices.image is None:
        draft.assume(servers[0].container.path, _PATCH)
    servers = servers or [server for server in (hugging_face_server(draft, spec),) if server is not None]
    if kind in _INSTEAD:
        draft.assume("kind", _INSTEAD[kind])
    for other in servers[1:]:
        draft.lost(other.container.path, "is not carried over, a second server in the pod: give it an InferenceDeployment of its own")
    pod = _without([other.container.path for other in servers[1:]], servers[0].pod)
    lay_server(draft, replace(servers[0], nodes=nodes, pod=pod))
    return (draft,)


def _take_selector(selector: Part, labels: Part) -> None:
    """How the workload knows its own pods: the plan's have labels of its own for that."""
    for key in selector.fields:
        if labels.peek(key) == selector.peek(key):
            selector.take(key)


def _without(paths: list[str], pod: Part) -> Part:
    """The pod without containers that are said to be left out."""
    if not paths:
        return pod
    kept = [one for one in pod.entries("containers") if one.path not in paths]
    return pod.with_fields({"containers": pod.fields["containers"]._replace(value=kept)})


def _kind(obj: Manifest) -> tuple[str, str]:
    group, slash, _ = str(obj.get("apiVersion", "")).partition("/")
    return (group if slash else "", str(obj.get("kind")))


def _pod_template(obj: Part, path: str) -> tuple[Part, int]:
    """The template of the pod that serves, and how many pods make a replica."""
    if not path:
        return obj, 1
    found = obj.part(*path.split("."))
    if path != "spec.leaderWorkerTemplate":
        return found, 1
    if found.peek("restartPolicy") == "RecreateGroupOnPodRestart":
        found.take("restartPolicy")
    key = next((key for key in _OF_THE_LEADER if found.part(key).fields), _OF_THE_LEADER[1])
    return found.part(key), found.whole("size") or 1
