"""An applied plan and its replicas, as the ledger counts them: never stored, it follows from the child and its deployment.

Made by the reconciler and by recovery. A value; knows no pods and no pools.
"""

from __future__ import annotations

from dataclasses import dataclass

from plimsoll_operator.capacity.groups import Labels
from plimsoll_operator.controller.booking.demand import PodShape
from plimsoll_operator.decision.checks.caps import use_of_plan
from plimsoll_operator.facts import DeploymentUse
from plimsoll_operator.verdict import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """An applied plan and the replicas that are wanted of it.

    `decided` is its place in the decision order (a timestamp that sorts as text), `child_replicas` what the child asks for by
    now, `gated` that its pods carry the capacity gate, `generation` the spec's that the plan answers. `refused` is the child's word that
    pods it asks for cannot be made, `selector` the node labels that the spec selects by.
    """

    plan: Plan
    replicas: int
    decided: str = ""
    generation: int = 0
    gated: bool = False
    child_replicas: int = 0
    refused: bool = False
    selector: Labels = ()

    @property
    def shape(self) -> PodShape:
        """What each of its pods looks for."""
        plan = self.plan
        return PodShape(
            selector=self.selector,
            pools=plan.pools,
            products=plan.gpu_products or (plan.product,),
            resource=plan.gpu_resource,
            sharing=plan.sharing,
            requests=plan.pod_requests,
        )


def use_of(reservation: Reservation | None) -> DeploymentUse | None:
    """What it takes of its namespace's caps."""
    return None if reservation is None else use_of_plan(reservation.plan, reservation.replicas)
