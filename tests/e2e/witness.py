"""Looks on while engines start, fail and end, and says where a deployment's status told something else than its pods, and for how long.

Started by the fixture of the tests on a real node: whatever a test looks at itself, `kubectl get infd` is held against `kubectl get pods`
meanwhile. What lasts no longer than the status may take to follow is no contradiction.
"""

import threading
import time
from collections.abc import Iterable, Mapping

from tests.controlplane.cluster import Cluster, Json

FAILS = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "CrashLoopBackOff", "CreateContainerConfigError", "CreateContainerError"}
)
OF_PODS = frozenset({"ImageNotPulled", "ContainerNotStarted", "EngineEnds", "NodeNotReady"})


def serves(pod: Json) -> bool:
    """Whether the pod is Ready and stays."""
    rows = pod["status"].get("conditions") or ()
    return "deletionTimestamp" not in pod["metadata"] and any((row["type"], row["status"]) == ("Ready", "True") for row in rows)


def fails(pod: Json) -> bool:
    """Whether the kubelet says that a container of it cannot run."""
    rows = (*(pod["status"].get("initContainerStatuses") or ()), *(pod["status"].get("containerStatuses") or ()))
    waiting = {(row.get("state") or {}).get("waiting", {}).get("reason") for row in rows}
    return "deletionTimestamp" not in pod["metadata"] and bool(waiting & FAILS)


def contradictions(wanted: Json, pods: Iterable[Json], not_ready: Iterable[str] = ()) -> list[str]:
    """What this status says and these pods, on nodes of which some are not ready, do not; a sentence each, always the same one."""
    pods, lost = list(pods), frozenset(not_ready)
    status, replicas = wanted.get("status") or {}, int(wanted["spec"].get("replicas", 1))
    rows: Mapping[str, tuple[str, str]] = {row["type"]: (row["status"], row["reason"]) for row in status.get("conditions") or ()}
    serving, failing = sum(map(serves, pods)), any(map(fails, pods))
    silent = any(pod["spec"].get("nodeName") in lost and "deletionTimestamp" not in pod["metadata"] for pod in pods)
    without_node = sum("deletionTimestamp" not in pod["metadata"] and not pod["spec"].get("nodeName") for pod in pods)
    said = {kind: rows.get(kind, ("", ""))[0] for kind in ("Ready", "Available", "Stalled")}
    found = {
        f"Ready is True, and fewer than {replicas} pods serve": said["Ready"] == "True" and serving < replicas,
        "Ready is False, and all pods serve": said["Ready"] == "False" and serving == replicas == len(pods),
        "STATUS is Running, and fewer pods serve": status.get("phase") == "Running" and serving < replicas,
        "Available is True, and no pod serves": said["Available"] == "True" and serving == 0 < replicas,
        "Available is False, and a pod serves": said["Available"] == "False" and serving > 0,
        f"ready is {status.get('ready')}, and other pods serve": bool(rows) and status.get("ready") != f"{serving}/{replicas}",
        "Stalled is False, and a pod fails": said["Stalled"] == "False" and failing,
        "Stalled is False, and a pod's node is not ready": said["Stalled"] == "False" and silent,
        "Stalled speaks of pods, and all pods serve": rows.get("Stalled", ("", ""))[1] in OF_PODS and serving == replicas == len(pods),
        "CapacityAvailable says that all are on nodes, and a pod has none": rows.get("CapacityAvailable", ("", ""))[1] == "Bound"
        and without_node > 0,
    }
    return [sentence for sentence, holds in found.items() if holds]


class Witness(threading.Thread):
    """Looks every half second until `end`, which returns what lasted longer than `within_s`."""

    def __init__(self, cluster: Cluster, namespace: str, *, within_s: float) -> None:
        super().__init__(daemon=True)
        self._cluster, self._namespace, self._within_s = cluster, namespace, within_s
        self._stop_now = threading.Event()
        self._since: dict[tuple[str, str], float] = {}
        self.looks = 0
        self.lasted: dict[tuple[str, str], float] = {}
        cluster.proxy_port()  # one for all threads
        self.start()

    def run(self) -> None:
        while not self._stop_now.wait(0.5):
            self._look()

    def _look(self) -> None:
        base = f"/apis/inference.plimsoll.dev/v1alpha1/namespaces/{self._namespace}/inferencedeployments"
        pods = self._cluster.pods(self._namespace)
        _, nodes = self._cluster.request("GET", "/api/v1/nodes")
        _, listed = self._cluster.request("GET", base)
        now, seen = time.monotonic(), set()
        ready = {row["metadata"]["name"]: row["status"].get("conditions") or () for row in nodes.get("items", ())}
        lost = [name for name, rows in ready.items() if not any((row["type"], row["status"]) == ("Ready", "True") for row in rows)]
        for wanted in listed.get("items", ()):
            name = wanted["metadata"]["name"]
            own = [pod for pod in pods if pod["metadata"]["labels"].get("inference.plimsoll.dev/name") == name]
            seen |= {(name, sentence) for sentence in contradictions(wanted, own, lost)}
        self._since = {one: self._since.get(one, now) for one in seen}
        for one, since in self._since.items():
            if now - since > self._within_s:
                self.lasted[one] = max(self.lasted.get(one, 0.0), now - since)
        self.looks += 1

    def end(self) -> list[str]:
        """Stop; what was said against the pods for longer than it may take, a line each."""
        self._stop_now.set()
        self.join(30)
        return [f"{name}, for {seconds:.0f} s: {sentence}" for (name, sentence), seconds in sorted(self.lasted.items())]
