"""What one deployment's missing pods contend for: pods that exist and, for a moment, those that were asked for and are not there yet.

Values and the arithmetic of one entry of the bookings; time is handed in. What does not exist contends for nothing for long: a quota, Pod
Security or an admission webhook may keep a child from ever making the pods it is asked for. Knows no pools and no other deployment.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from plimsoll_operator.capacity.groups import Labels
from plimsoll_operator.names import GPU_RESOURCE
from plimsoll_operator.pod import PodRequests

# So long after they were asked for, or after the latest of them appeared, pods that do not exist are believed to come.
GRACE_SECONDS: Final = 5.0
# The scheduler binds within a fraction of a second: what takes longer is not going to happen, and must not hold up the others.
BIND_SECONDS: Final = 10.0
# A large deployment takes its time as long as it goes on: ten pods a second is half of what controllers make at their defaults.
SECONDS_A_POD: Final = 0.1
_WHOLE_HOST: Final = 1 << 62


class Standing(StrEnum):
    """Where a deployment's missing pods stand.

    LATE is waiting although GPUs were booked: the scheduler did not take them. ABSENT is that some do not exist although they were
    asked for: nothing is booked for those until they do.
    """

    SETTLED = "Settled"
    BOOKED = "Booked"
    WAITING_FOR_TURN = "WaitingForTurn"
    WAITING = "Waiting"
    LATE = "Late"
    ABSENT = "Absent"


@dataclass(frozen=True, slots=True, kw_only=True)
class PodShape:
    """What missing pods of alike plans look for; contenders are counted by it, so that ten thousand of them cost a handful.

    Without pools and products it may be any node that has the resource. `selector` are the node labels it asks for beside.
    """

    pools: tuple[str, ...]
    products: tuple[str, ...]
    requests: PodRequests
    resource: str = GPU_RESOURCE
    sharing: str = "none"
    selector: Labels = ()

    @property
    def gpus(self) -> int:
        """GPUs of one of them."""
        return self.requests.gpus

    def coarse(self) -> PodShape:
        """A pod that takes at least as much: GPUs rounded up to a power of two, and all of a host of which it takes anything."""
        own = self.requests
        memory, cpu, storage = (
            _WHOLE_HOST if amount else 0 for amount in (own.host_memory_bytes, own.host_cpu_millis, own.ephemeral_storage_bytes)
        )
        gpus = 1 << min(own.gpus - 1, 1 << 20).bit_length() if own.gpus else 0
        more = PodRequests(gpus=gpus, host_memory_bytes=memory, host_cpu_millis=cpu, ephemeral_storage_bytes=storage)
        return replace(self, requests=more)


@dataclass(frozen=True, slots=True, kw_only=True)
class PodDemand:
    """One deployment: pods desired, on nodes, and existing without a node (`waiting`), and its place in the decision order.

    `visible` are those of the waiting that the scheduler may see, `child_pods` what the child asks for, of which there may be less.
    `refused` is the child's word that they cannot be made. A replica over several nodes is `pods_per_replica` pods, of which none is of
    use without the others.
    """

    shape: PodShape
    desired: int
    bound: int
    waiting: int
    visible: int
    child_pods: int
    gated: bool
    decided: str
    refused: bool = False
    pods_per_replica: int = 1

    @property
    def exist(self) -> int:
        """Pods there are, of those that are wanted."""
        return min(self.desired, self.bound + self.waiting)


@dataclass(slots=True)
class Entry:
    """`untried` until its pods have been judged as they are now; `released` replicas may be asked for by the child.

    `booked` pods have GPUs booked since `booked_at`, at the latest until `due`. `lent` pods behind a gate may be shown without a
    booking. `absent` pods are wanted, do not exist, and are not believed in: they contend for nothing. `given_up` says that they have
    had their time. `asked_at` is when pods that did not exist were last asked for, `appeared_at` when the latest of them did.
    """

    demand: PodDemand
    asked_at: float
    appeared_at: float
    booked: int = 0
    booked_at: float = 0.0
    due: float = 0.0
    lent: int = 0
    lent_at: float = 0.0
    released: int = 0
    late: bool = False
    untried: bool = True
    absent: int = 0
    given_up: bool = False

    @property
    def missing(self) -> int:
        """Pods that exist or are believed to come, and are on no node."""
        return max(0, self.demand.desired - self.demand.bound - self.absent)

    @property
    def gone(self) -> int:
        """Pods that somebody was asked for and that do not exist. What we hold back ourselves is asked of nobody."""
        demand = self.demand
        asked = demand.desired if demand.gated else min(demand.desired, max(demand.child_pods, self.released))
        return max(0, asked - demand.exist)

    @property
    def phantoms(self) -> int:
        """Of these the ones that are believed in, and so contend for GPUs."""
        return self.gone - self.absent

    def believed_until(self) -> float:
        """When pods that do not exist are believed in no longer. A booking, until it is due, is belief enough."""
        longest = self.asked_at + GRACE_SECONDS + SECONDS_A_POD * self.demand.desired
        until = min(longest, max(self.asked_at, self.appeared_at) + GRACE_SECONDS)
        return max(until, self.due) if self.booked else until

    def disbelieve(self, now: float, *, trusted: bool) -> None:
        """Work out `absent` anew, and let go of what was booked for pods that do not come."""
        self.given_up = self.demand.refused or now >= self.believed_until()
        self.absent = 0 if not self.given_up and (trusted or self.booked > 0) else self.gone
        self.booked = min(self.booked, self.missing)
        self.lent = min(self.lent, self.missing)

    @property
    def shown(self) -> int:
        """Pods the scheduler may see by now: what is released or lent is shown at any moment."""
        demand = self.demand
        seen = max(demand.visible, self.lent if demand.gated else max(demand.child_pods, self.released) - demand.bound)
        return min(self.missing, max(0, seen))

    @property
    def contending(self) -> int:
        """Pods that may take GPUs, or for which some are booked."""
        return max(self.shown, self.booked)

    @property
    def hidden(self) -> bool:
        """Whether some of its pods are not shown and have no booking."""
        return self.missing > self.contending

    @property
    def queued(self) -> bool:
        """Whether it waits to be judged."""
        return (self.hidden or self.untried) and self.booked < self.missing and not self.late

    @property
    def standing(self) -> Standing:
        """See Standing."""
        if not self.missing and not self.absent:
            return Standing.SETTLED
        if self.booked >= self.missing > 0 and not self.absent:
            return Standing.BOOKED
        if self.late and self.missing:
            return Standing.LATE
        if self.hidden and not self.demand.gated:
            return Standing.WAITING_FOR_TURN
        return Standing.ABSENT if self.absent and self.given_up else Standing.WAITING

    def follow(self, demand: PodDemand, now: float) -> None:
        """Take in a deployment as it is now. Pods that have reached a node take their booking with them.

        Pods that were never made are not believed in anew because somebody asks for more or fewer of them.
        """
        before, kept = self.demand, self.gone
        arrived = max(0, demand.bound - before.bound)
        self.demand = demand
        self.booked = max(0, self.booked - arrived)
        self.lent = max(0, self.lent - arrived)
        self.released = min(self.released, demand.desired)
        if demand.exist > before.exist:
            self.appeared_at = now
        if self.gone > kept == 0:
            self.asked_at = now
        if (demand.bound, demand.desired, demand.exist) != (before.bound, before.desired, before.exist):
            self.late, self.untried = False, True
        if arrived and self.booked:
            self.due = min(now + BIND_SECONDS, self._latest())

    def book(self, pods: int, now: float) -> None:
        """Book GPUs for `pods` more of them."""
        if not self.booked:
            self.booked_at = now
        self.booked += pods
        self.due = min(now + BIND_SECONDS, self._latest())
        self.release(now)

    def release(self, now: float) -> None:
        """The child may ask for all of them."""
        if self.released < self.demand.desired:
            kept = self.gone
            self.released = self.demand.desired
            self.asked_at = now if self.gone > kept == 0 else self.asked_at

    def _latest(self) -> float:
        return self.booked_at + BIND_SECONDS + SECONDS_A_POD * self.booked
