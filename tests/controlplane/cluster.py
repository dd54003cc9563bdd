"""One Kubernetes cluster as tests and demo see it: kubectl, helm, raw API calls, identities, and waiting.

`ControlPlane` is the cluster we boot ourselves; `ExistingCluster` is any other, named by a kubeconfig. It refuses to know
what is installed there.
"""

import http.client
import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from tests.controlplane.assets import Assets, obtain
from tests.controlplane.nodes import KWOK_ANNOTATION, FakeNode
from tests.controlplane.processes import Processes, exit_on_signals

Json = dict[str, Any]
T = TypeVar("T")
STAGES = Path(__file__).parent / "stages" / "stages.yaml"  # what kwok plays


class KubectlError(RuntimeError):
    """kubectl said no; `stdout` and `stderr` hold what a user would have seen."""

    def __init__(self, arguments: Sequence[str], done: subprocess.CompletedProcess[str]) -> None:
        super().__init__(f"kubectl {' '.join(arguments)} ended with {done.returncode}: {done.stderr.strip() or done.stdout.strip()}")
        self.stdout = done.stdout
        self.stderr = done.stderr


def wait_until(look: Callable[[], T | None], what: str, *, timeout_s: float = 60, every_s: float = 0.05) -> T:
    """Return the first truthy result of `look`; raise TimeoutError naming `what` after `timeout_s`."""
    limit = time.monotonic() + timeout_s
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > limit:
            raise TimeoutError(f"waited {timeout_s:g} s in vain: {what}")
        time.sleep(every_s)


class Cluster:
    """Access to a cluster by a kubeconfig with administrator rights; the programs under test get tokens of their own."""

    webhook_by_url = False  # whether the API server can reach a process of ours on loopback

    def __init__(self, workdir: Path, *, assets: Assets, kubeconfig: Path) -> None:
        self.workdir = workdir
        self.assets = assets
        self.kubeconfig = kubeconfig
        self.processes = Processes(workdir)
        self.added_nodes: list[str] = []
        self._proxy_port: int | None = None

    def kubectl(
        self, *arguments: str, stdin: str | None = None, check: bool = True, kubeconfig: Path | None = None, timeout_s: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl as administrator, or with another kubeconfig; raise KubectlError when it fails and `check` is set."""
        done = subprocess.run(
            [self.assets["kubectl"], f"--kubeconfig={kubeconfig or self.kubeconfig}", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            env={**os.environ, "HOME": str(self.workdir)},
        )
        if check and done.returncode != 0:
            raise KubectlError(arguments, done)
        return done

    def get(self, *arguments: str) -> Json:
        """Return what `kubectl get … -o json` prints."""
        found: Json = json.loads(self.kubectl("get", *arguments, "-o", "json").stdout)
        return found

    def helm(self, *arguments: str | Path) -> str:
        """Run helm as administrator and return what it prints; raise RuntimeError with what it says when it fails."""
        command = [self.assets["helm"], *arguments]
        environment = {**os.environ, "HOME": str(self.workdir), "KUBECONFIG": str(self.kubeconfig)}
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment)
        if done.returncode != 0:
            raise RuntimeError(f"helm {arguments[0]} failed: {done.stderr.strip()}")
        return done.stdout

    def request(self, method: str, path: str, body: object = None, *, content_type: str = "application/json") -> tuple[int, Json]:
        """Call the API server as administrator, without kubectl's start-up time; return status and decoded body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.proxy_port(), timeout=60)
        try:
            data = None if body is None else json.dumps(body).encode()
            connection.request(method, path, body=data, headers={"Content-Type": content_type, "Accept": "application/json"})
            response = connection.getresponse()
            text = response.read()
        finally:
            connection.close()
        decoded = json.loads(text) if text.startswith(b"{") else {"text": text.decode(errors="replace")}
        return response.status, decoded

    def proxy_port(self) -> int:
        """Return the port of a `kubectl proxy` that carries our credential, started at the first call."""
        if self._proxy_port is None:
            child = self.processes.start("kubectl-proxy", [self.assets["kubectl"], f"--kubeconfig={self.kubeconfig}", "proxy", "--port=0"])
            found = wait_until(lambda: re.search(r"127\.0\.0\.1:(\d+)", child.log.read_text()), "kubectl proxy to listen")
            self._proxy_port = int(found[1])
        return self._proxy_port

    def token_for(self, namespace: str, service_account: str, *, duration: str = "4h") -> str:
        """Return a token of a ServiceAccount (TokenRequest)."""
        return self.kubectl("create", "token", service_account, "-n", namespace, f"--duration={duration}").stdout.strip()

    def kubeconfig_for(self, namespace: str, service_account: str) -> Path:
        """Write a kubeconfig that carries only a token of the ServiceAccount, and return its path."""
        token = self.token_for(namespace, service_account)
        config = json.loads(self.kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "json").stdout)
        config["users"] = [{"name": service_account, "user": {"token": token}}]
        context = config["contexts"][0]
        context["context"] = {"cluster": context["context"]["cluster"], "user": service_account, "namespace": namespace}
        path = self.workdir / f"{namespace}-{service_account}.kubeconfig"
        path.touch(mode=0o600)
        path.write_text(json.dumps(config))
        return path

    def environment(self, kubeconfig: Path) -> dict[str, str]:
        """Return the environment for a program that may only use `kubeconfig`: no other credential of ours is in it."""
        kept = {name: value for name, value in os.environ.items() if name not in ("KUBECONFIG", "PLIMSOLL_KUBECONFIG")}
        return {**kept, "KUBECONFIG": str(kubeconfig), "HOME": str(self.workdir)}

    def add_nodes(self, nodes: Sequence[FakeNode], *, timeout_s: float = 60) -> None:
        """Create fake nodes and wait until kwok and the node controller have made them Ready and free of the not-ready taint."""
        for node in nodes:
            status, answer = self.request("POST", "/api/v1/nodes", node.manifest())
            if status != 201:
                raise RuntimeError(f"node {node.name} was refused: {answer.get('message')}")
            self.added_nodes.append(node.name)
        names = {node.name for node in nodes}
        wait_until(lambda: names <= self.ready_nodes(), f"nodes {sorted(names)} to be Ready", timeout_s=timeout_s)

    def remove_nodes(self, nodes: Sequence[FakeNode]) -> None:
        """Delete fake nodes, and the pods bound to them at once: no kubelet is left to end those, and the pod collector takes a minute."""
        for node in nodes:
            self.request("DELETE", f"/api/v1/nodes/{node.name}")
        gone = {node.name for node in nodes}
        _, listed = self.request("GET", "/api/v1/pods")
        for pod in listed["items"]:
            if pod["spec"].get("nodeName") in gone:
                where = pod["metadata"]
                self.request("DELETE", f"/api/v1/namespaces/{where['namespace']}/pods/{where['name']}?gracePeriodSeconds=0")

    def ready_nodes(self) -> set[str]:
        """Return the names of the nodes that are Ready and carry no taint of the node controller."""
        _, listed = self.request("GET", "/api/v1/nodes")
        ready = set()
        for node in listed["items"]:
            conditions = {c["type"]: c["status"] for c in node["status"].get("conditions", [])}
            taints = {taint["key"] for taint in node["spec"].get("taints", [])}
            if conditions.get("Ready") == "True" and not any(key.startswith("node.kubernetes.io/") for key in taints):
                ready.add(node["metadata"]["name"])
        return ready

    def pods(self, namespace: str, selector: str = "") -> list[Json]:
        """Return the pods of a namespace."""
        _, listed = self.request("GET", f"/api/v1/namespaces/{namespace}/pods?labelSelector={selector}")
        items: list[Json] = listed["items"]
        return items

    def close(self) -> None:
        """Stop everything that was started for this cluster."""
        self.processes.stop_all()


class ExistingCluster(Cluster):
    """A cluster that is there already, as by PLIMSOLL_KUBECONFIG; its API server reaches the webhook by Service only."""

    @classmethod
    @contextmanager
    def connect(cls, workdir: Path, kubeconfig: Path) -> Iterator["ExistingCluster"]:
        """Yield the cluster with a kwok of ours beside it for fake nodes; at the end take those nodes away again."""
        exit_on_signals()
        cluster = cls(workdir, assets=obtain(), kubeconfig=kubeconfig.resolve())
        try:
            # With leases here, unlike in our own control plane: this cluster's node controller wants to see them renewed.
            own_nodes = f"--manage-nodes-with-annotation-selector={KWOK_ANNOTATION}=fake"
            flags = [f"--kubeconfig={cluster.kubeconfig}", own_nodes, "--node-lease-duration-seconds=40", f"--config={STAGES}"]
            cluster.processes.start("kwok", [cluster.assets["kwok"], *flags])
            yield cluster
        finally:
            for name in cluster.added_nodes:
                cluster.kubectl("delete", "node", name, "--ignore-not-found", check=False)
            cluster.close()
