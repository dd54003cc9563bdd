"""decide: Facts in, one Verdict out, remembered. What is asked in which order is the list in `steps`.

The only judge in the system: webhook, controller, CLI and dry run call it. Pure and deterministic; no clock, no HTTP. Its effort has a
bound that is the same everywhere; a caller with a deadline brings its clock by `decide_within`.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import Final

from plimsoll_operator.decision.effort import MOST_LOOKS, Checkpoint, Effort, OutOfTime, TooComplex
from plimsoll_operator.decision.refusal.rejection import undecided
from plimsoll_operator.decision.steps import verdict_on
from plimsoll_operator.facts import Facts, ModelFacts, ModelUnknown, PoolFacts
from plimsoll_operator.remembered import Remembered, kept_bytes
from plimsoll_operator.verdict import Reason, Undecided, Verdict

_MORE_TIME: Final = "The controller, which has more time, decides; with pinned parallel sizes or fewer products it is decided at once."
EFFORT_FOR_A_VERDICT: Final = 0.6
EFFORT_WITH_OFFERS: Final = 0.5
EFFORT_FOR_OFFERS: Final = 0.1
"""Seconds of work from the beginning until no further offer is looked for, and at least for offers. Usual ones take hundredths."""
EFFORT_FOR_OFFERS_IN_A_CROWD: Final = 0.03
"""Seconds of work that all who are judged at once, or wait, spend on offers together: nobody's verdict waits for the offers of others."""


def decide(
    facts: Facts, *, checkpoint: Checkpoint | None = None, at_leisure: Checkpoint | None = None, most_looks: int = MOST_LOOKS
) -> Verdict:
    """The verdict on one InferenceDeployment. Raises nothing on purpose: bad input is Reject(InvalidSpec) naming the field.

    What takes more looks at candidates and estimates than `most_looks` is Undecided(TooComplex). `checkpoint` is called before each
    look; the OutOfTime that it may raise goes to the caller, and nothing is remembered then. `at_leisure` takes its place where a
    rejection is certain and only offers are looked for. The same facts are answered from
    memory: a controller re-judges every deployment whenever one pool changes.
    """
    return _VERDICTS.ask(_question(facts, most_looks), lambda: _bounded(facts, Effort(most_looks, checkpoint, at_leisure)))


def recall(facts: Facts) -> Verdict | None:
    """What `decide` remembers of these facts; None where it would have to work it out."""
    return _VERDICTS.recall(_question(facts, MOST_LOOKS))


def decide_within(
    facts: Facts,
    clock: Callable[[], float],
    seconds: float,
    *,
    effort: Callable[[], float] | None = None,
    at_hand: Callable[[], int] = lambda: 1,
) -> Verdict:
    """`decide`, stopped where `clock` has moved on by `seconds`: Undecided then, or the rejection that was certain. Never a plan.

    With `effort`, a clock of the work that is done, a certain rejection is told with the offers that EFFORT_WITH_OFFERS have found, and
    what takes more than EFFORT_FOR_A_VERDICT is left, as TooComplex, to who has more time. `at_hand` is how many decisions are made or
    waited for now, this one among them: offers are looked for as long only as the others can spare.
    """
    ends = clock() + seconds
    strength = None if effort is None else _Strength(effort, at_hand)

    def at_leisure() -> None:
        checkpoint()
        if strength is not None:
            strength.look_for_offers()

    def checkpoint() -> None:
        if clock() >= ends:
            raise OutOfTime
        if strength is not None:
            strength.look_for_a_verdict()

    try:
        return decide(facts, checkpoint=checkpoint, at_leisure=at_leisure)
    except OutOfTime as stopped:
        if stopped.known is not None:
            return stopped.known
        if clock() >= ends:
            return undecided(Reason.OUT_OF_TIME, f"deciding did not end within {seconds:g} seconds")
        message = f"Deciding takes more than {EFFORT_FOR_A_VERDICT:g} seconds of work."
        return Undecided(reason=Reason.TOO_COMPLEX, message=message, next_step=_MORE_TIME)


class _Strength:
    """How much work may still go into one decision: less for what is not certain yet, some for offers once a rejection is."""

    def __init__(self, effort: Callable[[], float], at_hand: Callable[[], int]) -> None:
        self._effort = effort
        self._at_hand = at_hand
        self._began = effort()
        self._certain: float | None = None

    def look_for_a_verdict(self) -> None:
        if self._certain is None and self._effort() >= self._began + EFFORT_FOR_A_VERDICT:
            raise OutOfTime

    def look_for_offers(self) -> None:
        if self._certain is None:
            self._certain = self._effort()
        if self._effort() >= self._tired(self._certain):
            raise OutOfTime

    def _tired(self, certain: float) -> float:
        crowd = self._at_hand()
        if crowd > 1:
            return certain + EFFORT_FOR_OFFERS_IN_A_CROWD / crowd
        return max(self._began + EFFORT_WITH_OFFERS, certain + EFFORT_FOR_OFFERS)


_VERDICTS: Final[Remembered[bytes, Verdict]] = Remembered("verdicts", 32 << 20, kept_bytes)
_POOLS: Final[Remembered[tuple[PoolFacts, ...], tuple[bytes, tuple[PoolFacts, ...]]]] = Remembered("pools", 8 << 20, kept_bytes)


def _question(facts: Facts, most_looks: int) -> bytes:
    """The digest of everything that the verdict depends on: what is remembered keeps no spec, no shape and no pool alive."""
    model = facts.model
    known = _identity(model) if isinstance(model, ModelFacts) else (model.kind, model.problem, model.asked)
    siblings = tuple(_identity(sibling) for sibling in facts.siblings)
    draft = (facts.draft.kind, facts.draft.problem) if isinstance(facts.draft, ModelUnknown) else _identity(facts.draft)
    spec = facts.deployment.spec.model_dump_json(exclude_unset=True)
    policy = facts.policy.model_dump_json(exclude_unset=True)
    spans = facts.deployment.spec.placement.max_nodes_per_replica > 1
    spanning = (facts.leader_worker_set, facts.deployment.metadata.name if spans else "")
    around = (facts.applied_plan, facts.beside, facts.bypass, siblings, draft, facts.corrections, spanning)
    unread = (facts.policy_problem, facts.unknown_fields)
    return _digest((unread, spec, known, _digest_of_pools(facts.pools), policy, around, most_looks))


def _digest_of_pools(pools: tuple[PoolFacts, ...]) -> bytes:
    """Deployments see the same few pools again and again: hashing a value is a tenth of spelling it."""
    return _POOLS.ask(pools, lambda: (_digest(pools), pools))[0]


def _digest(value: object) -> bytes:
    return blake2b(repr(value).encode(), digest_size=32).digest()


def _identity(model: ModelFacts | None) -> tuple[object, ...]:
    return () if model is None else (model.name, model.revision, model.digest, model.weights, model.as_published)


def _bounded(facts: Facts, effort: Effort) -> Verdict:
    try:
        return verdict_on(facts, effort, with_offers=True)
    except TooComplex as error:
        return undecided(Reason.TOO_COMPLEX, str(error))
