"""Who else changes our children, and how soon it is put back: at once the first time, then more and more slowly.

Asked by the children before they put anything back. An autoscaler, a mutating policy or a second operator that wants something
else would otherwise be answered at once and for ever, and pods restarted with each answer. Nothing here is the only copy of
anything: a new leader begins with an open mind. Makes no request.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from plimsoll_operator.controller.children.intact import added_by_others, others
from plimsoll_operator.dispute import Dispute, Mended
from plimsoll_operator.ports import DEPLOYMENTS, LEADER_WORKER_SETS, Key, Manifest
from plimsoll_operator.reasons import Why

FIRST_SECONDS: Final = 1.0
LONGEST_SECONDS: Final = 300.0
FORGET_SECONDS: Final = 900.0
"""So long after the last time it is put back, a change is the first one again."""
_MAX_NAME: Final = 128
_KEEP_WHAT_IS_ADDED: Final = frozenset({DEPLOYMENTS.kind, LEADER_WORKER_SETS.kind})
"""These are applied, and an apply leaves what others have added beside it."""


@dataclass(slots=True)
class _Quarrel:
    """One part of one deployment's children. `due` is when it may be put back, None where nothing waits.

    `mended` is still to be told, `untold` counts what was made again and is told with the next.
    """

    put_back: int = 0
    put_back_at: float = 0.0
    due: float | None = None
    message: str = ""
    mended: Mended | None = None
    untold: int = 0

    def delay(self, now: float) -> float:
        """Seconds from the last time to the next one: none for the first, then more and more."""
        if self.put_back and now - self.put_back_at > FORGET_SECONDS:
            self.put_back = 0
        return min(LONGEST_SECONDS, FIRST_SECONDS * 2.0 ** min(self.put_back - 1, 16)) if self.put_back else 0.0


class Disputes:
    """Of every key and part. Called by several threads, never by two for the same key. `clock` is monotonic seconds."""

    def __init__(self, clock: Callable[[], float], again: Callable[[Key, float], None]) -> None:
        self._clock = clock
        self._again = again
        self._quarrels: dict[Key, dict[str, _Quarrel]] = {}
        self._written: dict[Key, dict[str, int]] = {}

    def wrote(self, key: Key, part: str, child: Manifest) -> Manifest:
        """The child as we have just written it: whatever its generation, nobody else has moved it to there."""
        self._written.setdefault(key, {})[part] = int(child["metadata"].get("generation") or 0)
        self.settled(key, part)
        return child

    def is_ours(self, key: Key, part: str, child: Manifest) -> bool:
        """Whether the child stands at the generation that we wrote last."""
        return self._written.get(key, {}).get(part, -1) == int(child["metadata"].get("generation") or 0)

    def settled(self, key: Key, part: str) -> None:
        """The part is as it should be: nothing waits to be put back."""
        quarrel = self._quarrels.get(key, {}).get(part)
        if quarrel is not None:
            quarrel.due = None

    def waits(self, key: Key, part: str) -> bool:
        """Whether something is left as somebody else has made it, to be put back later."""
        quarrel = self._quarrels.get(key, {}).get(part)
        return quarrel is not None and quarrel.due is not None

    def any_waits(self, key: Key) -> bool:
        """Whether any part waits, or is still to be told of."""
        return any(quarrel.due is not None or quarrel.mended for quarrel in self._quarrels.get(key, {}).values())

    def yields(self, key: Key, part: str, theirs: Manifest) -> bool:
        """Somebody has changed this part: whether to leave it so for now. If not, the caller puts it back."""
        now = self._clock()
        quarrel = self._quarrels.setdefault(key, {}).setdefault(part, _Quarrel())
        due = quarrel.put_back_at + quarrel.delay(now)
        what = f"the {part} {theirs['metadata'].get('namespace', '')}/{theirs['metadata']['name']}"
        who = changed_by(theirs)
        if quarrel.put_back and now < due:
            quarrel.due = due
            quarrel.message = f"{what} is changed by {who} again and again; what the plan sets is put back more and more slowly"
            self._again(key, due - now)
            return True
        quarrel.put_back, quarrel.put_back_at, quarrel.due = quarrel.put_back + 1, now, None
        stays = added_by_others(theirs) if part in _KEEP_WHAT_IS_ADDED else ""
        quarrel.message = f"{what} was changed by {who}; what the plan sets is put back" + (f", {stays} stays" if stays else "")
        quarrel.mended = Mended(reason=Why.CHANGED_BY_OTHERS, message=quarrel.message, occasion=_occasion(theirs))
        return False

    def restored(self, key: Key, made: Manifest) -> None:
        """A child that was there is made again, because somebody has deleted it. It is told as seldom as a change is put back."""
        now, kind = self._clock(), str(made["kind"])
        quarrel = self._quarrels.setdefault(key, {}).setdefault(f"deleted {kind}", _Quarrel())
        if quarrel.put_back and now < quarrel.put_back_at + quarrel.delay(now):
            quarrel.untold += 1
            return
        times = f"{quarrel.untold + 1} times" if quarrel.untold else "by somebody"
        what = f"the {kind} {made['metadata'].get('namespace', '')}/{made['metadata']['name']}"
        quarrel.put_back, quarrel.put_back_at, quarrel.untold = quarrel.put_back + 1, now, 0
        message = f"{what} was deleted {times} and is made again"
        quarrel.mended = Mended(reason=Why.CHILD_RESTORED, message=message, occasion=_occasion(made))

    def tell(self, key: Key) -> Dispute | None:
        """What waits, and what was put right since this was last told: once, so that who is told says it."""
        quarrels = tuple(self._quarrels.get(key, {}).values())
        waits = [quarrel.message for quarrel in quarrels if quarrel.due is not None]
        mended = tuple(quarrel.mended for quarrel in quarrels if quarrel.mended is not None)
        for quarrel in quarrels:
            quarrel.mended = None
        if not waits and not mended:
            return None
        return Dispute(message=waits[-1] if waits else mended[0].message, waiting=bool(waits), mended=mended)

    def forget(self, key: Key) -> None:
        """The object is gone."""
        self._quarrels.pop(key, None)
        self._written.pop(key, None)


def _occasion(child: Manifest) -> str:
    """No other change of any object has the same."""
    metadata = child["metadata"]
    return f"{metadata.get('uid', '')}/{metadata.get('resourceVersion', '')}"


def is_ours_alone(child: Manifest) -> bool:
    """Whether nobody else has set anything of it: then it differs from what is wanted because the spec has changed."""
    return not others(child) and bool(child["metadata"].get("managedFields"))


def changed_by(theirs: Manifest) -> str:
    """The other manager that has changed the object last, as its managed fields name it: text from outside, bounded."""
    rows = others(theirs)
    last = max(rows, key=lambda row: ("f:spec" in (row.get("fieldsV1") or {}), str(row.get("time") or "")), default=None)
    return f'"{" ".join(str(last["manager"]).split())[:_MAX_NAME]}"' if last is not None else "somebody who is not named"
