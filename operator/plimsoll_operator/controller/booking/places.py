"""Places in the decision order: when a plan was decided, as text that sorts as time does, and never twice the same.

Asked by the reconciler. A place is kept on the child, where whoever may edit the namespace can write another, so it is read with
care: it never lies before the request it answers, and one from a far future moves no clock. A leader whose clock is behind goes on
after the last place that was given before it. Knows no plans and makes no requests; time is handed in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

# A clock may be behind by so much and the order still holds; what lies further ahead of it was not written by a leader.
MAX_AHEAD: Final = timedelta(days=30)
_FORMAT: Final = "%Y-%m-%dT%H:%M:%S.%fZ"
_PLACE: Final = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{6}Z")
_MOST_TIMES: Final = 8192
"""Of so many, reading the text is remembered: each look at a deployment asks for the same two."""
_BEFORE_ALL: Final = datetime.min.replace(tzinfo=UTC)


class Places:
    """Gives places that only grow. Not thread-safe: the reconciler asks under its booking lock."""

    def __init__(self) -> None:
        self._last = _BEFORE_ALL

    def go_on_after(self, given: Iterable[str], now: datetime) -> None:
        """Earlier leaders have given these: the next one comes after them, whatever our clock says."""
        for text in given:
            place = _read(text)
            if place is not None and self._last < place <= now + MAX_AHEAD:
                self._last = place

    def next(self, now: datetime, created_at: str) -> str:
        """The place of a plan that is decided now, for a request made at `created_at` (the API server's word)."""
        self._last = max(now, _instant(created_at), self._last + timedelta(microseconds=1))
        return self._last.strftime(_FORMAT)


def settled(place: str, created_at: str) -> str:
    """A place as it was read, put where it can be: what is no place, or lies before its request, counts from the request."""
    earliest = _instant(created_at)
    read = _read(place)
    return place if read is not None and read >= earliest else earliest.strftime(_FORMAT)


def _read(text: str) -> datetime | None:
    # Whoever edits a child writes what it likes here: only what is as long as a place is remembered.
    return _read_place(text) if _PLACE.fullmatch(text) else None


@lru_cache(maxsize=_MOST_TIMES)
def _read_place(text: str) -> datetime | None:
    try:
        return datetime.strptime(text, _FORMAT).replace(tzinfo=UTC)
    except ValueError:
        return None


@lru_cache(maxsize=_MOST_TIMES)
def _instant(text: str) -> datetime:
    """A Kubernetes timestamp; what is none is before everything."""
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        return _BEFORE_ALL.replace(year=1000)
