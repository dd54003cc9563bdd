"""Whether the bypass annotation is protected: the chart's ValidatingAdmissionPolicy is there, and bound so that it denies.

Fed by two informers, asked by the reconciler. An annotation that anybody may write is worth nothing, so it is honoured only
while this holds. Kubernetes documentation: "Validating Admission Policy" (bindings, validationActions, failurePolicy).
"""

from __future__ import annotations

from plimsoll_operator.ports import Key, Manifest


class BypassProtection:
    """Knows the one policy by its name. Informers write from their threads, each write replaces the map."""

    def __init__(self, policy_name: str) -> None:
        self._policy_name = policy_name
        self._policy: Manifest | None = None
        self._bindings: dict[str, Manifest] = {}

    def policy_changed(self, key: Key, _old: Manifest | None, new: Manifest | None) -> None:
        """An informer's callback for ValidatingAdmissionPolicies."""
        if key[1] == self._policy_name:
            self._policy = new

    def binding_changed(self, key: Key, _old: Manifest | None, new: Manifest | None) -> None:
        """An informer's callback for ValidatingAdmissionPolicyBindings."""
        bindings = {name: kept for name, kept in self._bindings.items() if name != key[1]}
        if new is not None and (new.get("spec") or {}).get("policyName") == self._policy_name:
            bindings[key[1]] = new
        self._bindings = bindings

    def holds(self) -> bool:
        """Fails closed, and some binding denies in every namespace."""
        if self._policy is None or (self._policy.get("spec") or {}).get("failurePolicy", "Fail") != "Fail":
            return False
        specs = [binding.get("spec") or {} for binding in self._bindings.values()]
        return any("Deny" in (spec.get("validationActions") or ()) and not spec.get("matchResources") for spec in specs)
