"""What is decided about one deployment, and whether it need be decided again: facts, verdict, course.

Called by the reconciler in its one serial step. Makes no request; remembers the last answer of each key.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace

from plimsoll_operator.controller.booking.ledger import Ledger
from plimsoll_operator.controller.children.course import (
    Course,
    can_start,
    chart,
    must_adopt,
    must_start_over,
)
from plimsoll_operator.controller.cluster.store import ParsedObjects, StoreView
from plimsoll_operator.controller.gathered import Decided, Gathered, replicas_of
from plimsoll_operator.controller.resolving.models import Models
from plimsoll_operator.decision.checks.caps import Hold, growth_refused, hold
from plimsoll_operator.facts import Decide, Facts, ModelFacts, ModelUnknown
from plimsoll_operator.gather import facts_for
from plimsoll_operator.ports import Key
from plimsoll_operator.verdict import Verdict


class Judge:
    """Holds what facts are made from, and what was answered before."""

    def __init__(
        self,
        *,
        objects: ParsedObjects,
        ledger: Ledger,
        models: Models,
        decide: Decide,
        bypass_is_protected: Callable[[], bool],
        serves_groups: Callable[[], bool],
    ) -> None:
        self._objects = objects
        self._ledger = ledger
        self._models = models
        self._decide = decide
        self._bypass_is_protected = bypass_is_protected
        self._serves_groups = serves_groups
        self._judged: dict[Key, tuple[object, Verdict]] = {}

    def forget(self, key: Key) -> None:
        """The deployment is gone."""
        self._judged.pop(key, None)

    def rejudge(self) -> None:
        """Forget what was answered before, so that the next look at each key decides again."""
        self._judged.clear()

    def facts(self, gathered: Gathered) -> Facts:
        """What this deployment's decision is made from, with the pools as it may plan on them."""
        applied = gathered.applied
        selector = gathered.deployment.spec.placement.node_selector
        self._ledger.use_label_keys(gathered.key, selector)
        view = StoreView(
            self._objects,
            self._ledger.pools_without(gathered.key),
            use_beside=self._ledger.use_beside,
            bypass_is_protected=self._bypass_is_protected(),
            serves_leader_worker_sets=self._serves_groups(),
        )
        plan = applied.plan if applied is not None else None
        facts = facts_for(gathered.deployment, view, applied_plan=plan, unknown_fields=gathered.unknown_fields)
        facts = replace(facts, pools=self._ledger.narrow(gathered.key, selector, facts.pools))
        effort = f"{gathered.origin.generation}/{gathered.origin.replan}"
        return self._models.consider(gathered.key, facts, effort=effort, running=applied is not None)

    def decide(self, gathered: Gathered, facts: Facts) -> Decided:
        """The verdict, and what follows from it for what runs."""
        applied, origin = gathered.applied, gathered.origin
        live_pods = self._ledger.bound(gathered.key)
        adopting, judged = True, facts
        if applied is not None:
            startable = can_start(applied.plan, gathered.deployment.spec.placement, facts.pools)
            adopting = must_adopt(applied, origin, live_pods=live_pods, can_start=startable)
            if must_start_over(applied, origin, live_pods=live_pods, can_start=startable):
                judged = replace(facts, applied_plan=None)
        verdict = self._judge(gathered.key, judged, adopting=adopting)
        course = chart(applied, origin, verdict, adopting=adopting)
        return Decided(verdict=verdict, course=course, facts=facts, live_pods=live_pods, hold=_held(gathered, course, facts, verdict))

    def _judge(self, key: Key, facts: Facts, *, adopting: bool) -> Verdict:
        """decide(facts), or its last answer for this key when nothing it may look at differs: most wake-ups are the child's.

        Where an applied plan is only re-judged, GPUs that come and go are no reason either: proposals would flap with them.
        """
        looked_at = _looked_at(facts, adopting=adopting)
        before = self._judged.get(key)
        if before is not None and before[0] == looked_at:
            return before[1]
        verdict = self._decide(facts)
        self._judged[key] = (looked_at, verdict)
        return verdict


def _looked_at(facts: Facts, *, adopting: bool) -> tuple[object, ...]:
    """Everything a verdict may depend on, as values that compare quickly: shapes by their digest, of the object its spec."""

    def shape(model: ModelFacts) -> tuple[object, ...]:
        return (model.name, model.source, model.digest, model.revision)

    model = facts.model if isinstance(facts.model, ModelUnknown) else shape(facts.model)
    pools = facts.pools if adopting else tuple(pool.standing() for pool in facts.pools)
    apart = ("deployment", "model", "pools", "siblings")
    rest = tuple(getattr(facts, part.name) for part in fields(facts) if part.name not in apart)
    return (adopting, facts.deployment.spec, model, pools, tuple(shape(sibling) for sibling in facts.siblings), *rest)


def _held(gathered: Gathered, course: Course, facts: Facts, verdict: Verdict) -> Hold:
    """More replicas of a plan that stays are asked of the policy here; a new plan's were by `decide`, a refused spec gets none."""
    wanted, has = gathered.deployment.spec.replicas, replicas_of(gathered.child)
    if course.run is None or course.adopting:
        return Hold(replicas=wanted)
    refused = growth_refused(facts, verdict)
    if refused is not None and wanted > has:
        return Hold(replicas=has, reject=refused)
    return hold(facts.policy, facts.beside, course.run.plan, wanted=wanted, has=has)
