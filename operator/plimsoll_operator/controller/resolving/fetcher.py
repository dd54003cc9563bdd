"""The protocol of a source of model shapes: one small module beside this one implements it for each kind of source.

The resolver calls them on its threads and stores what they return. A source that cannot answer says so as a value, with the
reason that the condition ModelResolved shows; anything it raises is a bug.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from typing import Protocol

from plimsoll_operator.api import ModelProfileSpec
from plimsoll_operator.read_request import ReadRequest
from plimsoll_operator.reasons import NoShape


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A shape as read. `notes` are sentences about what could not be known.

    `cluster` says whether it answers for every namespace; the resolver refuses that of anything but the operator's own reading.
    """

    spec: ModelProfileSpec
    cluster: bool
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchFailure:
    """Why there is no shape: a sentence without a full stop and without secrets. Resolving: the reading goes on outside this process
    and is looked at again.

    `retry_after_seconds` where the source says when to come back; infinite where asking again is of no use. `retry_within_seconds`
    where asking costs so little that nobody who has put it right should wait longer.
    """

    reason: NoShape
    message: str
    retry_after_seconds: float | None = None
    retry_within_seconds: float = math.inf


class Fetcher(Protocol):
    """One kind of source."""

    def answers(self, request: ReadRequest) -> bool:
        """Whether this reading is this source's. Makes no request."""
        ...

    def fetch(self, request: ReadRequest, stop: threading.Event) -> Fetched | FetchFailure:
        """Read it. Blocks no longer than the source's own deadlines, and returns early (with anything) when `stop` is set."""
        ...
