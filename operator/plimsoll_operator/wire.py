"""What the API server's bytes mean: lists, watches and refusals as they come over the wire, each within a bound.

Called by both transports, the controller's (`kube`) and the webhook's (`watch`), so that both read the same of the same answer. What
cannot be used is an ApiFailure, whatever it is. Opens no connection and knows no kind's meaning. Pure, but for the log.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from plimsoll_operator.backoff import LONGEST_ASKED_SECONDS, retry_after_seconds
from plimsoll_operator.errors import ApiFailure, WatchExpired
from plimsoll_operator.ports import EventType, Manifest, Page, WatchEvent
from plimsoll_operator.text import one_line

_log = logging.getLogger(__name__)
SILENCE_SECONDS: Final = 75.0
"""Bookmarks arrive about once a minute: a watch that is silent for longer than this is dead."""
MOST_WORDS: Final = 1000
LONGEST_LINE: Final = 16 << 20
"""etcd stores 1.5 MiB by default, and JSON spells one byte of it with up to six ("<" is \\u003c)."""
_MOST_PAGE_BYTES: Final = 4 << 20
"""Decoded, a page takes many times as much, and a dozen kinds may be listed at once."""
LONGEST_REFUSAL: Final = 64 << 10
"""A refusal is a sentence; of what is longer only the beginning is read."""
_NEWS: Final = re.compile(rb'\s*\{"type":"(ADDED|MODIFIED)"')
_BOOKKEEPING: Final[Mapping[type, tuple[str, ...]]] = {
    str: ("name", "namespace", "uid", "resourceVersion"),
    int: ("generation",),
    dict: ("labels", "annotations"),
    list: ("ownerReferences", "managedFields"),
}
_EVENT_TYPES: Final[Mapping[str, EventType]] = {"ADDED": "ADDED", "MODIFIED": "MODIFIED", "DELETED": "DELETED", "BOOKMARK": "BOOKMARK"}


class AnswerTooLarge(ApiFailure):
    """An answer of more bytes than are read at once."""

    def __init__(self, what: str, most_bytes: int) -> None:
        super().__init__(0, "AnswerTooLarge", f"{what}: an answer of more than {most_bytes} bytes")


class PageSize:
    """How many objects a page is asked for, and how many bytes it may have: users choose how large objects are."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.limit = most

    @property
    def most_bytes(self) -> int:
        """What one page may have; one object alone may be as large as the API server takes it."""
        return _MOST_PAGE_BYTES if self.limit > 1 else LONGEST_LINE

    def shrink(self) -> bool:
        """The page was too large: ask for fewer. False where it was one object alone."""
        before, self.limit = self.limit, max(1, self.limit // 4)
        return before > 1

    def read(self) -> None:
        """A page was read: the next may have more again, since the large objects may have been these alone."""
        self.limit = min(self._most, 2 * self.limit)


class Lines:
    """A watch's stream cut into events, wherever its chunks end.

    One that is longer than anything etcd stores by default is left out as it streams by: the others go on.
    """

    def __init__(self) -> None:
        self._pending = bytearray()
        self._skipping = False

    def of(self, chunk: bytes) -> Iterator[bytes]:
        """The lines that this chunk completes. Raises ApiFailure where what is too long may be a deletion."""
        *complete, rest = chunk.split(b"\n")
        for part in complete:
            self._pending += part
            if not self._skipping and self._pending.strip():
                yield bytes(self._pending)
            self._pending.clear()
            self._skipping = False
        if not self._skipping:
            self._pending += rest
        if len(self._pending) > LONGEST_LINE:
            _pass_over(bytes(self._pending[:256]))
            self._pending.clear()
            self._skipping = True


def _pass_over(head: bytes) -> None:
    """The object stays as it was last known. A deletion cannot be left out: after it everything is listed again."""
    if not _NEWS.match(head):
        raise ApiFailure(0, "LineTooLong", f"a watch line is longer than {LONGEST_LINE} bytes: {head!r}")
    _log.warning("an event of more than %d bytes is left out, its object stays as it was: %r", LONGEST_LINE, head)


def page_of(data: bytes, what: str) -> Page:
    """One page of a list. Raises ApiFailure for one that cannot be watched from, or with an object that has no name."""
    body = decoded(data)
    metadata, items = body.get("metadata"), body.get("items") or []
    version = metadata.get("resourceVersion") if isinstance(metadata, dict) else None
    if not isinstance(metadata, dict) or not isinstance(version, str) or not version or not isinstance(items, list):
        raise _unusable(f"the list of {what} has no metadata.resourceVersion or no items")
    return Page(tuple(named(item) for item in items), version, str(metadata.get("continue") or ""))


def event_of(line: bytes, what: str) -> WatchEvent:
    """One event. Raises WatchExpired or ApiFailure for one that says what went wrong, or that cannot be used."""
    body = decoded(line)
    kind, found = body.get("type"), body.get("object")
    if not isinstance(kind, str) or not isinstance(found, dict):
        raise _unusable(f"an event of {what} without type or object: {line[:80]!r}")
    if kind == "ERROR":
        code = found.get("code")
        if code == 410:
            raise WatchExpired(what)
        raise _failure(code if isinstance(code, int) else 0, found, None)
    metadata = found.get("metadata")
    version = metadata.get("resourceVersion") if isinstance(metadata, dict) else None
    known = _EVENT_TYPES.get(kind)
    if known is None or not isinstance(version, str) or not version:
        raise _unusable(f"an event of {what} of an unknown type or without metadata.resourceVersion: {line[:80]!r}")
    return WatchEvent(known, found if known == "BOOKMARK" else named(found))


def refusal_of(status: int, retry_after: str | None, data: bytes) -> ApiFailure:
    """What a refusal says, in its own words where it has any. `data` is its body as far as it was read."""
    asked = retry_after_seconds(retry_after)
    try:
        return _failure(status, decoded(data), asked)
    except ApiFailure:
        return ApiFailure(status, "Unknown", one_line(data[:200].decode(errors="replace"), MOST_WORDS), retry_after_seconds=_bounded(asked))


def unreached(what: str, error: Exception) -> ApiFailure:
    """There was no answer, or none that could be read to its end."""
    return ApiFailure(0, type(error).__name__, f"{what}: {one_line(str(error), MOST_WORDS)}")


def decoded(data: bytes) -> Manifest:
    """A JSON object. What is nested too deeply for the parser is as little use as what is no JSON."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _unusable(f"no JSON ({type(error).__name__}): {data[:80]!r}") from error
    if not isinstance(found, dict):
        raise _unusable(f"no object: {data[:80]!r}")
    return found


def named(manifest: object) -> Manifest:
    """An object that has a name, and bookkeeping of the types that everybody relies on."""
    metadata = manifest.get("metadata") if isinstance(manifest, dict) else None
    if not isinstance(manifest, dict) or not isinstance(metadata, dict) or not metadata.get("name"):
        raise _unusable(f"an object without metadata.name: {str(manifest)[:80]!r}")
    for kind, fields in _BOOKKEEPING.items():
        for field in fields:
            if not isinstance(metadata.get(field, kind()), kind):
                raise _unusable(f"metadata.{field} of {str(metadata['name'])[:253]} is not of type {kind.__name__}")
    return manifest


def _failure(status: int, body: Mapping[str, Any], asked: float | None) -> ApiFailure:
    """From a Status object. How long to stay away is in a header or, in the middle of a watch, in its details."""
    details = body.get("details")
    if asked is None and isinstance(details, dict):
        asked = retry_after_seconds(str(details.get("retryAfterSeconds")))
    words = one_line(str(body.get("message") or ""), MOST_WORDS)
    return ApiFailure(status, str(body.get("reason") or "Unknown")[:100], words, retry_after_seconds=_bounded(asked))


def _bounded(asked: float | None) -> float | None:
    return None if asked is None else min(LONGEST_ASKED_SECONDS, asked)


def _unusable(why: str) -> ApiFailure:
    return ApiFailure(0, "UnusableAnswer", f"the API server's answer cannot be used: {why}")
