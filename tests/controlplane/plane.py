"""The control plane we boot ourselves: etcd, kube-apiserver, kube-controller-manager, kube-scheduler and kwok on loopback.

Called by the fixture of the end-to-end tests, by the demo and by benchmarks. Every data folder is new: nothing is shared
between runs. The flags and their reasons were tried on Kubernetes 1.36.
"""

import base64
import json
import shutil
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.controlplane.assets import Assets, obtain
from tests.controlplane.cluster import STAGES, Cluster, Json
from tests.controlplane.pki import Pki
from tests.controlplane.processes import Child, exit_on_signals

SERVICE_CIDR = "10.0.0.0/16"
POD_CIDR = "10.64.0.0/10"  # kwok's default collides with the Service range
_COMPONENTS = ("etcd", "etcd-peer", "apiserver", "controller-manager", "scheduler", "kwok")
_LATE = ("controller-manager", "scheduler", "kwok")
# What admission webhooks note about a request (auditAnnotations) can be read nowhere else, also for a dry run; and which of their rights
# programs use, nowhere else either.
_AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "Metadata", "verbs": ["create", "update", "patch"], "resources": [{"group": "inference.plimsoll.dev"}]},
        {"level": "Metadata", "userGroups": ["system:serviceaccounts:plimsoll-system"]},
        {"level": "None"},
    ],
}


def free_ports(count: int) -> list[int]:
    """Return ports that are free on loopback now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


class ControlPlane(Cluster):
    """A running control plane; make one by `ControlPlane.start`."""

    webhook_by_url = True

    def __init__(self, workdir: Path, *, assets: Assets, kwok_config: Sequence[Path] = (STAGES,)) -> None:
        workdir = workdir.resolve()
        workdir.mkdir(parents=True, exist_ok=True)
        super().__init__(workdir, assets=assets, kubeconfig=workdir / "admin.kubeconfig")
        self.ports = dict(zip(_COMPONENTS, free_ports(len(_COMPONENTS)), strict=True))
        self.pki = Pki.create(workdir / "pki")
        self.pki.leaf("admin", common_name="kubernetes-admin", organization="system:masters")
        self.pki.leaf("front-proxy", common_name="front-proxy")
        self.pki.leaf("webhook", common_name="plimsoll-webhook")
        self.boot_seconds: dict[str, float] = {}
        self._kwok_config = tuple(kwok_config)
        self._tls = ssl.create_default_context(cafile=str(self.pki.folder / "ca.crt"))
        self._tls.load_cert_chain(self.pki.folder / "admin.crt", self.pki.folder / "admin.key")
        self.audit_log = workdir / "audit.log"
        self._audit_policy = workdir / "audit-policy.yaml"
        self._audit_policy.write_text(json.dumps(_AUDIT_POLICY))
        self._write_admin_kubeconfig()

    @classmethod
    @contextmanager
    def start(
        cls, workdir: Path, *, assets: Assets | None = None, kwok_config: Sequence[Path] = (STAGES,), only_api: bool = False
    ) -> Iterator["ControlPlane"]:
        """Boot a control plane in `workdir` and stop it at the end of the block, whatever happened in it.

        `kwok_config` are the files of kwok Stages that play kubelet and pods; with `only_api` nobody acts on what the API server stores.
        """
        exit_on_signals()
        plane = cls(workdir, assets=assets or obtain(), kwok_config=kwok_config)
        try:
            plane._boot(only_api=only_api)
            yield plane
        finally:
            plane.close()

    def audit_events(self) -> list[Json]:
        """Return the audit log so far: writes of Plimsoll's kinds with the annotations that webhooks gave, and what its accounts did."""
        return [json.loads(line) for line in self.audit_log.read_text().splitlines()] if self.audit_log.exists() else []

    @property
    def server(self) -> str:
        """The API server's address."""
        return f"https://127.0.0.1:{self.ports['apiserver']}"

    def start_component(self, name: str, *, timeout_s: float = 60) -> Child:
        """Start one program and wait until it says it is healthy."""
        child = self.processes.start(name, self._command(name))
        self._wait_healthy(name, child, timeout_s)
        return child

    def restart_component(self, name: str) -> Child:
        """Stop one program and start it again on the same port and data."""
        self.processes.stop(name)
        return self.start_component(name)

    def _boot(self, *, only_api: bool) -> None:
        began = time.monotonic()

        def mark(what: str) -> None:
            self.boot_seconds[what] = round(time.monotonic() - began, 2)

        for name in ("etcd", "apiserver"):
            self.start_component(name)
            mark(name)
        if only_api:
            return
        children = {name: self.processes.start(name, self._command(name)) for name in _LATE}
        for name, child in children.items():
            self._wait_healthy(name, child, 60)
            mark(name)
        # Pods are refused until the namespace has its ServiceAccount.
        account = f"{self.server}/api/v1/namespaces/default/serviceaccounts/default"
        self._wait_answer(account, children["controller-manager"], 60)
        mark("default ServiceAccount")

    def _wait_healthy(self, name: str, child: Child, timeout_s: float) -> None:
        scheme, path = {"etcd": ("http", "/health"), "apiserver": ("https", "/readyz")}.get(name, ("https", "/healthz"))
        self._wait_answer(f"{scheme}://127.0.0.1:{self.ports[name]}{path}", child, timeout_s)

    def _wait_answer(self, url: str, child: Child, timeout_s: float) -> None:
        limit = time.monotonic() + timeout_s
        while True:
            child.check()
            try:
                with urllib.request.urlopen(url, timeout=2, context=self._tls if url.startswith("https") else None):
                    return
            except OSError as error:  # refused, reset, timed out, or an HTTP status that is not 2xx
                if isinstance(error, urllib.error.HTTPError):
                    error.close()
                if time.monotonic() > limit:
                    raise TimeoutError(f"{child.name} gave no answer at {url} for {timeout_s:g} s: {error}\n{child.log_tail()}") from error
            time.sleep(0.05)

    def _command(self, name: str) -> list[str | Path]:
        return {
            "etcd": self._etcd,
            "apiserver": self._apiserver,
            "controller-manager": self._controller_manager,
            "scheduler": self._scheduler,
            "kwok": self._kwok,
        }[name]()

    def _etcd(self) -> list[str | Path]:
        client, peer = (f"http://127.0.0.1:{self.ports[name]}" for name in ("etcd", "etcd-peer"))
        return [
            self.assets["etcd"],
            "--name=plimsoll",
            f"--data-dir={self.workdir}/etcd",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=plimsoll={peer}",
            "--unsafe-no-fsync",  # the data is thrown away
            "--quota-backend-bytes=4294967296",
            "--log-level=warn",
        ]

    def _apiserver(self) -> list[str | Path]:
        pki = self.pki.folder
        return [
            self.assets["kube-apiserver"],
            f"--etcd-servers=http://127.0.0.1:{self.ports['etcd']}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={self.ports['apiserver']}",
            f"--cert-dir={self.workdir}/apiserver",
            f"--tls-cert-file={pki}/admin.crt",
            f"--tls-private-key-file={pki}/admin.key",
            f"--client-ca-file={pki}/ca.crt",
            f"--kubelet-client-certificate={pki}/admin.crt",
            f"--kubelet-client-key={pki}/admin.key",
            f"--requestheader-client-ca-file={pki}/ca.crt",
            "--requestheader-allowed-names=front-proxy",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-username-headers=X-Remote-User",
            f"--proxy-client-cert-file={pki}/front-proxy.crt",
            f"--proxy-client-key-file={pki}/front-proxy.key",
            "--authorization-mode=Node,RBAC",
            f"--service-cluster-ip-range={SERVICE_CIDR}",
            "--endpoint-reconciler-type=none",
            "--allow-privileged=true",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-account-key-file={pki}/sa.pub",
            f"--service-account-signing-key-file={pki}/sa.key",
            f"--audit-policy-file={self._audit_policy}",
            f"--audit-log-path={self.audit_log}",
            "--anonymous-auth=false",
            "--profiling=false",
            "--v=1",
        ]

    def _manager_flags(self, name: str) -> list[str | Path]:
        pki = self.pki.folder
        return [
            f"--kubeconfig={self.kubeconfig}",
            f"--authentication-kubeconfig={self.kubeconfig}",
            f"--authorization-kubeconfig={self.kubeconfig}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self.ports[name]}",
            "--leader-elect=false",
            "--kube-api-qps=500",
            "--kube-api-burst=1000",
            "--authorization-always-allow-paths=/healthz,/readyz,/livez,/metrics",
            f"--tls-cert-file={pki}/admin.crt",
            f"--tls-private-key-file={pki}/admin.key",
            "--profiling=false",
        ]

    def _controller_manager(self) -> list[str | Path]:
        pki = self.pki.folder
        return [
            self.assets["kube-controller-manager"],
            *self._manager_flags("controller-manager"),
            f"--root-ca-file={pki}/ca.crt",
            f"--service-account-private-key-file={pki}/sa.key",
            "--use-service-account-credentials=true",
            f"--cluster-signing-cert-file={pki}/ca.crt",
            f"--cluster-signing-key-file={pki}/ca.key",
            "--controllers=*",
            "--concurrent-deployment-syncs=20",
            "--node-monitor-grace-period=24h",  # kwok keeps no node leases here, see _kwok
        ]

    def _scheduler(self) -> list[str | Path]:
        return [self.assets["kube-scheduler"], *self._manager_flags("scheduler")]

    def _kwok(self) -> list[str | Path]:
        pki = self.pki.folder
        return [
            self.assets["kwok"],
            f"--kubeconfig={self.kubeconfig}",
            "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
            # With leases a restarted kwok ignores every node until the old holder's lease has run out.
            "--node-lease-duration-seconds=0",
            f"--cidr={POD_CIDR}",
            f"--server-address=127.0.0.1:{self.ports['kwok']}",
            "--node-ip=127.0.0.1",
            f"--node-port={self.ports['kwok']}",
            f"--tls-cert-file={pki}/admin.crt",
            f"--tls-private-key-file={pki}/admin.key",
            *[f"--config={path}" for path in self._kwok_config],
        ]

    def _write_admin_kubeconfig(self) -> None:
        def encoded(name: str) -> str:
            return base64.b64encode((self.pki.folder / name).read_bytes()).decode()

        admin = {"client-certificate-data": encoded("admin.crt"), "client-key-data": encoded("admin.key")}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "plimsoll",
            "clusters": [{"name": "plimsoll", "cluster": {"server": self.server, "certificate-authority-data": encoded("ca.crt")}}],
            "users": [{"name": "admin", "user": admin}],
            "contexts": [{"name": "plimsoll", "context": {"cluster": "plimsoll", "user": "admin", "namespace": "default"}}],
        }
        self.kubeconfig.touch(mode=0o600)
        self.kubeconfig.write_text(json.dumps(config))

    def close(self) -> None:
        """Stop everything and drop the data; logs and kubeconfigs stay for reading."""
        super().close()
        shutil.rmtree(self.workdir / "etcd", ignore_errors=True)
