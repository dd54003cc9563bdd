"""What the caches keep does not follow what users write: by size, whatever the object."""

from __future__ import annotations

import json
from typing import Any

from tests.plimsoll_operator.fake_kube import FakeKube
from tests.plimsoll_operator.plans import PLAN

from plimsoll_operator.controller.children.course import applied_from_child
from plimsoll_operator.controller.cluster import trim
from plimsoll_operator.controller.cluster.informer import Informer
from plimsoll_operator.names import GENERATION_ANNOTATION, NAME_LABEL, PLAN_ANNOTATION
from plimsoll_operator.ports import MODEL_PROFILES, Key, Manifest

OWNER = {"apiVersion": "inference.plimsoll.dev/v1alpha1", "kind": "InferenceDeployment", "name": "a", "uid": "u", "controller": True}


def child(**annotations: str) -> Manifest:
    labels = {NAME_LABEL: "a"} | {f"l{number}": "x" * 60 for number in range(1000)}
    owners = [OWNER, *({"apiVersion": "v1", "kind": "ConfigMap", "name": f"o{n}" * 40, "uid": f"{n}"} for n in range(1000))]
    metadata = {"namespace": "n", "name": "a", "labels": labels, "annotations": annotations, "ownerReferences": owners}
    return {"metadata": metadata, "spec": {"replicas": 1}}


def test_of_a_child_no_more_is_kept_than_the_controller_has_written() -> None:
    kept = trim.child(child(other="x" * 250_000, **{PLAN_ANNOTATION: "x" * 200_000, GENERATION_ANNOTATION: "9" * 50_000}))
    assert len(json.dumps(kept)) < 1000
    assert kept["metadata"]["ownerReferences"] == [OWNER]


def test_a_plan_is_read_back_from_what_is_kept() -> None:
    kept = trim.child(child(**{PLAN_ANNOTATION: PLAN.canonical_json(), GENERATION_ANNOTATION: "3"}))
    applied = applied_from_child(kept)
    assert applied is not None
    assert (applied.plan, applied.origin.generation) == (PLAN, 3)


def profile(config: str) -> dict[str, Any]:
    metadata = {"namespace": "n", "name": "p"}
    return {
        "apiVersion": MODEL_PROFILES.api_version,
        "kind": "ModelProfile",
        "metadata": metadata,
        "spec": {"model": "a/b", "config": config},
    }


def test_a_profile_is_told_whole_and_kept_as_a_digest() -> None:
    kube, told = FakeKube(), []

    def change(key: Key, old: Manifest | None, new: Manifest | None) -> None:
        told.append(((old or {}).get("spec"), len((new or {}).get("spec", {}).get("config", ""))))

    informer = Informer(kube, MODEL_PROFILES, trim=trim.shape, keep=trim.digested, on_change=change, clock=lambda: 0.0)
    kube.create(MODEL_PROFILES, profile("x" * 60_000))
    informer.relist()
    informer.relist()
    kube.replace(MODEL_PROFILES, profile("y" * 60_000))
    informer.relist()
    assert len(json.dumps(informer.values())) < 500
    kube.delete(MODEL_PROFILES, "n", "p")
    informer.relist()
    assert told == [(None, 60_000), ({"model": "a/b"}, 60_000), ({"model": "a/b"}, 0)]
