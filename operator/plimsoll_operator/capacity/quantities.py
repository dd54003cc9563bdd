"""Kubernetes quantities of nodes, rounded down, and of pods, rounded up: a capacity in doubt is smaller, a need larger.

Called by the node and pod readers on every event. Unlike the API types' parser it never raises: what a node's status
says is not a user's input, and an unreadable amount is an absent one.
"""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from functools import lru_cache
from typing import Final

_QUANTITY: Final = re.compile(r"(\d{1,20}(?:\.\d{0,18})?|\.\d{1,18})(?:([eE][+-]?\d{1,2})|([munkMGTPE]|[KMGTPE]i)?)")
_SCALES: Final = {
    "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"), "": Decimal(1),
    "k": Decimal(10**3), "M": Decimal(10**6), "G": Decimal(10**9), "T": Decimal(10**12), "P": Decimal(10**15), "E": Decimal(10**18),
    "Ki": Decimal(2**10), "Mi": Decimal(2**20), "Gi": Decimal(2**30), "Ti": Decimal(2**40), "Pi": Decimal(2**50), "Ei": Decimal(2**60),
}  # fmt: skip
_MAX: Final = 1 << 62


def floor_quantity(value: object, *, scale: int = 1) -> int:
    """`value` x `scale` as an int, rounded down; 0 for anything that is no non-negative quantity (bytes, cores or units)."""
    if isinstance(value, str):
        return _rounded(value, scale, ROUND_FLOOR)
    return _whole(value, scale)


def ceil_quantity(value: object, *, scale: int = 1) -> int:
    """The same rounded up, for what pods ask for."""
    if isinstance(value, str):
        return _rounded(value, scale, ROUND_CEILING)
    return _whole(value, scale)


def _whole(value: object, scale: int) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return min(value * scale, _MAX) if value > 0 else 0
    return 0


@lru_cache(maxsize=4096)
def _rounded(text: str, scale: int, rounding: str) -> int:
    match = _QUANTITY.fullmatch(text) if len(text) <= 64 else None
    if match is None:
        return 0
    number = Decimal(match[1] + match[2]) if match[2] else Decimal(match[1]) * _SCALES[match[3] or ""]
    return int(min(number * scale, Decimal(_MAX)).to_integral_value(rounding))
