"""Pods that the API server refuses, as the child that wants to make them tells: Pod Security, a quota, limits, an admission webhook.

Read by the status and by what the caches keep. The words are the API server's own, from outside: one line, bounded. Pure.
"""

from __future__ import annotations

import re
from typing import Final

from plimsoll_operator.conditions import PodsRefused
from plimsoll_operator.ports import Manifest

MAX_WORDS: Final = 900
"""An Event's note takes 1024 characters, and the sentence around them is ours."""
# How the API server words what the same request will meet again; what it words otherwise (a time-out, an error inside) may pass by itself.
_FINAL: Final = re.compile(r"\b(forbidden|denied|invalid)\b", re.IGNORECASE)


def is_refusal(condition: Manifest) -> bool:
    """Whether a Deployment's condition says that pods could not be made (apps/v1, ReplicaFailure)."""
    return (condition.get("type"), condition.get("status"), condition.get("reason")) == ("ReplicaFailure", "True", "FailedCreate")


def words_of(condition: Manifest) -> str:
    """The condition's message in one line, bounded."""
    return " ".join(str(condition.get("message") or "").split())[:MAX_WORDS]


def pods_refused(child: Manifest) -> PodsRefused | None:
    """What stands in the way of the pods of the child's newest spec; None where nothing does, or its controller has not seen it yet.

    While old pods are still going, a quota may be full of them: that passes by itself.
    """
    status = child.get("status") or {}
    if int(status.get("observedGeneration") or 0) < int(child["metadata"].get("generation") or 0):
        return None
    words = next((words_of(row) for row in status.get("conditions") or () if is_refusal(row)), None)
    if words is None:
        return None
    return PodsRefused(message=words, final=bool(_FINAL.search(words)) and not status.get("terminatingReplicas"))
