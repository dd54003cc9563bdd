"""What a pod takes from its node, counted as kube-scheduler counts it: GPUs, host memory, CPU and ephemeral storage.

Called by the index on every pod event. Reads any mapping; unreadable quantities count as zero only where the API server could
never have accepted them. Knows no nodes. Source: Kubernetes resource helpers (component-helpers, `PodRequests`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from plimsoll_operator.capacity.labels import GPU_RESOURCE_PREFIXES
from plimsoll_operator.capacity.quantities import ceil_quantity
from plimsoll_operator.names import AMD_RESOURCE, GPU_RESOURCE, SHARED_RESOURCE

_TERMINAL: Final = ("Succeeded", "Failed")
CPU: Final = "cpu"
MEMORY: Final = "memory"
STORAGE: Final = "ephemeral-storage"
MOST_GPU_RESOURCES: Final = 16
_USUAL: Final = frozenset({GPU_RESOURCE, SHARED_RESOURCE, AMD_RESOURCE, "gpu.intel.com/i915", "habana.ai/gaudi"})
_HOST: Final = (CPU, MEMORY, STORAGE)
_POD_LEVEL: Final = (CPU, MEMORY)  # of what is counted here, what spec.resources may set for the whole pod


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundPod:
    """What a live, bound pod holds of its node: GPU units by resource, host memory and storage in bytes, CPU in thousandths.

    `planned` pods are of an InferenceDeployment.
    """

    uid: str
    node: str
    gpus: tuple[tuple[str, int], ...]
    host_memory_bytes: int
    host_cpu_millis: int
    ephemeral_storage_bytes: int
    planned: bool


def parse_pod(pod: Mapping[str, Any], *, planned: bool = False) -> BoundPod | None:
    """A bound, live pod; None when it holds nothing. Whether it is planned is the caller's to know.

    Succeeded and Failed pods hold nothing; a terminating pod holds what it asked for until it is gone, as in kube-scheduler.
    """
    metadata, spec, status = (_mapping(pod.get(key)) for key in ("metadata", "spec", "status"))
    uid, node = pod_key(metadata), spec.get("nodeName")
    if uid is None or not isinstance(node, str) or not node or status.get("phase") in _TERMINAL:
        return None
    asked = pod_requests(spec)
    return BoundPod(
        uid=uid,
        node=node,
        gpus=tuple(sorted((key, value) for key, value in asked.items() if key not in _HOST)),
        host_memory_bytes=asked.get(MEMORY, 0),
        host_cpu_millis=asked.get(CPU, 0),
        ephemeral_storage_bytes=asked.get(STORAGE, 0),
        planned=planned,
    )


def pod_key(metadata: Mapping[str, Any]) -> str | None:
    """The pod's UID, or namespace/name where a file of manifests carries none."""
    uid, name = metadata.get("uid"), metadata.get("name")
    if isinstance(uid, str) and uid:
        return uid
    return f"{metadata.get('namespace', '')}/{name}" if isinstance(name, str) and name else None


def pod_requests(spec: Mapping[str, Any]) -> dict[str, int]:
    """What is counted of a pod, by resource: max(containers + sidecars, each init container + sidecars before it) + overhead.

    Restartable init containers are sidecars. Pod-level CPU and memory replace the containers' sum; GPUs and storage have none. A limit
    without a request is the request, as the API server sets it. CPU is in thousandths; amounts are rounded up, zeros left out.
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
    total |= {key: value for key, value in _asked(spec).items() if key in _POD_LEVEL}
    _add(total, _counted(_mapping(spec.get("overhead"))))
    return _few({key: value for key, value in total.items() if value > 0})


def _few(asked: dict[str, int]) -> dict[str, int]:
    """No node offers more than MOST_GPU_RESOURCES kinds of GPU: what asks for more, under names made up by thousands, runs nowhere."""
    if len(asked) <= MOST_GPU_RESOURCES:
        return asked
    gpus = sorted((key for key in asked if key not in _HOST), key=lambda key: (key not in _USUAL, key))
    return {key: asked[key] for key in (*_HOST, *gpus[:MOST_GPU_RESOURCES]) if key in asked}


def _asked(holder: Mapping[str, Any]) -> dict[str, int]:
    resources = _mapping(holder.get("resources"))
    if not resources:
        return {}
    return _counted(_mapping(resources.get("limits"))) | _counted(_mapping(resources.get("requests")))


def _counted(amounts: Mapping[str, Any]) -> dict[str, int]:
    return {
        key: ceil_quantity(value, scale=1000 if key == CPU else 1)
        for key, value in amounts.items()
        if isinstance(key, str) and (key in _HOST or key.startswith(GPU_RESOURCE_PREFIXES))
    }


def _add(total: dict[str, int], more: Mapping[str, int]) -> None:
    for key, value in more.items():
        total[key] = total.get(key, 0) + value


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []
