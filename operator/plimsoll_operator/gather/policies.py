"""Which FitPolicy holds for a namespace: by name and by labels, also where one cannot be read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from plimsoll_operator.api import (
    FitPolicy,
    FitPolicySpec,
    LabelSelector,
    SelectorRequirement,
    Unreadable,
)
from plimsoll_operator.facts import HeldPolicy
from plimsoll_operator.gather.store import Store

DEFAULT_POLICY: Final = "default"


def policy_for(namespace: str, store: Store) -> HeldPolicy:
    """The FitPolicy that holds for a namespace."""
    return _policy(store.fit_policies(), namespace, store.namespace_labels(namespace))


def _policy(policies: Iterable[FitPolicy | Unreadable], namespace: str, labels: Mapping[str, str] | None) -> HeldPolicy:
    """The first policy by name whose selector matches the namespace, else `default`, else the built-in defaults.

    One that cannot be read holds for whatever its selector selects, and for everything where that cannot be read either. Of a namespace
    that was made a moment ago the labels may not be known yet: then it is not known whether a selector leaves it out.
    """
    fallback = HeldPolicy(spec=FitPolicySpec())
    for policy in sorted(policies, key=_name_of):
        if _name_of(policy) == DEFAULT_POLICY:
            fallback = _held(policy)
        elif labels is None and not _selects_all(policy):
            return HeldPolicy(
                spec=FitPolicySpec(), problem=f"The labels of namespace {namespace} are not known yet, by which FitPolicies select"
            )
        elif _holds_for(policy, labels or {}):
            return _held(policy)
    return fallback


def _name_of(policy: FitPolicy | Unreadable) -> str:
    return policy.name if isinstance(policy, Unreadable) else policy.metadata.name


def _selects_all(policy: FitPolicy | Unreadable) -> bool:
    selector = policy.selector if isinstance(policy, Unreadable) else policy.spec.namespace_selector
    return selector is None or not (selector.match_labels or selector.match_expressions)


def _holds_for(policy: FitPolicy | Unreadable, labels: Mapping[str, str]) -> bool:
    if isinstance(policy, Unreadable):
        return policy.selector is None or _selects(policy.selector, labels)
    return policy.spec.namespace_selector is not None and _selects(policy.spec.namespace_selector, labels)


def _held(policy: FitPolicy | Unreadable) -> HeldPolicy:
    if not isinstance(policy, Unreadable):
        return HeldPolicy(spec=policy.spec)
    return HeldPolicy(spec=FitPolicySpec(), problem=f"{policy} cannot be read by this release: {policy.problem}")


def _selects(selector: LabelSelector, labels: Mapping[str, str]) -> bool:
    return all(labels.get(key) == value for key, value in selector.match_labels.items()) and all(
        _holds(requirement, labels) for requirement in selector.match_expressions
    )


def _holds(requirement: SelectorRequirement, labels: Mapping[str, str]) -> bool:
    present = requirement.key in labels
    match requirement.operator:
        case "In":
            return present and labels[requirement.key] in requirement.values
        case "NotIn":
            return not present or labels[requirement.key] not in requirement.values
        case "Exists":
            return present
        case "DoesNotExist":
            return not present
