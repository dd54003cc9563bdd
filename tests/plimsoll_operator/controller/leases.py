"""Electors on one clock over the API server in memory."""

from datetime import UTC, datetime

from tests.plimsoll_operator.fake_kube import FakeKube

from plimsoll_operator.controller.leader.lease import LeaseElector
from plimsoll_operator.controller.loops.quarantine import Border, no_border
from plimsoll_operator.ports import LEASES


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def elector(kube: FakeKube, identity: str, clock: Clock, border: Border = no_border) -> LeaseElector:
    return LeaseElector(
        kube,
        namespace="plimsoll-system",
        name="plimsoll-controller",
        identity=identity,
        clock=clock,
        now=lambda: datetime(2026, 1, 1, tzinfo=UTC),
        border=border,
    )


def holder(kube: FakeKube) -> str:
    lease = kube.get(LEASES, "plimsoll-system", "plimsoll-controller")
    assert lease is not None
    return str(lease["spec"]["holderIdentity"])
