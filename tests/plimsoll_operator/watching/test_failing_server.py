"""How often the informers ask when an API server goes wrong, and what the controller's probes say of old news."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from tests.plimsoll_operator.fake_kube import FakeKube

from plimsoll_operator.backoff import FIRST_SECONDS, LONGEST_SECONDS, SHORTEST_WATCH_SECONDS
from plimsoll_operator.controller.cluster.informer import Informer
from plimsoll_operator.controller.process import Controller
from plimsoll_operator.controller.series import DEAD_WATCH_SECONDS
from plimsoll_operator.decision import decide
from plimsoll_operator.errors import ApiFailure, WatchExpired
from plimsoll_operator.ports import DEPLOYMENTS, NODES, Manifest, Page, Resource, WatchEvent
from plimsoll_operator.reflector import STALE_SECONDS

HOUR = 3600.0


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Hour(threading.Event):
    """A stop flag whose waiting takes no time: the clock jumps, and the flag is set when an hour is over."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock
        self.end = clock.now + HOUR
        self.pauses: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.pauses.append(timeout)
        self.clock.now += timeout
        if self.clock.now >= self.end:
            self.set()
        return self.is_set()


@dataclass(slots=True)
class OddKube(FakeKube):
    """Lists as usual, and counts; its watches do what `odd` says, each time."""

    odd: str = ""
    clock: Clock = field(default_factory=Clock)
    lists: int = 0
    watches: int = 0

    def list_page(self, resource: Resource, *, namespace: str = "", selector: str = "", continue_token: str = "", limit: int = 500) -> Page:
        self.lists += 1
        if self.lists > 20_000:
            raise AssertionError("a tight loop of lists")
        if self.odd == "no list":
            raise ApiFailure(503, "ServiceUnavailable", "later", retry_after_seconds=45.0)
        return FakeKube.list_page(self, resource, namespace=namespace, selector=selector, continue_token=continue_token, limit=limit)

    def watch(
        self, resource: Resource, *, resource_version: str, namespace: str = "", selector: str = "", timeout_seconds: int = 300
    ) -> Iterator[WatchEvent]:
        self.watches += 1
        if self.watches > 20_000:
            raise AssertionError("a tight loop of watches")
        bookmark: Manifest = {"metadata": {"resourceVersion": resource_version}}
        if self.odd == "expires":
            raise WatchExpired(resource.plural)
        if self.odd == "busy":
            raise ApiFailure(429, "TooManyRequests", "slow down", retry_after_seconds=30.0)
        if self.odd == "unusable":
            raise ApiFailure(0, "UnusableAnswer", "an event without an object")
        if self.odd == "one event":
            yield WatchEvent("BOOKMARK", bookmark)
        if self.odd == "lasts" and self.clock.now >= 1000.0 + HOUR:
            raise WatchExpired(resource.plural)
        if self.odd == "lasts":
            for _ in range(5):
                self.clock.now += 60
                yield WatchEvent("BOOKMARK", bookmark)


def an_hour_of(odd: str) -> tuple[OddKube, list[float]]:
    clock = Clock()
    kube = OddKube(odd=odd, clock=clock)
    informer = Informer(kube, NODES, trim=lambda manifest: manifest, on_change=lambda *_: None, clock=clock)
    hour = Hour(clock)
    informer.run(hour)
    return kube, hour.pauses


@pytest.mark.parametrize(
    ("odd", "lists", "watches"),
    [
        pytest.param("", (20, 30), (180, 4500), id="watches that end at once with nothing: the pauses grow, a list every two minutes"),
        pytest.param("one event", (1, 1), (3500, 3700), id="watches that end after one event: one a second, as changes may come"),
        pytest.param("expires", (180, 500), (180, 500), id="a version that is always too old: lists with growing pauses"),
        pytest.param(
            "busy", (20, 30), (90, 121), id="a server that asks for 30 seconds gets them, and is asked for a list every two minutes"
        ),
        pytest.param("unusable", (180, 500), (180, 500), id="an event that cannot be read: a list leads past it"),
        pytest.param("no list", (70, 81), (0, 0), id="a list that is refused, too"),
    ],
)
def test_an_hour_of_a_server_that_goes_wrong_costs_few_requests(odd: str, lists: tuple[int, int], watches: tuple[int, int]) -> None:
    kube, pauses = an_hour_of(odd)
    assert lists[0] <= kube.lists <= lists[1]
    assert watches[0] <= kube.watches <= watches[1]
    assert min(pauses) >= min(FIRST_SECONDS, SHORTEST_WATCH_SECONDS)
    if odd in ("", "expires"):
        assert max(pauses) > LONGEST_SECONDS


def test_watches_that_last_follow_one_another_without_a_pause() -> None:
    kube, pauses = an_hour_of("lasts")
    assert (kube.watches, len(pauses)) == (13, 1)


def test_after_a_refusal_in_the_middle_of_a_watch_it_goes_on_from_the_last_event() -> None:
    clock = Clock()
    seen: list[str] = []

    @dataclass(slots=True)
    class Breaking(FakeKube):
        lists: int = 0

        def list_page(
            self, resource: Resource, *, namespace: str = "", selector: str = "", continue_token: str = "", limit: int = 500
        ) -> Page:
            self.lists += 1
            return FakeKube.list_page(self, resource)

        def watch(
            self, resource: Resource, *, resource_version: str, namespace: str = "", selector: str = "", timeout_seconds: int = 300
        ) -> Iterator[WatchEvent]:
            seen.append(resource_version)
            yield WatchEvent("BOOKMARK", {"metadata": {"resourceVersion": str(int(resource_version) + 10)}})
            raise ApiFailure(503, "ServiceUnavailable", "restarting")

    kube = Breaking()
    hour = Hour(clock)
    Informer(kube, NODES, trim=lambda manifest: manifest, on_change=lambda *_: None, clock=clock).run(hour)
    assert kube.lists == 1
    assert seen[:3] == ["0", "10", "20"]
    assert len(seen) == len(hour.pauses) < 500


def test_pauses_are_not_the_same_for_everybody() -> None:
    assert an_hour_of("expires")[1][:3] != an_hour_of("expires")[1][:3]


def test_a_key_that_is_refused_with_a_wait_comes_again_after_it_and_not_before() -> None:
    clock = Clock()
    controller = Controller(FakeKube(), decide, identity="test", clock=clock)
    assert isinstance(controller._kube, FakeKube)
    controller._kube.fail_next("get", ApiFailure(429, "TooManyRequests", "slow down", retry_after_seconds=20.0))
    controller.queue.add(("team", "chat"))
    key = controller.queue.take(0)
    assert key is not None
    controller.worker.work_on(key)
    clock.now += 19
    assert controller.queue.take(0) is None
    clock.now += 1
    assert controller.queue.take(0) == key


@pytest.mark.parametrize(
    ("age", "unready", "unhealthy"),
    [
        pytest.param(STALE_SECONDS - 1, False, False, id="news of five minutes is what a watch that begins again may leave"),
        pytest.param(STALE_SECONDS + 1, True, False, id="older is no picture to decide by, though it may yet recover"),
        pytest.param(DEAD_WATCH_SECONDS + 1, True, True, id="much older: a fresh process may do better"),
        pytest.param(24 * HOUR, True, True, id="a day"),
    ],
)
def test_old_news_is_not_ready_and_very_old_news_is_dead(age: float, unready: bool, unhealthy: bool) -> None:
    clock = Clock()
    controller = Controller(FakeKube(), decide, identity="test", clock=clock)
    for informer in controller.informers:
        informer.relist()
    assert controller.unready() == ""
    clock.now += age
    for informer in controller.informers:
        if informer.resource != NODES:
            informer.relist()
    assert (bool(controller.unready()), bool(controller.unhealthy())) == (unready, unhealthy)
    assert ("Node" in controller.unready()) == unready
    controller.informers[0].relist()
    assert controller.unready() == ""


@dataclass(slots=True)
class HalfKube(FakeKube):
    """Gives the first page of a list and refuses the second."""

    def list_page(self, resource: Resource, *, namespace: str = "", selector: str = "", continue_token: str = "", limit: int = 500) -> Page:
        if continue_token:
            raise ApiFailure(500, "InternalError", "no")
        return Page(FakeKube.list_page(self, resource).items[:1], "1", "more")


def test_a_list_that_never_comes_to_its_end_is_no_news() -> None:
    clock = Clock()
    informer = Informer(HalfKube(), DEPLOYMENTS, trim=lambda manifest: manifest, on_change=lambda *_: None, clock=clock)
    clock.now += 100
    with pytest.raises(ApiFailure):
        informer.relist()
    assert informer.age() == 100
