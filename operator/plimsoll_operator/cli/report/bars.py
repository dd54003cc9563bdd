"""Bars of one GPU's memory, and of a pool's GPUs, as values: where each part begins and how wide it is. Pure; draws nothing.

Asked by `page`. A bar is SCALE wide, whatever it stands for; parts never leave it, also where an observed figure cannot be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

SCALE: Final = 1000
"""Width of a bar in its own units."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One part of a bar: its `kind` chooses the colour, `said` is its label with the figure; `start` and `width` of SCALE."""

    kind: str
    said: str
    start: int
    width: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """`title` stands before it, `total` behind it, `said` is the whole of it in a sentence, for who does not see it."""

    title: str
    total: str
    said: str
    segments: tuple[Segment, ...]


def bar(title: str, total: str, parts: Sequence[tuple[str, str, int]], whole: int) -> Bar:
    """Parts are kind, label with figure, size; `whole` is the size that the bar's full width stands for. Empty parts are left out."""
    segments: list[Segment] = []
    done = 0
    for kind, said, size in parts:
        start = _place(done, whole)
        done += max(0, size)
        width = _place(done, whole) - start
        if size > 0:
            segments.append(Segment(kind=kind, said=said, start=min(start, SCALE - 1), width=max(1, width)))
    said = ", ".join(said for _, said, size in parts if size > 0) or "nothing"
    return Bar(title=title, total=total, said=f"{title}: {said}; {total}", segments=tuple(segments))


def _place(size: int, whole: int) -> int:
    return min(SCALE, size * SCALE // whole) if whole > 0 else 0
