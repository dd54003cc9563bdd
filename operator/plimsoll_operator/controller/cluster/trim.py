"""What the caches keep of an object: the fields somebody reads, so that memory does not follow what users write.

Called by the informers for every object. Two versions that differ only in what is dropped here are the same object and
wake nobody (a node's heartbeat, a pod's probe times). Pure.
"""

from __future__ import annotations

import hashlib
import json
from itertools import islice
from typing import Final

from plimsoll_operator.capacity.labels import GPU_RESOURCE_PREFIXES
from plimsoll_operator.capacity.pods import CPU, pod_requests
from plimsoll_operator.controller.booking.engine_start import START, engine_start
from plimsoll_operator.controller.booking.pod_trouble import KEY, pod_trouble
from plimsoll_operator.controller.booking.seen_pods import has_gate
from plimsoll_operator.controller.children.budgets import holds_back
from plimsoll_operator.controller.children.intact import KEPT, as_set
from plimsoll_operator.controller.children.refusals import is_refusal, words_of
from plimsoll_operator.controller.children.services import leads_to
from plimsoll_operator.group import GROUP_INDEX_LABEL
from plimsoll_operator.names import (
    APP_NAME_LABEL,
    CAPACITY_GATE,
    DECIDED_ANNOTATION,
    GENERATION_ANNOTATION,
    INSTANCE_LABEL,
    MANAGED_LABEL,
    NAME_LABEL,
    NOTES_ANNOTATION,
    PLAN_ANNOTATION,
    PLAN_DIGEST_ANNOTATION,
    READER_LABEL,
    REPLAN_ANNOTATION,
    SPEC_DIGEST_ANNOTATION,
    TEMPLATE_DIGEST_ANNOTATION,
    WORKER_LABEL,
)
from plimsoll_operator.owner import HASH_LABEL, controller_of, deployment_of
from plimsoll_operator.ports import INFERENCE_DEPLOYMENTS, Manifest
from plimsoll_operator.read_request import MOST_NOTES

_LABELS: Final = (APP_NAME_LABEL, INSTANCE_LABEL, MANAGED_LABEL, NAME_LABEL)
_OWNER: Final = ("apiVersion", "kind", "name", "uid", "controller")
_MOST_OWNERS: Final = 4
_MOST_PLAN: Final = 64 << 10
"""A plan that names 64 pools has 20 KiB. A larger one is read where it counts, from the API server."""
_NOISY_ANNOTATION: Final = "kubectl.kubernetes.io/last-applied-configuration"


def node(manifest: Manifest) -> Manifest:
    """Labels, taints, cordon, allocatable, GPU capacity and the Ready condition's status."""
    spec = manifest.get("spec") or {}
    status = manifest.get("status") or {}
    ready = [{"type": "Ready", "status": row.get("status")} for row in status.get("conditions") or () if row.get("type") == "Ready"]
    gpus = {key: value for key, value in (status.get("capacity") or {}).items() if key.startswith(GPU_RESOURCE_PREFIXES)}
    return {
        "metadata": _metadata(manifest, "labels", "deletionTimestamp"),
        "spec": {key: spec[key] for key in ("taints", "unschedulable") if key in spec},
        "status": {"allocatable": status.get("allocatable") or {}, "capacity": gpus, "conditions": ready},
    }


def pod(manifest: Manifest) -> Manifest:
    """Node, whether it is over, what it asks for in sum (as one container), whose it is, of which group, which gates hold it, and of a
    deployment's pod which start of its engine runs and what keeps it from serving."""
    spec = manifest.get("spec") or {}
    kept: Manifest = {"nodeName": spec.get("nodeName", "")}
    gates = spec.get("schedulingGates")
    asked = pod_requests(spec)
    if asked:
        amounts = {key: f"{value}m" if key == CPU else str(value) for key, value in sorted(asked.items())}
        kept["containers"] = [{"resources": {"requests": amounts}}]
    if gates:
        kept["schedulingGates"] = [{"name": gate.get("name", "")} for gate in gates]
    metadata = _metadata(manifest)
    labels = manifest["metadata"].get("labels") or {}
    owner = controller_of(manifest["metadata"])
    status: Manifest = {"phase": (manifest.get("status") or {}).get("phase", "")}
    if owner is not None and deployment_of(manifest["metadata"]) is not None:
        metadata["labels"] = {key: labels[key] for key in (NAME_LABEL, WORKER_LABEL, GROUP_INDEX_LABEL, HASH_LABEL) if key in labels}
        metadata["ownerReferences"] = [{"kind": owner["kind"], "name": owner["name"], "controller": True}]
        if (trouble := pod_trouble(manifest)) is not None:
            status[KEY] = trouble
        if (started := engine_start(manifest)) is not None:
            status[START] = started
        if gates:
            metadata["creationTimestamp"] = manifest["metadata"].get("creationTimestamp", "")
        if gates or started is not None:
            digest = (manifest["metadata"].get("annotations") or {}).get(PLAN_DIGEST_ANNOTATION)
            metadata["annotations"] = {PLAN_DIGEST_ANNOTATION: digest or ""}
    elif READER_LABEL in labels:
        metadata["labels"] = {READER_LABEL: labels[READER_LABEL]}
    if "deletionTimestamp" in manifest["metadata"]:
        metadata["deletionTimestamp"] = manifest["metadata"]["deletionTimestamp"]
    return {"metadata": metadata, "spec": kept, "status": status}


def namespace(manifest: Manifest) -> Manifest:
    """Labels, which policies select by, and whether it is on its way out."""
    return {"metadata": _metadata(manifest, "labels", "deletionTimestamp")}


def child(manifest: Manifest) -> Manifest:
    """Owner, annotations, wanted replicas, node selector, gate and status of a child; the generation tells that its spec was touched, and a
    digest of what was applied whether it is still there.

    Of conditions the words are kept only where they are the API server's refusal of a pod: others speak of progress.
    """
    metadata = _metadata(manifest, "generation")
    given = manifest["metadata"]
    metadata["labels"] = {key: value for key, value in (given.get("labels") or {}).items() if key in _LABELS}
    metadata["annotations"] = _ours(given.get("annotations") or {})
    owners = (row for row in given.get("ownerReferences") or () if row.get("kind") == INFERENCE_DEPLOYMENTS.kind)
    metadata["ownerReferences"] = [{key: row[key] for key in _OWNER if key in row} for row in islice(owners, _MOST_OWNERS)]
    status = {key: value for key, value in (manifest.get("status") or {}).items() if key != "conditions"}
    conditions = [
        {key: row.get(key) for key in ("type", "status", "reason")} | ({"message": words_of(row)} if is_refusal(row) else {})
        for row in (manifest.get("status") or {}).get("conditions") or ()
    ]
    spec = manifest.get("spec") or {}
    template = spec.get("template") or (spec.get("leaderWorkerTemplate") or {}).get("workerTemplate") or {}
    pods = template.get("spec") or {}
    kept = {"replicas": spec.get("replicas"), **({"nodeSelector": pods["nodeSelector"]} if pods.get("nodeSelector") else {})}
    if has_gate({"spec": pods}):
        kept["template"] = {"spec": {"schedulingGates": [{"name": CAPACITY_GATE}]}}
    return {KEPT: as_set(manifest), "metadata": metadata, "spec": kept, "status": {**status, "conditions": conditions}}


def _ours(annotations: Manifest) -> Manifest:
    """The controller's own annotations as it writes them: of others' there may be 256 KiB on each child."""
    most = {PLAN_ANNOTATION: _MOST_PLAN, **dict.fromkeys((GENERATION_ANNOTATION, DECIDED_ANNOTATION, SPEC_DIGEST_ANNOTATION), 64)}
    most |= {REPLAN_ANNOTATION: 256, TEMPLATE_DIGEST_ANNOTATION: 64}
    return {key: annotations[key] for key, size in most.items() if key in annotations and len(annotations[key]) <= size}


def service(manifest: Manifest) -> Manifest:
    """Whose Service it is, and a digest of where it leads."""
    return {"metadata": _metadata(manifest, "ownerReferences"), "leadsTo": leads_to(manifest)}


def budget(manifest: Manifest) -> Manifest:
    """Whose PodDisruptionBudget it is, and a digest of what it holds back."""
    return {"metadata": _metadata(manifest, "ownerReferences"), "holdsBack": holds_back(manifest)}


def admission_policy(manifest: Manifest) -> Manifest:
    """What says whether a ValidatingAdmissionPolicy or a binding of one denies, and where."""
    spec = manifest.get("spec") or {}
    kept = ("failurePolicy", "policyName", "validationActions", "matchResources", "paramRef")
    return {"metadata": _metadata(manifest), "spec": {key: spec[key] for key in kept if key in spec}}


def whole(manifest: Manifest) -> Manifest:
    """All of a small object that is read as a value (profiles, policies, pools), without its bookkeeping."""
    kept: Manifest = {key: value for key, value in manifest.items() if key != "metadata"}
    kept["metadata"] = _metadata(manifest, "labels", "annotations", "generation", "creationTimestamp")
    annotations = kept["metadata"].get("annotations")
    if annotations and _NOISY_ANNOTATION in annotations:
        kept["metadata"]["annotations"] = {key: value for key, value in annotations.items() if key != _NOISY_ANNOTATION}
    return kept


def shape(manifest: Manifest) -> Manifest:
    """A profile without its status, which people read and which wakes no deployment, and without what its author may write for others.

    Labels and annotations may be a megabyte; of one the controller reads who manages it, of the other its own notes.
    """
    kept = {key: value for key, value in whole(manifest).items() if key != "status"}
    for part, read in (("labels", MANAGED_LABEL), ("annotations", NOTES_ANNOTATION)):
        given = kept["metadata"].get(part)
        if given:
            kept["metadata"][part] = {read: given[read][:MOST_NOTES]} if read in given else {}
    return kept


def digested(manifest: Manifest) -> Manifest:
    """Of a profile that is parsed and kept elsewhere: its name, the model it speaks of, and a digest that tells another version."""
    digest = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
    return {"metadata": _metadata(manifest), "spec": {"model": (manifest.get("spec") or {}).get("model", "")}, "digest": digest}


def _metadata(manifest: Manifest, *more: str) -> Manifest:
    metadata = manifest["metadata"]
    return {key: metadata[key] for key in ("namespace", "name", "uid", *more) if key in metadata}
