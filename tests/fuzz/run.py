"""The fuzz run: a control plane, the two programs with the chart's rights, three tenants and an administrator for some minutes.

Called by `make fuzz`, by the short form in tests/e2e, and by hand. What must hold: no process ends, the honest tenant is decided within
ten seconds, memory is flat after the warm-up, no booking is left over at the end.
"""

from __future__ import annotations

import functools
import itertools
import os
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from tests.controlplane import FAKE_GPU_NODES, ControlPlane
from tests.controlplane.cluster import wait_until
from tests.controlplane.nodes import FakeNode, Gpu
from tests.e2e.installation import Installation
from tests.fuzz.honest import Honest
from tests.fuzz.journal import Journal, bugs, percentile, refused_writes, tracebacks
from tests.fuzz.tenants import ATTACKERS, FUZZ_NODES, HONEST, MERGE, Administrator, Api, Attacker, path_of
from tests.fuzz.watching import LIMIT_MIB, PROGRAMS, Watch

Json = Any
V100 = Gpu(product="Tesla-V100-SXM2-16GB", memory_mib=16384, family="volta", compute=(7, 0))
QUOTA = {"pods": "40", "count/deployments.apps": "120", "count/services": "120", "count/inferencedeployments.inference.plimsoll.dev": "120"}
SETTLE_S = 90.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How long, how many, and whether the processes are killed in the middle."""

    seed: int
    minutes: float
    operations: int
    kills: bool


@dataclass(kw_only=True)
class Run:
    """One run on one control plane."""

    plan: Plan
    installation: Installation
    journal: Journal
    stop: threading.Event = field(default_factory=threading.Event)
    numbers: Iterator[int] = field(default_factory=itertools.count)
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        plane = self.installation.cluster
        assert isinstance(plane, ControlPlane)
        self.plane = plane
        self.admin = self._api("admin", "")
        self.watch = Watch(installation=self.installation, journal=self.journal, rescue=self._purge)
        self.journal.excused = self.watch.excused
        for namespace in (HONEST, *ATTACKERS):
            self.welcome(namespace, namespace)
        strangers = {"someone": self._uid(path_of("namespaces", name=HONEST).replace("inference.plimsoll.dev/v1alpha1", "v1"))}
        nodes = [node.name for node in (*FAKE_GPU_NODES, *fuzz_nodes())]
        self.attackers = tuple(
            Attacker(api=self._api(name, name), seed=self.plan.seed, namespaces=[name], strangers=strangers, nodes=nodes)
            for name in ATTACKERS
        )
        self.honest = Honest(api=self._api(HONEST, HONEST), seed=self.plan.seed, journal=self.journal)
        self.administrator = Administrator(api=self.admin, seed=self.plan.seed, attackers=self.attackers, welcome=self.welcome)

    def welcome(self, namespace: str, tenant: str) -> None:
        """Make a namespace that the tenant's ServiceAccount may edit; an attacker's has a quota, so that this machine survives."""
        label = {"metadata": {"name": namespace, "labels": {"fuzz/tenant": tenant}}}
        self._post("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", **label})
        if namespace == tenant:
            self._post(f"/api/v1/namespaces/{namespace}/serviceaccounts", {"metadata": {"name": "tenant"}})
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"}
        subjects = [{"kind": "ServiceAccount", "name": "tenant", "namespace": tenant}]
        binding = {"metadata": {"name": "tenant"}, "roleRef": role, "subjects": subjects}
        self._post(f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings", binding)
        if tenant != HONEST:
            self._post(f"/api/v1/namespaces/{namespace}/secrets", {"metadata": {"name": "token"}, "stringData": {"token": "hf_x"}})
            self._post_claim(namespace)
            self._post(f"/api/v1/namespaces/{namespace}/resourcequotas", {"metadata": {"name": "quota"}, "spec": {"hard": QUOTA}})

    def _post_claim(self, namespace: str) -> None:
        """A volume that is there, so that its model is read by a pod, which here says nothing for ever."""
        shared: Json = {"accessModes": ["ReadOnlyMany"], "storageClassName": ""}
        size = {"storage": "1Gi"}
        volume = {**shared, "capacity": size, "hostPath": {"path": "/weights"}, "claimRef": {"namespace": namespace, "name": "weights"}}
        self._post("/api/v1/persistentvolumes", {"metadata": {"name": f"weights-{namespace}"}, "spec": volume})
        claim = {**shared, "resources": {"requests": size}, "volumeName": f"weights-{namespace}"}
        self._post(f"/api/v1/namespaces/{namespace}/persistentvolumeclaims", {"metadata": {"name": "weights"}, "spec": claim})

    def _post(self, path: str, body: Json) -> None:
        answer = self.admin.http.post(path, json=body)
        if answer.status_code not in (201, 409):
            raise RuntimeError(f"{path}: {answer.status_code} {answer.text[:500]}")

    def _uid(self, path: str) -> str:
        return str(self.admin.get(path).get("metadata", {}).get("uid", "unknown"))

    def _api(self, actor: str, namespace: str) -> Api:
        folder = self.plane.pki.folder
        trust = ssl.create_default_context(cafile=str(folder / "ca.crt"))
        headers = {"Accept": "application/json"}
        if namespace:
            headers["Authorization"] = f"Bearer {self.plane.token_for(namespace, 'tenant')}"
        else:
            trust.load_cert_chain(folder / "admin.crt", folder / "admin.key")
        http = httpx.Client(base_url=self.plane.server, verify=trust, headers=headers, timeout=30)
        return Api(http=http, actor=actor, journal=self.journal)

    def close(self) -> None:
        """Let everybody stop, and close what is open."""
        self.stop.set()
        self.journal.close()
        for api in (self.admin, self.honest.api, *(attacker.api for attacker in self.attackers)):
            api.http.close()

    def go(self) -> None:
        """Let everybody act until time or number is used up, then look what is left."""
        rate = self.plan.operations / (self.plan.minutes * 60)
        ends = time.monotonic() + self.plan.minutes * 60
        steps: list[tuple[Callable[[int], None], float]] = [(attacker.step, rate * 0.2) for attacker in self.attackers for _ in range(2)]
        steps += [(self.honest.step, rate * 0.12), (self.administrator.step, rate * 0.08)]
        threads = [threading.Thread(target=self._act, args=(*step, ends), daemon=True) for step in steps]
        looks: list[tuple[Callable[[], None], float]] = [(self.honest.look, 0.25), (self.watch.look_at_leader, 1.0)]
        looks += [(functools.partial(self.watch.look, name), 1.0) for name in PROGRAMS]
        watchers = [threading.Thread(target=self._look, args=look, daemon=True) for look in looks]
        for thread in (*watchers, *threads):
            thread.start()
        if self.plan.kills:
            for share, program in ((0.4, "webhook"), (0.6, "controller")):
                self.stop.wait(max(0.0, ends - time.monotonic() - self.plan.minutes * 60 * (1 - share)))
                self.watch.kill(program)
        for thread in threads:
            thread.join()
        self._quiet()
        self.stop.set()
        for thread in watchers:
            thread.join(timeout=120)
        self._judge()

    def _act(self, step: Callable[[int], None], rate: float, ends: float) -> None:
        due = time.monotonic()
        while (
            not self.stop.is_set() and time.monotonic() < ends and not self.watch.given_up and self.journal.total() < self.plan.operations
        ):
            step(next(self.numbers))
            due = max(due + 1 / rate, time.monotonic() - 2.0)
            self.stop.wait(max(0.0, due - time.monotonic()))

    def _look(self, look: Callable[[], None], every_s: float) -> None:
        while not self.stop.wait(every_s):
            with suppress(OSError, httpx.HTTPError):
                look()

    def _quiet(self) -> None:
        """Wait for the last writes of the honest tenant, take everything away, and wait until nothing is booked any more."""
        with suppress(TimeoutError):
            wait_until(lambda: not self.honest.pending, "the honest tenant to be decided", timeout_s=15)
        self.problems += [f"never decided: {name}" for name in self.honest.left()]
        self._purge(everybody=True)
        try:
            wait_until(lambda: not list(self._left()), "everything to be gone", timeout_s=SETTLE_S, every_s=1.0)
        except TimeoutError:
            self.problems += [f"left over {SETTLE_S:g} s after all was deleted: {what}" for what in self._left()]

    def _purge(self, *, everybody: bool = False) -> None:
        """Delete what the attackers have, or what everybody has."""
        known = [item["metadata"]["name"] for item in self.admin.get("/api/v1/namespaces").get("items", [])]
        names = [name for name in known if name.startswith((*ATTACKERS, HONEST) if everybody else ATTACKERS)]
        for attacker in self.attackers:
            attacker.kept.clear()
        for namespace in names:
            for plural in ("inferencedeployments", "modelprofiles", "deployments", "replicasets", "pods", "services", "configmaps"):
                self._empty(plural, namespace)
        if everybody:
            for plural in ("gpupools", "fitpolicies", "clustermodelprofiles", "enginecalibrations"):
                for name in self.administrator.kept.get(plural, ()):
                    self.admin.http.delete(path_of(plural, name=name))

    def _empty(self, plural: str, namespace: str) -> None:
        for item in self.admin.get(path_of(plural, namespace)).get("items", []):
            if item["metadata"].get("finalizers"):
                place = path_of(plural, namespace, item["metadata"]["name"])
                self.admin.http.patch(place, content=b'{"metadata":{"finalizers":null}}', headers={"Content-Type": MERGE})
        if plural != "services":  # a collection of Services cannot be deleted at once by every API server
            self.admin.http.delete(path_of(plural, namespace) + ("?gracePeriodSeconds=0" if plural == "pods" else ""))
            return
        for item in self.admin.get(path_of(plural, namespace)).get("items", []):
            self.admin.http.delete(path_of(plural, namespace, item["metadata"]["name"]))

    def _left(self) -> Iterator[str]:
        """Say what is still there of what should be gone."""
        wishes = self.admin.get(path_of("inferencedeployments")).get("items", [])
        if wishes:
            yield f"{len(wishes)} InferenceDeployments"
        pods = [
            pod for pod in self.admin.get("/api/v1/pods").get("items", []) if pod["metadata"]["namespace"].startswith((HONEST, *ATTACKERS))
        ]
        if pods:
            gated = sum(bool(pod["spec"].get("schedulingGates")) for pod in pods)
            yield f"{len(pods)} pods, {gated} of them gated, such as {pods[0]['metadata']['namespace']}/{pods[0]['metadata']['name']}"
        for pool in self.admin.get(path_of("gpupools")).get("items", []):
            if booked := pool.get("status", {}).get("bookedGpus", 0):
                yield f"{booked} GPUs booked in the status of {pool['metadata']['name']}"
        with suppress(OSError):
            if booked := self.watch.gauge("plimsoll_pool_gpus", state="booked"):
                yield f"{booked:g} GPUs booked by the metrics"
            if depth := self.watch.gauge("plimsoll_workqueue_depth"):
                yield f"{depth:g} keys in the queue"

    def _judge(self) -> None:
        for program in PROGRAMS:
            if self.watch.restarts[program]:
                self.problems.append(f"{program} was restarted {self.watch.restarts[program]} times without being asked to")
        for one in self.watch.growth():
            if one.late > one.allowed:
                self.problems.append(f"{one.program} grew from {one.warm:.0f} MiB after its warm-up to {one.late:.0f} MiB")
            if one.most > LIMIT_MIB[one.program]:
                self.problems.append(f"{one.program} reached {one.most:.0f} MiB; the chart allows {LIMIT_MIB[one.program]}")
        log = self.installation.log("controller")
        for what, names in bugs(log).items():
            namespace, _, name = names[0].rpartition("/")
            self.journal.finding(what, f"met at {', '.join(names[:5])}", entries=self.journal.about(namespace, name))
        for what, count in refused_writes(log).items():
            if (
                "BadRequest" in what
            ):  # what a tenant's own wish or tampering makes invalid is said on its object; what cannot be read is ours
                self.journal.finding(f"the API server cannot read the controller's write: {what}", f"{count} times")
        self.problems += [f"{kind}: {count} times" for kind, count in self.journal.findings.items()]
        self.problems += [self.watch.given_up] if self.watch.given_up else []

    def summary(self) -> str:
        """Return what happened, for people."""
        took = self.journal.now()
        lines = [f"seed {self.plan.seed}: {self.journal.total()} operations in {took / 60:.1f} minutes"]
        waits = self.honest.waits
        if waits:
            shares = ", ".join(f"p{share * 100:g} {percentile(waits, share):.2f}" for share in (0.5, 0.9, 0.99))
            lines.append(f"honest tenant: {len(waits)} decisions; seconds until decided: {shares}, longest {max(waits):.2f}")
        for key, times in sorted(self.journal.times.items()):
            if any(word in key for word in ("create inferencedeployments", "edit inferencedeployments", "dry run", "honest")):
                slowest = self.journal.slowest[key]
                lines.append(
                    f"  {key}: {len(times)}, p50 {percentile(times, 0.5) * 1000:.0f} ms, p99 {percentile(times, 0.99) * 1000:.0f} ms, "
                    f"longest {slowest.seconds:.2f} s (#{slowest.number})"
                )
        for one in self.watch.growth():
            course = " ".join(f"{mib:.0f}" for mib in self.watch.course(one.program))
            sizes = f"{one.warm:.0f} MiB after warm-up, {one.late:.0f} at the end, {one.most:.0f} at most"
            kept = f"answers kept {one.warm_kept:.0f} and {one.late_kept:.0f} of it"
            lines.append(f"{one.program}: {sizes}, {kept}; over the last life {course}")
        for program in PROGRAMS:
            longest, busy = max(self.watch.probes[program], default=0.0), self.watch.busy(program)
            wanted = self.watch.wanted[program]
            lines.append(f"{program}: longest answer to a liveness probe {longest:.2f} s; {busy:.0%} of a core; {wanted} wanted restarts")
            lines += [f"{program}: {count} x {what}" for what, count in tracebacks(self.installation.log(program)).most_common(40)]
        refused = refused_writes(self.installation.log("controller")).most_common(20)
        lines += [f"controller: {count} x its write is refused: {what}" for what, count in refused]
        with suppress(OSError):
            parts = (self.watch.gauge(f"plimsoll_reconcile_duration_seconds_{part}") for part in ("count", "sum"))
            count, seconds = parts
            each = seconds / max(1, count) * 1000
            lines.append(f"controller: {count:.0f} reconciles of {each:.0f} ms; load of the machine {os.getloadavg()[1]:.1f}")
        answers: dict[str, dict[int, int]] = {}
        for (actor, what, status), count in self.journal.counts.items():
            answers.setdefault(f"{actor}/{what}", {})[status] = count
        lines += [
            f"  {what}: " + ", ".join(f"{count} x {status}" for status, count in sorted(row.items()))
            for what, row in sorted(answers.items())
        ]
        lines += [f"  {count} x {message}" for message, count in self.journal.refusals.most_common(25)]
        lines += [f"PROBLEM {problem}" for problem in self.problems]
        return "\n".join(lines)


def fuzz_nodes() -> list[FakeNode]:
    """Equal nodes that nobody honest asks for, more of them than one plan can name."""
    return [
        FakeNode(name=f"fuzz-{index}", gpu=V100, gpus=2, cpu="16", memory="128Gi", extra_labels={"fuzz": "true"})
        for index in range(FUZZ_NODES)
    ]


@contextmanager
def running(plan: Plan, workdir: Path) -> Iterator[Run]:
    """Yield a run on a control plane of its own."""
    folder = workdir / "findings"
    folder.mkdir(parents=True, exist_ok=True)
    with ControlPlane.start(workdir) as plane:
        plane.add_nodes([*FAKE_GPU_NODES, *fuzz_nodes()], timeout_s=120)
        installed = Installation(cluster=plane)
        installed.install()
        wait_until(lambda: len(plane.get("gpupools")["items"]) >= 6, "the GPUPools of the nodes")
        run = Run(plan=plan, installation=installed, journal=Journal(folder=folder))
        try:
            yield run
        finally:
            run.close()
