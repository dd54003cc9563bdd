"""Plain Kubernetes workloads whose pods run vLLM: Deployment, StatefulSet, LeaderWorkerSet, Pod; also patches of them.

llm-d's guides are patches of such workloads, which name no image: it comes from elsewhere, and is assumed. One translator of `registry`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from plimsoll_operator.api import Manifest
from plimsoll_operator.cli.importing.draft import Choices, Draft, Imported
from plimsoll_operator.cli.importing.pod import advice, lay_metadata
from plimsoll_operator.cli.importing.read import mapping, text, whole
from plimsoll_operator.cli.importing.server import lay_server, servers_of
from plimsoll_operator.names import MANAGED_LABEL, MANAGED_VALUE

_KINDS: Final = {
    ("apps", "Deployment"): "spec.template",
    ("apps", "StatefulSet"): "spec.template",
    ("", "Pod"): "",
    ("leaderworkerset.x-k8s.io", "LeaderWorkerSet"): "spec.leaderWorkerTemplate",
}
"""Where the template of the pods is."""
_OF_THE_LEADER: Final = ("leaderTemplate", "workerTemplate")


def takes(obj: Manifest) -> bool:
    """Whether it is such a workload, and none that a plan has made itself."""
    made_here = mapping(obj, "metadata", "labels").get(MANAGED_LABEL) == MANAGED_VALUE
    return _kind(obj) in _KINDS and not made_here


def translate(obj: Manifest, _others: Sequence[Manifest], choices: Choices) -> tuple[Imported, ...]:
    """One InferenceDeployment, or none where no container starts vLLM. Raises InvalidInput naming the field."""
    path = _KINDS[_kind(obj)]
    template, path, nodes = _pod_template(obj, path)
    pod, pod_path = mapping(template, "spec"), f"{path}.spec" if path else "spec"
    servers = list(servers_of(pod, pod_path))
    if not servers:
        return ()
    kind, name = str(obj.get("kind")), text(mapping(obj, "metadata").get("name")) or "vllm"
    draft = Draft(origin=f"{kind} {name}", choices=choices)
    draft.name(name, text(mapping(obj, "metadata").get("namespace")), "metadata.name")
    draft.put("spec.replicas", whole(mapping(obj, "spec").get("replicas")), "spec.replicas")
    lay_metadata(draft, mapping(template, "metadata"), f"{path}.metadata".lstrip("."))
    for other in servers[1:]:
        draft.lost(other.container_path, "is not carried over, a second server in the pod: give it an InferenceDeployment of its own")
    lay_server(draft, replace(servers[0], nodes=nodes))
    if mapping(obj, "spec").get("volumeClaimTemplates"):
        draft.lost("spec.volumeClaimTemplates", f"is not carried over: {advice('volumeClaimTemplates')}")
    return (draft.finish(),)


def _kind(obj: Manifest) -> tuple[str, str]:
    group, slash, _ = str(obj.get("apiVersion", "")).partition("/")
    return (group if slash else "", str(obj.get("kind")))


def _pod_template(obj: Manifest, path: str) -> tuple[Manifest, str, int]:
    """The template of the pod that serves, where it stands, and how many pods make a replica."""
    if not path:
        return obj, "", 1
    found = mapping(obj, *path.split("."))
    if path != "spec.leaderWorkerTemplate":
        return found, path, 1
    key = next((key for key in _OF_THE_LEADER if found.get(key)), _OF_THE_LEADER[1])
    return mapping(found, key), f"{path}.{key}", whole(found.get("size")) or 1
