"""The border of one unit of work: a bug in it stops that unit and nothing else, is told with its whole traceback, and counted.

Every loop of the controller wraps one turn in `border`: one key, one event of an informer, one profile, one pool, one reading.
This is the one place where every exception is caught. What the API server refuses (OperatorError) passes through: callers
have an answer of their own to that. Knows no Kubernetes.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import traceback
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, TypeAlias

from plimsoll_operator.errors import OperatorError

_log = logging.getLogger(__name__)
_REMEMBERED: Final = 1024
_PACKAGES: Final = ("plimsoll_operator", "plimsoll_estimator")


class Unit(StrEnum):
    """What a bug can stop; the label of plimsoll_internal_errors_total."""

    KEY = "key"
    EVENT = "event"
    RECOVERY = "recovery"
    POOL = "pool"
    PROFILE = "profile"
    READING = "reading"
    ENGINE_LOG = "engine_log"
    CALIBRATION = "calibration"
    UPKEEP = "upkeep"
    TIMER = "timer"
    LEASE = "lease"
    THREAD = "thread"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bug:
    """An exception that nobody expected: its class and the line of ours it came from. Its text may quote anybody's data and is left out."""

    kind: str
    where: str

    @property
    def digest(self) -> str:
        """What to look for in the log."""
        return hashlib.sha256(f"{self.kind}/{self.where}".encode()).hexdigest()[:8]

    def __str__(self) -> str:
        return (
            f"an error of the controller itself stopped the work on this object ({self.kind} at {self.where}); it is tried again. "
            f"The controller's log has all of it under {self.digest}."
        )


@dataclass(slots=True)
class Attempt:
    """How one unit of work went: `bug` is None where nothing unexpected was raised."""

    bug: Bug | None = None


Border: TypeAlias = Callable[[Unit, str], AbstractContextManager[Attempt]]


def bug_of(error: BaseException) -> Bug:
    """The innermost line of our own packages, or the innermost of all."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if any(part in _PACKAGES for part in Path(frame.filename).parts)]
    innermost = (own or frames)[-1:]
    where = "".join(f"{Path(frame.filename).stem}:{frame.lineno}" for frame in innermost) or "?"
    return Bug(kind=type(error).__name__, where=where)


class Quarantine:
    """Thread-safe. `count` is told the unit of each bug. The whole traceback is logged once for each unit's name and bug, then a line."""

    def __init__(self, count: Callable[[str], None] = lambda _unit: None) -> None:
        self._count = count
        self._lock = threading.Lock()
        self._told: OrderedDict[tuple[Unit, str, Bug], None] = OrderedDict()

    @contextmanager
    def border(self, unit: Unit, name: str) -> Iterator[Attempt]:
        """Run the block as one unit of work. A bug in it is on the Attempt afterwards; OperatorErrors pass through."""
        attempt = Attempt()
        try:
            yield attempt
        except OperatorError:
            raise
        except Exception as error:  # noqa: BLE001 the border of one unit of work: reported here, backed off by its owner
            attempt.bug = bug_of(error)
            self._tell(unit, name, attempt.bug, error)

    def _tell(self, unit: Unit, name: str, bug: Bug, error: Exception) -> None:
        with self._lock:
            said = (unit, name[:320], bug)
            first = said not in self._told
            self._told[said] = None
            self._told.move_to_end(said)
            while len(self._told) > _REMEMBERED:
                self._told.popitem(last=False)
        whole = error if first else None
        _log.error("%s %r: a bug, set aside as %s: %s at %s", unit, name[:320], bug.digest, bug.kind, bug.where, exc_info=whole)
        self._count(unit)


@contextmanager
def no_border(_unit: Unit, _name: str) -> Iterator[Attempt]:
    """For parts that run alone, in tests and tools: a bug is raised where it happens."""
    yield Attempt()
