"""Whether the chart's ValidatingAdmissionPolicies are there, and bound so that they deny: those that protect the bypass annotation, and
those that hold this process's own account to its work.

Fed by two informers, asked by the reconciler and, each second, by the leader's clock. An annotation that anybody may write is worth
nothing, so it is honoured only while the first hold. A lack of the others changes nothing that is done here, and is said in the log.
Kubernetes documentation: "Validating Admission Policy" (bindings, validationActions, failurePolicy).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from plimsoll_operator.ports import Key, Manifest

_log = logging.getLogger(__name__)


class Protection:
    """Knows the policies by their names. Informers write from their threads, each write replaces a map."""

    def __init__(self, bypass: Iterable[str], guards: Iterable[str] = ()) -> None:
        self._bypass = frozenset(bypass)
        self._guards = tuple(sorted(set(guards)))
        self._names = self._bypass.union(self._guards)
        self._said: tuple[str, ...] = ()
        self._policies: dict[str, Manifest] = {}
        self._bindings: dict[str, Manifest] = {}

    def policy_changed(self, key: Key, _old: Manifest | None, new: Manifest | None) -> None:
        """An informer's callback for ValidatingAdmissionPolicies."""
        if key[1] in self._names:
            self._policies = _with(self._policies, key[1], new)

    def binding_changed(self, key: Key, _old: Manifest | None, new: Manifest | None) -> None:
        """An informer's callback for ValidatingAdmissionPolicyBindings."""
        ours = new is not None and (new.get("spec") or {}).get("policyName") in self._names
        self._bindings = _with(self._bindings, key[1], new if ours else None)

    def holds(self) -> bool:
        """Whether the annotation is protected: all of its policies are there, and there are some."""
        return bool(self._bypass) and all(map(self._denies, self._bypass))

    def unguarded(self) -> tuple[str, ...]:
        """Which of the policies that hold this account to its work do not."""
        return tuple(name for name in self._guards if not self._denies(name))

    def complain(self) -> None:
        """Say it when it has changed."""
        missing = self.unguarded()
        if missing == self._said:
            return
        self._said = missing
        if missing:
            _log.warning("admission does not hold this account to its work: %s missing, not bound, or not denying", ", ".join(missing))
        else:
            _log.info("admission holds this account to its work again")

    def _denies(self, name: str) -> bool:
        """It is there, fails closed, and some binding of it denies in every namespace."""
        policy = self._policies.get(name)
        if policy is None or (policy.get("spec") or {}).get("failurePolicy", "Fail") != "Fail":
            return False
        specs = [binding.get("spec") or {} for binding in self._bindings.values()]
        return any(spec.get("policyName") == name and _everywhere(spec) for spec in specs)


def _everywhere(spec: Manifest) -> bool:
    """Whether a binding denies whatever namespace, and whatever object where the policy takes objects as its parameters."""
    params = spec.get("paramRef") or {}
    some_only = params.get("name") or params.get("namespace") or params.get("selector")
    return "Deny" in (spec.get("validationActions") or ()) and not spec.get("matchResources") and not some_only


def _with(kept: dict[str, Manifest], name: str, new: Manifest | None) -> dict[str, Manifest]:
    rest = {other: manifest for other, manifest in kept.items() if other != name}
    return rest if new is None else {**rest, name: new}
