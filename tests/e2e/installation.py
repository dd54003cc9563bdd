"""Plimsoll on a cluster for tests and demo: the chart's own manifests, and the two programs with their own ServiceAccounts.

Where the API server can reach a process of ours (the control plane we boot) the webhook is called by URL and both programs
run from this checkout;
elsewhere the chart's Deployments and Service are installed. This module is the one place that knows the difference.
"""

import base64
import json
import os
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from tests.controlplane import Cluster, ControlPlane
from tests.controlplane.cluster import Json, wait_until
from tests.controlplane.plane import free_ports
from tests.controlplane.processes import Child
from tests.documents import documents

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy" / "helm" / "plimsoll"
RELEASE = "plimsoll"
NAMESPACE = "plimsoll-system"
GROUP = "inference.plimsoll.dev"
READER_IMAGE = "plimsoll/operator:under-test"
READY_TIMEOUT_S = 90  # imports alone take seconds on a busy machine


def manifests(cluster: Cluster, *values: str) -> list[Json]:
    """Return the chart's objects as `helm template` prints them."""
    settings = [part for value in ("namespace.create=true", *values) for part in ("--set", value)]
    printed = cluster.helm("template", RELEASE, CHART, "--namespace", NAMESPACE, *settings)
    return documents(printed)


def apply(cluster: Cluster, objects: Sequence[Json]) -> None:
    """Apply objects with kubectl, as a user would."""
    if objects:
        cluster.kubectl("apply", "--server-side", "-f", "-", stdin=yaml.safe_dump_all(objects))


@contextmanager
def policy(cluster: Cluster, namespace: str, **spec: object) -> Iterator[None]:
    """A FitPolicy that holds for one namespace."""
    selector = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    manifest = {"apiVersion": f"{GROUP}/v1alpha1", "kind": "FitPolicy", "metadata": {"name": namespace}}
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(manifest | {"spec": {"namespaceSelector": selector} | spec}))
    try:
        yield
    finally:
        cluster.kubectl("delete", "fitpolicy", namespace)


@dataclass(kw_only=True)
class Installation:
    """Plimsoll as installed; the programs can be stopped and started one by one. Without a `hub` the controller asks none."""

    cluster: Cluster
    hub: str = ""
    hub_token_file: str = ""
    ports: dict[str, int] = field(default_factory=dict)
    guarded_hub: str = ""

    def install(self) -> None:
        """Install kinds, rights, admission rules and the default policy, and start both programs; return when both are ready."""
        if not isinstance(self.cluster, ControlPlane):
            self._install_in_cluster()
            return
        names = ("webhook", "webhook-metrics", "controller-health", "controller-metrics")
        self.ports = dict(zip(names, free_ports(len(names)), strict=True))
        authority = base64.b64encode((self.cluster.pki.folder / "ca.crt").read_bytes()).decode()
        url = f"https://127.0.0.1:{self.ports['webhook']}/validate"
        values = ("processes.enabled=false", f"webhook.url={url}", f"webhook.caBundle={authority}", f"reader.image={READER_IMAGE}")
        self._apply_in_order(manifests(self.cluster, *values))
        # Kubernetes' garbage collector asks for new kinds every 30 s only; a new one asks at once.
        self.cluster.restart_component("controller-manager")
        self.start_webhook()
        self.start_controller()

    def _install_in_cluster(self) -> None:
        """Install the chart with images, away from fake nodes: kwok would only pretend to run them there."""
        fake = self.cluster.added_nodes
        if fake:
            self.cluster.kubectl("cordon", *fake)
        self._apply_in_order(manifests(self.cluster, *_image_values()))
        for name in ("webhook", "controller"):
            self.cluster.kubectl("rollout", "status", f"deployment/{RELEASE}-{name}", "-n", NAMESPACE, "--timeout=180s", timeout_s=200)
        if fake:
            self.cluster.kubectl("uncordon", *fake)

    def _apply_in_order(self, objects: Sequence[Json]) -> None:
        """Kinds first: an object of a kind can only be applied once the API server serves it."""
        kinds = [one for one in objects if one["kind"] == "CustomResourceDefinition"]
        apply(self.cluster, [one for one in objects if one["kind"] == "Namespace"])
        apply(self.cluster, kinds)
        for kind in kinds:
            self.cluster.kubectl("wait", "--for=condition=Established", "--timeout=30s", f"crd/{kind['metadata']['name']}")
        apply(self.cluster, [one for one in objects if one["kind"] not in ("CustomResourceDefinition", "Namespace")])

    def start_webhook(self) -> None:
        """Start the webhook with its own ServiceAccount's token; return when it says it is ready."""
        pki = self._plane().pki.folder
        arguments = [f"--port={self.ports['webhook']}", f"--metrics-port={self.ports['webhook-metrics']}"]
        arguments += [f"--tls-cert={pki}/webhook.crt", f"--tls-key={pki}/webhook.key"]
        self._start("webhook", ["--host=127.0.0.1", "--bypass", "--drain=1", *arguments])
        self._wait_ready("webhook", f"https://127.0.0.1:{self.ports['webhook']}/readyz")

    def start_standby(self) -> Child:
        """Start a second controller beside the first; return when it is ready to take over. Stop it with stop("controller-standby")."""
        health, metrics = free_ports(2)
        self._start("controller", self._controller_arguments(health, metrics), name="controller-standby")
        self._wait_ready("controller-standby", f"http://127.0.0.1:{health}/readyz")
        return self.cluster.processes["controller-standby"]

    def leader(self) -> str:
        """Return who holds the controllers' lease."""
        path = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/plimsoll-controller"
        return str(self.cluster.request("GET", path)[1]["spec"]["holderIdentity"])

    def start_controller(self) -> None:
        """Start the controller with its own ServiceAccount's token; return when it says it is ready."""
        self._guard_hub()
        self._start("controller", self._controller_arguments(self.ports["controller-health"], self.ports["controller-metrics"]))
        self._wait_ready("controller", f"http://127.0.0.1:{self.ports['controller-health']}/readyz")

    def _guard_hub(self) -> None:
        """What bounds reader pods names the hub that they may ask, as the chart does it by its value hub.endpoint."""
        if self.hub != self.guarded_hub:
            objects = manifests(self.cluster, "processes.enabled=false", f"reader.image={READER_IMAGE}", f"hub.endpoint={self.hub}")
            apply(self.cluster, [one for one in objects if one["metadata"]["name"] == f"{RELEASE}-controller-reader-pods"])
            self.guarded_hub = self.hub

    def _controller_arguments(self, health: int, metrics: int) -> list[str]:
        ports = [f"--health-port={health}", f"--metrics-port={metrics}"]
        reads = [f"--reader-image={READER_IMAGE}", f"--hub-endpoint={self.hub}" if self.hub else "--offline"]
        token = [f"--hub-token-file={self.hub_token_file}"] if self.hub_token_file else []
        bypass = [f"--bypass-policy={RELEASE}-bypass", f"--bypass-policy={RELEASE}-bypass-scale"]
        return [f"--namespace={NAMESPACE}", *bypass, *reads, *token, *ports]

    def stop(self, name: str) -> None:
        """Stop one program as a rollout would (SIGTERM)."""
        self.cluster.processes.stop(name)

    def log(self, name: str) -> str:
        """Return all that the program has written."""
        if not self.ports:
            return self.cluster.kubectl("logs", f"deployment/{RELEASE}-{name}", "-n", NAMESPACE).stdout
        return (self.cluster.processes.folder / f"{name}.log").read_text(errors="replace")

    def metrics(self, name: str) -> str:
        """Return the text of /metrics of one program."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[f'{name}-metrics']}/metrics", timeout=5) as answer:
            return str(answer.read().decode())

    def _plane(self) -> ControlPlane:
        if not isinstance(self.cluster, ControlPlane):
            raise TypeError("the programs run in the cluster here; stop and start them with kubectl")
        return self.cluster

    def _start(self, program: str, arguments: Sequence[str], *, name: str = "") -> None:
        kubeconfig = self.cluster.kubeconfig_for(NAMESPACE, f"{RELEASE}-{program}")
        environment = {**self.cluster.environment(kubeconfig), "PYTHONUNBUFFERED": "1"}
        self.cluster.processes.start(name or program, [sys.executable, "-m", f"plimsoll_operator.{program}", *arguments], env=environment)

    def _wait_ready(self, name: str, url: str) -> None:
        trust = ssl.create_default_context(cafile=str(self._plane().pki.folder / "ca.crt"))

        def ready() -> bool:
            self.cluster.processes[name].check()
            try:
                with urllib.request.urlopen(url, timeout=2, context=trust if url.startswith("https") else None) as answer:
                    return bool(answer.status == 200)
            except OSError as error:  # not listening yet, or 503 while caches fill
                if isinstance(error, urllib.error.HTTPError):
                    error.close()
                return False

        try:
            wait_until(ready, f"the {name} to be ready", timeout_s=READY_TIMEOUT_S)
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{self.cluster.processes[name].log_tail()}") from error


def _image_values() -> list[str]:
    """Return the chart values of the image under test where the programs run in the cluster (PLIMSOLL_IMAGE=repository:tag)."""
    repository, _, tag = os.environ.get("PLIMSOLL_IMAGE", "plimsoll/operator:0.1.0").rpartition(":")
    return [f"image.repository={repository}", f"image.tag={tag}", "controller.replicas=1", "webhook.replicas=1", "priorityClassName="]


@contextmanager
def stopped(installation: Installation, name: str) -> Iterator[None]:
    """Stop one program for a while."""
    installation.stop(name)
    try:
        yield
    finally:
        installation.start_webhook() if name == "webhook" else installation.start_controller()
