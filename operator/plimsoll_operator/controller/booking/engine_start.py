"""Which start of its engine a pod is at, as the caches keep it: so that each is read once, by whoever is told of it.

Made of the pod's own status, read back by the ledger. A replica over several nodes is told by its leader alone: workers serve nothing
and are never ready. Pure; knows no log.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from plimsoll_operator.api import ENGINE_CONTAINER
from plimsoll_operator.names import NAME_LABEL, PLAN_DIGEST_ANNOTATION
from plimsoll_operator.ports import Manifest

START: Final = "start"
"""Under which a trimmed pod's status has it."""
_MOST_RESTARTS: Final = 1 << 31


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStart:
    """One start: the pod, how often its engine has ended before, the digest of the plan that it was made for, and whether it serves."""

    pod: str
    uid: str
    restarts: int
    plan_digest: str
    ready: bool


def engine_start(pod: Manifest) -> Manifest | None:
    """What the caches keep of it; None where no engine has run yet, or it serves nobody by design."""
    if NAME_LABEL not in (pod["metadata"].get("labels") or {}):
        return None
    for row in (pod.get("status") or {}).get("containerStatuses") or ():
        if row.get("name") == ENGINE_CONTAINER and "running" in (row.get("state") or {}):
            return {"restarts": min(int(row.get("restartCount") or 0), _MOST_RESTARTS), "ready": bool(row.get("ready"))}
    return None


def engine_starts(pods: Iterable[Manifest]) -> tuple[EngineStart, ...]:
    """Those of these trimmed pods."""
    return tuple(
        EngineStart(
            pod=str(pod["metadata"]["name"]),
            uid=str(pod["metadata"].get("uid") or ""),
            restarts=start["restarts"],
            plan_digest=str((pod["metadata"].get("annotations") or {}).get(PLAN_DIGEST_ANNOTATION, "")),
            ready=start["ready"],
        )
        for pod in pods
        if (start := pod["status"].get(START)) is not None
    )
