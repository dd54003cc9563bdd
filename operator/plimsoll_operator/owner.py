"""Whose a pod is: which InferenceDeployment's child has made it, by who controls it and not by a label that anybody may set.

Called for every pod by the controller's caches and by the CLI. Pure; accepts any mapping. Knows no plans and no API server.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from plimsoll_operator.group import GROUP_INDEX_LABEL, name_of
from plimsoll_operator.names import NAME_LABEL, WORKER_LABEL

HASH_LABEL: Final = "pod-template-hash"
"""Set by a Deployment's controller on what it makes."""


def deployment_of(pod_metadata: object) -> tuple[str, str] | None:
    """Namespace and name of the InferenceDeployment whose child controls the pod; None where it is nobody's.

    A Deployment's pods are controlled by a ReplicaSet named after it and the template's hash, those of a LeaderWorkerSet by a StatefulSet
    named after it (leaders) or after their leader (workers). The ReplicaSet itself is not looked up: who forges one in a namespace makes
    pods pass for those of a deployment there, of which no more than are wanted count as its own.
    """
    metadata = _mapping(pod_metadata)
    labels = _mapping(metadata.get("labels"))
    name = labels.get(NAME_LABEL) or labels.get(WORKER_LABEL)
    owner = controller_of(metadata)
    if not isinstance(name, str) or owner is None:
        return None
    sets = name_of(name)
    made = {"ReplicaSet": (f"{name}-{labels.get(HASH_LABEL)}",), "StatefulSet": (sets, f"{sets}-{labels.get(GROUP_INDEX_LABEL)}")}
    return (str(metadata.get("namespace", "")), name) if owner.get("name") in made.get(str(owner.get("kind")), ()) else None


def controller_of(metadata: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The owner reference that says who controls the object."""
    rows = metadata.get("ownerReferences")
    owners = map(_mapping, rows) if isinstance(rows, list) else ()
    return next((row for row in owners if row.get("controller") is True), None)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
