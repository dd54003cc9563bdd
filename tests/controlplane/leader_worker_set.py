"""LeaderWorkerSet beside the control plane: its CRD, its webhooks by URL, and its manager as a process.

Called by the end-to-end test of replicas over several nodes. The manifests are the project's own, from the module that the manager
is built from; what changes is where the webhooks are.
"""

import base64
import json
import shutil
from pathlib import Path

import yaml
from tests.controlplane.assets import LEADER_WORKER_SET, module_folder, obtain
from tests.controlplane.cluster import Json, wait_until
from tests.controlplane.plane import ControlPlane, free_ports

_MODULE = "sigs.k8s.io/lws"
_SET_LABEL = "leaderworkerset.sigs.k8s.io/name"


def install(plane: ControlPlane) -> None:
    """Install the kind and start the manager; return when its webhooks answer."""
    source = module_folder(LEADER_WORKER_SET, _MODULE)
    # All kinds of the module: the manager ends when it waits too long for one.
    plane.kubectl("apply", "--server-side", "-f", str(source / "config" / "crd" / "bases"))
    wait_until(lambda: plane.request("GET", "/apis/leaderworkerset.x-k8s.io/v1/leaderworkersets")[0] == 200, "the kind to be served")
    webhook, health = free_ports(2)
    folder = _certificates(plane)
    config = plane.workdir / "lws-config.yaml"
    config.write_text(json.dumps(_config(folder, webhook, health)))
    program = obtain((LEADER_WORKER_SET,))["lws-manager"]
    environment = {**plane.environment(plane.kubeconfig), "POD_NAMESPACE": "lws-system"}
    child = plane.processes.start("lws-manager", [program, f"--config={config}", f"--kubeconfig={plane.kubeconfig}"], env=environment)

    def listening() -> bool:
        child.check()
        return "Serving webhook server" in child.log.read_text(errors="replace")

    wait_until(listening, "the manager of LeaderWorkerSet to serve its webhooks")
    hooks = [_by_url(one, webhook, plane) for one in yaml.safe_load_all((source / "config" / "webhook" / "manifests.yaml").read_text())]
    plane.kubectl("apply", "--server-side", "-f", "-", stdin=yaml.safe_dump_all(hooks))
    # Kubernetes' garbage collector asks for new kinds every 30 s only; a new one asks at once.
    plane.restart_component("controller-manager")


def _certificates(plane: ControlPlane) -> Path:
    plane.pki.leaf("lws", common_name="lws")
    folder = plane.workdir / "lws-certificates"
    folder.mkdir(exist_ok=True)
    for suffix, name in ((".crt", "tls.crt"), (".key", "tls.key")):
        shutil.copy(plane.pki.folder / f"lws{suffix}", folder / name)
    return folder


def _config(certificates: Path, webhook: int, health: int) -> Json:
    return {
        "apiVersion": "config.lws.x-k8s.io/v1alpha1",
        "kind": "Configuration",
        "leaderElection": {"leaderElect": False},
        "webhook": {"host": "127.0.0.1", "port": webhook, "certDir": str(certificates)},
        "health": {"healthProbeBindAddress": f"127.0.0.1:{health}"},
        "metrics": {"bindAddress": "0"},
        "internalCertManagement": {"enable": False},
    }


def _by_url(configuration: Json, port: int, plane: ControlPlane) -> Json:
    """The webhook configuration with our process called by URL, and for pods only where they belong to a set."""
    authority = base64.b64encode((plane.pki.folder / "ca.crt").read_bytes()).decode()
    kept = [row for row in configuration["webhooks"] if "disaggregated" not in row["clientConfig"]["service"]["path"]]
    for row in kept:
        path = row["clientConfig"]["service"]["path"]
        row["clientConfig"] = {"url": f"https://127.0.0.1:{port}{path}", "caBundle": authority}
        if path.endswith("pod"):
            row["objectSelector"] = {"matchExpressions": [{"key": _SET_LABEL, "operator": "Exists"}]}
    name = f"lws-{configuration['metadata']['name']}"
    return {**configuration, "metadata": {"name": name}, "webhooks": kept}
