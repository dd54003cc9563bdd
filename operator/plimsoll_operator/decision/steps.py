"""The order of the whole decision: STEPS, from the first check to the last refusal. The first step that has a verdict ends it.

Called by `decide`, and by the offers, which are verified as they would be decided. Each step looks at one `Case`; what a step needs is
worked out there when it asks. Pure: no clock, no memory.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Final, TypeAlias

from plimsoll_estimator import InvalidInput, Unsupported, spans_nodes
from plimsoll_operator.decision.case import Case
from plimsoll_operator.decision.checks.caps import over_cap, use_of_plan
from plimsoll_operator.decision.effort import Effort, OutOfTime, TooComplex
from plimsoll_operator.decision.fit.engine import corrections_for
from plimsoll_operator.decision.fit.miss import doubt_about
from plimsoll_operator.decision.plan import make_plan
from plimsoll_operator.decision.refusal import rejection, wording
from plimsoll_operator.decision.refusal.changes import MOST_NODES_OFFERED, anywhere, refused_of
from plimsoll_operator.decision.refusal.dear_pins import dearer_for_pins
from plimsoll_operator.decision.refusal.layout import name_is_short_enough
from plimsoll_operator.decision.refusal.long_context import own_pool
from plimsoll_operator.decision.refusal.offers import offers
from plimsoll_operator.decision.refusal.open_cluster import more_nodes, product_that_would_fit, products_that_would_do, rentable
from plimsoll_operator.decision.refusal.override import is_lifted, pinned_placement, why_lifted
from plimsoll_operator.decision.request.fields import field_of_input, in_api_words, said_of_input
from plimsoll_operator.decision.search.candidate import Found
from plimsoll_operator.facts import AppliedCorrection, Facts
from plimsoll_operator.verdict import Admit, Offer, Reason, Reject, Resize, Undecided, Verdict

_FOR_WANT_OF_GPUS: Final = frozenset(
    {Reason.INSUFFICIENT_GPU_MEMORY, Reason.INSUFFICIENT_KV_CACHE, Reason.INSUFFICIENT_GPUS_PER_NODE, Reason.NO_MATCHING_POOL}
)
Step: TypeAlias = Callable[[Case], Verdict | None]


def verdict_on(facts: Facts, effort: Effort, *, with_offers: bool) -> Verdict:
    """The verdict of the first step that has one. Bad input is Reject(InvalidSpec) naming the field, a missing rule is Undecided.

    Raises what ends the effort: OutOfTime, TooComplex.
    """
    try:
        case = Case(facts, effort, with_offers=with_offers)
        return next(verdict for step in STEPS if (verdict := step(case)) is not None)
    except InvalidInput as error:
        return Reject(reason=Reason.INVALID_SPEC, message=f"{said_of_input(error)}.", field=field_of_input(error))
    except Unsupported as error:
        return rejection.undecided(doubt_about(error), in_api_words(str(error)), error.reason.about)


def check(case: Case) -> Verdict | None:
    """Whatever is refused or not known before any arithmetic; `checks.CHECKS` has the order of these."""
    finding = case.finding
    return None if finding is not None and finding.reason in (Reason.NO_MATCHING_POOL, Reason.NO_CAPACITY_KNOWN) else finding


def name_what_would_do(case: Case) -> Verdict | None:
    """No pool is known yet: which GPU is needed is what is asked then."""
    finding, effort = case.finding, case.for_offers
    if not isinstance(finding, Undecided):
        return None
    if effort is None:
        return finding
    effort.verdict_is_certain()
    found: tuple[Found, ...] = ()
    try:
        for one in products_that_would_do(case.afresh, case.request):
            found += (one,)
    except (InvalidInput, Unsupported, TooComplex):
        pass  # of the model or the release more is unknown than its GPU
    except OutOfTime as stopped:
        raise OutOfTime(_naming(finding, found)) from stopped
    return _naming(finding, found)


def _naming(finding: Undecided, found: tuple[Found, ...]) -> Undecided:
    if not found:
        return finding
    message = f"{finding.message} {wording.would_do(found)}"
    return replace(finding, message=message, next_step=f"{finding.next_step} {wording.declare(found[0])}")


def read_the_shape(case: Case) -> Verdict | None:
    """What cannot be read of the model's config is said before anything of the cluster."""
    _ = case.engine  # raises
    return None


def find_a_pool(case: Case) -> Verdict | None:
    """Placement leaves no pool, and other placements may."""
    finding = case.finding
    if not isinstance(finding, Reject):
        return None
    return _open_cluster(case, finding) or _with_offers(case, finding)


def know_a_product(case: Case) -> Verdict | None:
    """Of no allowed pool's GPUs the generation is known."""
    products, unknown = case.known_products
    if products:
        return None
    return Undecided(reason=Reason.NO_CAPACITY_KNOWN, message=f"{unknown[0]}.", next_step="Set computeCapability in a GPUPool.")


def fit_as_asked(case: Case) -> Verdict | None:
    """A plan at the values asked for."""
    found = case.result
    if not isinstance(found, Found):
        return None
    too_long = name_is_short_enough(case.facts.deployment, found.candidate.layout)
    afresh = case.afresh(case.known_products[0])
    asides = (dearer_for_pins(afresh, case.request, found), own_pool(afresh, case.request, found)) if case.for_offers is not None else ()
    plan = make_plan(found, case.model, _corrections(case, found))
    warned = _warnings(case, found, tuple(line for line in asides if line is not None))
    admit = Admit(plan=plan, warnings=warned, of_now=wording.of_now(case.request, found), on_the_edge=not found.fit.sure)
    return too_long or _capped(case, admit)


def lack_a_rule(case: Case) -> Verdict | None:
    """Nothing fits, and of some candidate nothing can be said: that one might have fitted."""
    return rejection.doubt(case.misses)


def fit_after_moves(case: Case) -> Verdict | None:
    """A plan at values that the user lets move."""
    if case.moved is None:
        return None
    found, changes = case.moved
    plan, warned = make_plan(found, case.model, _corrections(case, found)), _warnings(case, found)
    of_now, edge = wording.of_now(case.request, found), not found.fit.sure
    return _capped(case, Resize(plan=plan, changes=changes, warnings=warned, of_now=of_now, on_the_edge=edge))


def await_an_open_cluster(case: Case) -> Verdict | None:
    """GPUs that no known pool has may still come."""
    return _open_cluster(case, case.reject)


def start_against_the_prediction(case: Case) -> Verdict | None:
    """A plan of nothing but pinned values, where policy or bypass make a warning of the refusal."""
    refused = _with_offers(case, case.reject)
    forced = pinned_placement(case.engine, case.request, refused, case.misses) if is_lifted(refused, case.facts) else None
    if forced is None:
        return refused
    return _capped(case, _overridden(case.facts, refused, Admit(plan=make_plan(forced, case.model, _corrections(case, forced)))))


STEPS: Final[tuple[Step, ...]] = (
    check,
    name_what_would_do,
    read_the_shape,
    find_a_pool,
    know_a_product,
    fit_as_asked,
    lack_a_rule,
    fit_after_moves,
    await_an_open_cluster,
    start_against_the_prediction,
)
"""The last always has a verdict: the plan that starts against the prediction, or the refusal with its offers."""


def _warnings(case: Case, found: Found, asides: tuple[str, ...] = ()) -> tuple[str, ...]:
    return wording.warnings(case.request, found, asides, _corrections(case, found))


def _corrections(case: Case, found: Found) -> tuple[AppliedCorrection, ...]:
    return corrections_for(case.facts.corrections, found.fit.prepared)


def _capped(case: Case, fits: Admit | Resize) -> Verdict:
    """Whether the namespace may hold it beside what it holds already."""
    facts = case.facts
    reject = over_cap(facts.policy, facts.beside, use_of_plan(fits.plan, facts.deployment.spec.replicas))
    if reject is None:
        return fits
    return _overridden(facts, reject, fits) if is_lifted(reject, facts) else reject


def _overridden(facts: Facts, reject: Reject, fits: Admit | Resize) -> Admit | Resize:
    line = wording.overridden(reject, why_lifted(facts))
    return replace(fits, warnings=(line, *fits.warnings), overridden=fits.overridden or reject)


def _open_cluster(case: Case, reject: Reject) -> Undecided | None:
    """An Open cluster may be given GPUs that no known pool has; what fits none of the shipped table is still refused."""
    if case.facts.policy.capacity != "Open" or reject.reason in (Reason.ENGINE_REFUSES, Reason.POLICY_CAP, Reason.POLICY_FORBIDS):
        return None
    product = product_that_would_fit(case.afresh(rentable(case.request)), case.request)
    if product is None:
        return None
    message = f"{reject.message} It would fit {product}, which no known pool has."
    return Undecided(reason=Reason.NO_KNOWN_POOL, message=message, next_step=wording.OPEN_NEXT_STEP)


def _with_offers(case: Case, reject: Reject) -> Reject:
    """The rejection with what offers the rest of the effort finds: it holds without them, so their end is not its own."""
    effort = case.for_offers
    if effort is None:
        return reject
    refused = refused_of(case.facts, case.request, case.on)
    found: tuple[Offer, ...] = ()
    effort.verdict_is_certain()
    try:
        for offer in offers(refused, lambda patched: verdict_on(patched, effort, with_offers=False)):
            found += (offer,)
        if not found and reject.reason in _FOR_WANT_OF_GPUS:
            reject = _naming_others(case, reject)
    except TooComplex:
        pass
    except OutOfTime as stopped:
        raise OutOfTime(replace(_told(reject, found), offers_cut=True)) from stopped
    return _told(reject, found)


def _naming_others(case: Case, reject: Reject) -> Reject:
    """What would hold it: GPUs of the table among placement's, else any of it, and these GPUs over several nodes."""
    request, listed = case.request, case.request.placement.gpu_products
    found = tuple(products_that_would_do(case.afresh, request))
    if not found and listed:
        found = tuple(products_that_would_do(case.afresh, replace(request, placement=anywhere(request.placement))))
    lines: tuple[str, ...] = (wording.would_do(found), wording.declare(found[0])) if found else ()
    if spans_nodes(request.version, (request.args.data_parallel_size or 1) - 1) and request.max_nodes < MOST_NODES_OFFERED:
        products = tuple(more_nodes(product) for product in case.known_products[0])
        several = case.afresh(products).search(replace(request, max_nodes=MOST_NODES_OFFERED))
        lines += (wording.over_nodes(several, case.facts.leader_worker_set),) if isinstance(several, Found) else ()
    return replace(reject, details=(*reject.details, *lines))


def _told(reject: Reject, found: tuple[Offer, ...]) -> Reject:
    replicas = next((count for offer in found if (count := json.loads(offer.patch_json)["spec"].get("replicas"))), None)
    if replicas is None:
        return replace(reject, offers=found)
    return replace(reject, message=f"{reject.message} {replicas} replicas would hold the workload.", offers=found)
