"""decide: Facts in, one Verdict out. Checks, then the search, then what the user allows to move, then the way out.

The only judge in the system: webhook, controller, CLI and dry run call it. Pure and deterministic; no clock, no HTTP. Its effort has a
bound that is the same everywhere; a caller with a deadline brings its clock by `decide_within`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from hashlib import blake2b
from typing import Final

from plimsoll_estimator import InvalidInput, Unsupported
from plimsoll_operator.decision.checks.caps import over_cap, use_of_plan
from plimsoll_operator.decision.checks.checks import Checked, first_finding
from plimsoll_operator.decision.effort import MOST_LOOKS, Checkpoint, Effort, OutOfTime, TooComplex
from plimsoll_operator.decision.fit.engine import Engine, corrections_for, engine_for
from plimsoll_operator.decision.fit.miss import Miss, doubt_about
from plimsoll_operator.decision.plan import make_plan
from plimsoll_operator.decision.refusal import wording
from plimsoll_operator.decision.refusal.changes import scene
from plimsoll_operator.decision.refusal.layout import name_is_short_enough, no_layout
from plimsoll_operator.decision.refusal.long_context import own_pool
from plimsoll_operator.decision.refusal.offers import offers
from plimsoll_operator.decision.refusal.open_cluster import product_that_would_fit, rentable
from plimsoll_operator.decision.refusal.override import is_lifted, pinned_placement, why_lifted
from plimsoll_operator.decision.request.fields import FIELD_OF, field_of_input
from plimsoll_operator.decision.request.placement import match
from plimsoll_operator.decision.request.request import Ask, read_ask
from plimsoll_operator.decision.search.moves import Mover
from plimsoll_operator.decision.search.search import Found, Missed, best_miss, products_of
from plimsoll_operator.facts import Facts, ModelFacts, ModelUnknown, PoolFacts
from plimsoll_operator.remembered import Remembered, kept_bytes
from plimsoll_operator.verdict import Admit, Offer, Reason, Reject, Resize, Undecided, Verdict

_MORE_TIME: Final = "The controller, which has more time, decides; with pinned parallel sizes or fewer products it is decided at once."
EFFORT_FOR_A_VERDICT: Final = 0.6
EFFORT_WITH_OFFERS: Final = 0.5
EFFORT_FOR_OFFERS: Final = 0.1
"""Seconds of work from the beginning until no further offer is looked for, and at least for offers. Usual ones take hundredths."""
_DOUBTS: Final = (Reason.UNSUPPORTED_MODEL, Reason.UNKNOWN_ENGINE)


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


def decide_within(facts: Facts, clock: Callable[[], float], seconds: float, *, effort: Callable[[], float] | None = None) -> Verdict:
    """`decide`, stopped where `clock` has moved on by `seconds`: Undecided then, or the rejection that was certain. Never a plan.

    With `effort`, a clock of the work that is done, a certain rejection is told with the offers that EFFORT_WITH_OFFERS have found, and
    what takes more than EFFORT_FOR_A_VERDICT is left, as TooComplex, to who has more time.
    """
    ends = clock() + seconds
    began = 0.0 if effort is None else effort()
    tired = began + EFFORT_WITH_OFFERS
    certain = False

    def at_leisure() -> None:
        nonlocal certain, tired
        checkpoint()
        if effort is None:
            return
        if not certain:
            certain, tired = True, max(tired, effort() + EFFORT_FOR_OFFERS)
        if effort() >= tired:
            raise OutOfTime

    def checkpoint() -> None:
        if clock() >= ends:
            raise OutOfTime
        if effort is not None and not certain and effort() >= began + EFFORT_FOR_A_VERDICT:
            raise OutOfTime

    try:
        return decide(facts, checkpoint=checkpoint, at_leisure=at_leisure)
    except OutOfTime as stopped:
        if stopped.known is not None:
            return stopped.known
        if clock() >= ends:
            return _undecided(Reason.OUT_OF_TIME, f"deciding did not end within {seconds:g} seconds")
        message = f"Deciding takes more than {EFFORT_FOR_A_VERDICT:g} seconds of work."
        return Undecided(reason=Reason.TOO_COMPLEX, message=message, next_step=_MORE_TIME)


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
    return () if model is None else (model.name, model.revision, model.digest, model.weights)


def _bounded(facts: Facts, effort: Effort) -> Verdict:
    try:
        return _guarded(facts, effort, with_offers=True)
    except TooComplex as error:
        return _undecided(Reason.TOO_COMPLEX, str(error))


def _guarded(facts: Facts, effort: Effort, *, with_offers: bool) -> Verdict:
    try:
        return _decide(facts, effort, with_offers=with_offers)
    except InvalidInput as error:
        return Reject(reason=Reason.INVALID_SPEC, message=f"{error}.", field=field_of_input(error))
    except Unsupported as error:
        return _undecided(doubt_about(error), str(error), error.reason.about)


def _decide(facts: Facts, effort: Effort, *, with_offers: bool) -> Verdict:
    ask = read_ask(facts.deployment, facts.policy, leader_worker_set=facts.leader_worker_set, draft=facts.draft)
    matched = match(ask.placement, facts.pools)
    finding = first_finding(Checked(facts=facts, ask=ask, matched=matched))
    if finding is not None and finding.reason != Reason.NO_MATCHING_POOL:
        return finding
    assert isinstance(facts.model, ModelFacts), "an unknown model is a finding"
    engine = engine_for(facts.model, ask.version, facts.corrections, effort, ask.args.speculative_model_config)
    if isinstance(finding, Reject):
        return _refusal(facts, ask, engine, finding, effort if with_offers else None)
    products, unknown = products_of(matched.pools)
    if not products:
        return Undecided(reason=Reason.NO_CAPACITY_KNOWN, message=f"{unknown[0]}.", next_step="Set computeCapability in a GPUPool.")
    mover = Mover(engine, products, facts.applied_plan)
    result = mover.search(ask)
    if isinstance(result, Found):
        too_long = name_is_short_enough(facts.deployment, result.candidate.layout)
        split = own_pool(Mover(engine, products, None), ask, result) if with_offers else None
        warned, of_now = _warnings(facts, ask, result, split), wording.of_now(ask, result)
        edge = not result.fit.sure
        return too_long or _capped(facts, Admit(plan=make_plan(result, facts.model), warnings=warned, of_now=of_now, on_the_edge=edge))
    doubt = _doubt(result)
    if doubt is not None:
        return doubt
    reject = _reject(ask, result) if result else no_layout(Checked(facts=facts, ask=ask, matched=matched))
    resized = mover.resize(ask, reject.message) if ask.resize else None
    if resized is not None:
        found, changes = resized
        warned, of_now = _warnings(facts, ask, found), wording.of_now(ask, found)
        plan, edge = make_plan(found, facts.model), not found.fit.sure
        return _capped(facts, Resize(plan=plan, changes=changes, warnings=warned, of_now=of_now, on_the_edge=edge))
    reject = _leader_worker_set_missing(facts, ask, mover) or reject
    refused = _refusal(facts, ask, engine, reject, effort if with_offers else None)
    if not isinstance(refused, Reject) or not is_lifted(refused, facts):
        return refused
    forced = pinned_placement(engine, ask, refused, result)
    if forced is None:
        return refused
    return _capped(facts, _overridden(facts, refused, Admit(plan=make_plan(forced, facts.model))))


def _leader_worker_set_missing(facts: Facts, ask: Ask, mover: Mover) -> Reject | None:
    """Where only the API is missing that makes replicas over the nodes that placement allows."""
    nodes = ask.placement.max_nodes_per_replica
    if facts.leader_worker_set or nodes == 1:
        return None
    found = mover.search(replace(ask, max_nodes=nodes))
    if not isinstance(found, Found):
        return None
    message = wording.leader_worker_set_missing(ask, found)
    return Reject(reason=Reason.LEADER_WORKER_SET_MISSING, message=message, field="spec.placement.maxNodesPerReplica")


def _warnings(facts: Facts, ask: Ask, found: Found, split: str | None = None) -> tuple[str, ...]:
    return wording.warnings(ask, found, split, corrections_for(facts.corrections, ask.version, found.product.gpu.product))


def _capped(facts: Facts, fits: Admit | Resize) -> Verdict:
    """Whether the namespace may hold it beside what it holds already."""
    use = use_of_plan(fits.plan, facts.deployment.spec.replicas)
    reject = over_cap(facts.policy, facts.beside, use)
    if reject is None:
        return fits
    return _overridden(facts, reject, fits) if is_lifted(reject, facts) else reject


def _overridden(facts: Facts, reject: Reject, fits: Admit | Resize) -> Admit | Resize:
    line = wording.overridden(reject, why_lifted(facts))
    return replace(fits, warnings=(line, *fits.warnings), overridden=fits.overridden or reject)


def _refusal(facts: Facts, ask: Ask, engine: Engine, reject: Reject, for_offers: Effort | None) -> Verdict:
    undecided = _undecided_in_an_open_cluster(facts, ask, engine, reject)
    if undecided is not None:
        return undecided
    return _with_offers(reject, facts, ask, engine, for_offers) if for_offers is not None else reject


def _with_offers(reject: Reject, facts: Facts, ask: Ask, engine: Engine, effort: Effort) -> Reject:
    """The rejection with what offers the rest of the effort finds: it holds without them, so their end is not its own."""
    way_out = scene(facts, ask, lambda products: Mover(engine, products, facts.applied_plan))
    found: tuple[Offer, ...] = ()
    effort.verdict_is_certain()
    try:
        for offer in offers(way_out, lambda patched: _guarded(patched, effort, with_offers=False)):
            found += (offer,)
    except TooComplex:
        pass
    except OutOfTime as stopped:
        raise OutOfTime(_told(reject, found)) from stopped
    return _told(reject, found)


def _told(reject: Reject, found: tuple[Offer, ...]) -> Reject:
    replicas = next((count for offer in found if (count := json.loads(offer.patch_json)["spec"].get("replicas"))), None)
    if replicas is None:
        return replace(reject, offers=found)
    return replace(reject, message=f"{reject.message} {replicas} replicas would hold the workload.", offers=found)


def _undecided_in_an_open_cluster(facts: Facts, ask: Ask, engine: Engine, reject: Reject) -> Undecided | None:
    """An Open cluster may be given GPUs that no known pool has; what fits none of the shipped table is still refused."""
    if facts.policy.capacity != "Open" or reject.reason in (Reason.ENGINE_REFUSES, Reason.POLICY_CAP, Reason.POLICY_FORBIDS):
        return None
    product = product_that_would_fit(Mover(engine, rentable(ask), None), ask)
    if product is None:
        return None
    message = f"{reject.message} It would fit {product}, which no known pool has."
    return Undecided(reason=Reason.NO_KNOWN_POOL, message=message, next_step=wording.OPEN_NEXT_STEP)


def _reject(ask: Ask, misses: tuple[Missed, ...]) -> Reject:
    worst = best_miss(misses)
    miss = worst.miss
    return Reject(
        reason=miss.reason,
        message=wording.rejection(ask, worst),
        field=_field(ask, miss),
        needed_bytes=miss.needed_bytes,
        available_bytes=miss.available_bytes,
        component=miss.component,
        details=(*wording.edge_note(miss), *_cap_note(ask, miss), *wording.storage_note(ask, miss)),
        on_the_edge=miss.edge_bytes is not None,
    )


def _cap_note(ask: Ask, miss: Miss) -> tuple[str, ...]:
    """Where memory is short and the policy keeps a replica from having more GPUs, who wonders about it is told."""
    cap = ask.max_gpus_per_replica
    if cap is None or miss.reason not in (Reason.INSUFFICIENT_GPU_MEMORY, Reason.INSUFFICIENT_KV_CACHE):
        return ()
    return (f"The FitPolicy allows a replica at most {cap} GPU{'s' * (cap != 1)}.",)


def _doubt(misses: tuple[Missed, ...]) -> Undecided | None:
    """Where nothing fits and for some candidate there is no rule, nothing can be said: that one might have fitted."""
    found = next((missed.miss for missed in misses if missed.miss.reason in _DOUBTS), None)
    return None if found is None else _undecided(found.reason, found.message, found.about)


def _undecided(reason: Reason, message: str, about: str | None = None) -> Undecided:
    """`about`: the argument that has no rule."""
    next_step = "No pods are made; nothing is assumed about what is not known."
    return Undecided(reason=reason, message=f"{message}.", next_step=next_step, field=None if about is None else FIELD_OF[about])


def _field(ask: Ask, miss: Miss) -> str:
    reason = miss.reason
    if reason == Reason.INSUFFICIENT_KV_CACHE or miss.about == "max_model_len":
        return _field_of_context(ask)
    if miss.about is not None:
        return FIELD_OF[miss.about]
    if reason == Reason.EPHEMERAL_STORAGE:
        return "spec.model.source" if ask.disk.takes_downloads else "spec.template.volumes"
    if reason in (Reason.HOST_MEMORY, Reason.HOST_CPU):
        return "spec.placement"
    return "spec.engine.tensorParallelSize" if ask.args.tensor_parallel_size is not None else "spec.engine"


def _field_of_context(ask: Ask) -> str:
    """What says how long a context must be served: the pinned one, else the requests of the worksheet, else the least that serves."""
    if ask.args.max_model_len is not None:
        return FIELD_OF["max_model_len"]
    return "spec.workload" if ask.worksheet is not None else "spec.fit.minMaxModelLen"
