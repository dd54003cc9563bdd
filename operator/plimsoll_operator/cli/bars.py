"""One GPU's memory as a bar of marks on a terminal: weights, what else the engine takes, KV cache, what is left. Pure.

Asked by the commands that print tables, with the Screen it goes to; a pipe gets no bar. Knows no plan and no estimate, only bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from plimsoll_operator.cli.screen import Screen

SEGMENTS: Final = (
    ("weights", "█", "#", "blue"),
    ("engine", "▓", "%", "yellow"),
    ("KV cache", "▒", "=", "green"),
    ("free", "░", ".", "grey"),
)
"""Parts of a GPU's memory: name, mark, mark in ASCII, colour."""
BESIDE_A_TABLE: Final = 30
"""Columns of a bar that stands below figures, brackets included."""


def memory_bar(parts: Sequence[int], total: int, width: int, screen: Screen) -> str:
    """Bytes of all SEGMENTS but the last as so many marks of `total`: each part its share, and at least one mark where it has any."""
    inside = width - 2
    marks = [min(inside, max(1, round(part * inside / total))) if part > 0 else 0 for part in parts]
    while sum(marks) > inside:
        marks[marks.index(max(marks))] -= 1
    marks.append(inside - sum(marks))
    text = "".join((blocks if screen.blocks else plain) * count for (_, blocks, plain, _), count in zip(SEGMENTS, marks, strict=True))
    return f"[{text}]"


def painted(bar: str, screen: Screen) -> str:
    """The bar in its colours, where the screen has them; its width stays that of the plain text."""
    if not screen.colour:
        return bar
    for _, blocks, plain, colour in SEGMENTS:
        mark = blocks if screen.blocks else plain
        run = mark * bar.count(mark)
        bar = bar.replace(run, screen.paint(run, colour), 1) if run else bar
    return bar


def legend(screen: Screen) -> str:
    """Which mark is what."""
    return ", ".join(f"{blocks if screen.blocks else plain} {name}" for name, blocks, plain, _ in SEGMENTS)


def bar_rows(parts: Sequence[int], total: int, screen: Screen) -> tuple[tuple[str, str], ...]:
    """A bar and its legend as two rows of label and value, below a table on a terminal; none in a pipe, or where nothing is known."""
    if screen.width is None or total <= 0:
        return ()
    return (("one GPU", painted(memory_bar(parts, total, BESIDE_A_TABLE, screen), screen)), ("", legend(screen)))
