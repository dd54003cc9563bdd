"""Status of ModelProfiles and ClusterModelProfiles: whether their config can be read, its architecture, and the shape's digest.

Whoever wrote a profile sees there what the decision will make of it. Runs on a thread of the leader, fed by the informers; a
profile is looked at once per generation. Never writes a spec, and decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from operator import itemgetter
from typing import Any, Final

from plimsoll_estimator import HfConfig, InvalidInput, Unsupported, shape_of
from plimsoll_operator.api import ClusterModelProfile, ModelProfile, ModelProfileSpec, Unreadable
from plimsoll_operator.controller.cluster.store import Parsed
from plimsoll_operator.controller.loops.key_loop import KeyLoop
from plimsoll_operator.controller.loops.quarantine import Border, Unit, no_border
from plimsoll_operator.ports import CLUSTER_MODEL_PROFILES, MODEL_PROFILES, Key, Kube, Manifest, Resource
from plimsoll_operator.profiles.build import shape_digest
from plimsoll_operator.reasons import NoShape, Why
from plimsoll_operator.text import one_line

_MAX_MESSAGE: Final = 1024


class ProfileStatus:
    """See the module. `now` is the wall clock of transition times."""

    def __init__(
        self,
        kube: Kube,
        namespaced: Parsed[ModelProfile],
        cluster: Parsed[ClusterModelProfile],
        *,
        clock: Callable[[], float],
        now: Callable[[], datetime],
        border: Border = no_border,
    ) -> None:
        self._kube = kube
        self._namespaced = namespaced
        self._cluster = cluster
        self._now = now
        self.loop: KeyLoop[Key] = KeyLoop(
            self._write, clock=clock, unit=Unit.PROFILE, what="status of profile", name="/".join, group=itemgetter(0), border=border
        )

    def changed(self, key: Key) -> None:
        """The profile appeared, changed or went; an empty namespace means a ClusterModelProfile."""
        self.loop.add(key)

    def _write(self, key: Key) -> None:
        resource = MODEL_PROFILES if key[0] else CLUSTER_MODEL_PROFILES
        parsed: Parsed[Any] = self._namespaced if key[0] else self._cluster
        profile: ModelProfile | ClusterModelProfile | Unreadable | None = parsed.read(key)
        if profile is None:
            return
        found = self._kube.get(resource, *key)
        if found is None or found.get("spec") is None:
            return
        generation = int(found["metadata"].get("generation") or 0)
        if generation != (profile.generation if isinstance(profile, Unreadable) else profile.metadata.generation):
            return  # the cache is behind: it will tell of this generation too
        before, now = found.get("status") or {}, self._now().strftime("%Y-%m-%dT%H:%M:%SZ")
        if isinstance(profile, Unreadable):
            status = status_of_unreadable(profile, before, now)
        else:
            status = status_of(profile.spec, generation, before, now)
        if status != before:
            self._apply(resource, found, status)

    def _apply(self, resource: Resource, found: Manifest, status: Manifest) -> None:
        metadata = {name: found["metadata"][name] for name in ("namespace", "name", "uid") if name in found["metadata"]}
        body = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata, "status": status}
        self._kube.apply(resource, body, subresource="status")


def status_of(spec: ModelProfileSpec, generation: int, before: Manifest, now: str) -> Manifest:
    """The status as JSON. The transition time moves only with the condition's status. Pure."""
    kept: Manifest = {"observedGeneration": generation}
    condition: tuple[str, str, str]
    try:
        config = HfConfig.from_json(spec.config)
        architecture = config.architecture
        totals = None if spec.weights is None else {row.dtype: row.bytes for row in spec.weights.by_dtype}
        kept |= {"digest": shape_digest(spec.config, totals), "architecture": one_line(architecture, 256)}
        shape_of(config)
        condition = ("True", Why.FOUND, "the shape can be read")
    except InvalidInput as error:
        condition = ("False", NoShape.INVALID, str(error))
    except Unsupported as error:
        condition = ("False", NoShape.UNSUPPORTED, str(error))
    if spec.weights is None and condition[0] == "True":
        condition = ("True", Why.FOUND, "the shape can be read; without totals of its headers, weights are sized from the config alone")
    return kept | {"conditions": [_condition(condition, generation, before, now)]}


def status_of_unreadable(profile: Unreadable, before: Manifest, now: str) -> Manifest:
    """The status of one that is there and says nothing that this release could read: nobody else answers for its model either."""
    condition = ("False", NoShape.INVALID, f"{profile.problem}. Deployments of the model wait until this can be read")
    return {"observedGeneration": profile.generation, "conditions": [_condition(condition, profile.generation, before, now)]}


def _condition(condition: tuple[str, str, str], generation: int, before: Manifest, now: str) -> dict[str, Any]:
    status, reason, message = condition
    old: Manifest = next((row for row in before.get("conditions") or () if row.get("type") == "ModelResolved"), {})
    since = old.get("lastTransitionTime") if old.get("status") == status else None
    row = {"type": "ModelResolved", "status": status, "reason": str(reason), "message": one_line(message, _MAX_MESSAGE)}
    return row | {"observedGeneration": generation, "lastTransitionTime": since or now}
