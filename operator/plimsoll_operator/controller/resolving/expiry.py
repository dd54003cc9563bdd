"""Takes away the ClusterModelProfiles that the controller has made and that nobody has asked for in a month.

Part of the leader's upkeep. Anybody who may create a deployment can have models read; their shapes must not stay for ever. Since when
nobody names a model is written on its profile, so that a change of leader begins no new month. Profiles that people wrote, or took
the label off, stay. What is taken away is read again when it is wanted. Raises ApiFailure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from plimsoll_operator.api import ClusterModelProfile
from plimsoll_operator.names import MANAGED_LABEL, MANAGED_VALUE, UNUSED_ANNOTATION
from plimsoll_operator.ports import CLUSTER_MODEL_PROFILES, Kube

UNUSED_FOR: Final = timedelta(days=30)
# A new leader knows of no deployment at first: it takes nothing away before it has seen for so long that nobody asks.
SEEN_FOR: Final = timedelta(hours=1)
WRITES_A_ROUND: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedFor:
    """What deployments name: models, drafts among them, and profiles by their own names."""

    models: frozenset[str]
    profiles: frozenset[str]

    def includes(self, profile: ClusterModelProfile) -> bool:
        """Whether any deployment may be answered by this profile."""
        return profile.spec.model in self.models or profile.metadata.name in self.profiles


class Expiry:
    """See the module. `profiles` are the cached ones; `asked_for` is what deployments name now."""

    def __init__(
        self,
        kube: Kube,
        *,
        profiles: Callable[[], Iterable[ClusterModelProfile]],
        asked_for: Callable[[], AskedFor],
        now: Callable[[], datetime],
    ) -> None:
        self._kube = kube
        self._profiles = profiles
        self._asked_for = asked_for
        self._now = now
        self._seen_unused: dict[str, datetime] = {}

    def look(self) -> None:
        """Mark what nobody asks for, unmark what somebody does, and take away what has been marked for long enough."""
        asked, now = self._asked_for(), self._now()
        ours = [row for row in self._profiles() if row.metadata.labels.get(MANAGED_LABEL) == MANAGED_VALUE]
        unused = {row.metadata.name for row in ours if not asked.includes(row)}
        self._seen_unused = {name: self._seen_unused.get(name, now) for name in unused}
        writes = 0
        for profile in sorted(ours, key=lambda row: row.metadata.name):
            writes += self._keep(profile, unused=profile.metadata.name in unused, now=now)
            if writes >= WRITES_A_ROUND:
                return

    def _keep(self, profile: ClusterModelProfile, *, unused: bool, now: datetime) -> bool:
        """Returns whether anything was written."""
        name, marked = profile.metadata.name, profile.metadata.annotations.get(UNUSED_ANNOTATION)
        if not unused:
            return marked is not None and self._mark(name, None)
        since = _instant(marked)
        if since is None or since > now:
            return self._mark(name, now)
        if now - since < UNUSED_FOR or now - self._seen_unused[name] < SEEN_FOR:
            return False
        self._kube.delete(CLUSTER_MODEL_PROFILES, "", name)
        return True

    def _mark(self, name: str, now: datetime | None) -> bool:
        stamp = now.strftime("%Y-%m-%dT%H:%M:%SZ") if now is not None else None
        self._kube.merge_patch(CLUSTER_MODEL_PROFILES, "", name, {"metadata": {"annotations": {UNUSED_ANNOTATION: stamp}}})
        return True


def _instant(text: str | None) -> datetime | None:
    try:
        return datetime.strptime(text or "", "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None
