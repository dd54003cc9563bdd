"""The resolver alone: one reading for all who want it, failures remembered and retried, nothing unbounded, nothing forged."""

import math
import threading
import time
from collections.abc import Iterable
from itertools import pairwise

import pytest
from tests.plimsoll_operator.fake_kube import FakeKube

from plimsoll_operator.api import ModelProfileSpec
from plimsoll_operator.controller.resolving import resolver as resolving
from plimsoll_operator.controller.resolving.fetcher import Fetched, FetchFailure
from plimsoll_operator.controller.resolving.resolver import MAX_OF_A_NAMESPACE, RESOLVING, Resolver
from plimsoll_operator.controller.resolving.store import ProfileKeeper
from plimsoll_operator.controller.resolving.turns import LANES, Turns
from plimsoll_operator.errors import ApiFailure
from plimsoll_operator.names import MANAGED_LABEL, NOTES_ANNOTATION
from plimsoll_operator.ports import CLUSTER_MODEL_PROFILES, MODEL_PROFILES, Key
from plimsoll_operator.read_request import ConfigMapKey, OperatorHub, ReadRequest, Volume
from plimsoll_operator.reasons import NoShape

COMMIT = "c" * 40
NOT_FOUND = FetchFailure(reason=NoShape.NOT_FOUND, message="no such model")


def hub(model: str = "acme/tiny", revision: str = "main") -> ReadRequest:
    return ReadRequest(namespace="", model=model, revision=revision, source=OperatorHub())


def volume(namespace: str = "team", model: str = "acme/tiny", path: str = ".") -> ReadRequest:
    return ReadRequest(namespace=namespace, model=model, revision=None, source=Volume(claim="weights", path=path))


def shape(model: str = "acme/tiny", *, cluster: bool = True, notes: tuple[str, ...] = ()) -> Fetched:
    spec = ModelProfileSpec(model=model, revision=COMMIT, requested_revision="main", config="{}")
    return Fetched(spec=spec, cluster=cluster, notes=notes)


class Source:
    """Answers from a list, then with its last answer; counts what it was asked."""

    def __init__(self, *answers: Fetched | FetchFailure) -> None:
        self.answers_left = list(answers)
        self.asked: list[ReadRequest] = []

    def answers(self, wanted: ReadRequest) -> bool:
        return not isinstance(wanted.source, ConfigMapKey)

    def fetch(self, wanted: ReadRequest, stop: threading.Event) -> Fetched | FetchFailure:
        self.asked.append(wanted)
        return self.answers_left.pop(0) if len(self.answers_left) > 1 else self.answers_left[0]


class World:
    """A resolver over a fake API server, a clock that only `pass_seconds` moves, and the keys that were woken."""

    def __init__(self, *answers: Fetched | FetchFailure) -> None:
        self.kube = FakeKube()
        self.source = Source(*answers)
        self.now = 1000.0
        self.woken: list[Key] = []
        self.stop = threading.Event()
        self.resolver = Resolver([self.source], ProfileKeeper(self.kube), wake=self._wake, clock=lambda: self.now)

    def _wake(self, keys: Iterable[Key]) -> None:
        self.woken += keys

    def read(self) -> int:
        """Read all that is due; how many readings that were begun."""
        before = len(self.source.asked)
        while self.resolver.work_once(self.stop, timeout_seconds=0):
            pass
        return len(self.source.asked) - before

    def pass_seconds(self, seconds: float) -> int:
        self.now += seconds
        return self.read()


def keys(count: int) -> list[Key]:
    return [(f"team-{number % 7}", f"chat-{number}") for number in range(count)]


def test_a_thousand_wishes_for_one_model_are_one_reading() -> None:
    world = World(shape())
    for key in keys(1000):
        assert world.resolver.answer(key, hub(), "1") is RESOLVING
    assert world.read() == 1
    assert sorted(world.woken) == sorted(keys(1000))
    assert world.kube.get(CLUSTER_MODEL_PROFILES, "", hub().profile_name) is not None
    assert world.pass_seconds(3600) == 0


def test_other_revisions_models_and_namespaces_are_other_readings() -> None:
    wanted = [hub(), hub(revision="v2"), hub("acme/other"), volume(), volume("other"), volume(path="b")]
    assert len({row.profile_name for row in wanted if not row.namespace}) == 3
    assert volume().profile_name == volume("other").profile_name != volume(path="b").profile_name
    world = World(NOT_FOUND)
    for key, row in zip(keys(len(wanted)), wanted, strict=True):
        world.resolver.answer(key, row, "1")
    assert world.read() == len(wanted)


def test_a_profile_says_what_was_read_and_what_is_not_known() -> None:
    world = World(shape(notes=("not known: bytes by dtype",)))
    world.resolver.answer(("team", "chat"), hub(), "1")
    world.read()
    found = world.kube.get(CLUSTER_MODEL_PROFILES, "", hub().profile_name)
    assert found is not None
    assert found["spec"] == {"model": "acme/tiny", "revision": COMMIT, "requestedRevision": "main", "config": "{}"}
    assert found["metadata"]["annotations"] == {NOTES_ANNOTATION: "not known: bytes by dtype"}


def test_a_failure_is_remembered_and_asked_about_again_with_growing_waits() -> None:
    world = World(NOT_FOUND)
    world.resolver.answer(("team", "chat"), hub(), "1")
    world.read()
    assert world.woken == [("team", "chat")]
    assert world.resolver.answer(("team", "other"), hub(), "1") == NOT_FOUND
    asked = [seconds for seconds in range(0, 30_000, 10) if world.pass_seconds(10)]
    waits = [later - earlier for earlier, later in pairwise(asked)]
    assert asked[0] == 50  # a first wait of a minute
    assert waits == sorted(waits)
    assert waits[-1] == 3600


def test_what_passes_by_itself_is_asked_sooner_but_never_before_the_source_says() -> None:
    world = World(FetchFailure(reason=NoShape.UNREACHABLE, message="down"))
    world.resolver.answer(("team", "chat"), hub(), "1")
    world.read()
    assert world.pass_seconds(5) == 1
    world = World(FetchFailure(reason=NoShape.UNREACHABLE, message="busy", retry_after_seconds=900))
    world.resolver.answer(("team", "chat"), hub(), "1")
    world.read()
    assert [world.pass_seconds(899), world.pass_seconds(1)] == [0, 1]
    world = World(FetchFailure(reason=NoShape.UNREACHABLE, message="offline", retry_after_seconds=math.inf))
    world.resolver.answer(("team", "chat"), hub(), "1")
    world.read()
    assert world.pass_seconds(1e9) == 0


def test_a_new_spec_asks_again_at_once_but_not_in_a_tight_circle() -> None:
    world = World(NOT_FOUND, shape())
    world.resolver.answer(("team", "chat"), hub(), "1")
    world.read()
    world.now += 10
    world.resolver.answer(("team", "chat"), hub(), "1")
    assert world.read() == 0, "nothing has changed"
    assert world.resolver.answer(("team", "chat"), hub(), "2") == NOT_FOUND
    assert world.read() == 1
    assert world.resolver.answer(("team", "chat"), hub(), "2") is RESOLVING


def test_who_asks_again_soon_after_a_failure_is_heard_as_soon_as_the_failure_is_ten_seconds_old() -> None:
    world = World(NOT_FOUND)
    world.resolver.answer(("team", "chat"), hub(), "1")
    world.read()
    assert world.pass_seconds(1) == 0
    for effort in ("2", "3", "4"):
        world.resolver.answer(("team", "chat"), hub(), effort)
    assert [world.pass_seconds(8), world.pass_seconds(1)] == [0, 1]
    assert world.pass_seconds(49) == 0, "it was asked once, and the usual wait goes on"


def test_who_asks_again_while_it_is_read_is_heard_though_that_reading_began_before() -> None:
    world = World(NOT_FOUND)

    class Meanwhile(Source):
        def fetch(self, wanted: ReadRequest, stop: threading.Event) -> Fetched | FetchFailure:
            world.resolver.answer(("team", "chat"), hub(), "2")
            return super().fetch(wanted, stop)

    world.source = Meanwhile(NOT_FOUND)
    world.resolver = Resolver([world.source], ProfileKeeper(world.kube), wake=world._wake, clock=lambda: world.now)
    world.resolver.answer(("team", "chat"), hub(), "1")
    assert world.read() == 1
    assert [world.pass_seconds(9), world.pass_seconds(1)] == [0, 1]


def test_a_profile_that_is_taken_away_is_read_again_in_time() -> None:
    world = World(shape())
    world.resolver.answer(("team", "chat"), hub(), "1")
    world.read()
    world.resolver.answer(("team", "chat"), hub(), "1")  # the watch has not told of it yet
    assert world.pass_seconds(10) == 0
    world.now += 10
    world.resolver.answer(("team", "chat"), hub(), "1")
    assert world.read() == 1
    world.resolver.forget(("team", "chat"))  # known now
    world.resolver.answer(("team", "chat"), hub(), "1")  # and deleted
    assert world.read() == 1


def test_nobody_waits_and_nothing_is_read() -> None:
    world = World(NOT_FOUND)
    world.resolver.answer(("team", "chat"), hub(), "1")
    world.resolver.forget(("team", "chat"))
    assert world.read() == 0
    world.resolver.answer(("team", "chat"), hub("acme/a"), "1")
    world.resolver.answer(("team", "chat"), hub("acme/b"), "2")  # the spec names another model now
    world.read()
    assert [row.model for row in world.source.asked] == ["acme/b"]


def test_a_full_memory_refuses_by_name_and_gives_way_to_what_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolving, "MAX_READINGS", 3)
    world = World(NOT_FOUND)
    for number, key in enumerate(keys(3)):
        world.resolver.answer(key, hub(f"acme/{number}"), "1")
    world.read()
    refused = world.resolver.answer(("team", "more"), hub("acme/more"), "1")
    assert isinstance(refused, FetchFailure)
    assert (refused.reason, "other models" in refused.message) == ("Unreachable", True)
    world.resolver.forget(keys(3)[0])
    assert world.resolver.answer(("team", "more"), hub("acme/more"), "1") is RESOLVING


FORGED: list[tuple[str, ReadRequest, Fetched]] = [
    ("of another model", volume(), shape("acme/other", cluster=False)),
    ("for the whole cluster, from a volume", volume(), shape(cluster=True)),
    ("for no namespace at all", hub(), shape(cluster=False)),
]


@pytest.mark.parametrize(("why", "wanted", "result"), FORGED, ids=[row[0] for row in FORGED])
def test_a_result_says_nothing_beyond_its_reading(why: str, wanted: ReadRequest, result: Fetched) -> None:
    world = World(result)
    world.resolver.answer(("team", "chat"), wanted, "1")
    world.read()
    answer = world.resolver.answer(("team", "chat"), wanted, "1")
    assert isinstance(answer, FetchFailure)
    assert answer.reason == "Invalid"
    assert not world.kube.writes


def test_a_namespaced_result_is_a_profile_of_that_namespace() -> None:
    world = World(shape(cluster=False))
    world.resolver.answer(("team", "chat"), volume(), "1")
    world.read()
    assert world.kube.get(MODEL_PROFILES, "team", volume().profile_name) is not None


def test_an_object_of_somebody_else_is_never_overwritten() -> None:
    world = World(shape())
    name = hub().profile_name
    mine = {"metadata": {"name": name}, "spec": {"model": "acme/tiny", "config": '{"mine": 1}'}}
    world.kube.create(CLUSTER_MODEL_PROFILES, mine)
    world.resolver.answer(("team", "chat"), hub(), "1")
    world.read()
    answer = world.resolver.answer(("team", "chat"), hub(), "1")
    assert isinstance(answer, FetchFailure)
    assert answer.reason == "Ambiguous"
    found = world.kube.get(CLUSTER_MODEL_PROFILES, "", name)
    assert found is not None
    assert found["spec"]["config"] == '{"mine": 1}'
    assert MANAGED_LABEL not in found["metadata"].get("labels", {})


def test_a_profile_that_cannot_be_written_is_tried_again() -> None:
    world = World(shape())
    world.kube.fail_next("apply", ApiFailure(403, "Forbidden", "no"))
    world.resolver.answer(("team", "chat"), hub(), "1")
    world.read()
    answer = world.resolver.answer(("team", "chat"), hub(), "1")
    assert isinstance(answer, FetchFailure)
    assert "could not be written: 403 Forbidden" in answer.message
    assert world.pass_seconds(5) == 1
    assert world.kube.get(CLUSTER_MODEL_PROFILES, "", hub().profile_name) is not None


def test_a_source_that_nobody_reads_is_not_asked_for() -> None:
    world = World(shape())
    assert not world.resolver.answers(ReadRequest(namespace="team", model="a/b", revision=None, source=ConfigMapKey(name="c", key="k")))


def test_what_is_read_after_a_leader_was_told_to_stop_is_not_written() -> None:
    world = World(shape())

    class Late(Source):
        def fetch(self, wanted: ReadRequest, stop: threading.Event) -> Fetched | FetchFailure:
            world.stop.set()
            return Source.fetch(self, wanted, stop)

    resolver = Resolver([Late(shape())], ProfileKeeper(world.kube), wake=world._wake, clock=time.monotonic)
    resolver.answer(next(iter(keys(1))), hub(), "1")
    assert resolver.work_once(world.stop, timeout_seconds=0)
    assert world.kube.writes == []
    assert world.woken == []


def test_threads_share_the_work_and_end_when_stopped() -> None:
    entered, together = [], threading.Barrier(3)

    class Slow(Source):
        def fetch(self, wanted: ReadRequest, stop: threading.Event) -> Fetched | FetchFailure:
            together.wait(10)  # passes only when three readings are under way at once
            entered.append(wanted)
            return NOT_FOUND

    world = World(NOT_FOUND)
    resolver = Resolver([Slow(NOT_FOUND)], ProfileKeeper(world.kube), wake=world._wake, clock=time.monotonic)
    for number, key in enumerate(keys(3)):
        resolver.answer(key, hub(f"acme/{number}"), "1")
    threads = [threading.Thread(target=resolver.work, args=(world.stop,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    end = time.monotonic() + 10
    while len(world.woken) < 3 and time.monotonic() < end:
        time.sleep(0.01)
    world.stop.set()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    assert len(entered) == 3


def test_what_costs_one_request_is_asked_for_soon_and_never_seldom() -> None:
    missing = FetchFailure(reason=NoShape.NOT_FOUND, message="there is no ConfigMap", retry_within_seconds=60.0)
    waits = [resolving._wait_after(missing, failures) for failures in range(8)]
    assert waits == [2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]


def of(namespace: str, number: int) -> Key:
    return (namespace, f"chat-{number}")


def test_a_namespace_that_wants_many_models_holds_up_nobody_else() -> None:
    world = World(NOT_FOUND)
    for number in range(60):
        world.resolver.answer(of("attacker", number), hub(f"acme/slow-{number}"), "1")
    world.resolver.answer(of("honest", 0), hub("acme/wanted"), "1")
    world.read()
    order = [wanted.model for wanted in world.source.asked]
    assert order.index("acme/wanted") <= LANES
    assert len(order) == 61, "and everybody's turn comes"


def test_of_one_namespace_only_so_many_are_read_at_a_time() -> None:
    turns = Turns(lambda: 1000.0)
    for number in range(20):
        turns.add("attacker", hub(f"acme/slow-{number}"))
    taken = [turns.take(0) for _ in range(5)]
    assert [turn is not None for turn in taken] == [True] * LANES + [False] * (5 - LANES)
    turns.add("honest", hub())
    turn = turns.take(0)
    assert turn is not None
    assert turn[1] == hub()


def test_what_two_namespaces_wait_for_is_read_once_and_in_the_turn_of_whichever_comes_first() -> None:
    world = World(NOT_FOUND)
    for number in range(30):
        world.resolver.answer(of("attacker", number), hub(f"acme/slow-{number}"), "1")
    world.resolver.answer(of("honest", 0), hub("acme/slow-29"), "1")
    world.read()
    order = [wanted.model for wanted in world.source.asked]
    assert order.index("acme/slow-29") <= LANES
    assert (len(order), len(set(order))) == (30, 30)


def test_a_namespace_waits_for_so_many_models_and_is_told_and_woken_when_one_is_done() -> None:
    world = World(NOT_FOUND)
    for number in range(MAX_OF_A_NAMESPACE):
        assert world.resolver.answer(of("attacker", number), hub(f"acme/m-{number}"), "1") is RESOLVING
    told = world.resolver.answer(of("attacker", 99), hub("acme/one-more"), "1")
    assert isinstance(told, FetchFailure)
    assert told.message == f"{MAX_OF_A_NAMESPACE} other models of namespace attacker are being read or waited for"
    assert world.resolver.answer(of("attacker", 98), hub("acme/m-3"), "1") is RESOLVING, "what is read anyway costs nothing"
    assert world.resolver.answer(of("honest", 0), hub("acme/one-more"), "1") is RESOLVING
    world.resolver.forget(of("attacker", 7))
    assert world.woken == [of("attacker", 99)]
    assert world.resolver.answer(of("attacker", 99), hub("acme/one-more"), "1") is RESOLVING
    for number in range(100):
        world.resolver.forget(of("attacker", number))
    assert not world.resolver._open.get("attacker")
    assert not world.resolver._turned_away.get("attacker")


def test_failures_that_one_namespace_leaves_behind_put_out_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolving, "MAX_READINGS", 20)
    world = World(NOT_FOUND)
    world.resolver.answer(of("honest", 0), hub("acme/private"), "1")
    world.read()
    world.resolver.forget(of("honest", 0))
    for number in range(200):
        world.resolver.answer(of("attacker", 0), hub(f"acme/made-up-{number}"), "1")
        world.read()
    asked = len(world.source.asked)
    assert world.resolver.answer(of("honest", 0), hub("acme/private"), "1") == NOT_FOUND, "it is remembered"
    world.read()
    assert len(world.source.asked) == asked
