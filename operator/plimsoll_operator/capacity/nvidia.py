"""NVIDIA GPUs of a node by the labels of GPU feature discovery, or by what a cloud states where those are absent.

Called by `sources`. Source: NVIDIA k8s-device-plugin v0.20, GPU feature discovery's label catalogue and its resource naming.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from plimsoll_operator.capacity import memory
from plimsoll_operator.capacity.groups import MAX_GPUS_PER_NODE, MAX_REPLICAS, GpuGroup, Sharing, Source, Statement
from plimsoll_operator.capacity.labels import COMPUTE_INSTANCE, MIG_PRODUCT, MIG_PROFILE, PRODUCT, excluding, whole_number
from plimsoll_operator.capacity.problems import Finding, Problem
from plimsoll_operator.names import COUNT_LABEL, PRODUCT_LABEL, SHARED_RESOURCE, SHARING_LABEL

MIG_RESOURCE: Final = re.compile(rf"nvidia\.com/mig-({MIG_PROFILE.pattern})")
# A GPU has seven compute slices, so at most seven MIG devices.
_SLICES: Final = 7
_SHARED: Final = ".shared"
_COMPUTE_INSTANCES: Final = "compute instances, which share the memory of one MIG slice"


@dataclass(frozen=True, slots=True, kw_only=True)
class Devices:
    """What a node offers of one resource: `units` are allocatable, `capacity` those that it has, healthy or not.

    `cut`: how many of the GPUs that the labels count are cut into slices of other resources, at least (0: none is). `counted` is how
    many GPUs a less trusted source says the node has, for labels that name a product and no number.
    """

    resource: str
    units: int
    capacity: int = 0
    cut: int = 0
    counted: int | None = None


def whole_gpus(labels: Mapping[str, str], devices: Devices) -> GpuGroup:
    """The GPUs behind `nvidia.com/gpu` (also MIG single and shared ones) as feature discovery labels them.

    Whoever writes a product's label by hand may leave its number out, and time-sliced cards would count as whole ones.
    """
    resource, units = devices.resource, devices.units
    findings: list[Finding] = []
    raw_product = labels.get(PRODUCT_LABEL, "")
    product = raw_product.removesuffix("-SHARED")
    if not raw_product:
        findings.append(Finding(problem=Problem.NO_PRODUCT))
    elif not PRODUCT.fullmatch(raw_product):
        findings.append(Finding(problem=Problem.BAD_LABEL, detail=f"{PRODUCT_LABEL} is no label value"))
        product = ""
    if product.endswith("-MIG-INVALID"):
        findings.append(Finding(problem=Problem.MIG_INVALID))
    sharing, replicas = _sharing(labels, raw_product, resource, findings)
    count = whole_number(labels, COUNT_LABEL, findings)
    if count is None:
        count = devices.counted
    if count is None and raw_product and units and COUNT_LABEL not in labels:
        findings.append(Finding(problem=Problem.COUNT_UNKNOWN))
    schedulable = schedulable_units(devices, count, replicas, findings, at_most=devices.cut > 0)
    memory_mib = whole_number(labels, "nvidia.com/gpu.memory", findings)
    usable, exact = (0, False) if excluding(findings) else memory.usable_by_label(product, memory_mib, findings)
    if sharing == "mps":
        usable //= max(1, replicas)
    return GpuGroup(
        resource=resource,
        product=product,
        usable_memory_bytes=usable,
        memory_is_exact=exact,
        units=units,
        schedulable=schedulable,
        sharing=sharing,
        sharing_replicas=replicas,
        compute_capability=_capability(labels, product),
        source=Source.FEATURE_DISCOVERY if raw_product else Source.NONE,
        selects=((PRODUCT_LABEL, raw_product),) if product else (),
        findings=tuple(dict.fromkeys(findings)),
    )


def mig_slices(labels: Mapping[str, str], devices: Devices) -> GpuGroup:
    """MIG devices of one profile under the mixed strategy, which have a resource and labels of their own."""
    findings: list[Finding] = []
    resource, units = devices.resource, devices.units
    labelled = resource.removesuffix(_SHARED)  # the labels of shared slices are those of the slices
    if COMPUTE_INSTANCE.search(resource):
        findings.append(Finding(problem=Problem.SHARED_WITHOUT_STRATEGY, detail=_COMPUTE_INSTANCES))
    product = labels.get(f"{labelled}.product", "")
    if not product or not PRODUCT.fullmatch(product):
        said = f"no label {labelled}.product says of which GPU {resource} is a slice"
        findings.append(Finding(problem=Problem.BAD_LABEL) if product else Finding(problem=Problem.NO_PRODUCT, detail=said))
        product = ""
    replicas = whole_number(labels, f"{labelled}.replicas", findings) or 1
    if replicas > 1 or labelled != resource:
        findings.append(Finding(problem=Problem.SHARED_WITHOUT_STRATEGY, detail="MIG slices that are shared once more"))
    count = whole_number(labels, f"{labelled}.count", findings)
    if count is None and product and f"{labelled}.count" not in labels:
        findings.append(Finding(problem=Problem.COUNT_UNKNOWN))
    memory_mib = whole_number(labels, f"{labelled}.memory", findings)
    schedulable = schedulable_units(devices, count, min(replicas, MAX_REPLICAS), findings)
    usable, exact = (0, False) if excluding(findings) else memory.usable_by_label(product, memory_mib, findings)
    return GpuGroup(
        resource=resource,
        product=product,
        usable_memory_bytes=usable,
        memory_is_exact=exact,
        units=units,
        schedulable=schedulable,
        sharing="mig",
        sharing_replicas=1,
        compute_capability=_capability(labels, product),
        source=Source.FEATURE_DISCOVERY if product else Source.NONE,
        selects=((f"{labelled}.product", product),) if product else (),
        findings=tuple(dict.fromkeys(findings)),
    )


def cards_cut(labels: Mapping[str, str], allocatable: Mapping[str, int]) -> int:
    """How many GPUs at least are cut for the MIG slices that a node offers; 0 without slices, and never more than a node can have.

    Each has seven compute slices to give. Slices that are shared are offered once for each of their replicas.
    """
    offered = [
        (resource, match[1], units) for resource, units in allocatable.items() if (match := MIG_RESOURCE.fullmatch(resource)) and units
    ]
    slices = sum(_compute_slices(profile) * -(-units // _replicas_of(labels, resource)) for resource, profile, units in offered)
    return min(MAX_GPUS_PER_NODE, max(1, -(-slices // _SLICES))) if offered else 0


def _compute_slices(profile: str) -> int:
    """Of one device; a name that no profile has counts as the nearest that there is."""
    return min(_SLICES, max(1, int(re.split("[cg]", profile, maxsplit=1)[0])))


def _replicas_of(labels: Mapping[str, str], resource: str) -> int:
    """As how many units one slice is offered; at most, where the resource's name says that it is shared and no label says by how many."""
    labelled = resource.removesuffix(_SHARED)
    said = whole_number(labels, f"{labelled}.replicas", [])
    return min(MAX_REPLICAS, max(1, said)) if said is not None else 1 if labelled == resource else MAX_REPLICAS


def stated_gpus(statement: Statement, devices: Devices) -> GpuGroup:
    """The GPUs behind `nvidia.com/gpu` where only a cloud says what they are; never called exact."""
    resource, units = devices.resource, devices.units
    findings = list(statement.findings)
    product = statement.products[0] if statement.products else ""
    if not statement.products:
        problem = Problem.UNKNOWN_PRODUCT if statement.unknown else Problem.NO_PRODUCT
        findings.append(Finding(problem=problem, detail=f"{statement.source} says {statement.unknown}" if statement.unknown else ""))
    elif statement.count is None:
        findings.append(Finding(problem=Problem.COUNT_UNKNOWN))
    per_gpu = statement.replicas * (_SLICES if statement.partition else 1)
    schedulable = schedulable_units(devices, statement.count, per_gpu, findings, at_most=bool(statement.partition) or devices.cut > 0)
    usable = 0 if excluding(findings) else memory.usable_as_stated(statement.products, statement.nominal_mib, findings)
    if statement.partition and usable:
        usable = memory.usable_by_profile(statement.partition, usable, findings)
    elif statement.sharing == "mps":
        usable //= statement.replicas
    return GpuGroup(
        resource=resource,
        product=f"{product}-MIG-{statement.partition}" if product and statement.partition else product,
        usable_memory_bytes=usable,
        memory_is_exact=False,
        units=units,
        schedulable=schedulable,
        sharing="mig" if statement.partition else statement.sharing,
        sharing_replicas=statement.replicas,
        compute_capability=memory.compute_capability(product) if product else None,
        source=statement.source,
        selects=statement.selects,
        findings=tuple(dict.fromkeys(findings)),
    )


def schedulable_units(devices: Devices, count: int | None, per_gpu: int, findings: list[Finding], *, at_most: bool = False) -> int:
    """Units the scheduler can hand out: the smaller of label and allocatable; more of them than labelled is no one product.

    What is there and not allocatable now counts for that: it comes back. `at_most`: fewer units than `count` x `per_gpu` are no sign
    of missing devices.
    """
    units = devices.units
    if units > MAX_GPUS_PER_NODE * per_gpu or (count is not None and count > MAX_GPUS_PER_NODE):
        findings.append(Finding(problem=Problem.COUNT_ABSURD))
        return 0
    if units == 0:
        findings.append(Finding(problem=Problem.NO_ALLOCATABLE))
        return 0
    if count is None:
        return units
    expected = max(0, count - devices.cut) * per_gpu
    if max(units, devices.capacity) > expected:
        more = f"{max(units, devices.capacity)} GPUs, labels count {expected}: several products on one node, or sharing unnamed"
        if devices.cut:
            more = f"{max(units, devices.capacity)} whole GPUs beside slices of {devices.cut} or more, labels count {count} in all"
        findings.append(Finding(problem=Problem.MIXED_PRODUCTS, detail=more))
    elif units < expected and not at_most:
        fewer = f"{units} of {expected} labelled GPUs are allocatable: devices are missing"
        findings.append(Finding(problem=Problem.FEWER_ALLOCATABLE, detail=fewer))
    return min(units, expected)


def _sharing(labels: Mapping[str, str], raw_product: str, resource: str, findings: list[Finding]) -> tuple[Sharing, int]:
    """How one GPU is handed out. A `-SHARED` product or resource whose strategy no label names is not believed.

    Feature discovery before v0.15 had no label of the strategy, and time-slicing was the only one: what it wrote is `-SHARED`, or a
    resource of that name, with the number of replicas. Later ones write an empty strategy where they find none that is valid.
    """
    looks_old = raw_product.endswith("-SHARED") or (resource == SHARED_RESOURCE and bool(raw_product))
    strategy = labels.get(SHARING_LABEL, "time-slicing" if looks_old else "none")
    replicas = whole_number(labels, "nvidia.com/gpu.replicas", findings) or 1
    looks_shared = raw_product.endswith("-SHARED") or resource == SHARED_RESOURCE or replicas > 1
    if replicas > MAX_REPLICAS:
        findings.append(Finding(problem=Problem.COUNT_ABSURD))
        return "time-slicing", MAX_REPLICAS
    if MIG_PRODUCT.search(raw_product.removesuffix("-SHARED")):
        if looks_shared:
            findings.append(Finding(problem=Problem.SHARED_WITHOUT_STRATEGY, detail="MIG slices that are shared once more"))
        if COMPUTE_INSTANCE.search(raw_product):
            findings.append(Finding(problem=Problem.SHARED_WITHOUT_STRATEGY, detail=_COMPUTE_INSTANCES))
        return "mig", 1
    if not looks_shared:
        return "none", 1
    if strategy == "mps" and replicas > 1:
        return "mps", replicas
    if strategy == "time-slicing" and replicas > 1:
        return "time-slicing", replicas
    findings.append(Finding(problem=Problem.SHARED_WITHOUT_STRATEGY))
    return "time-slicing", replicas


def _capability(labels: Mapping[str, str], product: str) -> tuple[int, int] | None:
    major, minor = labels.get("nvidia.com/gpu.compute.major", ""), labels.get("nvidia.com/gpu.compute.minor", "")
    if re.fullmatch(r"\d{1,2}", major) and re.fullmatch(r"\d", minor):
        return int(major), int(minor)
    return memory.compute_capability(product)
