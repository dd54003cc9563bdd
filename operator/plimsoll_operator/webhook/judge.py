"""One admission request to one answer: parse, gather, decide, translate. Pure but for its store.

Called by the ASGI app. Knows which requests pass unjudged (deletion, fewer replicas, metadata) and how a verdict reads in
kubectl; knows no HTTP and makes no request.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from plimsoll_operator.api import (
    ApiError,
    EngineSpec,
    FitPolicySpec,
    InferenceDeployment,
    InferenceDeploymentSpec,
    ModelSpec,
    ObjectMeta,
    ProfileRef,
    parse_inference_deployment,
)
from plimsoll_operator.gather import facts_for
from plimsoll_operator.verdict import Admit, Offer, Reason, Reject, Resize, Undecided, Verdict
from plimsoll_operator.webhook.caps import has_caps, over_cap, use_of_plan
from plimsoll_operator.webhook.ports import Decide, ReviewStore
from plimsoll_operator.webhook.review import Answer, Fault, Review

# Warn mode is about fit: what cannot be read or would be ignored is refused in every mode.
_NEVER_WARNED: Final = frozenset({Reason.INVALID_SPEC, Reason.NOT_SUPPORTED_YET})
_SKIPPED: Final = Answer(allowed=True, verdict="Skipped", reason="Unchanged")

_PROBE: Final = InferenceDeployment(
    metadata=ObjectMeta(name="policy"),
    spec=InferenceDeploymentSpec(
        model=ModelSpec(name="policy", profile=ProfileRef(inline="{}")), engine=EngineSpec(image="vllm/vllm-openai:v0.19.0")
    ),
)


def judge(review: Review, store: ReviewStore, decide: Decide) -> Answer:
    """The answer to one review. The same for dry-run: nothing is written, nothing remembered."""
    if review.operation not in ("CREATE", "UPDATE"):
        return _SKIPPED
    if review.sub_resource == "scale":
        return _judge_scale(review, store)
    if review.sub_resource or _passes_unjudged(review):
        return _SKIPPED
    try:
        deployment = _in_namespace(parse_inference_deployment(review.obj), review.namespace)
    except ApiError as error:
        faults = tuple(Fault(field=cause.field, message=f"{cause.value} {cause.message}".strip()) for cause in error.causes)
        return Answer(allowed=False, verdict="Invalid", reason="Invalid", faults=faults)
    return _judge_spec(deployment, store, decide)


def _judge_spec(deployment: InferenceDeployment, store: ReviewStore, decide: Decide) -> Answer:
    facts = facts_for(deployment, store, applied_plan=None)
    verdict = decide(facts)
    # Looking at every InferenceDeployment of the namespace is paid for only where there is a cap.
    if isinstance(verdict, Admit | Resize) and has_caps(facts.policy):
        others = store.deployments(deployment.metadata.namespace)
        wanted = use_of_plan(verdict.plan, deployment.spec.replicas)
        verdict = over_cap(facts.policy, others, deployment.metadata.name, wanted) or verdict
    return _answer(verdict, facts.policy)


def _answer(verdict: Verdict, policy: FitPolicySpec) -> Answer:
    match verdict:
        case Admit():
            plan = verdict.plan.canonical_json()
            return Answer(allowed=True, verdict="Admit", reason=Reason.FITS, warnings=verdict.warnings, plan_json=plan)
        case Resize():
            moved = tuple(f"{change.field} {change.old} -> {change.new}: {change.why}" for change in verdict.changes)
            plan = verdict.plan.canonical_json()
            return Answer(allowed=True, verdict="Resize", reason=Reason.RESIZED, warnings=moved + verdict.warnings, plan_json=plan)
        case Undecided():
            text = f"undecided ({verdict.reason}): {verdict.message}"
            if policy.unknown_model == "Deny":
                faults = (Fault(field="spec.model.name", message=text),)
                return Answer(allowed=False, verdict="Undecided", reason=verdict.reason, faults=faults)
            return Answer(allowed=True, verdict="Undecided", reason=verdict.reason, warnings=(text, verdict.next_step))
        case Reject():
            if policy.mode == "Warn" and verdict.reason not in _NEVER_WARNED:
                warning = f"would be rejected ({verdict.reason}): {verdict.message}"
                return Answer(allowed=True, verdict="Reject", reason=verdict.reason, warnings=(warning,))
            return Answer(allowed=False, verdict="Reject", reason=verdict.reason, faults=_faults(verdict))


def _faults(verdict: Reject) -> tuple[Fault, ...]:
    """The whole sentence first, then what adds to it, then the offers: kubectl prints these and nothing else."""
    more = tuple(Fault(field=verdict.field, message=detail) for detail in verdict.details)
    return (Fault(field=verdict.field, message=verdict.message), *more, *(_offer(offer) for offer in verdict.offers))


def _offer(offer: Offer) -> Fault:
    return Fault(field="offer", message=f"{offer.summary.rstrip('.')}: {offer.patch_json}")


def _judge_scale(review: Review, store: ReviewStore) -> Answer:
    """Caps only: whether more replicas fit is for the scheduler to find, whether they are allowed is for the policy."""
    use = store.deployments(review.namespace).get(review.name)
    wanted = _replicas(review.obj)
    if use is None or wanted is None or wanted <= use.replicas:
        return _SKIPPED
    policy = _policy_of(store, review.namespace)
    capped = over_cap(policy, store.deployments(review.namespace), review.name, replace(use, replicas=wanted))
    if capped is None:
        return Answer(allowed=True, verdict="Admit", reason=Reason.FITS)
    if policy.mode == "Warn":
        return Answer(allowed=True, verdict="Reject", reason=capped.reason, warnings=(f"would be rejected: {capped.message}",))
    return Answer(allowed=False, verdict="Reject", reason=capped.reason, code=403, faults=(Fault(field="", message=capped.message),))


def _policy_of(store: ReviewStore, namespace: str) -> FitPolicySpec:
    """The policy of a namespace as `gather` chooses it; the probe's own wishes play no part."""
    return facts_for(_in_namespace(_PROBE, namespace), store, applied_plan=None).policy


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
    new, old = review.obj.get("spec"), review.old.get("spec")
    if new == old:
        return True
    if not isinstance(new, Mapping) or not isinstance(old, Mapping):
        return False
    rest_new = {key: value for key, value in new.items() if key != "replicas"}
    rest_old = {key: value for key, value in old.items() if key != "replicas"}
    after, before = _replicas(review.obj), _replicas(review.old)
    return rest_new == rest_old and (1 if after is None else after) <= (1 if before is None else before)


def _in_namespace(deployment: InferenceDeployment, namespace: str) -> InferenceDeployment:
    # The request's namespace is the API server's word; the object's own may still be empty on creation.
    if not namespace or deployment.metadata.namespace == namespace:
        return deployment
    return deployment.model_copy(update={"metadata": deployment.metadata.model_copy(update={"namespace": namespace})})
