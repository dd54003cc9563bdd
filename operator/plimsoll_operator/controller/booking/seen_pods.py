"""The pods of each deployment, on nodes and waiting for one, and what strangers' waiting pods may take: kept event by event.

Fed and read by the ledger under its lock. A pod is counted once, wherever it is counted, whatever events are lost or come twice: one
that took the name of another, or that changed hands, is taken out first. Knows no plans and no free GPUs.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from plimsoll_operator.capacity.labels import GPU_RESOURCE_PREFIXES
from plimsoll_operator.capacity.pods import CPU, MEMORY, STORAGE, pod_requests
from plimsoll_operator.controller.booking.demand import PodShape
from plimsoll_operator.names import CAPACITY_GATE
from plimsoll_operator.owner import deployment_of
from plimsoll_operator.pod import PodRequests
from plimsoll_operator.ports import Key, Manifest

_OVER: Final = ("Succeeded", "Failed")
Contenders = tuple[tuple[PodShape, int], ...]
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A deployment's pod without a node: whether it is behind the capacity gate, and what it asks for."""

    pod: Manifest
    gated: bool
    asks: Contenders

    def fits(self, shape: PodShape) -> bool:
        """Whether it asks for what the plan's pods ask for."""
        return any((one.resource, one.gpus) == (shape.resource, shape.gpus) for one, _ in self.asks)

    @property
    def may_take(self) -> Contenders:
        """What it may take at any moment: nothing while a gate holds it."""
        return () if self.pod["spec"].get("schedulingGates") else self.asks


class SeenPods:
    """See the module. Not thread-safe."""

    def __init__(self) -> None:
        self._bound: dict[Key, dict[str, Manifest]] = {}
        self._waiting: dict[Key, dict[str, Waiting]] = {}
        self._worked_out: dict[Key, dict[Hashable, Any]] = {}

    def change(self, old: Manifest | None, new: Manifest | None) -> set[Key]:
        """Take in one change of a pod. Returns the deployments whose pods have changed."""
        touched: set[Key] = set()
        if old is not None and (owner := deployment_of(old["metadata"])) is not None:
            _keep(self._bound, owner, uid_of(old), None)
            _keep(self._waiting, owner, uid_of(old), None)
            touched.add(owner)
        if new is not None and (owner := deployment_of(new["metadata"])) is not None:
            self._take_in(owner, new)
            touched.add(owner)
        for owner in touched:
            self._worked_out.pop(owner, None)
        return touched

    def once(self, key: Key, what: Hashable, work_out: Callable[[], _T]) -> _T:
        """What follows from the pods of this deployment alone: worked out once for each change of any of them."""
        known = self._worked_out.setdefault(key, {}) if key in self._bound else {}
        if what not in known:
            known[what] = work_out()
        found: _T = known[what]
        return found

    def bound(self, key: Key) -> Mapping[str, Manifest]:
        """Live pods on nodes, by uid."""
        return self._bound.get(key, {})

    def staying(self, key: Key) -> tuple[Manifest, ...]:
        """Those of them that nobody has told to end. One that ends holds its GPUs until its last request is answered, for minutes, and
        serves nobody new: the pod that follows it needs others, or waits."""
        return tuple(pod for pod in self.bound(key).values() if "deletionTimestamp" not in pod["metadata"])

    def on_node(self, name: str) -> list[Key]:
        """The deployments that have a live pod on this node."""
        return [key for key, pods in self._bound.items() if any(pod["spec"]["nodeName"] == name for pod in pods.values())]

    def waiting(self, key: Key) -> Mapping[str, Waiting]:
        """Live pods without a node, by uid."""
        return self._waiting.get(key, {})

    def _take_in(self, owner: Key, pod: Manifest) -> None:
        alive = pod["status"].get("phase") not in _OVER
        bound = alive and bool(pod["spec"].get("nodeName"))
        waits = alive and not bound and "deletionTimestamp" not in pod["metadata"]
        _keep(self._bound, owner, uid_of(pod), pod if bound else None)
        _keep(self._waiting, owner, uid_of(pod), Waiting(pod=pod, gated=has_gate(pod), asks=_asks(pod)) if waits else None)


def contenders_of_stranger(pod: Manifest | None) -> Contenders:
    """The GPUs of a pod that the scheduler may put on a node at any moment; which nodes it may use is not looked at."""
    if pod is None or deployment_of(pod["metadata"]) is not None or "deletionTimestamp" in pod["metadata"]:
        return ()
    if pod["spec"].get("nodeName") or pod["spec"].get("schedulingGates") or pod["status"].get("phase") in _OVER:
        return ()
    return _asks(pod)


def uid_of(pod: Manifest) -> str:
    """Tells a pod from another of its name."""
    return str(pod["metadata"].get("uid") or pod["metadata"]["name"])


def has_gate(pod: Manifest) -> bool:
    """Whether the pod waits behind the capacity gate."""
    return any(gate.get("name") == CAPACITY_GATE for gate in pod["spec"].get("schedulingGates") or ())


def _asks(pod: Manifest) -> Contenders:
    asked = pod_requests(pod["spec"])
    gpus = [(resource, units) for resource, units in asked.items() if resource.startswith(GPU_RESOURCE_PREFIXES)]
    memory, cpu, storage = (_coarse(asked.get(name, 0)) for name in (MEMORY, CPU, STORAGE))
    host = PodRequests(gpus=0, host_memory_bytes=memory, host_cpu_millis=cpu, ephemeral_storage_bytes=storage)
    return tuple((PodShape(pools=(), products=(), requests=replace(host, gpus=units), resource=resource), 1) for resource, units in gpus)


def _coarse(amount: int) -> int:
    """Rounded up by at most a quarter, so that thousands of strangers' pods, each of another size, are few kinds of contenders."""
    step = 1 << max(0, amount.bit_length() - 3)
    return -(-amount // step) * step


def _keep(pods: dict[Key, dict[str, _T]], owner: Key, uid: str, pod: _T | None) -> None:
    kept = pods.setdefault(owner, {})
    if pod is not None:
        kept[uid] = pod
    else:
        kept.pop(uid, None)
    if not kept:
        del pods[owner]
