"""Says on each FitPolicy whether it is understood: Accepted, and where it is not, which field is to blame and what follows from it.

Fed by the informer, called by the leader's clock. Reads a policy as `gather`'s stores do; writes only the status. Knows no deployment.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime
from typing import Final

from plimsoll_operator.api import FitPolicy, Unreadable, read_stored, unknown_fields
from plimsoll_operator.conditions import MAX_MESSAGE
from plimsoll_operator.controller.loops.quarantine import Border, Unit, no_border
from plimsoll_operator.decision.checks.images import read_reference
from plimsoll_operator.errors import ApiFailure
from plimsoll_operator.ports import FIT_POLICIES, Key, Kube, Manifest
from plimsoll_operator.reasons import Why

_log = logging.getLogger(__name__)
_AGAIN_SECONDS: Final = 10.0


class PolicyStatus:
    """`clock` counts seconds between tries, `now` is the wall clock of transition times."""

    def __init__(self, kube: Kube, *, clock: Callable[[], float], now: Callable[[], datetime], border: Border = no_border) -> None:
        self._kube = kube
        self._border = border
        self._clock = clock
        self._now = now
        self._lock = threading.Lock()
        self._due: dict[Key, tuple[float, Manifest]] = {}

    def changed(self, key: Key, _old: Manifest | None, new: Manifest | None) -> None:
        """An informer's callback."""
        with self._lock:
            self._due.pop(key, None)
            if new is not None:
                self._due[key] = (self._clock(), new)

    def write_due(self) -> None:
        """One look at every policy that has changed; what the API server refuses is tried again after a while."""
        with self._lock:
            ready = {key: policy for key, (at, policy) in self._due.items() if at <= self._clock()}
            for key in ready:
                del self._due[key]
        for key, policy in ready.items():
            try:
                with self._border(Unit.TIMER, f"status of FitPolicy {key[1]}"):
                    self._write(policy)
            except ApiFailure as failure:
                if failure.status == 404:
                    continue  # it is gone, whether or not the informer has heard of it; one of the same name is told of anew
                _log.warning("status of FitPolicy %s: %s; again in %.0f s", key[1], failure, _AGAIN_SECONDS)
                with self._lock:
                    self._due.setdefault(key, (self._clock() + _AGAIN_SECONDS, policy))

    def _write(self, policy: Manifest) -> None:
        metadata = policy["metadata"]
        before = read_stored(FitPolicy, {**policy, "spec": {"namespaceSelector": {}} if metadata["name"] != "default" else {}})
        rows = before.status.conditions if isinstance(before, FitPolicy) and before.status is not None else ()
        old = next((row for row in rows if row.type == "Accepted"), None)
        generation = int(metadata.get("generation") or 0)
        status, reason, message = condition_of(policy)
        if old is not None and (old.status, old.reason, old.message, old.observed_generation) == (status, reason, message, generation):
            return
        condition: Manifest = {
            "type": "Accepted",
            "status": status,
            "reason": str(reason),
            "message": message,
            "observedGeneration": generation,
            "lastTransitionTime": old.last_transition_time
            if old is not None and old.status == status
            else self._now().strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        manifest: Manifest = {
            "apiVersion": FIT_POLICIES.api_version,
            "kind": FIT_POLICIES.kind,
            "metadata": {name: metadata[name] for name in ("name", "uid") if name in metadata},
            "status": {"observedGeneration": generation, "conditions": [condition]},
        }
        self._kube.apply(FIT_POLICIES, manifest, subresource="status")


def condition_of(policy: Manifest) -> tuple[str, str, str]:
    """Status, reason and message of Accepted. Pure."""
    found = read_stored(FitPolicy, policy)
    if isinstance(found, Unreadable):
        where = "in every namespace that no policy before it by name holds for" if found.selector is None else "where its selector holds"
        if found.name == "default":
            where = "in every namespace that no other policy holds for"
        message = f"{found.problem}. Until this can be read nothing new is admitted {where}; running pods stay."
        return ("False", Why.UNREADABLE, message[:MAX_MESSAGE])
    newer = unknown_fields(FitPolicy, policy)
    if newer:
        message = f"This release does not know {', '.join(newer)} and passes over it; the rest holds."
        return ("True", Why.PARTLY_KNOWN, message[:MAX_MESSAGE])
    void = [image for image in found.spec.allowed_images if read_reference(image.rstrip("/"), prefix=True) is None]
    if void:
        message = f"The policy holds, but allowedImages names {', '.join(void[:8])}: that is no image reference, and nothing lies under it."
        return ("True", Why.PARTLY_KNOWN, message[:MAX_MESSAGE])
    return ("True", Why.ACCEPTED, "The policy is understood and holds.")
