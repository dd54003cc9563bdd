"""Values of one look at an InferenceDeployment: what was read of it, what was decided, and what is reserved for its plan.

Made and read by the reconciler and its judge. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from plimsoll_operator.api import InferenceDeployment
from plimsoll_operator.capacity import closed_lines
from plimsoll_operator.conditions import PLAN_STANDS, Lack
from plimsoll_operator.controller.booking.demand import Standing
from plimsoll_operator.controller.booking.reservation import Reservation
from plimsoll_operator.controller.children.children import is_gated, kind_for, kind_of
from plimsoll_operator.controller.children.course import (
    MAX_REPLAN,
    Applied,
    Course,
    applied_from_child,
)
from plimsoll_operator.controller.children.refusals import pods_refused
from plimsoll_operator.decision.checks.caps import Capped
from plimsoll_operator.facts import Facts
from plimsoll_operator.metrics import Rejudged
from plimsoll_operator.names import REPLAN_ANNOTATION
from plimsoll_operator.ports import Key, Manifest
from plimsoll_operator.render import Origin, spec_digest
from plimsoll_operator.verdict import Reject, Undecided, Verdict

_LACKS: Final[dict[Standing, Lack]] = {Standing.WAITING_FOR_TURN: "turn", Standing.LATE: "scheduler", Standing.ABSENT: "pods"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """One deployment as read from the API server."""

    key: Key
    raw: Manifest
    deployment: InferenceDeployment
    origin: Origin
    child: Manifest | None
    applied: Applied | None
    unknown_fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """The verdict, what follows from it, and what it was made from.

    `standing` is how pods stand that are on no node, `capped` how many of the wanted replicas the caps let it have.
    """

    verdict: Verdict
    course: Course
    facts: Facts
    capped: Capped
    standing: Standing = Standing.SETTLED

    @property
    def waits_for_turn(self) -> bool:
        """Whether its pods may not be shown yet."""
        return self.standing is Standing.WAITING_FOR_TURN

    @property
    def lack(self) -> Lack:
        """What missing pods wait for, where they wait."""
        if not all(pool.free_is_known for pool in self.facts.pools):
            return "unknown"
        return _LACKS.get(self.standing, "gpus")

    @property
    def rejudged(self) -> Rejudged:
        """What is thought today of an applied plan; empty where nothing else would be decided."""
        if self.course.adopting:
            return ""
        if isinstance(self.verdict, Reject):
            return "Reject"
        if isinstance(self.verdict, Undecided):
            return "Undecided"
        return "Proposed" if self.course.proposed is not None else ""

    @property
    def proposed_gpus(self) -> str:
        """The GPUs of a proposed plan that has room for all replicas where the plan that runs has not."""
        proposed, runs = self.course.proposed, self.course.run
        if proposed is None or runs is None or not proposed.available_now or set(proposed.gpu_products) == set(runs.plan.gpu_products):
            return ""
        return f"{proposed.gpus_per_replica} x {' or '.join(proposed.gpu_products)} a replica"

    @property
    def closed_nodes(self) -> str:
        """Why nothing is free on nodes with the plan's GPUs whatever runs there, and on how many; empty where that is of none."""
        if self.course.run is None or self.standing in (Standing.BOOKED, Standing.SETTLED):
            return ""
        plan = self.course.run.plan
        own = [pool for pool in self.facts.pools if pool.product in plan.gpu_products and pool.resource == plan.gpu_resource]
        return "; ".join(dict.fromkeys(line for pool in own for line in closed_lines(pool.problems)))

    def outcome(self, *, wrote: bool) -> str:
        """The word of the metric for a look that ended so."""
        if isinstance(self.verdict, Reject):
            return "rejected"
        if isinstance(self.verdict, Undecided):
            return "undecided"
        return "applied" if wrote else "unchanged"


def gathered_of(key: Key, raw: Manifest, deployment: InferenceDeployment, child: Manifest | None) -> Gathered:
    """What the API server says of a deployment and its child; the applied plan as the child carries it, else as status does."""
    metadata = deployment.metadata
    origin = Origin(
        generation=metadata.generation,
        spec_digest=spec_digest(raw["spec"]),
        replan=metadata.annotations.get(REPLAN_ANNOTATION, "")[:MAX_REPLAN],
    )
    applied = applied_from_child(child) or applied_from_status(deployment, origin)
    return Gathered(key=key, raw=raw, deployment=deployment, origin=origin, child=child, applied=applied)


def applied_from_status(deployment: InferenceDeployment, origin: Origin) -> Applied | None:
    """The plan of a child that somebody deleted, as long as it was reported for the spec as it stands."""
    status = deployment.status
    if status is None or status.plan is None or status.observed_generation != origin.generation:
        return None
    if any(row.type == "Stalled" and row.status == "True" and row.reason not in PLAN_STANDS for row in status.conditions):
        return None  # The spec was refused: what is reported is the plan of an earlier one.
    plan = status.plan.as_plan()
    return Applied(plan=plan, origin=origin) if plan is not None else None


def reservation_by(gathered: Gathered, course: Course, run: Applied, wanted: int) -> Reservation:
    """What is reserved for the plan: of a refused spec no more than the child has, gated as the pods that carry it are."""
    has = replicas_of(gathered.child)
    if gathered.child is not None and kind_of(gathered.child) is not kind_for(run.plan):
        has = 0  # another kind of child takes over, and has no pods yet
    gated = gathered.deployment.spec.placement.wait_for_capacity
    if gathered.child is not None and not course.adopts:
        gated = is_gated(gathered.child)
    return Reservation(
        plan=run.plan,
        replicas=min(wanted, has) if course.adopting and not course.adopts else wanted,
        decided=run.decided,
        generation=run.origin.generation,
        gated=gated,
        child_replicas=has,
        refused=gathered.child is not None and not course.adopts and pods_refused(gathered.child) is not None,
        selector=tuple(sorted(gathered.deployment.spec.placement.node_selector.items())),
    )


def replicas_of(child: Manifest | None) -> int:
    """How many a child asks for; 0 where there is none."""
    return int((child or {}).get("spec", {}).get("replicas") or 0)
