import threading
from datetime import UTC, datetime

import pytest
from tests.plimsoll_operator.controller.leases import Clock, elector, holder
from tests.plimsoll_operator.fake_kube import FakeKube

from plimsoll_operator.controller.leader.lease import LEASE_SECONDS, RENEW_DEADLINE_SECONDS
from plimsoll_operator.controller.loops.quarantine import Quarantine
from plimsoll_operator.errors import ApiFailure, LeaseLost
from plimsoll_operator.ports import Manifest, Resource


def test_the_first_leads_and_the_second_waits_until_the_lease_has_not_moved_for_its_duration() -> None:
    kube, clock = FakeKube(), Clock()
    first, second = elector(kube, "a", clock), elector(kube, "b", clock)
    assert first.attempt()
    assert not second.attempt()
    clock.now += LEASE_SECONDS - 1
    assert not second.attempt()
    clock.now += 2
    assert second.attempt()
    assert holder(kube) == "b"
    assert not first.attempt()


def test_renewals_keep_others_out() -> None:
    kube, clock = FakeKube(), Clock()
    first, second = elector(kube, "a", clock), elector(kube, "b", clock)
    first._now = lambda: datetime(2026, 1, 1, second=int(clock.now) % 60, tzinfo=UTC)
    for _ in range(20):
        assert first.attempt()
        assert not second.attempt()
        clock.now += LEASE_SECONDS - 1


def test_of_two_that_try_at_once_one_wins() -> None:
    kube, clock = FakeKube(), Clock()
    kube.fail_next("create", ApiFailure(409, "AlreadyExists", "raced"))
    assert not elector(kube, "b", clock).attempt()


def test_a_stopped_leader_gives_the_lease_back_so_that_the_next_need_not_wait() -> None:
    kube, clock = FakeKube(), Clock()
    first, second = elector(kube, "a", clock), elector(kube, "b", clock)
    assert first.attempt()
    stop = threading.Event()
    stop.set()
    first.hold(stop)
    assert not second.attempt()
    first.release()
    assert second.attempt()


def test_a_leader_whose_renewal_hangs_is_overdue_before_another_may_lead() -> None:
    kube, clock = FakeKube(), Clock()
    first, second = elector(kube, "a", clock), elector(kube, "b", clock)
    assert first.attempt()
    assert not second.attempt()
    clock.now += LEASE_SECONDS - 1
    assert first.overdue()
    assert not second.attempt()


def test_a_leader_whose_lease_was_taken_must_exit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plimsoll_operator.controller.leader.lease.RETRY_SECONDS", 0.001)
    kube, clock = FakeKube(), Clock()
    first, second = elector(kube, "a", clock), elector(kube, "b", clock)
    assert first.attempt()
    assert not second.attempt()
    clock.now += LEASE_SECONDS + 1
    assert second.attempt()
    with pytest.raises(LeaseLost):
        first.hold(threading.Event())


def test_a_leader_that_cannot_renew_in_time_must_exit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plimsoll_operator.controller.leader.lease.RETRY_SECONDS", 0.001)
    kube, clock = FakeKube(), Clock()
    first = elector(kube, "a", clock)
    assert first.attempt()

    def later() -> float:
        clock.now += 3
        return clock.now

    first._clock = later
    kube.fail_next("get", *[ApiFailure(0, "ConnectionError", "refused")] * 50)
    with pytest.raises(LeaseLost, match="could not be renewed"):
        first.hold(threading.Event())


class ForgetfulKube(FakeKube):
    """Meets a bug at the first calls of replace."""

    bugs = 0

    def replace(self, resource: Resource, manifest: Manifest) -> Manifest:
        self.bugs -= 1
        if self.bugs >= 0:
            raise ZeroDivisionError
        return super().replace(resource, manifest)


@pytest.mark.parametrize(
    ("bugs", "lost"),
    [
        pytest.param(2, False, id="a bug in two renewals is no reason to stop"),
        pytest.param(100, True, id="a bug in every renewal is"),
    ],
)
def test_a_bug_in_a_renewal_counts_like_a_refusal(bugs: int, lost: bool) -> None:
    kube, clock = ForgetfulKube(), Clock()
    first = elector(kube, "a", clock, Quarantine().border)
    assert first.attempt()
    kube.bugs = bugs
    stop = Ticking(clock, turns=20)
    if lost:
        with pytest.raises(LeaseLost):
            first.hold(stop)
    else:
        first.hold(stop)
        assert holder(kube) == "a"


class Ticking(threading.Event):
    """Waiting moves the clock on instead, for so many turns."""

    def __init__(self, clock: Clock, turns: int) -> None:
        super().__init__()
        self._clock, self._turns = clock, turns

    def wait(self, timeout: float | None = None) -> bool:
        self._clock.now += timeout or 0.0
        self._turns -= 1
        return self._turns < 0


def test_who_was_never_let_at_the_lease_or_not_for_long_could_not_lead() -> None:
    kube, clock = FakeKube(), Clock()
    standby, leader = elector(kube, "b", clock), elector(kube, "a", clock)
    assert standby.unable() == "lease plimsoll-controller is not known yet"
    kube.fail_next("get", ApiFailure(403, "Forbidden", "leases is forbidden"))
    with pytest.raises(ApiFailure):
        standby.attempt()
    assert "not known yet" in standby.unable()
    assert "leases is forbidden" in standby.unable()
    assert leader.attempt()
    assert not standby.attempt()
    assert (standby.unable(), standby.leads, leader.leads) == ("", False, True)
    clock.now += RENEW_DEADLINE_SECONDS + 1
    assert "no answer about lease plimsoll-controller for 11 s" in standby.unable()
