"""Whether the bypass annotation is protected: the chart's ValidatingAdmissionPolicies are there, and bound so that they deny.

Fed by two informers, asked by the reconciler. An annotation that anybody may write is worth nothing, so it is honoured only
while this holds. Kubernetes documentation: "Validating Admission Policy" (bindings, validationActions, failurePolicy).
"""

from __future__ import annotations

from collections.abc import Iterable

from plimsoll_operator.ports import Key, Manifest


class BypassProtection:
    """Knows the policies by their names: all of them must hold. Informers write from their threads, each write replaces a map."""

    def __init__(self, policy_names: Iterable[str]) -> None:
        self._policy_names = frozenset(policy_names)
        self._policies: dict[str, Manifest] = {}
        self._bindings: dict[str, Manifest] = {}

    def policy_changed(self, key: Key, _old: Manifest | None, new: Manifest | None) -> None:
        """An informer's callback for ValidatingAdmissionPolicies."""
        if key[1] in self._policy_names:
            self._policies = _with(self._policies, key[1], new)

    def binding_changed(self, key: Key, _old: Manifest | None, new: Manifest | None) -> None:
        """An informer's callback for ValidatingAdmissionPolicyBindings."""
        ours = new is not None and (new.get("spec") or {}).get("policyName") in self._policy_names
        self._bindings = _with(self._bindings, key[1], new if ours else None)

    def holds(self) -> bool:
        """Each policy is there, fails closed, and some binding of it denies in every namespace. Without any policy nothing protects."""
        return bool(self._policy_names) and all(map(self._denies, self._policy_names))

    def _denies(self, name: str) -> bool:
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
