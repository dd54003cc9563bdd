"""The controller leaves out what the webhook leaves out: profiles over their namespace's share, and takes them in when older ones go."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from plimsoll_operator.api import ModelProfile, Unreadable
from plimsoll_operator.controller import trim
from plimsoll_operator.controller.fakes import FakeKube
from plimsoll_operator.controller.profile_status import ProfileStatus
from plimsoll_operator.controller.store import Parsed, ParsedObjects
from plimsoll_operator.ports import MODEL_PROFILES
from plimsoll_operator.share import MOST_PROFILES, OverShare, over_share


def manifest(name: str, number: int = 0) -> dict[str, Any]:
    created = f"2026-01-01T{number // 3600:02d}:{number // 60 % 60:02d}:{number % 60:02d}Z"
    metadata = {"namespace": "n", "name": name, "creationTimestamp": created, "generation": 1}
    spec = {"model": "acme/x", "config": '{"architectures": ["LlamaForCausalLM"]}'}
    return {"apiVersion": MODEL_PROFILES.api_version, "kind": "ModelProfile", "metadata": metadata, "spec": spec}


def filled(count: int) -> ParsedObjects:
    objects = ParsedObjects()
    for number in reversed(range(count)):
        objects.profiles.changed(("n", f"p{number:05d}"), None, trim.shape(manifest(f"p{number:05d}", number)))
    return objects


def test_it_leaves_out_exactly_what_the_rule_says() -> None:
    objects = filled(MOST_PROFILES + 5)
    rows = {row.metadata.name if isinstance(row, ModelProfile) else row.name: row for row in objects.profiles.found()}
    out = {name for name, row in rows.items() if isinstance(row, OverShare)}
    assert out == over_share(rows) == {f"p{number:05d}" for number in range(MOST_PROFILES, MOST_PROFILES + 5)}
    assert isinstance(objects.profiles.read(("n", f"p{MOST_PROFILES:05d}")), OverShare)
    assert objects.profiles.get(("n", f"p{MOST_PROFILES:05d}")) is None
    assert sum(isinstance(row, Unreadable) for row in objects.profiles.of_model("n", "acme/x")) == 5


def test_what_counts_again_is_told_when_an_older_one_goes() -> None:
    objects = filled(MOST_PROFILES + 2)
    assert objects.profiles.get(("n", f"p{MOST_PROFILES:05d}")) is None
    assert objects.profiles.changed(("n", "p00007"), manifest("p00007"), None) == (("n", f"p{MOST_PROFILES:05d}"),)
    assert objects.profiles.get(("n", f"p{MOST_PROFILES:05d}")) is not None
    assert objects.profiles.get(("n", f"p{MOST_PROFILES + 1:05d}")) is None


def test_another_namespace_has_a_share_of_its_own() -> None:
    objects = filled(MOST_PROFILES + 2)
    other = manifest("late", 9000)
    other["metadata"]["namespace"] = "m"
    objects.profiles.changed(("m", "late"), None, trim.shape(other))
    assert objects.profiles.get(("m", "late")) is not None


def test_thousands_are_taken_in_without_looking_at_the_share_and_read_with_one_look() -> None:
    looks: list[int] = []

    def over(rows: Mapping[str, Any]) -> frozenset[str]:
        looks.append(len(rows))
        return over_share(rows)

    profiles = Parsed(ModelProfile, over)
    for number in range(2000):
        profiles.changed(("n", f"p{number:05d}"), None, trim.shape(manifest(f"p{number:05d}", number)))
    assert looks == []
    assert sum(isinstance(row, OverShare) for row in profiles.found()) == 2000 - MOST_PROFILES
    assert profiles.get(("n", "p00000")) is not None
    assert looks == [2000]


def test_its_status_says_that_it_does_not_count() -> None:
    kube, objects = FakeKube(), filled(MOST_PROFILES)
    late = manifest("zz", 9000)
    kube.create(MODEL_PROFILES, late)
    found = kube.get(MODEL_PROFILES, "n", "zz")
    assert found is not None
    objects.profiles.changed(("n", "zz"), None, trim.shape(found))
    status = ProfileStatus(
        kube, objects.profiles, objects.cluster_profiles, clock=lambda: 0.0, now=lambda: datetime(2026, 1, 2, tzinfo=UTC)
    )
    status.changed(("n", "zz"))
    assert status.write_next(0.0)
    written = kube.get(MODEL_PROFILES, "n", "zz")
    assert written is not None
    condition = written["status"]["conditions"][0]
    assert (condition["status"], "over the namespace's share of 256 profiles and 2 MiB of configs" in condition["message"]) == (
        "False",
        True,
    )


def test_what_its_author_writes_for_others_is_not_kept() -> None:
    noisy = manifest("p")
    noisy["metadata"] |= {"labels": {"app.kubernetes.io/managed-by": "x", "a": "b"}, "annotations": {"a": "x" * 1000}}
    kept = trim.shape(noisy)["metadata"]
    assert (kept["labels"], kept["annotations"]) == ({"app.kubernetes.io/managed-by": "x"}, {})
