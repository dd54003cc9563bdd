"""The control plane with a node that runs containers, beside kwok's fake ones. Only inside the sandbox: it makes a bridge and routes.

Called by the fixture of the tests that need a node. Pods have addresses and reach Services, the kubelet probes and logs; images come from
archives, for there is no registry. It knows nothing of what runs.
"""

import base64
import json
import os
import ssl
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.controlplane.assets import CONTAINERD, FAMILIES, NODE, Assets, cache_root, obtain
from tests.controlplane.cluster import wait_until
from tests.controlplane.node.images import PAUSE, STORE
from tests.controlplane.pki import LOOPBACK_HOSTS
from tests.controlplane.plane import SERVICE_CIDR, ControlPlane
from tests.controlplane.processes import exit_on_signals

NAME, ADDRESS, BRIDGE = "real-0", "10.88.0.1", "plimsoll0"
_CONFIG = Path(__file__).parent / "config"
_SOCKET = "/run/containerd/containerd.sock"
_SILENT_AFTER_S = 25
"""So long after its last lease, which it renews every 5 s (kubelet.yaml), a node counts as lost: 50 s without a word said."""
# What GPU feature discovery writes on a machine with two L4.
GPU_LABELS = {
    "nvidia.com/gpu.product": "NVIDIA-L4",
    "nvidia.com/gpu.memory": "23034",
    "nvidia.com/gpu.count": "2",
    "nvidia.com/gpu.family": "ada-lovelace",
    "nvidia.com/gpu.compute.major": "8",
    "nvidia.com/gpu.compute.minor": "9",
    "nvidia.com/gpu.present": "true",
    "nvidia.com/gpu.replicas": "1",
    "nvidia.com/gpu.sharing-strategy": "none",
    "nvidia.com/gpu.mode": "compute",
    "nvidia.com/mig.capable": "false",
    "nvidia.com/mig.strategy": "single",
    "nvidia.com/cuda.driver-version.full": "580.95.05",
    "nvidia.com/cuda.driver-version.major": "580",
    "nvidia.com/cuda.runtime-version.full": "13.0",
    "feature.node.kubernetes.io/pci-10de.present": "true",
}


class RealNode(ControlPlane):
    """The control plane and its one real node; make one by `RealNode.boot`."""

    webhook_by_url = False  # pods are behind the chart's Service

    def __init__(self, workdir: Path, *, assets: Assets, images: Mapping[str, Path], gpus: int) -> None:
        super().__init__(workdir, assets=assets)
        self._images, self._gpus = images, gpus
        self._store = cache_root() / os.environ.get(STORE, "node-store")
        self._env: Mapping[str, str] = {}
        # Pods reach the API server at its Service's address, the kubelet at the node's; the kubelet serves with the same certificate.
        self.pki.leaf("admin", common_name="kubernetes-admin", organization="system:masters", hosts=(*LOOPBACK_HOSTS, ADDRESS, NAME))
        self.pki.leaf("kubelet", common_name=f"system:node:{NAME}", organization="system:nodes")
        self.pki.leaf("kube-proxy", common_name="system:kube-proxy")
        self._tls = ssl.create_default_context(cafile=str(self.pki.folder / "ca.crt"))
        self._tls.load_cert_chain(self.pki.folder / "admin.crt", self.pki.folder / "admin.key")
        self._write_admin_kubeconfig()
        for name in ("kubelet", "kube-proxy"):
            self._write_kubeconfig(name)

    @classmethod
    @contextmanager
    def boot(cls, workdir: Path, *, images: Mapping[str, Path], gpus: int = 2) -> Iterator["RealNode"]:
        """Boot control plane and node in `workdir`, and stop them at the end of the block, whatever happened in it.

        `images` are archives by the names in them; `gpus` is how many GPUs the node says it has, 0 for an ordinary node.
        """
        if "NODE_CGROUP" not in os.environ:
            raise RuntimeError("a real node is booted in its sandbox only: run it by `make node`")
        exit_on_signals()
        plane = cls(workdir, assets=obtain((*FAMILIES, NODE, CONTAINERD)), images=images, gpus=gpus)
        try:
            _network()
            plane._boot(only_api=False)
            plane._boot_node()
            yield plane
        finally:
            plane.close()

    def _apiserver(self) -> list[str | Path]:
        return [
            *super()._apiserver(),  # the last of two equal flags holds
            "--bind-address=0.0.0.0",
            f"--advertise-address={ADDRESS}",
            "--endpoint-reconciler-type=lease",  # the endpoints of the Service `kubernetes`: pods have no other way in
            "--enable-admission-plugins=NodeRestriction",
            f"--kubelet-certificate-authority={self.pki.folder}/ca.crt",
            "--kubelet-preferred-address-types=InternalIP",
        ]

    def _controller_manager(self) -> list[str | Path]:
        """The node controller listens for leases again where no fake node is beside the real one: fake ones have none here."""
        hears = [f"--node-monitor-grace-period={_SILENT_AFTER_S}s", "--node-monitor-period=2s"] if self._gpus else []
        return [*super()._controller_manager(), *hears]

    def _boot_node(self) -> None:
        began = time.monotonic()

        def mark(what: str) -> None:
            self.boot_seconds[what] = round(time.monotonic() - began, 2)

        self._configure()
        programs = self.assets["containerd"].parent  # containerd looks for its shim on PATH
        env = {"PATH": f"{programs}:/usr/sbin:/sbin:/usr/bin:/bin:/usr/local/bin", "HOME": str(self.workdir)}
        self.processes.start("containerd", [self.assets["containerd"], "--config", self.workdir / "containerd.toml"], env=env)
        wait_until(lambda: self.ctr("version", check=False).returncode == 0, "containerd to answer", timeout_s=30)
        mark("containerd")
        for archive in self._images.values():
            self._import(archive)
        mark("images")
        proxy: list[str | Path] = [self.assets["kube-proxy"], f"--config={self.workdir}/kube-proxy.yaml", "--v=1"]
        self.processes.start("kube-proxy", proxy, env=env)
        if self._gpus:
            self._set_size()
        self._env = env
        self.start_kubelet()
        mark("node Ready")

    def stop_kubelet(self) -> None:
        """Have the node fall silent: what runs on it runs on, and nobody says so."""
        self.processes.stop("kubelet")

    def start_kubelet(self) -> None:
        """Start it, for the first time or again; return when the node is Ready."""
        command: list[str | Path] = [
            self.assets["kubelet"],
            f"--config={self.workdir}/kubelet.yaml",
            f"--kubeconfig={self.workdir}/kubelet.kubeconfig",
            f"--root-dir={self.workdir}/kubelet",
            f"--cert-dir={self.workdir}/kubelet-pki",
            f"--hostname-override={NAME}",
            f"--node-ip={ADDRESS}",
            "--v=2",
        ]
        if self._gpus:
            labels = {**GPU_LABELS, "nvidia.com/gpu.count": str(self._gpus)}
            command.append("--node-labels=" + ",".join(f"{key}={value}" for key, value in labels.items()))
        self.processes.start("kubelet", command, env=self._env)
        wait_until(lambda: NAME in self.ready_nodes(), "the real node to be Ready", timeout_s=90)

    def _import(self, archive: Path) -> None:
        """Unpack an archive into the runtime, once for all runs, and pin what it names: the kubelet must not collect what nobody serves."""
        stamp = self._store / f"{archive.name}.imported"
        if stamp.exists():
            return
        self.ctr("images", "import", "--local", "--snapshotter=overlayfs", str(archive))
        for name in self.ctr("images", "list", "-q").stdout.split():
            if not name.startswith("sha256:"):
                self.ctr("images", "label", name, "io.cri-containerd.pinned=pinned")
        for earlier in self._store.glob(f"{archive.name.rpartition('-')[0]}-*.imported"):
            earlier.unlink()
        stamp.touch()

    def ctr(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Ask containerd directly, in the kubelet's namespace."""
        command: list[str | Path] = [self.assets["ctr"], f"--address={_SOCKET}", "--namespace=k8s.io", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=check)

    def _configure(self) -> None:
        values = {
            "@WORK@": self.workdir,
            "@STORE@": self._store,
            "@PKI@": self.pki.folder,
            "@NODE@": NAME,
            "@ADDRESS@": ADDRESS,
            "@BRIDGE@": BRIDGE,
            "@PAUSE@": PAUSE,
            "@GPUS@": self._gpus,
            "@CGROUP@": os.environ["NODE_CGROUP"],
        }
        for folder in ("cni/net.d", "pod-logs", "volume-plugins", "kubelet"):
            (self.workdir / folder).mkdir(parents=True, exist_ok=True)
        self._store.mkdir(parents=True, exist_ok=True)
        for source in _CONFIG.iterdir():
            text = source.read_text()
            for mark, value in values.items():
                text = text.replace(mark, str(value))
            place = self.workdir / "cni" / "net.d" if source.suffix == ".conflist" else self.workdir
            (place / source.name).write_text(text)

    def _write_kubeconfig(self, name: str) -> None:
        def encoded(file: str) -> str:
            return base64.b64encode((self.pki.folder / file).read_bytes()).decode()

        user = {"client-certificate-data": encoded(f"{name}.crt"), "client-key-data": encoded(f"{name}.key")}
        cluster = {"server": self.server, "certificate-authority-data": encoded("ca.crt")}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "node",
            "clusters": [{"name": "plimsoll", "cluster": cluster}],
            "users": [{"name": name, "user": user}],
            "contexts": [{"name": "node", "context": {"cluster": "plimsoll", "user": name}}],
        }
        path = self.workdir / f"{name}.kubeconfig"
        path.touch(mode=0o600)
        path.write_text(json.dumps(config))

    def _set_size(self) -> None:
        """Install the policy that plays the device plugin, before the kubelet registers; return when it acts."""
        self.kubectl("apply", "-f", str(self.workdir / "node-size.yaml"))
        status = {"capacity": {"cpu": "1"}, "allocatable": {"cpu": "1"}}
        trial = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NAME}, "status": status}

        def acts() -> bool:
            _, node = self.request("POST", "/api/v1/nodes?dryRun=All", trial)
            return "nvidia.com/gpu" in node.get("status", {}).get("allocatable", {})

        wait_until(acts, "the policy for the node's size to act", timeout_s=30)

    def close(self) -> None:
        """Stop everything, containers before the API server: their open watches would hold it for as long as it waits for them."""
        if "kubelet" in self.processes.running():
            self.processes.stop("kubelet")  # first: it would start them again
            for task in self._listed("tasks"):
                self.ctr("tasks", "kill", "--signal=SIGKILL", "--all", task, check=False)
            for task in self._listed("tasks"):
                self.ctr("tasks", "delete", "--force", task, check=False)
            if containers := self._listed("containers"):  # nothing of this run stays in the store but images
                self.ctr("containers", "delete", *containers, check=False)
        super().close()

    def _listed(self, what: str) -> Sequence[str]:
        return self.ctr(what, "list", "-q", check=False).stdout.split()


def _network() -> None:
    """The bridge is the node's one interface: node address, gateway of the pods, and where Service addresses are routed to."""

    def ip(*arguments: str) -> None:
        subprocess.run(["ip", *arguments], check=True)

    ip("link", "add", BRIDGE, "type", "bridge")
    ip("address", "add", f"{ADDRESS}/16", "dev", BRIDGE)
    ip("link", "set", BRIDGE, "up")
    # Without a route the kernel refuses a Service address before nftables can translate it.
    # No default route: what would leave the sandbox is refused at once instead of timing out.
    ip("route", "add", SERVICE_CIDR, "dev", BRIDGE)
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    bridged = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
    if bridged.exists():  # answers between two pods of the bridge must pass nftables, or addresses are not translated back
        bridged.write_text("1")
