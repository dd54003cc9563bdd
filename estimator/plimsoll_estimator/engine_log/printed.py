"""Numbers out of a log: with the error of their print, and within what can be.

Used by `reader` and `failures`. Knows no line.
"""

from __future__ import annotations

from typing import Final

from plimsoll_estimator.engine_log.values import Figure
from plimsoll_estimator.units import GIB, MIB

MOST_BYTES: Final = 4 << 40
"""No GPU has more, nor a node's memory that a CPU backend takes."""
MOST_SECONDS: Final = 7 * 24 * 3600.0
MOST_COUNT: Final = 10**12
_BYTES: Final = {"bytes": 1, "KiB": 1024, "MiB": MIB, "GiB": GIB}
_DECIMALS: Final = 2
"""vLLM's `format_gib` rounds to two decimals and leaves zeros away: 16.7 GiB is 16.70."""


def of_unit(text: str | None, unit: str) -> Figure | None:
    """The bytes of a print in this unit; None where there is none, or it cannot be."""
    if text is None:
        return None
    size = _BYTES[unit]
    value = float(text) * size
    if not abs(value) <= MOST_BYTES:
        return None
    decimals = max(_DECIMALS, len(text.partition(".")[2])) if size > 1 else 0
    return Figure(value_bytes=round(value), off_by_bytes=-(-size // (2 * 10 ** min(decimals, 15))) if size > 1 else 0)


def count(text: str | None) -> int | None:
    """A whole number with or without commas; None where it cannot be."""
    if text is None:
        return None
    digits = text.replace(",", "")
    return int(digits) if 0 < len(digits) <= 13 and digits.isdigit() and int(digits) <= MOST_COUNT else None
