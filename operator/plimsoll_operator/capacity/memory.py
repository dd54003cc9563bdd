"""How much of a GPU's memory CUDA shows to a process, from product and label: the shipped table first, then bounds from below.

Called by the label readers. Never more than the hardware has: where sources differ the smaller figure holds, and a figure of
another card than the product names is a problem, not a choice. Knows no sharing but MIG's.
"""

from __future__ import annotations

import json
import re
from functools import cache
from importlib import resources
from typing import Final

from plimsoll_estimator import MIB, InvalidInput, Unsupported, gpu_from, known_gpus, usable_from_label
from plimsoll_operator.capacity.groups import MAX_MEMORY_MIB, MIN_MEMORY_MIB
from plimsoll_operator.capacity.labels import MIG_PRODUCT
from plimsoll_operator.capacity.problems import Finding, Problem

_PROFILE: Final = re.compile(r"(?:\d{1,2}c\.)?((\d{1,2})g\.(\d{1,4})gb)")
# Of a profile that nobody has measured: what is left of its gigabytes where driver and rounding took most of them (1g.24gb: 20 GiB).
_LEAST_OF_SMALL: Final = (5, 6)
_SMALL_SLICES: Final = 2


def usable_by_label(product: str, memory_mib: int | None, findings: list[Finding]) -> tuple[int, bool]:
    """Bytes of one GPU (low side) and whether a measured table says so, from NVML's total in MiB; 0 with a problem when not believed."""
    if memory_mib is not None and not MIN_MEMORY_MIB <= memory_mib <= MAX_MEMORY_MIB:
        findings.append(_absurd(memory_mib))
        return 0, False
    sliced = MIG_PRODUCT.search(product) is not None
    known = known_gpus().get(MIG_PRODUCT.sub("", product))
    if known is not None:
        # A label that is off by more than drivers ever were (T4 15109 and 15360 for one card) is about another card; a slice is below it.
        label_bytes = known.total_memory_bytes if memory_mib is None else memory_mib * MIB
        least = 0 if sliced else known.total_memory_bytes * 9 // 10
        if not least <= label_bytes <= known.total_memory_bytes * 115 // 100:
            total = known.total_memory_bytes // MIB
            detail = f"the memory label says {label_bytes // MIB} MiB, which is another card's: {product} has {total}"
            findings.append(Finding(problem=Problem.MEMORY_CONTRADICTS_PRODUCT, detail=detail))
            return 0, False
        if not sliced:
            return min(known.total_memory_bytes, label_bytes), True
    if memory_mib is None and known is not None:
        return usable_by_profile(MIG_PRODUCT.findall(product)[-1].removeprefix("-MIG-"), known.total_memory_bytes, findings), False
    if memory_mib is None:
        findings.append(Finding(problem=Problem.MEMORY_UNKNOWN))
        return 0, False
    most = known.total_memory_bytes if known is not None else MAX_MEMORY_MIB * MIB
    return min(usable_from_label(product, memory_mib), most), False


def _absurd(mib: int) -> Finding:
    detail = f"a memory label of {mib} MiB, which no GPU has: zero, or bytes or GiB taken for MiB"
    return Finding(problem=Problem.MEMORY_ABSURD, detail=detail)


def usable_as_stated(products: tuple[str, ...], nominal_mib: int | None, findings: list[Finding]) -> int:
    """Bytes of one GPU that a cloud names: the least of the products it may be, or 90 % of the advertised size.

    Clouds advertise up to 10 % more than CUDA has (T4: 16384 MiB for 14909, A10G: 24576 for 22589). A size that is none of the
    product's, a fraction of a card for example, is a problem.
    """
    if nominal_mib is not None and not MIN_MEMORY_MIB <= nominal_mib <= MAX_MEMORY_MIB:
        findings.append(_absurd(nominal_mib))
        return 0
    totals = [known_gpus()[product].total_memory_bytes for product in products if product in known_gpus()]
    if totals:
        least = min(totals)
        if nominal_mib is not None and not least * 9 // 10 <= nominal_mib * MIB <= max(totals) * 12 // 10:
            detail = f"the cloud's label says {nominal_mib} MiB, which is no size of {' or '.join(products[:3])}: CUDA shows {least // MIB}"
            findings.append(Finding(problem=Problem.MEMORY_CONTRADICTS_PRODUCT, detail=detail))
            return 0
        return least
    if nominal_mib is None:
        findings.append(Finding(problem=Problem.MEMORY_UNKNOWN))
        return 0
    return nominal_mib * 9 // 10 * MIB


def usable_by_profile(profile: str, whole_bytes: int, findings: list[Finding]) -> int:
    """Bytes of one MIG slice by its profile's name: the least that was seen of it (data/mig.json), else a bound below every slice seen.

    A name rounds up, and what the driver keeps comes off each slice: 1g.18gb of an H200 has 16.00 GiB (18 GB are 16.76), 1g.24gb of a
    GB200 20.00 (22.35). Of three slices and more the name's decimal gigabytes hold: 3g.71gb has 69.50 GiB (66.12). A slice of more
    than the whole GPU is a problem.
    """
    match = _PROFILE.match(profile)
    slice_bytes = _profile_bytes(match[1], int(match[2]), int(match[3])) if match else 0
    if slice_bytes > whole_bytes:
        detail = f"slices of {slice_bytes // MIB} MiB on a GPU of {whole_bytes // MIB}"
        findings.append(Finding(problem=Problem.MEMORY_CONTRADICTS_PRODUCT, detail=detail))
        return 0
    return slice_bytes


def _profile_bytes(name: str, slices: int, gigabytes: int) -> int:
    seen = _profiles().get(name)
    if seen is not None:
        return seen * MIB
    part, of = _LEAST_OF_SMALL
    return (gigabytes << 30) * part // of if slices <= _SMALL_SLICES else gigabytes * 10**9


@cache
def _profiles() -> dict[str, int]:
    """MiB of a slice by its profile's name, without what follows the size."""
    text = resources.files("plimsoll_operator.capacity").joinpath("data", "mig.json").read_text(encoding="utf-8")
    table: dict[str, int] = json.loads(text)["mib"]
    return table


def usable_by_product(product: str) -> tuple[int, bool]:
    """Bytes of one GPU, or of one slice of it, by its product alone, and whether a measured table says so; 0 where nothing tells."""
    profile = MIG_PRODUCT.search(product)
    known = known_gpus().get(MIG_PRODUCT.sub("", product))
    if known is None or profile is None:
        return (known.total_memory_bytes, True) if known is not None else (0, False)
    return usable_by_profile(profile[0].removeprefix("-MIG-"), known.total_memory_bytes, []), False


def compute_capability(product: str) -> tuple[int, int] | None:
    """The product's CUDA generation by table or name; None when nothing tells."""
    try:
        return gpu_from(product=product, total_memory_bytes=1 << 30).compute_capability
    except (Unsupported, InvalidInput):
        return None
