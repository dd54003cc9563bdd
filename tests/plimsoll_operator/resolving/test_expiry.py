"""ClusterModelProfiles that nobody asks for: marked, kept for a month over changes of leader, and taken away only where they are ours."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from tests.plimsoll_operator.cluster import NS
from tests.plimsoll_operator.controller_world import World as Cluster
from tests.plimsoll_operator.fake_kube import FakeKube

from plimsoll_operator.api import ClusterModelProfile, parse_object
from plimsoll_operator.controller.records import Record, Records
from plimsoll_operator.controller.resolving.expiry import SEEN_FOR, UNUSED_FOR, WRITES_A_ROUND, AskedFor, Expiry
from plimsoll_operator.names import API_VERSION, MANAGED_LABEL, MANAGED_VALUE, UNUSED_ANNOTATION
from plimsoll_operator.ports import CLUSTER_MODEL_PROFILES, INFERENCE_DEPLOYMENTS

START = datetime(2026, 1, 1, tzinfo=UTC)


class World:
    """Profiles in memory, what deployments ask for, and days that pass by hand."""

    def __init__(self) -> None:
        self.kube = FakeKube()
        self.now = START
        self.asked = AskedFor(models=frozenset(), profiles=frozenset())
        self.expiry = self.leader()

    def leader(self) -> Expiry:
        return Expiry(self.kube, profiles=self.profiles, asked_for=lambda: self.asked, now=lambda: self.now)

    def profiles(self) -> list[ClusterModelProfile]:
        return [parse_object(ClusterModelProfile, row) for row in self.kube.list_page(CLUSTER_MODEL_PROFILES).items]

    def make(self, name: str, *, ours: bool = True) -> None:
        metadata = {"name": name, "labels": {MANAGED_LABEL: MANAGED_VALUE} if ours else {}}
        spec = {"model": f"acme/{name}", "config": "{}"}
        self.kube.create(
            CLUSTER_MODEL_PROFILES, {"apiVersion": API_VERSION, "kind": "ClusterModelProfile", "metadata": metadata, "spec": spec}
        )

    def ask(self, *models: str, profiles: tuple[str, ...] = ()) -> None:
        self.asked = AskedFor(models=frozenset(models), profiles=frozenset(profiles))

    def after(self, time: timedelta) -> list[str]:
        """Names that are left after so long, with a look before it and two after it an hour apart."""
        self.expiry.look()
        self.now += time
        self.expiry.look()
        self.now += SEEN_FOR
        self.expiry.look()
        return [row.metadata.name for row in self.profiles()]


def test_what_nobody_asks_for_goes_after_a_month_and_what_somebody_does_stays() -> None:
    world = World()
    for name in ("used", "named", "unused"):
        world.make(name)
    world.make("written", ours=False)
    world.ask("acme/used", profiles=("named",))
    assert world.after(UNUSED_FOR - 2 * SEEN_FOR) == ["used", "named", "unused", "written"]
    assert world.after(2 * SEEN_FOR) == ["used", "named", "written"]
    assert not any(UNUSED_ANNOTATION in row.metadata.annotations for row in world.profiles())


def test_who_asks_again_begins_a_new_month() -> None:
    world = World()
    world.make("wanted")
    assert world.after(UNUSED_FOR - 2 * SEEN_FOR) == ["wanted"]
    world.ask("acme/wanted")
    world.expiry.look()
    world.ask()
    assert world.after(UNUSED_FOR - 2 * SEEN_FOR) == ["wanted"]
    assert world.after(2 * SEEN_FOR) == []


def test_a_new_leader_counts_on_but_takes_nothing_away_before_it_knows_the_deployments() -> None:
    world = World()
    world.make("unused")
    world.expiry.look()
    world.now += UNUSED_FOR
    world.expiry = world.leader()
    world.expiry.look()
    assert len(world.profiles()) == 1
    world.now += SEEN_FOR
    world.expiry.look()
    assert world.profiles() == []


@pytest.mark.parametrize("mark", ["", "yesterday", "9999-01-01T00:00:00Z", "2026-13-01T00:00:00Z"])
def test_a_mark_that_cannot_be_is_made_anew(mark: str) -> None:
    world = World()
    world.make("unused")
    world.kube.merge_patch(CLUSTER_MODEL_PROFILES, "", "unused", {"metadata": {"annotations": {UNUSED_ANNOTATION: mark}}})
    world.expiry.look()
    assert world.profiles()[0].metadata.annotations[UNUSED_ANNOTATION] == "2026-01-01T00:00:00Z"


def test_a_round_writes_only_so_much() -> None:
    world = World()
    for number in range(3 * WRITES_A_ROUND):
        world.make(f"p{number:03}")
    before = len(world.kube.writes)
    world.expiry.look()
    assert len(world.kube.writes) - before == WRITES_A_ROUND
    for _ in range(3):
        world.expiry.look()
    assert all(UNUSED_ANNOTATION in row.metadata.annotations for row in world.profiles())


def test_drafts_and_named_profiles_are_asked_for_too() -> None:
    records = Records()
    records.put(("ns", "a"), Record(plan=None, model="acme/target", profile=None, child_generation=0, draft="acme/draft"))
    records.put(("ns", "b"), Record(plan=None, model="", profile="by-name", child_generation=0))
    assert records.asked_for() == AskedFor(models=frozenset({"acme/target", "acme/draft"}), profiles=frozenset({"by-name"}))


def test_the_draft_of_a_deployment_is_on_record() -> None:
    cluster = Cluster(4)
    cluster.wish("chat", 1)
    raw = cluster.kube.get(INFERENCE_DEPLOYMENTS, NS, "chat")
    assert raw is not None
    raw["spec"]["engine"]["speculative"] = {"method": "draft_model", "model": "acme/draft", "numSpeculativeTokens": 2}
    cluster.kube.replace(INFERENCE_DEPLOYMENTS, raw)
    cluster.work()
    assert "acme/draft" in cluster.controller.records.asked_for().models
