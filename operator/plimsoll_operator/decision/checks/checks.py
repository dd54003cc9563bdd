"""The checks before any arithmetic, in the order they are made; the first that has something to say decides.

One list of pure functions: each gets the facts and what was read from them, and answers with a verdict or None.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from plimsoll_estimator import NEWEST_KNOWN, OLDEST_KNOWN
from plimsoll_operator.api import unsupported_fields
from plimsoll_operator.decision.checks.allowed import images_of, not_allowed, overlay_problem
from plimsoll_operator.decision.checks.caps import policy_unreadable
from plimsoll_operator.decision.checks.containers import container_problem
from plimsoll_operator.decision.checks.image_builds import built_for
from plimsoll_operator.decision.checks.images import NO_REFERENCE, read_reference
from plimsoll_operator.decision.checks.storable import refused_by_the_api_server
from plimsoll_operator.decision.checks.unknown import next_step
from plimsoll_operator.decision.request.placement import Matched
from plimsoll_operator.decision.request.request import DeploymentRequest
from plimsoll_operator.facts import Facts, ModelUnknown, PoolFacts
from plimsoll_operator.reasons import NoShape
from plimsoll_operator.verdict import Reason, Reject, Undecided


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What every check may look at."""

    facts: Facts
    request: DeploymentRequest
    matched: Matched


_MOST_POOLS: Final = 8
_MOST_PRODUCTS: Final = 12
_MOST_REASONS: Final = 2
_NO_RULES: Final = "No pods are made; nothing is assumed about what is not known."
Check: TypeAlias = Callable[[Checked], Reject | Undecided | None]


def policy_is_readable(checked: Checked) -> Reject | None:
    """What an administrator forbids where nobody can read it is not known: nothing is admitted."""
    problem = checked.facts.policy_problem
    return policy_unreadable(problem) if problem else None


def fields_are_supported(checked: Checked) -> Reject | None:
    """A field that nothing honours yet is refused by name, never ignored."""
    newer = [(path, "is a field that this release does not know") for path in checked.facts.unknown_fields]
    fields = newer + unsupported_fields(checked.facts.deployment.spec)
    if not fields:
        return None
    path, message = fields[0]
    details = tuple(f"{other} {why}" for other, why in fields[1:])
    return Reject(reason=Reason.NOT_SUPPORTED_YET, message=f"{path} {message}.", field=path, details=details)


def images_are_references(checked: Checked) -> Reject | None:
    """What no runtime could pull. It is not repeated: who writes user:password@registry has put a secret into it."""
    field = next((field for field, image in images_of(checked.facts.deployment.spec) if read_reference(image) is None), "")
    return Reject(reason=Reason.INVALID_SPEC, message=f"{field} {NO_REFERENCE}.", field=field) if field else None


def engine_is_known(checked: Checked) -> Undecided | None:
    """Older than the oldest known release, or further ahead of the newest than the policy allows."""
    version, policy = checked.request.version, checked.facts.policy
    if version < OLDEST_KNOWN:
        message = f"vLLM {version} is older than {OLDEST_KNOWN}, the oldest release with known rules."
        return Undecided(reason=Reason.UNKNOWN_ENGINE, message=message, next_step="Use a newer image.")
    ahead = version.minor - NEWEST_KNOWN.minor if version.major == NEWEST_KNOWN.major else 1 << 30
    if version.minor_key > NEWEST_KNOWN.minor_key and ahead > policy.max_extrapolated_minors:
        message = (
            f"vLLM {version} is newer than {NEWEST_KNOWN}, the newest release with known rules, by more than the FitPolicy extrapolates."
        )
        return Undecided(
            reason=Reason.UNKNOWN_ENGINE,
            message=message,
            next_step="Update Plimsoll, use an older image, or raise maxExtrapolatedMinors in the FitPolicy.",
        )
    return None


def engine_has_rules_for_its_gpus(checked: Checked) -> Undecided | None:
    """An image that is built for another accelerator has no memory rules. One that does not say so is taken for CUDA's."""
    image = checked.facts.deployment.spec.engine.image
    what = built_for(image)
    if not what:
        return None
    message = (
        f"The image {image} is built for {what}, as its name says, and no memory rules are known for vLLM on other than NVIDIA's GPUs."
    )
    return Undecided(reason=Reason.VENDOR_UNSUPPORTED, message=message, next_step=_NO_RULES)


def model_is_known(checked: Checked) -> Reject | Undecided | None:
    """A shape that speaks of another model or revision is refused, and so is one in the spec itself that cannot be read.

    One that nobody knows is undecided.
    """
    model, deployment = checked.facts.model, checked.facts.deployment
    if not isinstance(model, ModelUnknown):
        return None
    if model.kind is NoShape.MISMATCH:
        return Reject(reason=Reason.MODEL_MISMATCH, message=f"{model.problem}.", field="spec.model.profile")
    given = deployment.spec.model.profile
    if model.kind is NoShape.INVALID and given is not None and given.inline is not None:
        return Reject(reason=Reason.INVALID_SPEC, message=f"{model.problem}.", field="spec.model.profile.inline")
    return Undecided(
        reason=Reason.UNKNOWN_MODEL,
        message=f"The shape of {checked.request.model} is not known: {model.problem}.",
        next_step=next_step(model, deployment.spec.model, deployment.metadata.namespace or "default"),
    )


def draft_is_known(checked: Checked) -> Undecided | None:
    """The draft model of speculative decoding takes memory too: a shape that nobody knows is undecided."""
    draft = checked.facts.draft
    if not isinstance(draft, ModelUnknown):
        return None
    speculative = checked.facts.deployment.spec.engine.speculative
    name = speculative.model if speculative is not None else ""
    return Undecided(
        reason=Reason.UNKNOWN_MODEL,
        message=f"The shape of draft model {name} is not known: {draft.problem}.",
        next_step="No pods are made until a ModelProfile for it exists: `plimsoll profile` makes one.",
        field="spec.engine.speculative.model",
    )


def moves_are_allowed(checked: Checked) -> Reject | None:
    """mayChange names only what the FitPolicy lets move."""
    asked = checked.facts.deployment.spec.fit.may_change
    forbidden = [field for field in asked if field not in checked.request.may_change]
    if not forbidden:
        return None
    message = f"spec.fit.mayChange names {forbidden[0]}, which the FitPolicy does not allow to move."
    return Reject(reason=Reason.POLICY_CAP, message=message, field="spec.fit.mayChange")


def service_account_is_allowed(checked: Checked) -> Reject | None:
    """Pods run as an account only where the FitPolicy lists it: whoever may create pods may otherwise use every account there is."""
    template = checked.facts.deployment.spec.template
    account = template.service_account_name if template is not None else None
    if account is None or account in checked.facts.policy.allowed_service_accounts:
        return None
    message = f"spec.template.serviceAccountName {account} is not among the FitPolicy's allowedServiceAccounts."
    return Reject(reason=Reason.POLICY_CAP, message=message, field="spec.template.serviceAccountName")


def policy_allows_it(checked: Checked) -> Reject | None:
    """Images, priority class, tolerations and what loads code are among what the FitPolicy allows."""
    return not_allowed(checked.facts.deployment.spec, checked.request.version, checked.facts.policy)


def pod_is_the_plans(checked: Checked) -> Reject | None:
    """Neither environment nor mounts of spec.template move what the plan was worked out from, or bring an account with them."""
    spec = checked.facts.deployment.spec
    if spec.template is None:
        return None
    return overlay_problem(spec.template, checked.request.version) or container_problem(spec.template, spec.engine)


def children_can_be_made(checked: Checked) -> Reject | None:
    """The API server takes what is made of the spec: what it refuses would be applied again and again, with its GPUs booked."""
    return refused_by_the_api_server(checked.facts.deployment.spec)


def capacity_is_known(checked: Checked) -> Undecided | None:
    """No pool at all, existing or declared."""
    if checked.facts.pools:
        return None
    return Undecided(
        reason=Reason.NO_CAPACITY_KNOWN,
        message="No GPU pool is known.",
        next_step="No pods are made until GPU nodes are labelled by GPU feature discovery or a GPUPool declares them.",
    )


def some_pool_matches(checked: Checked) -> Reject | Undecided | None:
    """Placement leaves at least one pool. What pools alone do not tell is left to who sees nodes."""
    matched = checked.matched
    if matched.pools:
        return None
    if matched.unjudged:
        pools = ", ".join(f"{pool.name} ({pool.product or pool.vendor})" for pool in matched.unjudged[:4])
        message = f"Placement leaves only GPUs for which no memory rules are known: {pools}."
        return Undecided(reason=Reason.VENDOR_UNSUPPORTED, message=message, next_step=_NO_RULES)
    if matched.unindexed_keys:
        keys = ", ".join(matched.unindexed_keys)
        return Undecided(
            reason=Reason.LABEL_NOT_INDEXED,
            message=f"GPU pools are not split by node label {keys}.",
            next_step="The controller looks at the nodes themselves and decides.",
        )
    nearest = matched.nearest(checked.request.placement)
    meant = matched.meant(checked.request.placement)
    if len(nearest) == 1 or (nearest and checked.request.placement.gpu_products):
        why = f"pool {nearest[0][0].name} {nearest[0][1]}."
    elif meant:
        asked, product = meant[0]
        why = f"no pool has {asked}; did you mean {product}?"
    elif wanted := checked.request.placement.gpu_products:
        why = f"no pool has {' or '.join(wanted)}, but {_some(_products(matched.excluded))}."
    else:
        why = f"{_why_none(matched.excluded)}."
    return Reject(
        reason=Reason.NO_MATCHING_POOL,
        message=f"No GPU pool matches placement: {why}",
        field="spec.placement",
        details=_why_each(matched, nearest),
    )


def _why_each(matched: Matched, nearest: tuple[tuple[PoolFacts, str], ...]) -> tuple[str, ...]:
    """A line for each pool, the nearest first; of pools that have other GPUs one line for all where there are many."""
    others = [row for row in matched.excluded if row not in nearest]
    lines = [f"Pool {pool.name} {why}." for pool, why in nearest[:_MOST_POOLS]]
    if len(lines) + len(others) <= _MOST_POOLS:
        return (*lines, *(f"Pool {pool.name} {why}." for pool, why in others))
    return (*lines, f"The other {len(others)} pools have {_some(_products(others))}.") if others else tuple(lines)


def _products(rows: Iterable[tuple[PoolFacts, str]]) -> list[str]:
    return sorted({pool.product or pool.vendor for pool, _ in rows})


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_MOST_PRODUCTS]) + (f" and {len(names) - _MOST_PRODUCTS} more" if len(names) > _MOST_PRODUCTS else "")


def _why_none(rows: Iterable[tuple[PoolFacts, str]]) -> str:
    """What keeps pools out, what keeps out most of them first, each with one of them by name: where status has no line for each."""
    pools: dict[str, list[str]] = {}
    for pool, why in rows:
        pools.setdefault(why, []).append(pool.name)
    most = sorted(pools.items(), key=lambda row: (-len(row[1]), row[0]))
    said = [f"pool {names[0]}{f', as {len(names) - 1} more,' if len(names) > 1 else ''} {why}" for why, names in most[:_MOST_REASONS]]
    return "; ".join(said) + (f"; {len(most) - _MOST_REASONS} other reasons keep out the rest" if len(most) > _MOST_REASONS else "")


CHECKS: Final[tuple[Check, ...]] = (
    policy_is_readable,
    fields_are_supported,
    images_are_references,
    policy_allows_it,
    pod_is_the_plans,
    children_can_be_made,
    engine_is_known,
    engine_has_rules_for_its_gpus,
    model_is_known,
    draft_is_known,
    moves_are_allowed,
    service_account_is_allowed,
    capacity_is_known,
    some_pool_matches,
)


def first_finding(checked: Checked) -> Reject | Undecided | None:
    """The first check that has something to say."""
    return next((finding for check in CHECKS if (finding := check(checked)) is not None), None)
