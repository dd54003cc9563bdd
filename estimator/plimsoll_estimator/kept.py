"""What the parts work out of a config is kept with it, and goes when it goes: a memory of its own would keep alive every config that
anybody ever sent.

Used by whoever asks the same of a config, or of the shape read from it, again and again. Knows neither.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import wraps
from threading import Lock
from typing import Any, Final, Protocol, TypeVar, TypeVarTuple

from plimsoll_estimator.engine_version import EngineVersion

MOST_KEPT: Final = 1024
"""Answers that one config keeps. A full memory starts afresh."""
ANSWER_BYTES: Final = 1 << 10
"""What a usual answer weighs, its question included: rounded up."""
_MOST_PAIRS: Final = 4
_UNKNOWN: Final[Any] = object()
_without: Final[set[type]] = {str, int, float, bool, type(None), EngineVersion}
"""Classes known to have no memory of their own: as many as the packages have."""


class Keeps(Protocol):
    """What has a memory of its own: a config, and the shape read from it."""

    @property
    def kept(self) -> dict[Hashable, Any]:
        """What was worked out from it, by question."""
        ...


Ts = TypeVarTuple("Ts")
K = TypeVar("K", bound=Keeps)
R = TypeVar("R")
_pairs: OrderedDict[tuple[Keeps, Keeps], dict[Hashable, Any]] = OrderedDict()
_pairs_lock: Final = Lock()


def kept_with_config(function: Callable[[K, *Ts], R]) -> Callable[[K, *Ts], R]:
    """Work a pure function of a config (or its shape) out once for the same object and equal further arguments. What it raises is not kept.

    A question that speaks of a second config (a draft model) is kept with neither: one of them may live as long as the process, and
    would keep every partner alive. The newest few pairs have a memory each.
    """

    @wraps(function)
    def ask(config: K, *rest: *Ts) -> R:
        key: Hashable = (function, rest) if rest else function
        memory = config.kept
        found: R = memory.get(key, _UNKNOWN)
        if found is not _UNKNOWN:
            return found
        partner = _second_config(rest) if rest else None  # looked for last: most questions have been asked before
        if partner is not None:
            memory = _memory_of_pair(config, partner)
            found = memory.get(key, _UNKNOWN)
            if found is not _UNKNOWN:
                return found
        found = function(config, *rest)
        if len(memory) >= MOST_KEPT:
            memory.clear()
        memory[key] = found
        return found

    return ask


def answers_bytes(of: Keeps) -> int:
    """What the answers kept with a config weigh, on the large side: one that says its own `kept_bytes` (a shape) by that."""
    total = 0
    for answer in tuple(of.kept.values()):
        own: Callable[[], int] | None = getattr(answer, "kept_bytes", None)
        total += ANSWER_BYTES if own is None else own()
    return total


def forget_pairs() -> None:
    """Empty the memories of pairs: for measurements."""
    with _pairs_lock:
        _pairs.clear()


def _second_config(parts: tuple[Any, ...]) -> Keeps | None:
    for part in parts:
        kind = part.__class__
        if kind in _without:
            continue
        if isinstance(part, tuple):
            if (found := _second_config(part)) is not None:
                return found
        elif hasattr(kind, "kept"):
            partner: Keeps = part
            return partner
        else:
            _without.add(kind)
    return None


def _memory_of_pair(config: Keeps, partner: Keeps) -> dict[Hashable, Any]:
    with _pairs_lock:
        memory = _pairs.setdefault((config, partner), {})
        _pairs.move_to_end((config, partner))
        while len(_pairs) > _MOST_PAIRS:
            _pairs.popitem(last=False)
        return memory
