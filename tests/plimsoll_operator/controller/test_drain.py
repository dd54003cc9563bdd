"""How a leader ends: the order of things, and that the lease is given back only where nobody writes any more."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from tests.plimsoll_operator.controller.leases import Clock, elector, holder
from tests.plimsoll_operator.fake_kube import FakeKube

from plimsoll_operator.controller.leader import lease as lease_module
from plimsoll_operator.controller.leader.drain import drain
from plimsoll_operator.controller.leader.lease import LEASE_SECONDS, RENEW_DEADLINE_SECONDS, LeaseElector

LONGEST_WAIT_S = 30


class Leader:
    """A leader with one writer, whose key at hand takes until `finish`, and with renewals."""

    def __init__(self) -> None:
        self.kube, self.clock = FakeKube(), Clock()
        self.elector: LeaseElector = elector(self.kube, "a", self.clock)
        self.elector._now = lambda: datetime(2026, 1, 1, second=int(self.clock.now) % 60, tzinfo=UTC)
        assert self.elector.attempt()
        self.ended, self.finish = threading.Event(), threading.Event()
        self.writer = self._start("worker-0", self.finish.wait)
        self.renewal = self._start("lease", lambda: self.elector.hold(self.ended))

    def _start(self, name: str, target: Callable[[], object]) -> threading.Thread:
        thread = threading.Thread(target=target, name=name, daemon=True)
        thread.start()
        return thread

    def drain(self, seconds: float = LONGEST_WAIT_S) -> bool:
        return drain([self.writer], self.renewal, self.ended, self.elector, seconds=seconds)


@pytest.fixture
def leader() -> Leader:
    return Leader()


def renewals(kube: FakeKube) -> int:
    return sum(call.kind == "Lease" for call in kube.writes)


def test_the_lease_is_renewed_while_a_key_is_at_hand_and_given_back_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_module, "RETRY_SECONDS", 0.001)
    leader = Leader()
    done: list[bool] = []
    draining = threading.Thread(target=lambda: done.append(leader.drain()))
    draining.start()
    until = renewals(leader.kube) + 3
    for _ in range(10_000):
        leader.clock.now += 1
        if renewals(leader.kube) > until:
            break
        leader.ended.wait(0.001)
    assert renewals(leader.kube) > until
    assert (holder(leader.kube), leader.ended.is_set(), done) == ("a", False, [])
    leader.finish.set()
    draining.join(LONGEST_WAIT_S)
    assert done == [True]
    assert holder(leader.kube) == ""
    assert not leader.renewal.is_alive(), "a renewal after it would take the lease again"


def test_who_still_writes_at_the_end_keeps_the_next_leader_out_until_the_lease_expires(leader: Leader) -> None:
    second = elector(leader.kube, "b", leader.clock)
    assert not second.attempt()
    assert not leader.drain(seconds=0.0)
    assert holder(leader.kube) == "a"
    assert not second.attempt()
    leader.clock.now += LEASE_SECONDS + 1
    assert second.attempt()
    leader.finish.set()


def test_a_leader_whose_lease_runs_out_meanwhile_waits_for_nobody(leader: Leader) -> None:
    leader.clock.now += RENEW_DEADLINE_SECONDS + 1
    assert not leader.drain()
    assert holder(leader.kube) == "a"
    leader.finish.set()
