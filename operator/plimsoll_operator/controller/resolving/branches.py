"""Branches and tags that profiles were read at, asked about again at long intervals: one that has moved is read anew and said.

Runs on a thread of the leader. The profile of a branch that moved gets the new commit, so that what is decided next is decided
about what would be loaded next; plans are sticky and name their commit, so running pods are never touched. What cannot be asked
stays as it was. Knows no deployment but the models that are in use.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Final, Protocol

from plimsoll_operator.api import ClusterModelProfile
from plimsoll_operator.controller.loops.quarantine import Border, Unit, no_border
from plimsoll_operator.controller.resolving.fetcher import Fetched, FetchFailure
from plimsoll_operator.controller.resolving.resolver import Keeper
from plimsoll_operator.names import COMMIT, MANAGED_LABEL, MANAGED_VALUE
from plimsoll_operator.read_request import OperatorHub, ReadRequest

_log = logging.getLogger(__name__)
RECHECK_SECONDS: Final = 6 * 3600.0
ROUND_SECONDS: Final = 60.0


class Hub(Protocol):
    """Where branches are (`hub.HubFetcher`)."""

    def fetch_moved(self, request: ReadRequest, commit: str, stop: threading.Event) -> Fetched | FetchFailure | None:
        """The shape at the branch's commit of now; None where that is still `commit`."""
        ...


class Branches:
    """See the module. `profiles` are the cached ClusterModelProfiles, `models` the names in use, `clock` is monotonic seconds."""

    def __init__(
        self,
        hub: Hub,
        keeper: Keeper,
        *,
        profiles: Callable[[], Iterable[ClusterModelProfile]],
        models: Callable[[], frozenset[str]],
        clock: Callable[[], float],
        now: Callable[[], datetime],
        border: Border = no_border,
    ) -> None:
        self._hub = hub
        self._border = border
        self._keeper = keeper
        self._profiles = profiles
        self._models = models
        self._clock = clock
        self._now = now
        self._asked: dict[str, float] = {}

    def run(self, stop: threading.Event) -> None:
        """Look after them until stopped."""
        while not stop.wait(ROUND_SECONDS):
            self.ask(stop)

    def ask(self, stop: threading.Event) -> None:
        """Ask about each branch that is due, one after another."""
        profiles, used = tuple(self._profiles()), self._models()
        names = {profile.metadata.name for profile in profiles}
        self._asked = {name: asked for name, asked in self._asked.items() if name in names}
        for profile in profiles:
            if stop.is_set():
                return
            with self._border(Unit.UPKEEP, profile.metadata.name):
                self._ask_for(profile, used, stop)

    def _ask_for(self, profile: ClusterModelProfile, used: frozenset[str], stop: threading.Event) -> None:
        request, commit = _request(profile), profile.spec.revision
        if request is None or commit is None or request.model not in used or not self._is_due(profile):
            return
        self._asked[profile.metadata.name] = self._clock()
        self._ask_about(request, commit, stop)

    def _ask_about(self, request: ReadRequest, commit: str, stop: threading.Event) -> None:
        found = self._hub.fetch_moved(request, commit, stop)
        if isinstance(found, Fetched) and found.spec.model == request.model:
            _log.info("%s: %s has moved from %s to %s", request.model, request.revision, commit, found.spec.revision)
            found_failure = self._keeper.keep(request, found)
        else:
            found_failure = found if isinstance(found, FetchFailure) else None
        if found_failure is not None:
            _log.info("%s: whether %s has moved is not known: %s", request.model, request.revision, found_failure.message)

    def _is_due(self, profile: ClusterModelProfile) -> bool:
        asked = self._asked.get(profile.metadata.name)
        if asked is not None:
            return self._clock() - asked >= RECHECK_SECONDS
        try:
            obtained = datetime.fromisoformat(profile.spec.obtained_at or "")
            return (self._now() - obtained).total_seconds() >= RECHECK_SECONDS
        except (ValueError, TypeError):  # no time, or one without its zone: it was not this controller that wrote it
            return True


def _request(profile: ClusterModelProfile) -> ReadRequest | None:
    """The reading that the profile is the result of; None where it is not the controller's own, or of a commit, which cannot move."""
    requested = profile.spec.requested_revision
    if requested is None or COMMIT.fullmatch(requested) or profile.metadata.labels.get(MANAGED_LABEL) != MANAGED_VALUE:
        return None
    request = ReadRequest(namespace="", model=profile.spec.model, revision=requested, source=OperatorHub())
    return request if request.profile_name == profile.metadata.name else None
