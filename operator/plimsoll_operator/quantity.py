"""Kubernetes resource quantities as integers. Used by the API types, capacity and rendering; knows no resource names."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Final

_PATTERN: Final = re.compile(r"([+-]?)([0-9]{1,30}(?:\.[0-9]{0,30})?|\.[0-9]{1,30})(?:([eE][+-]?[0-9]{1,2})|([KMGTPE]i|[numkMGTPE]))?")
_SUFFIXES: Final[dict[str, Fraction]] = {
    "n": Fraction(1, 10**9),
    "u": Fraction(1, 10**6),
    "m": Fraction(1, 1000),
    "k": Fraction(10**3),
    "M": Fraction(10**6),
    "G": Fraction(10**9),
    "T": Fraction(10**12),
    "P": Fraction(10**15),
    "E": Fraction(10**18),
    "Ki": Fraction(1 << 10),
    "Mi": Fraction(1 << 20),
    "Gi": Fraction(1 << 30),
    "Ti": Fraction(1 << 40),
    "Pi": Fraction(1 << 50),
    "Ei": Fraction(1 << 60),
}


def _exact(value: object) -> Fraction:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f"{str(value)[:40]!r} is not a quantity such as 256Mi")
    if isinstance(value, int):
        return Fraction(value)
    match = _PATTERN.fullmatch(value.strip()) if len(value) <= 80 else None
    if match is None:
        raise ValueError(f"{value[:40]!r} is not a quantity such as 256Mi")
    sign, digits, exponent, suffix = match.groups()
    number = Fraction(digits.rstrip(".") or "0")
    if exponent:
        number *= Fraction(10) ** int(exponent[1:])
    if suffix:
        number *= _SUFFIXES[suffix]
    return -number if sign == "-" else number


def parse_quantity(value: object, *, round_down: bool = False) -> int:
    """A quantity ("256Mi", "1.5Gi", "2e3", 1024) as a whole number of its base unit.

    A fraction is rounded up, as Kubernetes does, or down with `round_down` for capacities. ValueError on anything else.
    Source: Kubernetes API reference, "Quantity" (apimachinery resource.Quantity).
    """
    exact = _exact(value)
    return exact.__floor__() if round_down else exact.__ceil__()


def parse_millis(value: object, *, round_down: bool = False) -> int:
    """A CPU quantity ("500m", "2", 4) in thousandths, rounded as in parse_quantity. ValueError on anything else."""
    exact = _exact(value) * 1000
    return exact.__floor__() if round_down else exact.__ceil__()
