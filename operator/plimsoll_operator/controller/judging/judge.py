"""What is decided about one deployment, and whether it need be decided again: facts, verdict, course.

Called by the reconciler in its one serial step. Makes no request; remembers the last answer of each key.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace

from plimsoll_operator.api import GPUPool, Unreadable
from plimsoll_operator.capacity import DerivedPool
from plimsoll_operator.controller.booking.ledger import Ledger
from plimsoll_operator.controller.children.course import (
    Course,
    can_start,
    chart,
    must_adopt,
    must_start_over,
)
from plimsoll_operator.controller.cluster.store import ParsedObjects, StoreView
from plimsoll_operator.controller.judging.gathered import Decided, Gathered, replicas_of
from plimsoll_operator.controller.judging.proposals import better, gpus_of, its_gpus, too_few, worth_asking
from plimsoll_operator.controller.resolving.models import Models
from plimsoll_operator.decision.checks.caps import Capped, growth_refused, within_caps
from plimsoll_operator.facts import Decide, Facts, ModelFacts, ModelUnknown, PoolFacts
from plimsoll_operator.gather import facts_for
from plimsoll_operator.ports import Key
from plimsoll_operator.verdict import Plan, Verdict


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
        self._judged: dict[Key, tuple[object, Verdict, Plan | None]] = {}
        self._derived: tuple[DerivedPool, ...] | None = None
        self._written: tuple[GPUPool | Unreadable, ...] | None = None
        self._pools: tuple[PoolFacts, ...] = ()
        self._nodes: tuple[int, ...] = ()
        self._room = object()
        self._short: dict[Key, tuple[object, bool]] = {}
        self._standing: tuple[PoolFacts, ...] = ()

    def forget(self, key: Key) -> None:
        """The deployment is gone."""
        self._judged.pop(key, None)
        self._short.pop(key, None)

    def rejudge(self) -> None:
        """Forget what was answered before, so that the next look at each key decides again."""
        self._judged.clear()

    def decide(self, gathered: Gathered) -> Decided:
        """The verdict, and what follows from it for what runs."""
        if gathered.applied is not None:
            self._look_at_pools()
            standing = self._facts(gathered, self._pools, free=False)
            if self._outgrown(gathered, standing):
                self._judged.pop(gathered.key)
            before = self._as_before(gathered, standing)
            if before is not None:
                return self._decided(gathered, standing, *before, adopting=False)
        return self._decide_anew(
            gathered, self._facts(gathered, self._objects.pool_facts(self._ledger.pools_without(gathered.key)), free=True)
        )

    def _look_at_pools(self) -> None:
        """Work the pools and what stands of them out, once for each change of one: of thousands of looks they are the same."""
        derived, written = self._ledger.standing_pools(), self._objects.pools.found()
        if self._derived is not derived or self._written is not written:
            self._derived, self._written = derived, written
            self._pools = self._objects.pool_facts(derived)
            standing = tuple(pool.standing() for pool in self._pools)
            nodes = tuple(pool.most_nodes for pool in self._pools)
            if nodes != self._nodes or standing != self._standing:
                self._nodes, self._room = nodes, object()
            # The same object where nothing of it has changed: what was judged before is compared with it.
            self._standing = self._standing if standing == self._standing else standing

    def _facts(self, gathered: Gathered, pools: tuple[PoolFacts, ...], *, free: bool) -> Facts:
        """What this deployment's decision is made from, with the pools as it may plan on them, or with no word of what is free in them."""
        applied = gathered.applied
        selector = gathered.deployment.spec.placement.node_selector
        view = StoreView(
            self._objects,
            pools,
            use_beside=self._ledger.use_beside,
            bypass_is_protected=self._bypass_is_protected(),
            serves_leader_worker_sets=self._serves_groups(),
        )
        plan = applied.plan if applied is not None else None
        facts = facts_for(gathered.deployment, view, applied_plan=plan, unknown_fields=gathered.unknown_fields)
        facts = replace(facts, pools=self._ledger.narrow(gathered.key if free else None, selector, facts.pools))
        effort = f"{gathered.origin.generation}/{gathered.origin.replan}"
        return self._models.consider(gathered.key, facts, effort=effort, running=applied is not None)

    def _as_before(self, gathered: Gathered, standing: Facts) -> tuple[Verdict, Plan | None] | None:
        """The last answer and the better plan, where an applied one is only judged again and nothing that they depend on differs.

        GPUs that come and go are no such thing, so that nobody counts them for this: most looks end here. On time-sliced cards the pods
        of strangers are, and a deployment's own may be among them.
        """
        applied = gathered.applied
        assert applied is not None
        if any(pool.parts > 1 for pool in standing.pools):
            return None
        startable = can_start(applied.plan, gathered.deployment.spec.placement, standing.pools)
        if must_adopt(applied, gathered.origin, live_pods=self._ledger.bound(gathered.key), can_start=startable):
            return None
        before = self._judged.get(gathered.key)
        if before is None or before[0] != self._looked_at(gathered, standing, adopting=False):
            return None
        return before[1:]

    def _outgrown(self, gathered: Gathered, standing: Facts) -> bool:
        """Whether the last answer has a better plan for want of GPUs that the applied one's own pool has by now: then it is none."""
        before, spec = self._judged.get(gathered.key), gathered.deployment.spec
        if before is None or before[2] is None or gathered.applied is None:
            return False
        return not worth_asking(gathered.applied.plan, spec.replicas, spec.placement, standing.pools)

    def _decide_anew(self, gathered: Gathered, facts: Facts) -> Decided:
        applied, origin = gathered.applied, gathered.origin
        adopting, judged = True, facts
        if applied is not None:
            live_pods = self._ledger.bound(gathered.key)
            startable = can_start(applied.plan, gathered.deployment.spec.placement, facts.pools)
            adopting = must_adopt(applied, origin, live_pods=live_pods, can_start=startable)
            if must_start_over(applied, origin, live_pods=live_pods, can_start=startable):
                judged = replace(facts, applied_plan=None)
        return self._decided(gathered, facts, *self._judge(gathered, judged, adopting=adopting), adopting=adopting)

    def _decided(self, gathered: Gathered, facts: Facts, verdict: Verdict, better: Plan | None, *, adopting: bool) -> Decided:
        course = chart(gathered.applied, gathered.origin, verdict, adopting=adopting, better=better)
        return Decided(verdict=verdict, course=course, facts=facts, capped=_capped(gathered, course, facts, verdict))

    def _judge(self, gathered: Gathered, facts: Facts, *, adopting: bool) -> tuple[Verdict, Plan | None]:
        """decide(facts), and a better plan on other GPUs where one is only judged again.

        The last answer for this key when nothing it may look at differs: most wake-ups are the child's.

        Where an applied plan is only re-judged, GPUs that come and go are no reason either: proposals would flap with them.
        """
        looked_at = self._looked_at(gathered, facts, adopting=adopting)
        before = self._judged.get(gathered.key)
        if before is not None and before[0] == looked_at:
            return before[1:]
        verdict = self._decide(facts)
        found = None if adopting else self._proposed(gathered, facts)
        self._judged[gathered.key] = (looked_at, verdict, found)
        return verdict, found

    def _proposed(self, gathered: Gathered, facts: Facts) -> Plan | None:
        """The plan on other GPUs that have room for what is wanted, or cost less; None where the applied one is as good."""
        plan, spec = facts.applied_plan, gathered.deployment.spec
        if plan is None or not worth_asking(plan, spec.replicas, spec.placement, facts.pools):
            return None
        afresh = self._decide(replace(facts, applied_plan=None))
        return better(plan, afresh, spec.replicas, spec.placement, facts.pools)

    def _short_of_nodes(self, gathered: Gathered, facts: Facts) -> bool:
        """Whether the nodes with the applied plan's GPUs hold fewer replicas than are wanted: nodes may be lost, or come back."""
        if gathered.applied is None:
            return False
        plan, spec = gathered.applied.plan, gathered.deployment.spec
        asked = (self._room, gathered.origin.spec_digest, spec.replicas, plan.digest)
        before = self._short.get(gathered.key)
        if before is None or before[0] != asked or facts.pools is not self._pools:
            own = [pool for pool in facts.pools if gpus_of(pool) in its_gpus(plan)]
            before = self._short[gathered.key] = (asked, too_few(plan, spec.replicas, spec.placement, own))
        return before[1]

    def _looked_at(self, gathered: Gathered, facts: Facts, *, adopting: bool) -> tuple[object, ...]:
        """Everything a verdict may depend on, as values that compare quickly: shapes and the spec by their digests, pools as one tuple."""

        def shape(model: ModelFacts) -> tuple[object, ...]:
            return (model.name, model.source, model.digest, model.revision)

        model = facts.model if isinstance(facts.model, ModelUnknown) else shape(facts.model)
        pools = facts.pools
        if not adopting:
            pools = self._standing if facts.pools is self._pools else tuple(pool.standing() for pool in facts.pools)
            pools = self._standing if pools == self._standing else pools  # one tuple for all who look at the same
        spec = gathered.deployment.spec
        of_spec = (gathered.origin.spec_digest, spec.replicas, spec.pod_disruption_budget)
        apart = ("deployment", "model", "pools", "siblings")
        rest = tuple(getattr(facts, part.name) for part in fields(facts) if part.name not in apart)
        return (
            not adopting and self._short_of_nodes(gathered, facts),
            adopting,
            of_spec,
            model,
            pools,
            tuple(shape(sibling) for sibling in facts.siblings),
            *rest,
        )


def _capped(gathered: Gathered, course: Course, facts: Facts, verdict: Verdict) -> Capped:
    """More replicas of a plan that stays are asked of the policy here; a new plan's were by `decide`, a refused spec gets none."""
    wanted, has = gathered.deployment.spec.replicas, replicas_of(gathered.child)
    if course.run is None or course.adopting:
        return Capped(replicas=wanted)
    refused = growth_refused(facts, verdict)
    if refused is not None and wanted > has:
        return Capped(replicas=has, reject=refused)
    return within_caps(facts.policy, facts.beside, course.run.plan, wanted=wanted, has=has)
