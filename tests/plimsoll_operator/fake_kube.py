"""An API server in memory: the Kube protocol for tests of the controller, and for their benchmarks.

Safe to use from several threads. Keeps what the real one guarantees and the controller relies on: resource versions that
only grow, generations that move with the spec, uids, the status subresource apart from the spec, conflicts, a watch that
resumes from a version and expires, and children that go with their owner. Admission, schemas and field ownership are not
here, but for who applied a workload: end-to-end tests have the real one.
"""

from __future__ import annotations

import json
import marshal
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from plimsoll_operator.errors import ApiFailure, WatchExpired
from plimsoll_operator.ports import (
    DEPLOYMENTS,
    FIELD_MANAGER,
    INFERENCE_DEPLOYMENTS,
    LEADER_WORKER_SETS,
    PODS,
    Account,
    Key,
    Manifest,
    Page,
    Resource,
    WatchEvent,
    key_of,
)


@dataclass(slots=True)
class Call:
    """One write the fake has answered."""

    verb: str
    kind: str
    key: Key
    subresource: str = ""


@dataclass(slots=True)
class FakeKube:
    """See the module. `writes` records every write; `fail_next` refuses the next calls of a verb; `logs` are the pods' by key.

    `denied` is what accounts may not do: name, verb, kind and subresource.
    `absent` resources are not served: LeaderWorkerSet, until a test installs it by taking it out.
    """

    writes: list[Call] = field(default_factory=list)
    absent: set[Resource] = field(default_factory=lambda: {LEADER_WORKER_SETS})
    denied: set[tuple[str, str, str, str]] = field(default_factory=set)
    logs: dict[Key, bytes] = field(default_factory=dict)
    _objects: dict[Resource, dict[Key, Manifest]] = field(default_factory=dict)
    _history: list[tuple[int, Resource, WatchEvent]] = field(default_factory=list)
    _version: int = 0
    _newest: dict[Resource, int] = field(default_factory=dict)
    _oldest: int = 0
    _failures: dict[str, list[ApiFailure]] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    def fail_next(self, verb: str, *failures: ApiFailure) -> None:
        """Refuse the next calls of `verb` (get, list, watch, apply, merge_patch, create, dry_run, replace, delete, log) with these."""
        self._failures.setdefault(verb, []).extend(failures)

    def compact(self) -> None:
        """Forget the past: a watch from an earlier version expires."""
        self._history.clear()
        self._oldest = self._version

    def newest(self, resource: Resource) -> tuple[int, bool]:
        """The version of the last write to any object of the kind, and whether it is served: of the same answer nothing is to be heard."""
        with self._lock:
            return self._newest.get(resource, 0), resource not in self.absent

    def get(self, resource: Resource, namespace: str, name: str) -> Manifest | None:
        """See Kube.get."""
        with self._lock:
            self._may_fail("get")
            found = self._of(resource).get((namespace, name))
            return None if found is None else dict(_sent(found))

    def list_page(self, resource: Resource, *, namespace: str = "", selector: str = "", continue_token: str = "", limit: int = 500) -> Page:
        """See Kube.list_page. The token is the offset; a real server's page is of one moment, this one's too while nobody writes."""
        with self._lock:
            self._may_fail("list")
            self._must_be_served(resource)
            matching = [row for row in self._of(resource).values() if _matches(row, selector) and _within(row, namespace)]
            start = int(continue_token or 0)
            end = start + limit
            token = str(end) if end < len(matching) else ""
            return Page(tuple(_sent(matching[start:end])), str(self._version), token)

    def watch(
        self, resource: Resource, *, resource_version: str, namespace: str = "", selector: str = "", timeout_seconds: int = 300
    ) -> Iterator[WatchEvent]:
        """See Kube.watch. Ends when it has told everything that is known, as a server does at its time limit."""
        self._may_fail("watch")
        if int(resource_version) < self._oldest:
            raise WatchExpired(resource.plural)
        for version, of, event in tuple(self._history):
            if version > int(resource_version) and of == resource and _matches(event.object, selector) and _within(event.object, namespace):
                yield WatchEvent(event.type, _sent(event.object))

    def apply(self, resource: Resource, manifest: Manifest, *, subresource: str = "") -> Manifest:
        """See Kube.apply: the one manager owns everything it ever wrote, so the new manifest replaces the old one's."""
        with self._lock:
            self._may_fail("apply")
            self._must_be_served(resource)
            key = key_of(manifest)
            old = self._of(resource).get(key)
            uid = manifest["metadata"].get("uid")
            if old is None and (subresource or uid):
                raise ApiFailure(404, "NotFound", f"{resource.plural} {key} not found")
            if old is not None and uid and uid != old["metadata"]["uid"]:
                raise ApiFailure(409, "Conflict", f"uid of {key} differs")
            version = manifest["metadata"].get("resourceVersion")
            if old is not None and version and version != old["metadata"]["resourceVersion"]:
                raise ApiFailure(409, "Conflict", f"{resource.plural} {key} was changed")
            self.writes.append(Call("apply", resource.kind, key, subresource))
            if subresource == "status" and old is not None:
                return self._store(resource, {**old, "status": _received(manifest["status"])})
            new = {name: _received(value) for name, value in manifest.items() if name != "status"}
            if old is not None and "status" in old:
                new["status"] = old["status"]
            if resource in (DEPLOYMENTS, LEADER_WORKER_SETS):
                managed = {"manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": fields_of(manifest)}
                new["metadata"] = {**new["metadata"], "managedFields": [managed]}
            return self._store(resource, new)

    def apply_new(self, resource: Resource, manifest: Manifest) -> Manifest:
        """See Kube.apply_new; an object with other owners is somebody else's."""
        with self._lock:
            old = self._of(resource).get(key_of(manifest))
            if old is not None and old["metadata"].get("ownerReferences") != manifest["metadata"].get("ownerReferences"):
                raise ApiFailure(409, "Conflict", f"{resource.plural} {key_of(manifest)} has fields of another manager")
        return self.apply(resource, manifest)

    def merge_patch(self, resource: Resource, namespace: str, name: str, patch: Manifest) -> Manifest:
        """See Kube.merge_patch."""
        with self._lock:
            self._may_fail("merge_patch")
            old = self._of(resource).get((namespace, name))
            if old is None:
                raise ApiFailure(404, "NotFound", f"{resource.plural} {name} not found")
            version = (patch.get("metadata") or {}).get("resourceVersion")
            if version and version != old["metadata"]["resourceVersion"]:
                raise ApiFailure(409, "Conflict", f"{resource.plural} {name} was changed")
            self.writes.append(Call("merge_patch", resource.kind, (namespace, name)))
            return self._store(resource, _merged(old, patch))

    def create(self, resource: Resource, manifest: Manifest) -> Manifest:
        """See Kube.create. Also how a test puts an object there."""
        with self._lock:
            self._may_fail("create")
            key = key_of(manifest)
            if key in self._of(resource):
                raise ApiFailure(409, "AlreadyExists", f"{resource.plural} {key} exists")
            self.writes.append(Call("create", resource.kind, key))
            return self._store(resource, _received(manifest))

    def dry_run_create(self, resource: Resource, manifest: Manifest) -> Manifest:
        """See Kube.dry_run_create. No admission is here: what is not refused by `fail_next("dry_run")` would be taken."""
        with self._lock:
            self._may_fail("dry_run")
            return manifest

    def may(self, account: Account, verb: str, resource: Resource, subresource: str = "") -> bool:
        """See Kube.may: what `denied` does not name is allowed."""
        with self._lock:
            self._may_fail("may")
            return (account.name, verb, resource.plural, subresource) not in self.denied

    def replace(self, resource: Resource, manifest: Manifest) -> Manifest:
        """See Kube.replace. Also how a test changes an object, with its status."""
        with self._lock:
            self._may_fail("replace")
            key = key_of(manifest)
            old = self._of(resource).get(key)
            if old is None:
                raise ApiFailure(404, "NotFound", f"{resource.plural} {key} not found")
            version = manifest["metadata"].get("resourceVersion")
            if version and version != old["metadata"]["resourceVersion"]:
                raise ApiFailure(409, "Conflict", f"{resource.plural} {key} was changed")
            self.writes.append(Call("replace", resource.kind, key))
            return self._store(resource, _received(manifest))

    def delete(self, resource: Resource, namespace: str, name: str) -> None:
        """See Kube.delete; children that name the object as owner go with it, as the garbage collector does."""
        with self._lock:
            self._may_fail("delete")
            gone = self._of(resource).pop((namespace, name), None)
            if gone is None:
                return
            self.writes.append(Call("delete", resource.kind, (namespace, name)))
            self._version += 1
            gone = {**gone, "metadata": {**gone["metadata"], "resourceVersion": str(self._version)}}
            self._newest[resource] = self._version
            self._history.append((self._version, resource, WatchEvent("DELETED", gone)))
            for other, objects in tuple(self._objects.items()):
                for key, row in tuple(objects.items()):
                    owners = row["metadata"].get("ownerReferences") or ()
                    if any(owner["uid"] == gone["metadata"]["uid"] for owner in owners):
                        self.delete(other, *key)

    def pod_log(self, namespace: str, name: str, *, container: str, limit_bytes: int, lines: int = 0, previous: bool = False) -> bytes:
        """See Kube.pod_log; the fake's pods have one container, of any name."""
        self._may_fail("log")
        if (namespace, name) not in self._of(PODS):
            raise ApiFailure(404, "NotFound", f"pods {name} not found")
        return self.logs.get((namespace, name), b"")[:limit_bytes]

    def _of(self, resource: Resource) -> dict[Key, Manifest]:
        return self._objects.setdefault(resource, {})

    def _must_be_served(self, resource: Resource) -> None:
        if resource in self.absent:
            raise ApiFailure(404, "NotFound", f"the server could not find the requested resource {resource.plural}")

    def _may_fail(self, verb: str) -> None:
        waiting = self._failures.get(verb)
        if waiting:
            raise waiting.pop(0)

    def _store(self, resource: Resource, new: Manifest) -> Manifest:
        key = key_of(new)
        old = self._of(resource).get(key)
        self._version += 1
        metadata = dict(new["metadata"])
        before: Manifest = old["metadata"] if old is not None else {"uid": f"uid-{self._version}", "generation": 0}
        changed = old is None or old.get("spec") != new.get("spec")
        metadata["uid"] = before["uid"]
        metadata["generation"] = before["generation"] + 1 if changed else before["generation"]
        metadata["resourceVersion"] = before.get("resourceVersion", "")
        new = {**new, "metadata": metadata}
        if new == old:
            self._version -= 1
            return dict(_sent(new))
        metadata["resourceVersion"] = str(self._version)
        self._of(resource)[key] = new
        self._newest[resource] = self._version
        self._history.append((self._version, resource, WatchEvent("ADDED" if old is None else "MODIFIED", new)))
        return dict(_sent(new))


def new_deployment(namespace: str, name: str, spec: Manifest) -> Manifest:
    """An InferenceDeployment as a user would write it."""
    return {
        "apiVersion": INFERENCE_DEPLOYMENTS.api_version,
        "kind": INFERENCE_DEPLOYMENTS.kind,
        "metadata": {"namespace": namespace, "name": name},
        "spec": spec,
    }


def fields_of(value: Manifest) -> Manifest:
    """The fields that an apply of this owns; lists as a whole."""
    return {f"f:{name}": fields_of(part) if isinstance(part, dict) else {} for name, part in value.items()}


def _received(value: Any) -> Any:
    """What arrives of a request's body: what is no JSON does not, and a tuple is a list."""
    return json.loads(json.dumps(value))


def _sent(value: Any) -> Any:
    """A copy of what is stored, for whoever asked, at a tenth of what `copy.deepcopy` takes. What is stored is replaced, never changed."""
    return marshal.loads(marshal.dumps(value))


def _within(row: Manifest, namespace: str) -> bool:
    return not namespace or row["metadata"].get("namespace") == namespace


def _matches(row: Manifest, selector: str) -> bool:
    labels = row["metadata"].get("labels") or {}
    wanted = [term.partition("=") for term in selector.split(",") if term]
    return all(key in labels and (not sign or labels[key] == value) for key, sign, value in wanted)


def _merged(old: Manifest, patch: Manifest) -> Manifest:
    out = dict(old)
    for key, value in patch.items():
        if value is None:
            out.pop(key, None)
        elif isinstance(value, dict):  # RFC 7386: of a new object too, null is nothing
            present = out.get(key)
            out[key] = _merged(present if isinstance(present, dict) else {}, value)
        else:
            out[key] = _received(value)
    return out
