"""AMD GPUs of a node by the labels of AMD's node labeller: product, memory and partitions, shown and counted.

Called by `sources`. The estimator has no rules for vLLM on ROCm, so every group carries VendorUnsupported and is never planned with.
Source: ROCm k8s-device-plugin, cmd/k8s-node-labeller: `amd.com/gpu.<property>=<value>` where all devices agree, and the older
`beta.amd.com/gpu.<property>.<value>=<devices>`, the only form where they differ.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from plimsoll_estimator import GIB
from plimsoll_operator.capacity.groups import MAX_GPUS_PER_NODE, GpuGroup, Labels, Source
from plimsoll_operator.capacity.labels import PRODUCT, excluding
from plimsoll_operator.capacity.nvidia import Devices, schedulable_units
from plimsoll_operator.capacity.problems import Finding, Problem
from plimsoll_operator.names import AMD_RESOURCE

PRODUCT_NAME_LABEL: Final = "amd.com/gpu.product-name"
_PREFIXES: Final = ("amd.com/gpu.", "beta.amd.com/gpu.")
_VRAM: Final = re.compile(r"(\d{1,5})G")
_PARTITION: Final = re.compile(r"(spx|dpx|tpx|qpx|cpx)_nps(\d)")
# Compute partitions of one card, each a device of its own.
_PIECES: Final = {"spx": 1, "dpx": 2, "tpx": 3, "qpx": 4, "cpx": 8}
_MAX_VRAM_GIB: Final = 2048
# GiB of the whole card as its data sheet has it; what a process sees is less by no more than the safety below.
_CARD_GIB: Final = {
    "MI300X": 192, "MI325X": 256, "MI350X": 288, "MI355X": 288, "MI308X": 192, "MI300A": 128, "MI250X": 64, "MI250": 64, "MI210": 64,
}  # fmt: skip
_MODEL: Final = re.compile(r"MI\d{3}[AX]?")
_SAFETY_BYTES: Final = GIB
_DEVICE_IDS: Final = {"74a1": "AMD_Instinct_MI300X_OAM"}


def gpus(labels: Mapping[str, str], units: int) -> GpuGroup:
    """The GPUs behind `amd.com/gpu`. Memory is the label's rounded GiB less 1 GiB, never more than the card's part."""
    findings = [Finding(problem=Problem.VENDOR_UNSUPPORTED)]
    product, selects = _product(labels, findings)
    pieces = _pieces(labels, findings)
    count = _devices(labels)
    devices = Devices(resource=AMD_RESOURCE, units=min(units, MAX_GPUS_PER_NODE * 8))
    schedulable = schedulable_units(devices, count, 1 if count else pieces, findings)
    usable = 0 if excluding(findings[1:]) else _usable(labels, product, pieces, findings)
    return GpuGroup(
        resource=AMD_RESOURCE,
        product=product,
        usable_memory_bytes=usable,
        memory_is_exact=False,
        units=units,
        schedulable=schedulable,
        sharing="none",
        sharing_replicas=1,
        compute_capability=None,
        source=Source.AMD_LABELLER if product or usable else Source.NONE,
        selects=selects,
        findings=tuple(dict.fromkeys(findings)),
    )


def _product(labels: Mapping[str, str], findings: list[Finding]) -> tuple[str, Labels]:
    name = labels.get(PRODUCT_NAME_LABEL)
    if name is not None:
        if PRODUCT.fullmatch(name):
            return name, ((PRODUCT_NAME_LABEL, name),)
        findings.append(Finding(problem=Problem.BAD_LABEL, detail=f"{PRODUCT_NAME_LABEL} is no label value"))
        return "", ()
    names = _values(labels, "product-name")
    if len(names) > 1:
        findings.append(Finding(problem=Problem.MIXED_PRODUCTS))
        return "", ()
    device = labels.get("amd.com/gpu.device-id", "")
    found = next(iter(names), "") or _DEVICE_IDS.get(device, "")
    if not found or not PRODUCT.fullmatch(found):
        findings.append(Finding(problem=Problem.NO_PRODUCT))
        return "", ()
    return found, (("amd.com/gpu.device-id", device),) if device else ()


def _pieces(labels: Mapping[str, str], findings: list[Finding]) -> int:
    """Devices that one card is cut into. A partition mode that cannot be read leaves the memory of a device unknown."""
    mode = labels.get("amd.com/gpu.compute-memory-partition", "spx_nps1")
    match = _PARTITION.fullmatch(mode)
    if match is None:
        findings.append(Finding(problem=Problem.BAD_LABEL, detail="amd.com/gpu.compute-memory-partition is no partition mode"))
        return 1
    return _PIECES[match[1]]


def _usable(labels: Mapping[str, str], product: str, pieces: int, findings: list[Finding]) -> int:
    sizes = _values(labels, "vram")
    if not sizes:
        findings.append(Finding(problem=Problem.MEMORY_UNKNOWN))
        return 0
    if len(sizes) > 1:
        findings.append(Finding(problem=Problem.MIXED_PRODUCTS, detail=f"devices of {' and '.join(sorted(sizes)[:4])}"))
        return 0
    match = _VRAM.fullmatch(next(iter(sizes)))
    gib = int(match[1]) if match else 0
    if match is None or not 1 < gib <= _MAX_VRAM_GIB:
        detail = f"a vram label of {gib}G, which no GPU has" if match else "the vram label is no size such as 192G"
        findings.append(Finding(problem=Problem.MEMORY_ABSURD if match else Problem.BAD_LABEL, detail=detail))
        return 0
    model = _MODEL.search(product)
    card = _CARD_GIB.get(model[0]) if model else None
    if card is not None and gib > card:
        detail = f"the vram label says {gib}G, which is another card's: {product} has {card}"
        findings.append(Finding(problem=Problem.MEMORY_CONTRADICTS_PRODUCT, detail=detail))
        return 0
    # A piece that shares its memory with others may be labelled with all of it: it never has more than its part.
    whole = gib if card is None else min(gib, -(-card // pieces))
    return whole * GIB - _SAFETY_BYTES


def _values(labels: Mapping[str, str], name: str) -> frozenset[str]:
    """Every value the labels give a property, in whichever of the forms."""
    found = {labels[f"{prefix}{name}"] for prefix in _PREFIXES if f"{prefix}{name}" in labels}
    for key, text in labels.items():
        for prefix in _PREFIXES:
            if key.startswith(f"{prefix}{name}.") and text.isdecimal():
                found.add(key.removeprefix(f"{prefix}{name}."))
    return frozenset(found)


def _devices(labels: Mapping[str, str]) -> int | None:
    """Devices that the counted form counts; None where only the plain form is there."""
    counts = [int(text) for key, text in labels.items() if key.startswith("beta.amd.com/gpu.vram.") and text.isdecimal() and len(text) < 6]
    return sum(counts) if counts else None
