"""The Hugging Face hub, or a mirror of it, read with the operator's own token: the one source whose shapes are the cluster's.

Called on the resolver's threads. Bounded in time, and quiet while the hub asks for it, whatever else is wanted meanwhile.
The token is in no message. Knows no deployment.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from plimsoll_estimator import InvalidInput
from plimsoll_operator.controller.resolving.fetcher import Fetched, FetchFailure
from plimsoll_operator.profiles.access import Access
from plimsoll_operator.profiles.build import Built, Target, build_profile
from plimsoll_operator.profiles.library import HubMissing, hub_type
from plimsoll_operator.profiles.source import SourceFailure
from plimsoll_operator.read_request import OperatorHub, ReadRequest
from plimsoll_operator.reasons import NoShape

FETCH_SECONDS: Final = 180.0
"""All requests of one reading together: the most shards of a published model, one after another, with room to spare."""
LONGEST_QUIET_SECONDS: Final = 3600.0
MAX_TOKEN_BYTES: Final = 4096
TOKEN_VARIABLE: Final = "HF_TOKEN"
_OFFLINE: Final = "the controller runs offline and asks no hub"
_LOADED: Final = (".safetensors", ".bin", ".pt", ".pth")


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenFile:
    """A token in a file, as a mounted Secret is one; read at each use, as it may be renewed. No file: the environment's HF_TOKEN."""

    path: Path | None

    def __call__(self) -> str | None:
        """The token, or None where there is none (yet)."""
        if self.path is None:
            return os.environ.get(TOKEN_VARIABLE, "").strip() or None
        try:
            with self.path.open("rb") as file:
                return file.read(MAX_TOKEN_BYTES).decode("ascii", "ignore").strip() or None
        except OSError:
            return None


class HubFetcher:
    """See the module. `clock` is monotonic seconds, `now` the wall clock that profiles are dated by."""

    def __init__(self, access: Access, *, offline: bool, clock: Callable[[], float], now: Callable[[], datetime]) -> None:
        self._access = access
        self._offline = offline
        self._clock = clock
        self._now = now
        self._quiet_until = -math.inf

    def answers(self, request: ReadRequest) -> bool:
        """See Fetcher."""
        return isinstance(request.source, OperatorHub)

    def fetch(self, request: ReadRequest, stop: threading.Event) -> Fetched | FetchFailure:
        """See Fetcher."""
        found = self._fetch(request, "", stop)
        assert found is not None, "no commit is the empty one"
        return found

    def fetch_moved(self, request: ReadRequest, commit: str, stop: threading.Event) -> Fetched | FetchFailure | None:
        """The shape at the branch's commit of now; None where that is still `commit`. One request, where it has not moved."""
        return self._fetch(request, commit, stop)

    def _fetch(self, request: ReadRequest, known: str, stop: threading.Event) -> Fetched | FetchFailure | None:
        if self._offline:
            return FetchFailure(reason=NoShape.UNREACHABLE, message=_OFFLINE, retry_after_seconds=math.inf)
        quiet = self._quiet_until - self._clock()
        if quiet > 0:
            message = f"{self._access.endpoint} asks for fewer requests; {request.model} is asked about later"
            return FetchFailure(reason=NoShape.UNREACHABLE, message=message, retry_after_seconds=quiet)
        try:
            built = self._build(request, known, stop)
        except HubMissing as error:
            return FetchFailure(reason=NoShape.UNREACHABLE, message=str(error), retry_after_seconds=math.inf)
        except InvalidInput as error:
            # A name that no hub has is no fault of a file: `/models/x` or `x` are folders of an image.
            return FetchFailure(reason=NoShape.UNSUPPORTED if error.field == "model" else NoShape.INVALID, message=self._clean(str(error)))
        except SourceFailure as failure:
            return self._failure(failure)
        return Fetched(spec=built.spec, cluster=True, notes=built.notes) if built is not None else None

    def _build(self, request: ReadRequest, known: str, stop: threading.Event) -> Built | None:
        # Imported late: the hub's library is an extra.
        hub = hub_type()
        from plimsoll_operator.profiles.transport import Patience

        source = hub.resolve(request.model, request.revision, self._access, Patience(seconds=FETCH_SECONDS, stop=stop))
        if source.revision == known:
            return None
        stamp = self._now().strftime("%Y-%m-%dT%H:%M:%SZ")
        target = Target(
            model=request.model, namespace=None, name=request.profile_name, obtained_at=stamp, requested_revision=request.revision
        )
        built = build_profile(source, target, _silent)
        if built.spec.weights is None:
            _needs_weights(source.sizes())
        return built

    def _failure(self, failure: SourceFailure) -> FetchFailure:
        wait = failure.retry_after_seconds
        if wait is not None:
            wait = min(wait, LONGEST_QUIET_SECONDS)
            self._quiet_until = max(self._quiet_until, self._clock() + wait)
        return FetchFailure(reason=failure.reason, message=self._clean(failure.message), retry_after_seconds=wait)

    def _clean(self, text: str) -> str:
        """Printable, and without the token: no message quotes it, and should a hub echo it, this is the last door."""
        token = self._access.token() if self._access.token is not None else None
        shown = text.replace(token, "(token)") if token else text
        return "".join(char if char.isprintable() else " " for char in shown)


def _needs_weights(sizes: Mapping[str, int]) -> None:
    if not any(name.endswith(_LOADED) for name in sizes):
        known = "known: the shape from config.json; not known: weights, as the repository holds none at its top"
        raise SourceFailure(NoShape.UNSUPPORTED, known)


def _silent(_done: int, _total: int, _name: str) -> None:
    """Nobody watches."""
