"""What the output goes to: a terminal of some width, with colour and bars, or a pipe, which gets plain text of any width.

Asked by commands that print tables. Knows the process's stdout and the environment's NO_COLOR and TERM; knows no table.
"""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

_NARROWEST: Final = 40
_CODES: Final = {"green": "32", "yellow": "33", "red": "31", "blue": "34", "cyan": "36", "grey": "90", "bold": "1"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Screen:
    """`width` in columns, None for a pipe: nothing is shortened there. `colour` and `blocks`: whether escapes and ▉ can be shown."""

    width: int | None = None
    colour: bool = False
    blocks: bool = False

    def paint(self, text: str, colour: str) -> str:
        """The text in a colour of _CODES, or as it is."""
        return f"\x1b[{_CODES[colour]}m{text}\x1b[0m" if self.colour and text else text


def screen_of_stdout() -> Screen:
    """As stdout is. COLUMNS overrules a terminal's own width; NO_COLOR (https://no-color.org) and TERM=dumb are heeded."""
    if not sys.stdout.isatty():
        return Screen()
    plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    encoding = (sys.stdout.encoding or "").lower().replace("-", "")
    return Screen(width=max(_NARROWEST, shutil.get_terminal_size().columns), colour=not plain, blocks=encoding.startswith("utf"))


def folded(text: str, screen: Screen, indent: str) -> list[str]:
    """A sentence over as many lines as a terminal needs, those after the first under the indent; one line in a pipe."""
    if screen.width is None:
        return [text]
    return textwrap.wrap(text, screen.width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False) or [text]


def aligned(rows: Sequence[Sequence[str]], right: Iterable[int] = ()) -> list[list[str]]:
    """Cells filled up to the widest of their column; those of the columns `right` from the left side."""
    to_the_right = frozenset(right)
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(len(rows[0]) if rows else 0)]

    def filled(column: int, cell: str) -> str:
        return cell.rjust(widths[column]) if column in to_the_right else cell.ljust(widths[column])

    return [[filled(column, cell) for column, cell in enumerate(row)] for row in rows]
