"""What a node's labels and allocatable say about its GPUs, as groups of alike devices with named doubts.

Called by `nodes.parse_node`. Reads mappings that anyone may have written: every value is bounded and parsed once, a
value that cannot be believed becomes a named problem and never a guess. Knows no pods, pools or API objects.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

from plimsoll_estimator.errors import InvalidInput, Unsupported
from plimsoll_estimator.hardware import gpu_from, known_gpus, usable_from_label
from plimsoll_estimator.units import MIB

Sharing = Literal["none", "time-slicing", "mps", "mig"]

MAX_GPUS_PER_NODE: Final = 128
MAX_REPLICAS: Final = 256
MAX_MEMORY_MIB: Final = 2 << 20
MIN_MEMORY_MIB: Final = 1 << 10
GPU_RESOURCE: Final = "nvidia.com/gpu"
SHARED_RESOURCE: Final = "nvidia.com/gpu.shared"
PRODUCT_LABEL: Final = "nvidia.com/gpu.product"
AMD_RESOURCE: Final = "amd.com/gpu"
AMD_PRODUCT_LABEL: Final = "amd.com/gpu.product-name"

_PRODUCT: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_WHOLE: Final = re.compile(r"\d{1,15}")
_MIG_RESOURCE: Final = re.compile(r"nvidia\.com/mig-(\d{1,2}g\.\d{1,4}gb(?:\.[a-z.]{1,16})?)")
_MIG_PRODUCT: Final = re.compile(r"-MIG-\d{1,2}g\.\d{1,4}gb(?:\.[a-z.]{1,16})?$")


class Problem(StrEnum):
    """Why a node's GPUs are doubted. The first block excludes them from planning, the second only lowers what is free."""

    VENDOR_UNSUPPORTED = "VendorUnsupported"
    NO_PRODUCT = "NoProduct"
    MIXED_PRODUCTS = "MixedProducts"
    BAD_LABEL = "BadLabel"
    MIG_INVALID = "MigInvalid"
    MEMORY_ABSURD = "MemoryAbsurd"
    MEMORY_CONTRADICTS_PRODUCT = "MemoryContradictsProduct"
    MEMORY_UNKNOWN = "MemoryUnknown"
    SHARED_WITHOUT_STRATEGY = "SharedWithoutStrategy"
    NO_ALLOCATABLE = "NoAllocatableGpus"
    COUNT_ABSURD = "CountAbsurd"
    # Known, counted, still planned with
    FEWER_ALLOCATABLE = "FewerAllocatableThanLabelled"
    CORDONED = "Cordoned"
    NOT_READY = "NotReady"
    OVERCOMMITTED = "Overcommitted"

    @property
    def excludes(self) -> bool:
        """True when GPUs with this problem must not be planned with."""
        return self not in _TOLERATED


_TOLERATED: Final = frozenset({Problem.FEWER_ALLOCATABLE, Problem.CORDONED, Problem.NOT_READY, Problem.OVERCOMMITTED})


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuGroup:
    """Alike GPUs of one node. `schedulable` counts units of `resource`; `usable_memory_bytes` is of one unit (0 = not known)."""

    resource: str
    product: str
    usable_memory_bytes: int
    memory_is_exact: bool
    schedulable: int
    sharing: Sharing
    sharing_replicas: int
    compute_capability: tuple[int, int] | None
    problems: tuple[Problem, ...]

    @property
    def trusted(self) -> bool:
        """False when any problem excludes the group."""
        return not any(problem.excludes for problem in self.problems)


def gpu_groups(labels: Mapping[str, str], allocatable: Mapping[str, int]) -> tuple[GpuGroup, ...]:
    """Groups of a node from its labels (strings) and allocatable extended resources (counts); empty without GPUs.

    Source: NVIDIA k8s-device-plugin v0.20, GPU feature discovery's label catalogue.
    """
    groups = [_mig_mixed(labels, resource, count) for resource, count in sorted(allocatable.items()) if _MIG_RESOURCE.fullmatch(resource)]
    units = allocatable.get(GPU_RESOURCE, 0)
    resource = GPU_RESOURCE
    if units == 0 and allocatable.get(SHARED_RESOURCE, 0):
        units, resource = allocatable[SHARED_RESOURCE], SHARED_RESOURCE
    labelled = PRODUCT_LABEL in labels and labels.get("nvidia.com/gpu.count") != "0"
    invalid = labels.get(PRODUCT_LABEL, "").endswith("-MIG-INVALID")
    if units or invalid or (labelled and not groups):
        groups.insert(0, _whole_gpus(labels, resource, units))
    if allocatable.get(AMD_RESOURCE, 0):
        groups.append(_amd(labels, allocatable[AMD_RESOURCE]))
    return tuple(groups)


def _amd(labels: Mapping[str, str], units: int) -> GpuGroup:
    """GPUs of a vendor whose engine has no memory rules here: shown, counted, and planned with by nobody."""
    raw = labels.get(AMD_PRODUCT_LABEL, "")
    return GpuGroup(
        resource=AMD_RESOURCE,
        product=raw if _PRODUCT.fullmatch(raw) else "",
        usable_memory_bytes=0,
        memory_is_exact=False,
        schedulable=min(units, MAX_GPUS_PER_NODE),
        sharing="none",
        sharing_replicas=1,
        compute_capability=None,
        problems=(Problem.VENDOR_UNSUPPORTED,),
    )


def _whole_gpus(labels: Mapping[str, str], resource: str, units: int) -> GpuGroup:
    problems: list[Problem] = []
    raw_product = labels.get(PRODUCT_LABEL, "")
    product = raw_product.removesuffix("-SHARED")
    if not raw_product:
        problems.append(Problem.NO_PRODUCT)
    elif not _PRODUCT.fullmatch(raw_product):
        problems.append(Problem.BAD_LABEL)
        product = ""
    if product.endswith("-MIG-INVALID"):
        problems.append(Problem.MIG_INVALID)
    sharing, replicas = _sharing(labels, raw_product, resource, problems)
    count = _label_number(labels, "nvidia.com/gpu.count", problems)
    schedulable = _schedulable(units, count, replicas, problems)
    memory_mib = _label_number(labels, "nvidia.com/gpu.memory", problems)
    capability = _capability(labels, product)
    usable, exact = (0, False) if problems and any(p.excludes for p in problems) else _usable(product, memory_mib, problems)
    if sharing == "mps":
        usable //= max(1, replicas)
    return GpuGroup(
        resource=resource,
        product=product,
        usable_memory_bytes=usable,
        memory_is_exact=exact,
        schedulable=schedulable,
        sharing=sharing,
        sharing_replicas=replicas,
        compute_capability=capability,
        problems=tuple(dict.fromkeys(problems)),
    )


def _mig_mixed(labels: Mapping[str, str], resource: str, units: int) -> GpuGroup:
    problems: list[Problem] = []
    product = labels.get(f"{resource}.product", "")
    if not product or not _PRODUCT.fullmatch(product):
        problems.append(Problem.BAD_LABEL if product else Problem.NO_PRODUCT)
        product = ""
    count = _label_number(labels, f"{resource}.count", problems)
    memory_mib = _label_number(labels, f"{resource}.memory", problems)
    schedulable = _schedulable(units, count, 1, problems)
    usable, exact = (0, False) if any(p.excludes for p in problems) else _usable(product, memory_mib, problems)
    return GpuGroup(
        resource=resource,
        product=product,
        usable_memory_bytes=usable,
        memory_is_exact=exact,
        schedulable=schedulable,
        sharing="mig",
        sharing_replicas=1,
        compute_capability=_capability(labels, product),
        problems=tuple(dict.fromkeys(problems)),
    )


def _sharing(labels: Mapping[str, str], raw_product: str, resource: str, problems: list[Problem]) -> tuple[Sharing, int]:
    """How one GPU is handed out. A `-SHARED` product or resource whose strategy no label names is not believed."""
    strategy = labels.get("nvidia.com/gpu.sharing-strategy", "none")
    replicas = _label_number(labels, "nvidia.com/gpu.replicas", problems) or 1
    looks_shared = raw_product.endswith("-SHARED") or resource == SHARED_RESOURCE or replicas > 1
    if replicas > MAX_REPLICAS:
        problems.append(Problem.COUNT_ABSURD)
        return "time-slicing", MAX_REPLICAS
    if _MIG_PRODUCT.search(raw_product.removesuffix("-SHARED")):
        if looks_shared:
            problems.append(Problem.SHARED_WITHOUT_STRATEGY)
        return "mig", 1
    if not looks_shared:
        return "none", 1
    if strategy == "mps" and replicas > 1:
        return "mps", replicas
    if strategy == "time-slicing" and replicas > 1:
        return "time-slicing", replicas
    problems.append(Problem.SHARED_WITHOUT_STRATEGY)
    return "time-slicing", replicas


def _schedulable(units: int, count: int | None, replicas: int, problems: list[Problem]) -> int:
    """Units the scheduler can hand out: the smaller of label and allocatable; more allocatable than labelled means mixed products."""
    if units > MAX_GPUS_PER_NODE * replicas or (count is not None and count > MAX_GPUS_PER_NODE):
        problems.append(Problem.COUNT_ABSURD)
        return 0
    if units == 0:
        problems.append(Problem.NO_ALLOCATABLE)
        return 0
    if count is None:
        return units
    expected = count * replicas
    if units > expected:
        problems.append(Problem.MIXED_PRODUCTS)
    elif units < expected:
        problems.append(Problem.FEWER_ALLOCATABLE)
    return min(units, expected)


def _usable(product: str, memory_mib: int | None, problems: list[Problem]) -> tuple[int, bool]:
    """Bytes CUDA reports for one GPU (low side) and whether a measured table says so; 0 with a problem when not believed."""
    if memory_mib is not None and not MIN_MEMORY_MIB <= memory_mib <= MAX_MEMORY_MIB:
        problems.append(Problem.MEMORY_ABSURD)
        return 0, False
    known = None if _MIG_PRODUCT.search(product) else known_gpus().get(product)
    if known is not None:
        # A label that is off by more than drivers ever were (T4 15109 and 15360 for one card) is about another card.
        if memory_mib is not None and not known.total_memory_bytes * 9 // 10 <= memory_mib * MIB <= known.total_memory_bytes * 115 // 100:
            problems.append(Problem.MEMORY_CONTRADICTS_PRODUCT)
            return 0, False
        label_bytes = known.total_memory_bytes if memory_mib is None else memory_mib * MIB
        return min(known.total_memory_bytes, label_bytes), True
    if memory_mib is None:
        problems.append(Problem.MEMORY_UNKNOWN)
        return 0, False
    return usable_from_label(product, memory_mib), False


def _label_number(labels: Mapping[str, str], key: str, problems: list[Problem]) -> int | None:
    text = labels.get(key)
    if text is None:
        return None
    if not _WHOLE.fullmatch(text):
        problems.append(Problem.BAD_LABEL)
        return None
    return int(text)


def _capability(labels: Mapping[str, str], product: str) -> tuple[int, int] | None:
    major, minor = labels.get("nvidia.com/gpu.compute.major", ""), labels.get("nvidia.com/gpu.compute.minor", "")
    if re.fullmatch(r"\d{1,2}", major) and re.fullmatch(r"\d", minor):
        return int(major), int(minor)
    try:
        return gpu_from(product=product, total_memory_bytes=1 << 30).compute_capability
    except (Unsupported, InvalidInput):
        return None
