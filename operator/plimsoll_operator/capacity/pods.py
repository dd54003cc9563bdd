"""What a pod takes from its node, counted as kube-scheduler counts it.

Called by the index on every pod event. Reads any mapping; unreadable quantities count as zero GPUs only where the API
server could never have accepted them. Knows no nodes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from plimsoll_operator.api import NAME_LABEL
from plimsoll_operator.capacity.quantities import floor_quantity

_TERMINAL: Final = ("Succeeded", "Failed")
_GPU_PREFIXES: Final = ("nvidia.com/", "amd.com/")


@dataclass(frozen=True, slots=True, kw_only=True)
class PodClaim:
    """GPU units a live, bound pod holds on its node, by resource name. `planned` pods are of an InferenceDeployment."""

    uid: str
    node: str
    gpus: tuple[tuple[str, int], ...]
    planned: bool


def parse_pod(pod: Mapping[str, Any]) -> PodClaim | None:
    """The claim of a bound, live pod that asks for GPUs; None when it holds none.

    Succeeded and Failed pods hold nothing; a terminating pod holds its GPUs until it is gone, as in kube-scheduler.
    """
    metadata, spec, status = (_mapping(pod.get(key)) for key in ("metadata", "spec", "status"))
    uid, node = pod_key(metadata), spec.get("nodeName")
    if uid is None or not isinstance(node, str) or not node or status.get("phase") in _TERMINAL:
        return None
    gpus = gpu_requests(spec)
    planned = bool(_mapping(metadata.get("labels")).get(NAME_LABEL))
    return PodClaim(uid=uid, node=node, gpus=gpus, planned=planned) if gpus else None


def pod_key(metadata: Mapping[str, Any]) -> str | None:
    """The pod's UID, or namespace/name where a file of manifests carries none."""
    uid, name = metadata.get("uid"), metadata.get("name")
    if isinstance(uid, str) and uid:
        return uid
    return f"{metadata.get('namespace', '')}/{name}" if isinstance(name, str) and name else None


def gpu_requests(spec: Mapping[str, Any]) -> tuple[tuple[str, int], ...]:
    """GPU units by resource: max(containers + sidecars, each init container + sidecars started before it) + overhead.

    Source: Kubernetes resource helpers `PodRequests`; restartable init containers are sidecars. For extended resources a
    limit without a request is the request. Pod-level resources cover CPU, memory and huge pages only, so GPUs ignore them.
    """
    running: dict[str, int] = {}
    for container in _list(spec.get("containers")):
        _add(running, _asked(container))
    sidecars: dict[str, int] = {}
    peak: dict[str, int] = {}
    for container in _list(spec.get("initContainers")):
        asked = _asked(container)
        if container.get("restartPolicy") == "Always":
            _add(sidecars, asked)
            _add(running, asked)
            needed = dict(sidecars)
        else:
            needed = dict(sidecars)
            _add(needed, asked)
        for key, value in needed.items():
            peak[key] = max(peak.get(key, 0), value)
    total = {key: max(running.get(key, 0), peak.get(key, 0)) for key in running.keys() | peak.keys()}
    _add(total, _gpu_counts(_mapping(spec.get("overhead"))))
    return tuple(sorted((key, value) for key, value in total.items() if value > 0))


def _asked(container: Mapping[str, Any]) -> dict[str, int]:
    resources = _mapping(container.get("resources"))
    if not resources:
        return {}
    return _gpu_counts(_mapping(resources.get("limits"))) | _gpu_counts(_mapping(resources.get("requests")))


def _gpu_counts(amounts: Mapping[str, Any]) -> dict[str, int]:
    return {key: floor_quantity(value) for key, value in amounts.items() if isinstance(key, str) and key.startswith(_GPU_PREFIXES)}


def _add(total: dict[str, int], more: Mapping[str, int]) -> None:
    for key, value in more.items():
        total[key] = total.get(key, 0) + value


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []
