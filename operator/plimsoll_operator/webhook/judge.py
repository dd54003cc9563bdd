"""One admission request to one answer: parse, gather, decide, translate. Pure but for its store.

Called by the ASGI app. Knows which requests pass unjudged (deletion, fewer replicas, metadata) and how a verdict reads in
kubectl; knows no HTTP and makes no request.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from plimsoll_operator.api import ApiError, InferenceDeployment, read_deployment
from plimsoll_operator.decision.checks.caps import SPEC_RULES, growth_refused, over_cap, policy_unreadable
from plimsoll_operator.decision.refusal.override import PIN_FIRST, UNPROTECTED_BYPASS, is_lifted
from plimsoll_operator.facts import Bypass, Decide, Facts
from plimsoll_operator.gather import facts_for, policy_for
from plimsoll_operator.names import REPLAN_ANNOTATION
from plimsoll_operator.verdict import Admit, Offer, Reason, Reject, Resize, Undecided, Verdict
from plimsoll_operator.webhook.ports import ReviewStore
from plimsoll_operator.webhook.review import Answer, Fault, Review

# What somebody would change who is refused because nothing is known, where it is not the model's name.
_UNDECIDED_FIELDS: Final = {
    Reason.UNKNOWN_ENGINE: "spec.engine.image",
    Reason.KERNELS_NOT_KNOWN: "spec.engine.image",
    Reason.VENDOR_UNSUPPORTED: "spec.placement",
    Reason.NO_CAPACITY_KNOWN: "spec.placement",
    Reason.NO_KNOWN_POOL: "spec.placement",
    Reason.LABEL_NOT_INDEXED: "spec.placement.nodeSelector",
    Reason.TOO_COMPLEX: "spec",
    Reason.OUT_OF_TIME: "spec",
}
_OFFERS_CUT: Final = (
    "there may be more changes that fit: looking for them was stopped, so that others have their answers in time. Apply again to see more"
)
_SKIPPED: Final = Answer(allowed=True, verdict="Skipped", reason="Unchanged")


def judge(review: Review, store: ReviewStore, decide: Decide) -> Answer:
    """The answer to one review. The same for dry-run: nothing is written, nothing remembered."""
    if review.operation not in ("CREATE", "UPDATE"):
        return _SKIPPED
    if review.sub_resource == "scale":
        return _judge_scale(review, store)
    if review.sub_resource or _passes_unjudged(review):
        return _SKIPPED
    try:
        deployment, unknown = read_deployment(review.obj)
    except ApiError as error:
        faults = tuple(Fault(field=cause.field, message=f"{cause.value} {cause.message}".strip()) for cause in error.causes)
        return Answer(allowed=False, verdict="Invalid", reason="Invalid", faults=faults)
    facts = facts_for(_in_namespace(deployment, review.namespace), store, applied_plan=None, unknown_fields=unknown)
    verdict = decide(facts)
    return _only_more_of_the_same(review, store, facts, verdict) or _answer(verdict, facts)


def _only_more_of_the_same(review: Review, store: ReviewStore, facts: Facts, verdict: Verdict) -> Answer | None:
    """More replicas of a plan that is applied, and nothing else: the pods are those of before, so no rule about what the spec says is
    broken anew, though a later release refuses it of new objects. As for /scale the caps decide, and what the policy forbids. Else None.
    """
    if not isinstance(verdict, Reject) or verdict.reason not in SPEC_RULES or not _scales(review):
        return None
    use = store.use(review.namespace, review.name)
    if use is None or not use.gpus_per_replica:
        return None
    refused = growth_refused(facts, verdict) or over_cap(facts.policy, facts.beside, replace(use, replicas=facts.deployment.spec.replicas))
    if refused is not None and not is_lifted(refused, facts):
        return _answer(refused, facts)
    kept = f"would be rejected if it were new ({verdict.reason}): {verdict.message} The pods stay as they are; only their number changes."
    return Answer(allowed=True, verdict="Admit", reason=verdict.reason, warnings=(kept,))


def out_of_time(why: str) -> Answer:
    """No verdict in time is no admission: what nobody judged does not get in, and asking again costs nothing."""
    return Answer(allowed=False, verdict="Undecided", reason=Reason.OUT_OF_TIME, code=504, faults=(Fault(field="", message=why),))


def _answer(verdict: Verdict, facts: Facts) -> Answer:
    match verdict:
        case Admit() | Resize() if verdict.overridden is not None:
            plan = verdict.plan.canonical_json()
            return Answer(allowed=True, verdict="Reject", reason=verdict.overridden.reason, warnings=verdict.warnings, plan_json=plan)
        case Admit():
            plan = verdict.plan.canonical_json()
            return Answer(allowed=True, verdict="Admit", reason=Reason.FITS, warnings=verdict.warnings, plan_json=plan)
        case Resize():
            moved = tuple(f"{change.field} {change.old} -> {change.new}: {change.why}" for change in verdict.changes)
            plan = verdict.plan.canonical_json()
            return Answer(allowed=True, verdict="Resize", reason=Reason.RESIZED, warnings=moved + verdict.warnings, plan_json=plan)
        case Undecided() if verdict.reason == Reason.OUT_OF_TIME:
            return out_of_time(f"{verdict.message.rstrip('.')}, so nothing is admitted. Ask again.")
        case Undecided():
            text = f"undecided ({verdict.reason}): {verdict.message}"
            if facts.policy.unknown_model == "Deny":
                field = verdict.field or _UNDECIDED_FIELDS.get(verdict.reason, "spec.model.name")
                faults = (Fault(field=field, message=text),)
                return Answer(allowed=False, verdict="Undecided", reason=verdict.reason, faults=faults)
            return Answer(allowed=True, verdict="Undecided", reason=verdict.reason, warnings=(text, verdict.next_step))
        case Reject():
            if is_lifted(verdict, facts):
                warning = f"would be rejected ({verdict.reason}): {verdict.message}"
                return Answer(allowed=True, verdict="Reject", reason=verdict.reason, warnings=(warning, PIN_FIRST))
            return Answer(allowed=False, verdict="Reject", reason=verdict.reason, faults=_faults(verdict, facts))


def _faults(verdict: Reject, facts: Facts) -> tuple[Fault, ...]:
    """The whole sentence first, then what adds to it, then the offers: kubectl prints these and nothing else."""
    more = tuple(Fault(field=verdict.field, message=detail) for detail in verdict.details)
    if facts.bypass is Bypass.UNPROTECTED:
        more += (Fault(field="metadata.annotations", message=UNPROTECTED_BYPASS),)
    main = Fault(field=verdict.field, message=verdict.message.removeprefix(f"{verdict.field}: "))
    cut = (Fault(field="offer", message=_OFFERS_CUT),) if verdict.offers_cut else ()
    return (main, *more, *(_offer(offer) for offer in verdict.offers), *cut)


def _offer(offer: Offer) -> Fault:
    return Fault(field="offer", message=f"{offer.summary.rstrip('.')}: {offer.patch_json}")


def _judge_scale(review: Review, store: ReviewStore) -> Answer:
    """Caps only: whether more replicas fit is for the scheduler to find, whether they are allowed is for the policy.

    Whether they are more is the API server's word: the cache may lag behind. Of a Scale, none means 0.
    """
    use = store.use(review.namespace, review.name)
    wanted = _replicas(review.obj) or 0
    if use is None or wanted <= (_replicas(review.old) or 0):
        return _SKIPPED
    in_force = policy_for(review.namespace, store)
    policy = in_force.spec
    beside = store.use_beside(review.namespace, review.name)
    capped = policy_unreadable(in_force.problem) if in_force.problem else over_cap(policy, beside, replace(use, replicas=wanted))
    if capped is None:
        return Answer(allowed=True, verdict="Admit", reason=Reason.FITS)
    if policy.mode == "Warn":
        return Answer(allowed=True, verdict="Reject", reason=capped.reason, warnings=(f"would be rejected: {capped.message}",))
    return Answer(allowed=False, verdict="Reject", reason=capped.reason, code=403, faults=(Fault(field="", message=capped.message),))


def _replicas(obj: Mapping[str, Any]) -> int | None:
    spec = obj.get("spec")
    value = spec.get("replicas") if isinstance(spec, Mapping) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _passes_unjudged(review: Review) -> bool:
    """Metadata-only updates, deletions under way, and updates that only lower replicas."""
    metadata = review.obj.get("metadata")
    if isinstance(metadata, Mapping) and metadata.get("deletionTimestamp") is not None:
        return True
    if review.operation != "UPDATE":
        return False
    if review.obj.get("spec") == review.old.get("spec"):
        return True
    after, before = _replicas(review.obj), _replicas(review.old)
    return _same_but_replicas(review) and (1 if after is None else after) <= (1 if before is None else before)


def _scales(review: Review) -> bool:
    """Whether an update changes the number of replicas alone, and asks for no fresh plan."""
    return review.operation == "UPDATE" and _same_but_replicas(review) and _replan(review.obj) == _replan(review.old)


def _same_but_replicas(review: Review) -> bool:
    new, old = review.obj.get("spec"), review.old.get("spec")
    if not isinstance(new, Mapping) or not isinstance(old, Mapping):
        return False
    return {key: value for key, value in new.items() if key != "replicas"} == {
        key: value for key, value in old.items() if key != "replicas"
    }


def _replan(obj: Mapping[str, Any]) -> object:
    metadata = obj.get("metadata")
    annotations = metadata.get("annotations") if isinstance(metadata, Mapping) else None
    return annotations.get(REPLAN_ANNOTATION) if isinstance(annotations, Mapping) else None


def _in_namespace(deployment: InferenceDeployment, namespace: str) -> InferenceDeployment:
    # The request's namespace is the API server's word; the object's own may still be empty on creation.
    if not namespace or deployment.metadata.namespace == namespace:
        return deployment
    return deployment.model_copy(update={"metadata": deployment.metadata.model_copy(update={"namespace": namespace})})
