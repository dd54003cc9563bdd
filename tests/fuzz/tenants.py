"""Who sends anything: two attackers and an administrator, each with its own credential.

Each is stepped from threads of `run`; what it does next follows from seed and number. They refuse to know the processes under test.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
from tests.fuzz import recipes
from tests.fuzz.configs import config
from tests.fuzz.journal import Journal, Sent
from tests.fuzz.schemas import GROUP

Json = Any
BASE = f"/apis/{GROUP}/v1alpha1"
MERGE, JSON_PATCH = "application/merge-patch+json", "application/json-patch+json"
ATTACKERS = ("mallory", "trudy")
HONEST = "alice"
FUZZ_NODES = 66
# What each attacker keeps at once.
KEPT = {"inferencedeployments": 50, "modelprofiles": 30, "deployments": 16, "pods": 16, "services": 16, "configmaps": 11}
_PREFIX = {
    "deployments": "/apis/apps/v1",
    "replicasets": "/apis/apps/v1",
    "pods": "/api/v1",
    "services": "/api/v1",
    "configmaps": "/api/v1",
}
_API_VERSION = {"deployments": "apps/v1", "pods": "v1", "services": "v1", "configmaps": "v1"}
_KIND = {**recipes.KIND_OF, "deployments": "Deployment", "pods": "Pod", "services": "Service", "configmaps": "ConfigMap"}


def path_of(plural: str, namespace: str = "", name: str = "", more: str = "") -> str:
    """Return the API server's path of a collection or an object."""
    inside = f"/namespaces/{namespace}" if namespace else ""
    return f"{_PREFIX.get(plural, BASE)}{inside}/{plural}" + (f"/{name}" if name else "") + more


def manifest(plural: str, name: str, content: Json) -> Json:
    """Return a whole object of its content."""
    metadata = {**content.get("metadata", {}), "name": name}
    return {"apiVersion": _API_VERSION.get(plural, recipes.API), "kind": _KIND[plural], **content, "metadata": metadata}


@dataclass(kw_only=True)
class Api:
    """One credential's way to the API server; every write goes through the journal."""

    http: httpx.Client
    actor: str
    journal: Journal

    def send(
        self, number: int, what: str, method: str, path: str, body: Json = None, *, content_type: str = "application/json"
    ) -> tuple[int, Json]:
        """Send one request; return status and decoded answer. No answer at all has the status 0."""
        began, at = time.monotonic(), self.journal.now()
        data = None if body is None else json.dumps(body).encode()
        try:
            answer = self.http.request(method, path, content=data, headers={"Content-Type": content_type})
            status, decoded = answer.status_code, _decoded(answer)
        except httpx.HTTPError as error:
            status, decoded = 0, {"message": f"{type(error).__name__}: {error}"}
        message = str(decoded.get("message", "")) if status >= 300 or status == 0 else ""
        entry = Sent(
            at=at,
            number=number,
            actor=self.actor,
            what=what,
            place=path,
            body=body,
            status=status,
            seconds=time.monotonic() - began,
            message=message,
        )
        self.journal.sent(entry)
        if _is_no_answer(status, message, honest=self.actor == HONEST) and not self.journal.excused():
            self.journal.finding(f"no answer: {_cause(message)}", entry.line(), entries=[entry])
        return status, decoded

    def get(self, path: str) -> Json:
        """Read; not counted."""
        answer = self.http.get(path)
        return _decoded(answer) if answer.status_code == 200 else {}


def _decoded(answer: httpx.Response) -> Json:
    try:
        found = answer.json()
    except ValueError:
        return {"message": answer.text[:2000]}
    return found if isinstance(found, dict) else {}


def _is_no_answer(status: int, message: str, *, honest: bool) -> bool:
    """That a decision has run out of its time is an answer to whoever asked for so much; the honest tenant never does."""
    if "deciding did not end" in message:
        return honest
    return "failed calling webhook" in message or status in (0, 500, 504)


def _cause(message: str) -> str:
    for known in (
        "context deadline exceeded",
        "connection refused",
        "EOF",
        "connection reset",
        "unexpected response code: 500",
        "400",
        "413",
        "503",
    ):
        if known in message:
            return f"webhook, {known}" if "webhook" in message else known
    return message[:80] or "empty"


@dataclass(kw_only=True)
class Attacker:
    """A tenant that may edit its namespaces and does so with anything. `namespaces` are its own now; some are taken away."""

    api: Api
    seed: int
    namespaces: list[str]
    strangers: dict[str, str]
    nodes: list[str]
    kept: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)

    def step(self, number: int) -> None:
        """Do one thing. What is sent depends on seed and number alone, so far as it names nothing that is there."""
        choice = random.Random(f"{self.seed}/{number}/choice")
        namespace = choice.choice(self.namespaces) if choice.random() < 0.4 else self.namespaces[0]
        doings, weights = zip(*self._doings().items(), strict=True)
        doing = choice.choices(doings, weights)[0] if self._of(namespace, "inferencedeployments") else self._wish
        doing(recipes.rng_for(self.seed, number), number, namespace)

    def _doings(self) -> dict[Callable[[random.Random, int, str], None], float]:
        return {
            self._wish: 30,
            self._edit: 12,
            self._dry_run: 8,
            self._scale: 6,
            self._annotate: 6,
            self._delete("inferencedeployments"): 9,
            self._profile: 6,
            self._edit_profile: 3,
            self._delete("modelprofiles"): 2,
            self._workload: 4,
            self._tamper: 6,
            self._pod: 3,
            self._service: 2,
            self._config_map: 4,
            self._delete("deployments"): 3,
            self._delete("pods"): 3,
            self._delete("services"): 2,
            self._flash: 3,
            self._sweep: 0.2,
        }

    def _of(self, namespace: str, plural: str) -> dict[str, str]:
        return self.kept.setdefault((namespace, plural), {})

    def _create(self, rng: random.Random, number: int, namespace: str, plural: str, content: Json, *, name: str = "") -> None:
        kept = self._of(namespace, plural)
        if len(kept) >= KEPT[plural]:
            self._remove(number, namespace, plural, next(iter(kept)))
        name = name or f"f{number}"
        status, answer = self.api.send(number, f"create {plural}", "POST", path_of(plural, namespace), manifest(plural, name, content))
        if status in (201, 409):
            kept[name] = answer.get("metadata", {}).get("uid", "") if status == 201 else ""

    def _remove(self, number: int, namespace: str, plural: str, name: str) -> None:
        """Delete it, its children after it, before it or not at all; a finalizer of ours goes first, or later, or never."""
        self._of(namespace, plural).pop(name, None)
        choice = random.Random(f"{self.seed}/{number}/delete")
        how = choice.choice(("Background", "Background", "Foreground", "Orphan"))
        self.api.send(number, f"delete {plural}", "DELETE", path_of(plural, namespace, name), {"propagationPolicy": how})
        if choice.random() < 0.3:
            self.api.send(
                number, "unpin", "PATCH", path_of(plural, namespace, name), {"metadata": {"finalizers": None}}, content_type=MERGE
            )

    def _flash(self, rng: random.Random, number: int, namespace: str) -> None:
        """Make it and take it away before anybody has looked."""
        self._wish(rng, number, namespace)
        self._remove(number, namespace, "inferencedeployments", f"f{number}")

    def _pick(self, rng: random.Random, namespace: str, plural: str) -> str:
        names = list(self._of(namespace, plural))
        return rng.choice(names) if names else "none"

    def _wish(self, rng: random.Random, number: int, namespace: str) -> None:
        content: Json = {"spec": recipes.spec(rng, "inferencedeployments")}
        if rng.random() < 0.1:
            content["metadata"] = {"annotations": recipes.annotations(rng), "labels": recipes.labels(rng, ["a"])}
        self._create(rng, number, namespace, "inferencedeployments", content)

    def _edit(self, rng: random.Random, number: int, namespace: str) -> None:
        body = [{"op": "replace", "path": "/spec", "value": recipes.spec(rng, "inferencedeployments")}]
        place = path_of("inferencedeployments", namespace, self._pick(rng, namespace, "inferencedeployments"))
        self.api.send(number, "edit inferencedeployments", "PATCH", place, body, content_type=JSON_PATCH)

    def _dry_run(self, rng: random.Random, number: int, namespace: str) -> None:
        body = manifest("inferencedeployments", f"f{number}", {"spec": recipes.spec(rng, "inferencedeployments")})
        self.api.send(number, "dry run", "POST", path_of("inferencedeployments", namespace, more="?dryRun=All"), body)

    def _scale(self, rng: random.Random, number: int, namespace: str) -> None:
        place = path_of("inferencedeployments", namespace, self._pick(rng, namespace, "inferencedeployments"), "/scale")
        replicas = rng.choice((0, 0, 1, 2, 4, 10_000, 2**31 - 1, -1))
        self.api.send(number, "scale", "PATCH", place, {"spec": {"replicas": replicas}}, content_type=MERGE)

    def _annotate(self, rng: random.Random, number: int, namespace: str) -> None:
        place = path_of("inferencedeployments", namespace, self._pick(rng, namespace, "inferencedeployments"))
        change = recipes.metadata_change(rng, list(self._of(namespace, "inferencedeployments")))
        self.api.send(number, "annotate inferencedeployments", "PATCH", place, change, content_type=MERGE)

    def _profile(self, rng: random.Random, number: int, namespace: str) -> None:
        content = {"spec": recipes.spec(rng, "modelprofiles")}
        self._create(rng, number, namespace, "modelprofiles", content, name=f"profile-{rng.randint(0, 20)}" if rng.random() < 0.5 else "")

    def _edit_profile(self, rng: random.Random, number: int, namespace: str) -> None:
        place = path_of("modelprofiles", namespace, self._pick(rng, namespace, "modelprofiles"))
        change = {"spec": {"config": config(rng), "weights": {"totalBytes": rng.choice((0, 1, 1 << 40, 1 << 50))}}}
        self.api.send(number, "edit modelprofiles", "PATCH", place, change, content_type=MERGE)

    def _workload(self, rng: random.Random, number: int, namespace: str) -> None:
        own = self._of(namespace, "inferencedeployments")
        name = rng.choice((f"f{number}", self._pick(rng, namespace, "inferencedeployments"), f"f{number + 40}"))
        self._create(rng, number, namespace, "deployments", recipes.workload(rng, name, own | self.strangers, self.nodes), name=name)

    def _tamper(self, rng: random.Random, number: int, namespace: str) -> None:
        """Edit annotations and labels of what the controller or we have made."""
        plural = rng.choice(("deployments", "deployments", "services", "pods"))
        own = list(self._of(namespace, "inferencedeployments"))
        name = self._pick(rng, namespace, "inferencedeployments" if rng.random() < 0.7 and plural != "pods" else plural)
        change = recipes.metadata_change(rng, own)
        if rng.random() < 0.3:
            change["metadata"]["ownerReferences"] = recipes.owners(rng, self._of(namespace, "inferencedeployments") | self.strangers)
        self.api.send(number, f"tamper {plural}", "PATCH", path_of(plural, namespace, name), change, content_type=MERGE)

    def _pod(self, rng: random.Random, number: int, namespace: str) -> None:
        own = self._of(namespace, "inferencedeployments")
        self._create(rng, number, namespace, "pods", recipes.pod(rng, f"f{number}", own | self.strangers, self.nodes))

    def _service(self, rng: random.Random, number: int, namespace: str) -> None:
        own = self._of(namespace, "inferencedeployments")
        name = rng.choice((f"f{number}", f"f{number + 40}"))
        self._create(rng, number, namespace, "services", recipes.service(rng, name, own | self.strangers), name=name)

    def _config_map(self, rng: random.Random, number: int, namespace: str) -> None:
        name, content = f"config-{rng.randint(0, 10)}", recipes.config_map(rng)
        if name in self._of(namespace, "configmaps"):
            self.api.send(number, "edit configmaps", "PATCH", path_of("configmaps", namespace, name), content, content_type=MERGE)
        else:
            self._create(rng, number, namespace, "configmaps", content, name=name)

    def _delete(self, plural: str) -> Callable[[random.Random, int, str], None]:
        def delete(rng: random.Random, number: int, namespace: str) -> None:
            child = plural in ("deployments", "services") and rng.random() < 0.5  # what the controller made
            self._remove(number, namespace, plural, self._pick(rng, namespace, "inferencedeployments" if child else plural))

        return delete

    def _sweep(self, rng: random.Random, number: int, namespace: str) -> None:
        self._of(namespace, "inferencedeployments").clear()
        self.api.send(number, "delete all", "DELETE", path_of("inferencedeployments", namespace))


@dataclass(kw_only=True)
class Administrator:
    """Policies, pools, profiles, corrections, nodes and namespaces, none of which the honest tenant's objects are judged by."""

    api: Api
    seed: int
    attackers: tuple[Attacker, ...]
    welcome: Callable[[str, str], None]
    kept: dict[str, list[str]] = field(default_factory=dict)

    def step(self, number: int) -> None:
        """Do one thing."""
        rng = recipes.rng_for(self.seed, number)
        plural = rng.choice(
            ("fitpolicies", "fitpolicies", "gpupools", "gpupools", "clustermodelprofiles", "enginecalibrations", "nodes", "nodes")
        )
        if rng.random() < 0.04:
            self._move_house(rng, number)
        elif plural == "nodes":
            self._node(rng, number)
        else:
            self._cluster_object(rng, number, plural)

    def _cluster_object(self, rng: random.Random, number: int, plural: str) -> None:
        kept = self.kept.setdefault(plural, [])
        if kept and (len(kept) > 7 or rng.random() < 0.3):
            self.api.send(number, f"delete {plural}", "DELETE", path_of(plural, name=kept.pop(0)))
            return
        body = {"spec": self._harmless(rng, plural, recipes.spec(rng, plural))}
        if kept and rng.random() < 0.4:
            change = [{"op": "replace", "path": "/spec", "value": body["spec"]}]
            self.api.send(number, f"edit {plural}", "PATCH", path_of(plural, name=rng.choice(kept)), change, content_type=JSON_PATCH)
            return
        status, _ = self.api.send(number, f"create {plural}", "POST", path_of(plural), manifest(plural, f"f{number}", body))
        kept += [f"f{number}"] if status == 201 else []

    def _harmless(self, rng: random.Random, plural: str, spec: Json) -> Json:
        """Keep it away from the honest tenant: its namespace, its nodes, its products, its models."""
        if plural == "fitpolicies":
            spec["namespaceSelector"] = {"matchLabels": {"fuzz/tenant": rng.choice(ATTACKERS)}}
            if rng.random() < 0.8:
                spec.pop("allowedImages", None)  # or hardly anything else is ever looked at
        elif plural == "gpupools":
            spec["selector"] = {**spec.get("selector", {}), "fuzz": "true"}
            spec["product"] = rng.choice(("Tesla-V100-SXM2-16GB", "ACME-X1", "NVIDIA-A100-SXM4-80GB")) if spec.get("product") else None
            spec = {key: value for key, value in spec.items() if value is not None}
        elif plural == "clustermodelprofiles":
            spec["model"] = f"acme/in-house-{rng.randint(0, 50)}"
        elif plural == "enginecalibrations":
            for row in spec.get("corrections", ()):
                row["product"] = "ACME-X1"
        return spec

    def _node(self, rng: random.Random, number: int) -> None:
        name = f"fuzz-{rng.randint(0, FUZZ_NODES - 1)}"
        change: Json = {"metadata": {"labels": recipes.node_labels(rng)}}
        if rng.random() < 0.3:
            change = {"spec": {"unschedulable": rng.random() < 0.5}}
        self.api.send(number, "edit nodes", "PATCH", f"/api/v1/nodes/{name}", change, content_type=MERGE)

    def _move_house(self, rng: random.Random, number: int) -> None:
        """Delete an attacker's second namespace with all that is in it, and give it another."""
        attacker = rng.choice(self.attackers)
        tenant = attacker.namespaces[0]
        for namespace in attacker.namespaces[1:]:
            self.api.send(number, "delete namespaces", "DELETE", f"/api/v1/namespaces/{namespace}")
            for key in [key for key in attacker.kept if key[0] == namespace]:
                attacker.kept.pop(key, None)
        self.welcome(f"{tenant}-{number}", tenant)
        attacker.namespaces[:] = [tenant, f"{tenant}-{number}"]
