"""The controller leaves out what the webhook leaves out: profiles over their namespace's share, and takes them in when older ones go."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.plimsoll_operator.cluster import NS
from tests.plimsoll_operator.controller_world import World
from tests.plimsoll_operator.fake_kube import FakeKube

from plimsoll_operator.api import ModelProfile, Unreadable
from plimsoll_operator.controller.cluster import trim
from plimsoll_operator.controller.cluster.store import Parsed, ParsedObjects
from plimsoll_operator.controller.reporting.profile_status import ProfileStatus
from plimsoll_operator.errors import ApiFailure
from plimsoll_operator.names import NOTES_ANNOTATION
from plimsoll_operator.ports import MODEL_PROFILES
from plimsoll_operator.read_request import MOST_NOTES
from plimsoll_operator.remembered import kept_bytes
from plimsoll_operator.share import MOST_BYTES, MOST_PROFILES, OverShare, over_share


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


def test_what_counts_again_is_named_when_an_older_one_goes_and_counts_when_it_is_read() -> None:
    objects, back = filled(MOST_PROFILES + 2), ("n", f"p{MOST_PROFILES:05d}")
    assert objects.profiles.get(back) is None
    assert objects.profiles.changed(("n", "p00007"), manifest("p00007"), None) == (back,)
    assert isinstance(objects.profiles.read(back), OverShare)
    awaited = objects.profiles.awaited(back)
    assert awaited is not None
    assert objects.profiles.read_again(back, awaited, trim.shape(manifest(back[1], MOST_PROFILES)))
    assert objects.profiles.get(back) is not None
    assert objects.profiles.awaited(back) is None
    assert objects.profiles.get(("n", f"p{MOST_PROFILES + 1:05d}")) is None


def test_what_was_read_again_gives_way_to_newer_news() -> None:
    objects, back = filled(MOST_PROFILES + 1), ("n", f"p{MOST_PROFILES:05d}")
    objects.profiles.changed(("n", "p00000"), manifest("p00000"), None)
    awaited = objects.profiles.awaited(back)
    assert awaited is not None
    newer = manifest(back[1], MOST_PROFILES)
    newer["metadata"]["generation"] = 2
    objects.profiles.changed(back, None, trim.shape(newer))
    assert not objects.profiles.read_again(back, awaited, trim.shape(manifest(back[1], MOST_PROFILES)))
    held = objects.profiles.get(back)
    assert held is not None
    assert held.metadata.generation == 2


def test_the_controller_reads_it_again_and_looks_at_who_relies_on_it() -> None:
    world = World(1)
    for number in range(MOST_PROFILES + 1):
        late = manifest(f"p{number:05d}", number)
        late["metadata"]["namespace"] = NS
        world.kube.create(MODEL_PROFILES, late)
    back = (NS, f"p{MOST_PROFILES:05d}")
    world.wish("a", 1)
    world.work()
    record = world.controller.records.get((NS, "a"))
    assert record is not None
    world.controller.records.put((NS, "a"), replace(record, profile=back[1]))
    world.kube.delete(MODEL_PROFILES, NS, "p00000")
    world.hear()
    assert world.controller.objects.profiles.get(back) is None
    assert world.controller.queue.take(0) is None
    world.kube.fail_next("get", ApiFailure(503, "Unavailable", "try again"))
    assert world.controller.read_again.loop.run_once(0.0)
    assert world.controller.objects.profiles.get(back) is None
    world.clock.now += 60
    assert world.controller.read_again.loop.run_once(0.0)
    assert world.controller.objects.profiles.get(back) is not None
    assert world.controller.queue.take(0) == (NS, "a")
    assert not world.controller.read_again.loop.run_once(0.0)


def test_another_namespace_has_a_share_of_its_own() -> None:
    objects = filled(MOST_PROFILES + 2)
    other = manifest("late", 9000)
    other["metadata"]["namespace"] = "m"
    objects.profiles.changed(("m", "late"), None, trim.shape(other))
    assert objects.profiles.get(("m", "late")) is not None


def full(number: int, size: int = 65_536) -> dict[str, Any]:
    """A profile with as much text as one may have."""
    made = manifest(f"p{number:05d}", number)
    config = '{"architectures": ["LlamaForCausalLM"], "x": "'
    made["spec"]["config"] = config + f"{number:06d}" * ((size - len(config) - 2) // 6) + '"}'
    return made


@pytest.mark.parametrize(("why", "order"), [("the oldest first", 1), ("the youngest first: each one that comes pushes others out", -1)])
def test_of_thousands_the_texts_of_one_share_are_kept(why: str, order: int) -> None:
    profiles = Parsed(ModelProfile, shared=True)
    for number in range(1000)[::order]:
        profiles.changed(("n", f"p{number:05d}"), None, trim.shape(full(number)))
        if number % 100 == 0:
            texts = sum(len(row.spec.config) for row in profiles.values())
            assert texts <= MOST_BYTES, why
    assert len(list(profiles.values())) == MOST_BYTES // 65_536
    assert kept_bytes(profiles.found()) < 2 * MOST_BYTES, why


def test_notes_are_kept_as_far_as_they_are_read() -> None:
    noisy = manifest("p")
    noisy["metadata"]["annotations"] = {NOTES_ANNOTATION: "x" * 200_000}
    assert trim.shape(noisy)["metadata"]["annotations"] == {NOTES_ANNOTATION: "x" * MOST_NOTES}


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
    assert status.loop.run_once(0.0)
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
