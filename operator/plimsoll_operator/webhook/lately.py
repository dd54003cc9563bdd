"""Which specs were judged lately, by digest: only those are worth a look at what is remembered before they wait for a turn.

Kept by the app, on its event loop. What nobody has judged yet may bring a shape that takes long to read, and so has its turn on a thread.
Remembers a digest each, and a bounded number of them; knows no verdict.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from plimsoll_operator.webhook.review import BadReview, Review, parse_review

MOST: Final = 8192
LARGEST_BYTES: Final = 16 << 10
"""A larger body is not even parsed on the event loop: an InferenceDeployment as people write them is a few thousand bytes."""


class Lately:
    """A set of bounded size; the one that was asked for longest ago is forgotten first."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._seen: OrderedDict[bytes, None] = OrderedDict()

    def __contains__(self, key: bytes) -> bool:
        if key not in self._seen:
            return False
        self._seen.move_to_end(key)
        return True

    def add(self, key: bytes) -> None:
        """It was judged."""
        self._seen[key] = None
        self._seen.move_to_end(key)
        if len(self._seen) > self._most:
            self._seen.popitem(last=False)

    def forget(self, key: bytes) -> None:
        """It is to have a turn when it comes again."""
        self._seen.pop(key, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A review, and its key: by namespace, name and spec."""

    review: Review
    key: bytes


def asked_by(body: bytes) -> Asked | None:
    """None for what is too large, or no review that can be read."""
    if len(body) > LARGEST_BYTES:
        return None
    try:
        review = parse_review(body)
    except BadReview:
        return None
    about = json.dumps([review.namespace, review.name, review.operation, review.sub_resource, review.obj.get("spec")], sort_keys=True)
    return Asked(review=review, key=blake2b(about.encode(), digest_size=16).digest())
