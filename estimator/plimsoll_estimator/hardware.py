"""GPUs as CUDA sees them, from a product label, a memory label or a measured total.

Called by the batch door, the CLI and the capacity reader. Refuses to know nodes, sharing and prices; the table of
products lives in data/gpus.json with its evidence.
"""

from __future__ import annotations

import difflib
import json
import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Final, cast, get_args

from plimsoll_estimator.checks import Check
from plimsoll_estimator.errors import InvalidInput, Unsupported
from plimsoll_estimator.resolved import DeviceMemory, Gpu, Interconnect
from plimsoll_estimator.units import GIB, MIB

_INTERCONNECTS: Final = get_args(Interconnect)
_MIG: Final = re.compile(r"-MIG-\d+[cg]\.[\w.+-]+$")
_SUFFIXES: Final = re.compile(r"(-SHARED|-MIG-\d+[cg]\.[\w.+-]+)+$")
_CAPABILITY: Final = re.compile(r"(?a)(\d{1,2})\.(\d)")
_MAX_MEMORY_BYTES: Final = 1 << 44
MAX_DRIVER_MAJOR: Final = 9999
"""No NVIDIA driver's branch is above it: they count up to 580 in 2025."""
_SPREAD_BYTES: Final = int(0.3 * GIB)  # twice as far as the totals of single cards were seen to differ on Linux
# Name fragment -> compute capability, for products that are not in the table. GTX 16 is no generation's name: no start on one was measured,
# so whoever has one says 7.5 himself.
_GENERATIONS: Final = (
    ("blackwell", (12, 0)), ("rtx-50", (12, 0)), ("b200", (10, 0)), ("b300", (10, 3)),
    ("h100", (9, 0)), ("h200", (9, 0)), ("gh200", (9, 0)), ("h800", (9, 0)), ("h20", (9, 0)),
    ("ada", (8, 9)), ("rtx-40", (8, 9)), ("l40", (8, 9)), ("l4", (8, 9)), ("l20", (8, 9)), ("l2", (8, 9)),
    ("a100", (8, 0)), ("a800", (8, 0)), ("a30", (8, 0)),
    ("rtx-30", (8, 6)), ("a10", (8, 6)), ("a40", (8, 6)), ("a16", (8, 6)), ("a2", (8, 6)), ("rtx-a", (8, 6)),
    ("t4", (7, 5)), ("rtx-20", (7, 5)), ("quadro-rtx", (7, 5)), ("titan-rtx", (7, 5)), ("v100", (7, 0)),
    ("titan-v", (7, 0)), ("gtx-10", (6, 1)), ("p40", (6, 1)), ("p4", (6, 1)), ("p100", (6, 0)),
)  # fmt: skip


_OF_A_CHIP: Final = frozenset({(5, 3), (6, 2), (7, 2), (8, 7), (10, 1), (11, 0), (12, 1)})
"""Generations of integrated GPUs alone (NVIDIA, "CUDA GPU Compute Capability"): TX1, TX2, Xavier, Orin, Thor by both numbers, GB10."""
_CHIPS: Final = re.compile(r"(?i)(?<![a-z])(?:jetson|tegra|xavier|orin|thor|gb10|spark)(?![a-z0-9])")
_SUPERCHIPS: Final = re.compile(r"(?i)(?<![a-z])(?:gh200|gb200|gb300)(?![0-9])")
_ARM_CARDS: Final = re.compile(r"(?i)(?<![a-z])t4g(?![a-z0-9])")


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownGpu:
    """One row of the table: what CUDA reports for a product, and where the figure comes from."""

    product: str
    total_memory_bytes: int
    compute_capability: tuple[int, int]
    interconnect: Interconnect
    evidence: str
    memory: DeviceMemory = "own"


@cache
def known_gpus() -> dict[str, KnownGpu]:
    """The shipped table by product label (`nvidia.com/gpu.product`)."""
    text = resources.files("plimsoll_estimator").joinpath("data/gpus.json").read_text(encoding="utf-8")
    table: dict[str, KnownGpu] = {}
    for row in json.loads(text)["products"]:
        major, _, minor = row["compute_capability"].partition(".")
        table[row["product"]] = KnownGpu(
            product=row["product"],
            total_memory_bytes=int(row["total_gib"] * GIB),
            compute_capability=(int(major), int(minor)),
            interconnect=cast(Interconnect, row["interconnect"]),
            evidence=row["evidence"],
            memory=cast(DeviceMemory, row.get("memory", "own")),
        )
    return table


def usable_from_label(product: str, label_memory_mib: int) -> int:
    """Bytes CUDA would report for an unknown product whose label says `label_memory_mib`, on the low side.

    NVML's total less a driver carve-out of 2.5 %, at least 500 and at most 900 MiB (1150 on Grace-Hopper); of a GeForce, whose
    memory keeps no check bits, at least 300 (a 3080 Ti lacks 250). A MIG slice is its label. Holds for every product whose two
    figures are both known.
    """
    if _MIG.search(product):
        return label_memory_mib * MIB
    least = 300 if "GeForce" in product else 500
    margin = 1150 if "GH200" in product or "GB" in product else min(900, max(least, label_memory_mib * 25 // 1000))
    return max(0, label_memory_mib - margin) * MIB


def gpu_from(
    product: str | None = None,
    label_memory_mib: int | None = None,
    total_memory_bytes: int | None = None,
    free_memory_bytes: int | None = None,
    interconnect: str | None = None,
    compute_capability: str | None = None,
    driver_major: int | None = None,
) -> Gpu:
    """A Gpu from what is known of it; a measured total wins over the table, the table over the label.

    `compute_capability`, such as 7.5, is for a product whose name does not tell it; of a known product it must agree.
    A GeForce whose stated total is the label's own, far above what CUDA reports of it on Linux, is driven by Windows.

    Raises InvalidInput on values out of range and Unsupported when neither memory nor generation can be told.
    """
    if interconnect is not None and interconnect not in _INTERCONNECTS:
        raise InvalidInput("gpu.interconnect", interconnect, f"must be one of {', '.join(_INTERCONNECTS)}")
    for name, value, low in (
        ("label_memory_mib", label_memory_mib, 1),
        ("total_memory_bytes", total_memory_bytes, 1),
        ("free_memory_bytes", free_memory_bytes, 0),
    ):
        if value is not None and not low <= value <= _MAX_MEMORY_BYTES:
            raise InvalidInput(f"gpu.{name}", value, f"must be from {low} to {_MAX_MEMORY_BYTES}")
    if driver_major is not None and not 1 <= driver_major <= MAX_DRIVER_MAJOR:
        raise InvalidInput("gpu.driver_major", driver_major, f"must be from 1 to {MAX_DRIVER_MAJOR}")
    label = product or ""
    known = known_gpus().get(_SUFFIXES.sub("", label))
    capability = _capability(label, known, compute_capability)
    total, exact = _total(label, known, label_memory_mib, total_memory_bytes)
    if free_memory_bytes is not None and free_memory_bytes > total:
        free_memory_bytes = total
    chosen: Interconnect = known.interconnect if known else "pcie"
    if interconnect is not None:
        chosen = cast(Interconnect, interconnect)
    return Gpu(
        product=label,
        total_memory_bytes=total,
        free_memory_bytes=free_memory_bytes,
        interconnect=chosen,
        compute_capability=capability,
        total_is_exact=exact,
        memory=known.memory if known else _memory_of(label, capability),
        pages_to_host="GeForce" in label and total_memory_bytes is not None and _is_whole(total, known, label_memory_mib),
        driver_major=driver_major,
    )


def _memory_of(label: str, capability: tuple[int, int]) -> DeviceMemory:
    """Whose the memory of an unlisted product is: GPUs of a system on a chip have none of their own, by generation or name."""
    if capability in _OF_A_CHIP or _CHIPS.search(label):
        return "unified"
    return "coherent" if _SUPERCHIPS.search(label) else "own"


def beside_arm(product: str) -> bool:
    """Whether a GPU of this name sits beside an Arm processor: on its chip, on its board, or as a card of hosts that are all of it."""
    return any(names.search(product) for names in (_CHIPS, _SUPERCHIPS, _ARM_CARDS))


def _is_whole(total: int, known: KnownGpu | None, label_memory_mib: int | None) -> bool:
    """Whether a GeForce's stated total is what its label says. On Linux each of the table stays 0.07 GiB and more below its label."""
    if known is not None:
        return total > known.total_memory_bytes + _SPREAD_BYTES
    return label_memory_mib is not None and total >= label_memory_mib << 20


def _capability(label: str, known: KnownGpu | None, stated: str | None) -> tuple[int, int]:
    """What the table or the name says, else what was stated."""
    told = known.compute_capability if known else _capability_from_name(label)
    if stated is not None:
        match = _CAPABILITY.fullmatch(stated)
        if match is None:
            raise InvalidInput("gpu.compute_capability", stated, "must be a compute capability such as 7.5")
        given = int(match[1]), int(match[2])
        if known is not None and given != known.compute_capability:
            major, minor = known.compute_capability
            raise InvalidInput("gpu.compute_capability", stated, f"contradicts the table, where {label} has {major}.{minor}")
        return given
    if told is None:
        raise Unsupported(
            Check.UNKNOWN_GPU,
            f"GPU product {label or '(none given)'!r} is not in the table and its name tells no generation: give its compute capability, "
            "such as 7.5 (nvidia-smi --query-gpu=compute_cap)",
        )
    return told


def _short_names() -> dict[str, str]:
    """`H100` and the like, of the first product of the table that has the word."""
    words: dict[str, str] = {}
    for product in known_gpus():
        for word in product.upper().split("-"):
            words.setdefault(word, product)
    return {word: product for word, product in words.items() if any(c.isdigit() for c in word) and any(c.isalpha() for c in word)}


def _total(label: str, known: KnownGpu | None, label_memory_mib: int | None, total_memory_bytes: int | None) -> tuple[int, bool]:
    if total_memory_bytes is not None:
        return total_memory_bytes, True
    is_slice = _MIG.search(label) is not None
    if known is not None and not is_slice:
        return known.total_memory_bytes, True
    if label_memory_mib is None:
        alike = difflib.get_close_matches(label.upper()[:80], [*known_gpus(), *_short_names()], n=1)
        nearest = f" (in the table: {_short_names().get(alike[0], alike[0])})" if alike else ""
        message = f"nothing says how much memory {label!r} has{nearest}: give its memory label or its CUDA total"
        raise Unsupported(Check.UNKNOWN_GPU_MEMORY, message)
    return usable_from_label(label, label_memory_mib), False


def _capability_from_name(label: str) -> tuple[int, int] | None:
    name = label.lower()
    for fragment, capability in _GENERATIONS:
        if re.search(rf"(?<![a-z0-9]){re.escape(fragment)}", name):
            return capability
    return None
