"""What is worked on first: objects that users have changed, and those whose status does not answer them yet."""

from typing import Any

import pytest
from tests.plimsoll_operator.cluster import NS
from tests.plimsoll_operator.controller_world import World

from plimsoll_operator.controller.watching.news import News
from plimsoll_operator.names import CAPACITY_GATE
from plimsoll_operator.ports import FIT_POLICIES, Manifest

KEY = (NS, "chat")
METADATA: dict[str, Any] = {"namespace": NS, "name": "chat", "uid": "u", "generation": 1, "labels": {"a": "b"}, "resourceVersion": "7"}


@pytest.mark.parametrize(
    ("change", "unchanged"),
    [
        ({}, True),
        ({"resourceVersion": "8", "managedFields": [{}]}, True),
        ({"generation": 2}, False),
        ({"annotations": {"inference.plimsoll.dev/replan": "1"}}, False),
        ({"labels": {"a": "c"}}, False),
        ({"deletionTimestamp": "2026-11-30T00:00:00Z"}, False),
        ({"uid": "another"}, False),
    ],
    ids=str,
)
def test_what_users_write_is_a_change_and_what_the_controller_writes_is_none(change: dict[str, Any], unchanged: bool) -> None:
    news = News()
    assert not news.hear(KEY, METADATA), "never heard of"
    assert news.hear(KEY, METADATA | change) is unchanged
    assert news.hear(KEY, METADATA | change), "and heard of now"


def test_an_object_that_is_gone_is_a_change_and_forgotten() -> None:
    news = News()
    news.hear(KEY, METADATA)
    assert not news.hear(KEY, METADATA, gone=True)
    assert not news.hear(KEY, METADATA), "one of the same name is another"


def test_an_object_that_went_while_nobody_watched_is_forgotten_when_it_is_looked_at() -> None:
    world = World(8)
    world.controller.heard(KEY, METADATA, gone=False)
    world.work()
    world.controller.heard(KEY, METADATA, gone=False)
    world.controller.heard((NS, "new"), METADATA, gone=False)
    assert handed_out(world) == ["chat", "new"], "heard of for the first time again"


FEASIBLE = {"type": "Feasible", "observedGeneration": 1}


@pytest.mark.parametrize(
    ("more", "answered"),
    [
        ({"status": {"conditions": [{"type": "Ready", "observedGeneration": 1}, FEASIBLE]}}, True),
        ({"status": {"conditions": [FEASIBLE | {"observedGeneration": 0}]}}, False),
        ({"status": {"conditions": []}}, False),
        ({"status": {"conditions": None}}, False),
        ({"status": {"conditions": 5}}, False),
        ({"status": "odd"}, False),
        ({}, False),
        ({"metadata": METADATA | {"deletionTimestamp": "now"}, "status": {"conditions": [FEASIBLE]}}, False),
    ],
    ids=str,
)
def test_a_new_leader_knows_who_waits_for_an_answer(more: dict[str, Any], answered: bool) -> None:
    news = News()
    assert news.hear_listed({"metadata": METADATA} | more) is answered
    assert news.hear(KEY, METADATA) is answered, "its first event is news where nothing was answered"


POLICY: Manifest = {
    "apiVersion": FIT_POLICIES.api_version,
    "kind": FIT_POLICIES.kind,
    "metadata": {"name": "default", "uid": "p", "generation": 1},
    "spec": {"maxGpusPerReplica": 8},
}


def handed_out(world: World, most: int = 3) -> list[str]:
    keys = [world.controller.queue.take(0) for _ in range(most)]
    return [key[1] for key in keys if key is not None]


def test_a_new_object_does_not_wait_for_all_those_that_a_policy_has_woken() -> None:
    world = World(8)
    for number in range(6):
        world.wish(f"old-{number}", gpus=1)
    world.work()
    world.kube.create(FIT_POLICIES, POLICY)
    world.hear()
    world.wish("new", gpus=1)
    assert handed_out(world) == ["new", "old-0", "old-1"]


def test_a_new_leader_decides_first_what_nobody_has_answered() -> None:
    before = World(8)
    for number in range(6):
        before.wish(f"old-{number}", gpus=1)
    before.work()
    before.wish("waits", gpus=1)
    after = World(kube=before.kube)
    assert handed_out(after) == ["waits", "old-0", "old-1"]


def test_the_event_of_a_status_that_was_written_is_no_change() -> None:
    world = World(8)
    world.controller.heard(KEY, METADATA, gone=False)
    first = []
    for number in range(4):
        handed_out(world, most=9)
        world.controller.queue.done(KEY)
        world.controller.heard(KEY, METADATA | {"resourceVersion": f"{number}"}, gone=False)
        world.controller.heard((NS, f"new-{number}"), METADATA, gone=False)
        first.append(handed_out(world, most=1)[0])
    assert first.count("chat") <= 2, "it was heard of first each time, and of four keys one is of those looked at again"


def test_a_pod_whose_gpus_are_booked_does_not_wait_behind_its_gate_for_others() -> None:
    world = World(8)
    for number in range(6):
        world.wish(f"old-{number}", gpus=1)
    world.wish("gated", gpus=1, waitForCapacity=True)
    world.work()
    world.kube.create(FIT_POLICIES, POLICY)
    world.hear()
    world.pod("gated", gpus=1, gates=(CAPACITY_GATE,))
    world.hear()
    assert handed_out(world)[0] == "gated"
