"""Lifts the capacity gate of pods whose GPUs are booked, the oldest first.

Called by the reconciler after the children are as they should be. A gate that is already gone counts as lifted, so that a
look at an informer that lags behind never lifts more than is booked. Raises ApiFailure where the API server refuses.
"""

from __future__ import annotations

from plimsoll_operator.controller.booking.ledger import Ledger
from plimsoll_operator.controller.booking.seen_pods import has_gate
from plimsoll_operator.names import CAPACITY_GATE, PLAN_DIGEST_ANNOTATION
from plimsoll_operator.ports import PODS, Key, Kube, Manifest


class Gates:
    """Of all keys; never two threads for the same one."""

    def __init__(self, kube: Kube, ledger: Ledger) -> None:
        self._kube = kube
        self._ledger = ledger

    def lift(self, key: Key, plan_digest: str) -> bool:
        """Let as many pods of this plan go to the scheduler as are booked. Returns whether anything was written."""
        return sum(map(self._lift, self.due(key, plan_digest))) > 0

    def due(self, key: Key, plan_digest: str) -> list[Manifest]:
        """The pods that `lift` would let go, as they are known."""
        pods = self._ledger.gates_to_lift(key)
        if not pods:
            return []
        return [pod for pod in self._ledger.gated(key) if pod["metadata"]["annotations"][PLAN_DIGEST_ANNOTATION] == plan_digest][:pods]

    def _lift(self, known: Manifest) -> bool:
        namespace, name = known["metadata"]["namespace"], known["metadata"]["name"]
        pod = self._kube.get(PODS, namespace, name)
        if pod is None or not has_gate(pod):
            return False
        left = [gate for gate in pod["spec"]["schedulingGates"] if gate.get("name") != CAPACITY_GATE]
        # Other gates may be lifted by others at the same time: at another version the whole key is looked at again.
        patch = {"metadata": {"resourceVersion": pod["metadata"]["resourceVersion"]}, "spec": {"schedulingGates": left or None}}
        self._kube.merge_patch(PODS, namespace, name, patch)
        return True
