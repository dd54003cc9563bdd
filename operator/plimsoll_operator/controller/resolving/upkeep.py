"""What the leader looks after between readings: ConfigMaps that have changed since, reader pods that nobody came back for,
and profiles that nobody asks for.

Runs on a thread of its own. A profile made of a ConfigMap says what the ConfigMap says: another shape is written over it, and
where there is none any more the profile goes, so that the next look at the deployment says why. Running pods are never touched.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from plimsoll_operator.api import ModelProfile
from plimsoll_operator.controller.loops.quarantine import Border, Unit, no_border
from plimsoll_operator.controller.resolving.config_map import ConfigMaps
from plimsoll_operator.controller.resolving.expiry import Expiry
from plimsoll_operator.controller.resolving.fetcher import Fetched, FetchFailure
from plimsoll_operator.controller.resolving.user_rights import sweep
from plimsoll_operator.errors import ApiFailure
from plimsoll_operator.names import MANAGED_LABEL, MANAGED_VALUE
from plimsoll_operator.ports import MODEL_PROFILES, Kube
from plimsoll_operator.read_request import ConfigMapKey, ReadRequest
from plimsoll_operator.reasons import NoShape

_log = logging.getLogger(__name__)
ROUND_SECONDS: Final = 60.0
"""How long a changed ConfigMap may go unnoticed."""


class Keeper(Protocol):
    """Stores profiles (`store.ProfileKeeper`)."""

    def keep(self, request: ReadRequest, fetched: Fetched) -> FetchFailure | None:
        """Make or update the profile."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Upkeep:
    """See the module. `profiles` are the cached ModelProfiles, `pod_namespaces` those whose pods may be listed ("" is all)."""

    kube: Kube
    config_maps: ConfigMaps
    keeper: Keeper
    profiles: Callable[[], Iterable[ModelProfile]]
    now: Callable[[], datetime]
    pod_namespaces: tuple[str, ...] = ("",)
    border: Border = no_border
    expiry: Expiry | None = None

    def run(self, stop: threading.Event) -> None:
        """Look after them until stopped."""
        while not stop.is_set():
            self.round(stop)
            stop.wait(ROUND_SECONDS)

    def round(self, stop: threading.Event) -> None:
        """Look once."""
        try:
            self.reread(stop)
            with self.border(Unit.UPKEEP, "reader pods"):
                sweep(self.kube, self.now(), self.pod_namespaces)
            with self.border(Unit.UPKEEP, "unused profiles"):
                if self.expiry is not None:
                    self.expiry.look()
        except ApiFailure as failure:
            _log.warning("upkeep of profiles: %s; again in %.0f s", failure, ROUND_SECONDS)

    def reread(self, stop: threading.Event) -> None:
        """Compare each profile that the controller has made of a ConfigMap with what that says now. Raises ApiFailure."""
        for profile in tuple(self.profiles()):
            if stop.is_set():
                return
            with self.border(Unit.UPKEEP, f"{profile.metadata.namespace}/{profile.metadata.name}"):
                self._reread(profile, stop)

    def _reread(self, profile: ModelProfile, stop: threading.Event) -> None:
        request = _request(profile)
        if request is None:
            return
        found = self.config_maps.fetch(request, stop)
        if isinstance(found, Fetched):
            if found.spec.digest != profile.spec.digest:
                failure = self.keeper.keep(request, found)
                if failure is not None:
                    _log.warning("%s/%s: %s", request.namespace, request.profile_name, failure.message)
        elif found.reason is not NoShape.UNREACHABLE:
            self.kube.delete(MODEL_PROFILES, request.namespace, profile.metadata.name)


def _request(profile: ModelProfile) -> ReadRequest | None:
    """The reading that the profile is the result of; None for what users write themselves."""
    ref = profile.spec.origin.config_map_ref if profile.spec.origin is not None else None
    if ref is None or profile.metadata.labels.get(MANAGED_LABEL) != MANAGED_VALUE:
        return None
    source = ConfigMapKey(name=ref.name, key=ref.key)
    request = ReadRequest(namespace=profile.metadata.namespace, model=profile.spec.model, revision=profile.spec.revision, source=source)
    return request if request.profile_name == profile.metadata.name else None
