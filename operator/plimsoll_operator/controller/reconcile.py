"""One key at a time: gather, decide and book, apply, report. Level-triggered: everything is read again, nothing depends on the event.

Called by the leader's workers, several at once but never two for the same key. Reading, applying and reporting run side by
side; deciding and booking are one serial step, so two deployments of one second cannot both count the last free GPUs.
A plan is booked before its child is applied, and what is booked is taken back when the child is refused for good.
Raises ApiFailure where the API server refuses; the worker retries the key.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Final

from plimsoll_operator.api import ApiError, InferenceDeployment, ObservedStatus, read_deployment
from plimsoll_operator.conditions import Blocked, Situation, model_seen
from plimsoll_operator.controller.booking.demand import Standing
from plimsoll_operator.controller.booking.gates import Gates
from plimsoll_operator.controller.booking.ledger import Ledger
from plimsoll_operator.controller.booking.places import Places, settled
from plimsoll_operator.controller.booking.reservation import Reservation
from plimsoll_operator.controller.children.children import Cached, Children
from plimsoll_operator.controller.children.course import (
    Applied,
    Course,
    applied_from_child,
)
from plimsoll_operator.controller.children.disputes import Disputes
from plimsoll_operator.controller.cluster.copies import Copies
from plimsoll_operator.controller.cluster.store import ParsedObjects
from plimsoll_operator.controller.judging.gathered import Decided, Gathered, gathered_of, replicas_of, reservation_by
from plimsoll_operator.controller.judging.judge import Judge
from plimsoll_operator.controller.leader.recovery import reservation_of
from plimsoll_operator.controller.loops.quarantine import Bug
from plimsoll_operator.controller.records import Record, Records
from plimsoll_operator.controller.reporting.engine_starts import EngineStarts
from plimsoll_operator.controller.reporting.last_words import LastWords
from plimsoll_operator.controller.reporting.report import LeftChild, Reporter
from plimsoll_operator.controller.reporting.status import child_state
from plimsoll_operator.controller.resolving.models import Models
from plimsoll_operator.errors import ApiFailure
from plimsoll_operator.facts import Decide
from plimsoll_operator.observation import ObservedFigures, observed_of, seen_of
from plimsoll_operator.ports import INFERENCE_DEPLOYMENTS, Key, Kube, Manifest, Resource
from plimsoll_operator.reasons import Why

# How long until we look again whether a name that somebody else had taken is free.
RETAKE_SECONDS: Final = 30.0
# And whether the namespace has room again for replicas that a cap holds.
CAP_SECONDS: Final = 30.0


class Reconciler:
    """Holds the collaborators and what was answered before."""

    def __init__(
        self,
        *,
        kube: Kube,
        objects: ParsedObjects,
        ledger: Ledger,
        records: Records,
        models: Models,
        reporter: Reporter,
        starts: EngineStarts,
        decide: Decide,
        now: Callable[[], datetime],
        again: Callable[[Key, float], None],
        bypass_is_protected: Callable[[], bool] = lambda: False,
        serves_groups: Callable[[], bool] = lambda: False,
        caches: Mapping[Resource, Cached],
        copies: Copies,
        answered: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kube = kube
        self._objects = objects
        self._ledger = ledger
        self._records = records
        self._models = models
        self._disputes = Disputes(clock, again)
        self._copies = copies
        self._answered = answered
        self._children = Children(kube, records, self._disputes, caches)
        self._gates = Gates(kube, ledger)
        self._last_words = LastWords(kube, clock)
        self._reporter = reporter
        self._starts = starts
        self._again = again
        self._serves_groups = serves_groups
        self._judge = Judge(
            objects=objects,
            ledger=ledger,
            models=models,
            decide=decide,
            bypass_is_protected=bypass_is_protected,
            serves_groups=serves_groups,
        )
        self._now = now
        self._booking = threading.Lock()
        self._places = Places()

    def reconcile(self, key: Key) -> str:
        """Bring one key to where it should be. Returns the outcome, a label of the metric.

        Most looks find all as it should be, and that can be told from what is known. Whatever has to be made, changed or taken away is
        done by a second look, at the API server.
        """
        self._records.begin(key)
        return self._recognise(key) or self._bring(key)

    def _recognise(self, key: Key) -> str:
        """The outcome, if the deployment and its children are known and need nothing but a word in status, which is written then.

        Empty where they are not, or where the object has moved meanwhile.
        """
        raw = self._copies.newest(key)
        if raw is None or raw["metadata"].get("deletionTimestamp") or self._objects.is_going(key[0]):
            return ""
        try:
            deployment, unknown = read_deployment(raw)
        except ApiError:
            return ""
        child, reliable = self._children.known(deployment)
        if not reliable:
            return ""
        gathered = replace(gathered_of(key, raw, deployment, child), unknown_fields=unknown)
        decided = self._decide_again(gathered)
        if decided is None or not self._stands(gathered, decided):
            return ""
        written = self._report_known(gathered, decided)
        return "" if written is None else decided.outcome(wrote=written)

    def _stands(self, gathered: Gathered, decided: Decided) -> bool:
        """Whether `_apply` would write nothing, as far as the caches tell."""
        course = decided.course
        if course.run is None or (decided.waits_for_turn and not course.adopting):
            return gathered.child is None
        if self._gates.due(gathered.key, course.run.plan.digest):
            return False
        has = replicas_of(gathered.child)
        if course.adopting and gathered.deployment.spec.replicas < has:
            return False
        asked = has if course.adopting else decided.capped.replicas
        return self._children.stand(_asking(gathered.deployment, asked), gathered.child, course.run, kept=course.adopting)

    def _bring(self, key: Key) -> str:
        """A look at the API server: children are found, and made as they should be."""
        raw = self._kube.get(INFERENCE_DEPLOYMENTS, *key)
        self._answered()
        if raw is None or raw["metadata"].get("deletionTimestamp") or self._objects.is_going(key[0]):
            self._forget(key)
            return "deleted"
        try:
            self._copies.keep(raw)
            deployment, unknown = read_deployment(raw)
        except ApiError as error:
            return self._refuse_unreadable(key, raw, str(error))
        spans = deployment.spec.placement.max_nodes_per_replica > 1 and self._serves_groups()
        child, blocked = self._children.find(deployment, spans=spans)
        gathered = replace(gathered_of(key, raw, deployment, child), unknown_fields=unknown)
        decided = self._decide_and_book(gathered)
        if blocked is not None:
            return self._wait_for_child(gathered, decided, blocked)
        try:
            child, applied_now = self._apply(gathered, decided)
        except ApiFailure as failure:
            if failure.final:
                self._give_back(gathered, decided, failure)
            raise
        written = self._report(gathered, decided, child)
        return decided.outcome(wrote=applied_now or written)

    def recover(self, reservations: Mapping[Key, Reservation]) -> None:
        """Book what the leader before us has reserved, all of it before the first decision of our own."""
        self._places.go_on_after((one.decided for one in reservations.values()), self._now())
        self._ledger.recover(reservations)

    def report_bug(self, key: Key, bug: Bug) -> None:
        """Say on the object that work on it was stopped by an error of ours. Raises ApiFailure."""
        raw = self._kube.get(INFERENCE_DEPLOYMENTS, *key)
        if raw is not None:
            self._reporter.report_bug(key, raw, str(bug))

    def rejudge(self) -> None:
        """Forget what was answered before, so that the next look at each key decides again."""
        self._judge.rejudge()

    def _decide_and_book(self, gathered: Gathered) -> Decided:
        """The serial step: nobody else looks at free GPUs between our look at them and our booking. Makes no request."""
        with self._booking:
            return self._book(gathered, self._decide(gathered))

    def _decide_again(self, gathered: Gathered) -> Decided | None:
        """The same for what is only known; None, and nothing booked, where another plan would be adopted: that takes a look at what is."""
        with self._booking:
            decided = self._decide(gathered)
            return None if decided.course.adopts else self._book(gathered, decided)

    def _decide(self, gathered: Gathered) -> Decided:
        self._ledger.use_label_keys(gathered.key, gathered.deployment.spec.placement.node_selector)
        return self._judge.decide(gathered)

    def _book(self, gathered: Gathered, decided: Decided) -> Decided:
        course = decided.course
        if course.run is None:
            self._ledger.reserve(gathered.key, None)
            return decided
        run = replace(course.run, decided=self._place_of(gathered, course, course.run))
        standing = self._ledger.reserve(gathered.key, reservation_by(gathered, course, run, decided.capped.replicas))
        return replace(decided, course=replace(course, run=run), standing=standing)

    def _place_of(self, gathered: Gathered, course: Course, run: Applied) -> str:
        """The plan's place in the decision order: kept with the child, or while it is held in the reservation; a new plan comes last."""
        before = self._ledger.reserved(gathered.key)
        created_at = str(gathered.raw["metadata"].get("creationTimestamp", ""))
        if before is not None and before.decided and before.generation == run.origin.generation:
            return settled(before.decided, created_at)
        if not course.adopts:
            return settled(run.decided or (before.decided if before is not None else ""), created_at)
        return self._places.next(self._now(), created_at)

    def _apply(self, gathered: Gathered, decided: Decided) -> tuple[Manifest | None, bool]:
        """Bring the children to the course. Returns the Deployment as it is then and whether anything was written."""
        course = decided.course
        if course.run is None:
            return gathered.child, False
        if course.adopting and not course.adopts:
            child, wrote = self._children.keep(gathered.key, gathered.child, gathered.deployment.spec.replicas)
            # What a drain may take is no part of what was refused: who wants a node empty must be able to let it.
            wrote = self._children.bring_budget(_asking(gathered.deployment, replicas_of(child)), course.run.plan) or wrote
        elif decided.waits_for_turn:
            return gathered.child, False
        else:
            request = _asking(gathered.deployment, decided.capped.replicas)
            child, wrote = self._children.bring(request, gathered.child, course.run, adopts=course.adopts)
        return child, self._gates.lift(gathered.key, course.run.plan.digest) or wrote

    def _give_back(self, gathered: Gathered, decided: Decided, failure: ApiFailure) -> None:
        """The child is refused for good: what it has already keeps its GPUs, what it should have got is free for others."""
        applied = applied_from_child(gathered.child)
        kept = None
        if applied is not None:
            course = Course(run=applied, adopts=False, adopting=False, proposed=None)
            kept = reservation_by(gathered, course, applied, replicas_of(gathered.child))
        self._ledger.reserve(gathered.key, kept)
        self._report(gathered, decided, gathered.child, apply_problem=str(failure))

    def _wait_for_child(self, gathered: Gathered, decided: Decided, blocked: Blocked) -> str:
        """A child is not ours to make or change. What runs goes on with its plan and its GPUs, and may only become less."""
        self._again(gathered.key, RETAKE_SECONDS)
        child = gathered.child
        if blocked.reason is Why.NAME_TAKEN:
            child, _ = self._children.keep(gathered.key, child, gathered.deployment.spec.replicas)
        runs, course = applied_from_child(child), decided.course
        proposed = course.run.plan if course.adopts and course.run is not None else course.proposed
        course = Course(run=runs, adopts=False, adopting=course.adopting, proposed=proposed)
        self._ledger.reserve(gathered.key, reservation_by(gathered, course, runs, replicas_of(child)) if runs is not None else None)
        if runs is not None:
            self._gates.lift(gathered.key, runs.plan.digest)
        self._report(gathered, replace(decided, course=course), child, blocked=blocked)
        return "blocked"

    def _report(
        self, gathered: Gathered, decided: Decided, child: Manifest | None, *, apply_problem: str = "", blocked: Blocked | None = None
    ) -> bool:
        """Remember, tell, and write status when it differs. Returns whether it was written."""
        applied = not decided.waits_for_turn and not apply_problem and blocked is None
        situation, observed = self._situation(gathered, decided, child, apply_problem, blocked)
        self._remember(gathered, decided, child, observed)
        return self._reporter.report(gathered.raw, decided.facts, situation, decided.course, observed=observed, applied=applied)

    def _report_known(self, gathered: Gathered, decided: Decided) -> bool | None:
        """The same of what is only known, before it is remembered. None where that has to be looked at: see Reporter.report_known."""
        situation, observed = self._situation(gathered, decided, gathered.child)
        written = self._reporter.report_known(gathered.raw, decided.facts, situation, decided.course, observed=observed)
        if written is not None:
            self._remember(gathered, decided, gathered.child, observed)
        return written

    def _situation(
        self, gathered: Gathered, decided: Decided, child: Manifest | None, apply_problem: str = "", blocked: Blocked | None = None
    ) -> tuple[Situation, ObservedStatus | None]:
        """What status is made from, and what engines logged."""
        deployment, course, capped = gathered.deployment, decided.course, decided.capped
        if capped.reject is not None:
            self._again(gathered.key, CAP_SECONDS)
        plan = course.run.plan if course.run is not None else None
        before = deployment.status.observed if deployment.status is not None else None
        seen = self._starts.look(gathered.key, plan, self._ledger.engine_starts(gathered.key), before)
        observed = observed_of(plan, seen.starts) if plan is not None else None
        situation = Situation(
            generation=deployment.metadata.generation,
            verdict=decided.verdict,
            adopting=course.adopting,
            model=model_seen(decided.facts.model, plan),
            applied_generation=course.run.origin.generation if course.run is not None else None,
            replicas=capped.replicas,
            beyond=deployment.spec.replicas - capped.replicas,
            beyond_because=capped.reject,
            bound=self._ledger.bound_replicas(gathered.key, plan.nodes_per_replica if plan is not None else 1),
            capacity_for_missing=decided.standing in (Standing.BOOKED, Standing.SETTLED) and not apply_problem and blocked is None,
            child=child_state(child),
            missing_because=decided.lack,
            apply_problem=apply_problem,
            blocked=blocked,
            dispute=self._disputes.tell(gathered.key),
            pods_fail=self._last_words.add_to(self._ledger.failing(gathered.key), gathered.key[0]),
            starts=seen_of(plan, seen.starts, seen.unread),
            proposed_gpus=decided.proposed_gpus,
            closed_nodes=decided.closed_nodes,
        )
        return situation, observed

    def _remember(self, gathered: Gathered, decided: Decided, child: Manifest | None, observed: ObservedStatus | None) -> None:
        deployment, course = gathered.deployment, decided.course
        self._records.put(
            gathered.key,
            Record(
                plan=course.run.plan if course.run is not None else None,
                observed=ObservedFigures.of(observed),
                model=deployment.spec.model.name,
                rejudged=decided.rejudged,
                profile=deployment.spec.model.profile.name if deployment.spec.model.profile is not None else None,
                child_generation=int(child["metadata"]["generation"]) if child is not None else 0,
                draft=deployment.spec.engine.speculative.model if deployment.spec.engine.speculative is not None else None,
                has_budget=self._records.budget_of(gathered.key, deployment.metadata.uid) is not None,
            ),
        )

    def _refuse_unreadable(self, key: Key, raw: Manifest, message: str) -> str:
        """Its children are left as they are with their GPUs, and status says what they are."""
        child = self._children.left(key, str(raw["metadata"].get("uid")))
        runs = applied_from_child(child)
        self._records.put(key, Record(plan=None, model="", profile=None, child_generation=0))
        standing = self._ledger.reserve(key, reservation_of(child, gated=False) if child is not None else None)
        if runs is not None:
            self._gates.lift(key, runs.plan.digest)
        self._ledger.use_label_keys(key, ())
        self._models.forget(key)
        bound = self._ledger.bound_replicas(key, runs.plan.nodes_per_replica) if runs is not None else 0
        left = LeftChild(child=child_state(child), runs=runs, bound=bound, booked=standing in (Standing.BOOKED, Standing.SETTLED))
        self._reporter.refuse(key, raw, message, left)
        return "invalid"

    def _forget(self, key: Key) -> None:
        self._ledger.reserve(key, None)
        self._ledger.use_label_keys(key, ())
        self._models.forget(key)
        self._records.forget(key)
        self._reporter.forget(key)
        self._starts.forget(key)
        self._disputes.forget(key)
        self._judge.forget(key)
        self._copies.forget(key)
        self._children.forget(key)


def _asking(deployment: InferenceDeployment, replicas: int) -> InferenceDeployment:
    """The deployment as if it asked for this many."""
    return deployment.model_copy(update={"spec": deployment.spec.model_copy(update={"replicas": replicas})})
