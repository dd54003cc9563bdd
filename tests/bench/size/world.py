"""The cluster of a run at size: a real API server, thousands of fake nodes in twelve pools, Plimsoll beside it, and what it was asked.

Made by the run; its parts measure in it. The API server's audit log is the witness: it has every request of the controller's account.
Refuses to know any bar.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from tests.bench.size.asking import Bare
from tests.controlplane import ControlPlane
from tests.controlplane.cluster import Json, wait_until
from tests.controlplane.nodes import A10G, A100_40, H100, L4, FakeNode, Gpu
from tests.e2e.installation import GROUP, NAMESPACE, RELEASE, Installation

ACCOUNT = f"system:serviceaccount:{NAMESPACE}:{RELEASE}-controller"
TEAMS = tuple(f"team-{number}" for number in range(8))
FLOORS = "floors"
"""The namespace of the bare client."""
GPUS = (
    H100,
    A100_40,
    L4,
    A10G,
    Gpu(product="NVIDIA-H200", memory_mib=143771, family="hopper", compute=(9, 0)),
    Gpu(product="NVIDIA-H100-PCIe", memory_mib=81559, family="hopper", compute=(9, 0)),
    Gpu(product="NVIDIA-H20", memory_mib=97871, family="hopper", compute=(9, 0)),
    Gpu(product="NVIDIA-A100-SXM4-80GB", memory_mib=81920, family="ampere", compute=(8, 0)),
    Gpu(product="NVIDIA-L40S", memory_mib=46068, family="ada-lovelace", compute=(8, 9)),
    Gpu(product="NVIDIA-A40", memory_mib=46068, family="ampere", compute=(8, 6)),
    Gpu(product="NVIDIA-RTX-A6000", memory_mib=49140, family="ampere", compute=(8, 6)),
    Gpu(product="NVIDIA-A30", memory_mib=24576, family="ampere", compute=(8, 0)),
)
MODELS = ("Qwen/Qwen2.5-1.5B-Instruct", "meta-llama/Llama-3.2-1B-Instruct", "Qwen/Qwen3-1.7B", "Qwen/Qwen3-0.6B")
_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def wish(namespace: str, name: str, number: int = 0, *, replicas: int = 0, model: str = "", context: int = 0) -> Json:
    """An InferenceDeployment; those of other numbers ask for something else, and for the next pool."""
    spec = {
        "model": {"name": model or MODELS[number % len(MODELS)]},
        "replicas": replicas,
        "engine": {"image": "vllm/vllm-openai:v0.19.0", "maxModelLen": context or 1024 + number % 15_000},
        "placement": {"gpuProducts": [GPUS[number % len(GPUS)].product]},
    }
    metadata = {"namespace": namespace, "name": name}
    return {"apiVersion": f"{GROUP}/v1alpha1", "kind": "InferenceDeployment", "metadata": metadata, "spec": spec}


def path_of(namespace: str, name: str = "", *, group: str = f"/apis/{GROUP}/v1alpha1", plural: str = "inferencedeployments") -> str:
    """Where the API server has it."""
    return "/".join(part for part in (f"{group}/namespaces/{namespace}/{plural}", name) if part)


@dataclass(frozen=True, slots=True)
class Asked:
    """One request of the controller's account."""

    verb: str
    resource: str
    namespace: str
    name: str
    at: float
    code: int

    @property
    def writes(self) -> bool:
        return self.verb in ("create", "update", "patch", "delete")


@dataclass(slots=True)
class Audit:
    """What the controller has asked of the API server since one last looked."""

    path: Path
    _read: int = 0

    def new(self) -> list[Asked]:
        """Watches, and what the lease takes, are left out: they are what rest is."""
        found = []
        with self.path.open("rb") as log:
            log.seek(self._read)
            for line in log:
                if not line.endswith(b"\n"):
                    break
                self._read += len(line)
                if ACCOUNT.encode() in line:
                    found.append(json.loads(line))
        return [_asked(one) for one in found if one["verb"] != "watch" and (one.get("objectRef") or {}).get("resource") != "leases"]

    def until_quiet(self, quiet_s: float, most_s: float) -> list[Asked]:
        """What it asks until it has asked nothing for so long. Raises TimeoutError."""
        found = self.new()
        last, until = time.monotonic(), time.monotonic() + most_s
        while time.monotonic() - last < quiet_s:
            if time.monotonic() > until:
                raise TimeoutError(f"after {most_s:g} s the controller still asks: {found[-3:]}")
            time.sleep(0.25)
            some = self.new()
            if some:
                found += some
                last = time.monotonic()
        return found


def _asked(event: Json) -> Asked:
    about = event.get("objectRef") or {}
    part = "/".join(str(about[field]) for field in ("resource", "subresource") if about.get(field))
    at = datetime.fromisoformat(event["stageTimestamp"]).timestamp()
    code = int((event.get("responseStatus") or {}).get("code", 0))
    return Asked(event["verb"], part, str(about.get("namespace", "")), str(about.get("name", "")), at, code)


@dataclass(slots=True, kw_only=True)
class SizeWorld:
    """`count` deployments are made in it, a part in each team's namespace."""

    plane: ControlPlane
    installation: Installation
    bare: Bare
    audit: Audit
    count: int
    nodes: int
    rest_s: float
    names: list[tuple[str, str]] = field(default_factory=list)

    @classmethod
    def on(cls, plane: ControlPlane, *, count: int, nodes: int, rest_s: float) -> SizeWorld:
        """Nodes and Plimsoll on it, and both programs ready."""
        bare = Bare(plane)
        add_nodes(bare, [node_of(number) for number in range(nodes)])
        installation = Installation(cluster=plane)
        installation.install()
        for name in (FLOORS, *TEAMS):
            bare.write("POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        audit = Audit(plane.audit_log)
        world = cls(plane=plane, installation=installation, bare=bare, audit=audit, count=count, nodes=nodes, rest_s=rest_s)
        wait_until(lambda: world.pools() >= min(nodes, len(GPUS)), "the pools", timeout_s=300, every_s=1)
        audit.until_quiet(3, 300)
        return world

    def pools(self) -> int:
        """How many GPUPools there are."""
        return len(self.bare.get(f"/apis/{GROUP}/v1alpha1/gpupools")["items"])

    def fill(self) -> None:
        """Make all deployments."""
        first = len(self.names)
        self.names += [(TEAMS[number % len(TEAMS)], f"d-{number}") for number in range(first, self.count)]

        def create(number: int) -> None:
            namespace, name = self.names[number]
            self.bare.write("POST", path_of(namespace), wish(namespace, name, number))

        self.bare.each(create, range(first, self.count))

    def unsettled(self) -> list[str]:
        """Deployments that are not Ready, by name."""
        found = []
        for namespace in TEAMS:
            for one in self.bare.pages(path_of(namespace)):
                rows = one.get("status", {}).get("conditions", ())
                if not any((row["type"], row["status"]) == ("Ready", "True") for row in rows):
                    found.append(f"{namespace}/{one['metadata']['name']}")
        return found

    def memory_mib(self, program: str) -> float:
        """Resident memory of one program."""
        return int(Path(f"/proc/{self.pid(program)}/statm").read_text().split()[1]) * _PAGE / 2**20

    def pid(self, program: str) -> int:
        return self.plane.processes[program].pid

    def start_controller(self) -> float:
        """Start it; the seconds until it is ready."""
        began = time.monotonic()
        self.installation.start_controller()
        return time.monotonic() - began


def cpu_seconds(pid: int) -> float:
    """CPU time that a process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def node_of(number: int) -> FakeNode:
    """The nodes of twelve kinds, one after the other."""
    return FakeNode(name=f"n{number}", gpu=GPUS[number % len(GPUS)], gpus=8)


def other_kind(number: int) -> FakeNode:
    """A node of a kind of its own: it makes one more pool."""
    gpu = GPUS[number % len(GPUS)]
    taint = {"key": f"of-{number}", "value": "x", "effect": "NoSchedule"}
    return FakeNode(name=f"other-{number}", gpu=gpu, gpus=8, taints=(taint,))


def add_nodes(bare: Bare, nodes: Sequence[FakeNode]) -> None:
    """Make them, and wait until they are Ready."""
    bare.each(lambda number: bare.write("POST", "/api/v1/nodes", nodes[number].manifest()), range(len(nodes)))
    wanted = {node.name for node in nodes}

    def ready() -> bool:
        found = {node["metadata"]["name"] for node in bare.pages("/api/v1/nodes") if _is_ready(node)}
        return wanted <= found

    wait_until(ready, f"{len(nodes)} nodes to be Ready", timeout_s=600, every_s=2)


def _is_ready(node: Json) -> bool:
    said = {row["type"]: row["status"] for row in node["status"].get("conditions", ())}
    return said.get("Ready") == "True" and not any(row["key"].startswith("node.kubernetes.io/") for row in node["spec"].get("taints", ()))


def timed(what: Callable[[], object]) -> float:
    """Seconds that it takes."""
    began = time.monotonic()
    what()
    return time.monotonic() - began
