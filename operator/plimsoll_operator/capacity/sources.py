"""Which source is believed about a node's GPUs, and what the others say: groups of alike GPUs with their doubts.

Called by `nodes.parse_node`. One order of trust (groups.Source): the first source that names the GPUs is followed, every other
that says something different is kept as a SourcesDisagree finding, shown and counted, never merged. Knows no pods and no pools.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from plimsoll_operator.capacity import amd, nvidia
from plimsoll_operator.capacity.clouds import statements, unknown_instance_type
from plimsoll_operator.capacity.groups import MAX_GPUS_PER_NODE, GpuGroup, Source, Statement
from plimsoll_operator.capacity.labels import MIG_PRODUCT, PRODUCT
from plimsoll_operator.capacity.problems import Finding, Problem
from plimsoll_operator.names import AMD_RESOURCE, COUNT_LABEL, GPU_RESOURCE, PRODUCT_LABEL, SHARED_RESOURCE

# Vendors without memory rules and without label readers of their own: resource -> label that names the product.
_OTHERS: Final = {
    "gpu.intel.com/i915": "gpu.intel.com/product",
    "gpu.intel.com/xe": "gpu.intel.com/product",
    "habana.ai/gaudi": "habana.ai/product",
}


def gpu_groups(labels: Mapping[str, str], allocatable: Mapping[str, int], capacity: Mapping[str, int]) -> tuple[GpuGroup, ...]:
    """Groups of a node from its labels (strings), allocatable and capacity of extended resources (counts); empty without GPUs."""
    stated = statements(labels)
    slices = [resource for resource in sorted(allocatable) if nvidia.MIG_RESOURCE.fullmatch(resource)]
    groups = [nvidia.mig_slices(labels, _devices(resource, allocatable, capacity)) for resource in slices]
    whole = _nvidia(labels, allocatable, capacity, stated, cut=nvidia.cards_cut(labels, allocatable))
    if whole is not None:
        groups.insert(0, whole)
    units = allocatable.get(AMD_RESOURCE, 0)
    if units or (any(statement.vendor == "amd" for statement in stated) and not groups):
        groups.append(_with_disagreements(_amd(labels, units, stated), stated, labels))
    groups += [_other(labels, resource, allocatable[resource]) for resource in _OTHERS if allocatable.get(resource)]
    return tuple(_with_health(group, capacity) for group in groups)


def _devices(resource: str, allocatable: Mapping[str, int], capacity: Mapping[str, int]) -> nvidia.Devices:
    return nvidia.Devices(resource=resource, units=allocatable.get(resource, 0), capacity=capacity.get(resource, 0))


def _nvidia(
    labels: Mapping[str, str],
    allocatable: Mapping[str, int],
    capacity: Mapping[str, int],
    stated: tuple[Statement, ...],
    *,
    cut: int,
) -> GpuGroup | None:
    shared = not allocatable.get(GPU_RESOURCE, 0) and allocatable.get(SHARED_RESOURCE, 0)
    devices = replace(_devices(SHARED_RESOURCE if shared else GPU_RESOURCE, allocatable, capacity), cut=cut)
    units = devices.units
    if PRODUCT_LABEL in labels:
        invalid = labels[PRODUCT_LABEL].endswith("-MIG-INVALID")
        labelled = labels.get(COUNT_LABEL) != "0" and not cut
        if not (units or invalid or labelled):
            return None
        counted = next((statement.count for statement in stated if statement.vendor == "nvidia" and statement.count is not None), None)
        return _with_disagreements(nvidia.whole_gpus(labels, replace(devices, counted=counted)), stated, labels)
    best = next((statement for statement in stated if statement.vendor == "nvidia" and (statement.products or statement.unknown)), None)
    if best is not None and (units or not cut):
        return _with_disagreements(nvidia.stated_gpus(best, devices), stated, labels)
    return _nameless(nvidia.whole_gpus(labels, devices), labels) if units else None


def _nameless(group: GpuGroup, labels: Mapping[str, str]) -> GpuGroup:
    """GPUs of which nobody says what they are: where an instance type would say it, and no table has it, that is what is said."""
    kind = unknown_instance_type(labels)
    if not kind:
        return group
    said = Finding(
        problem=Problem.NO_PRODUCT, detail=f"GPUs without a product label, and instance type {kind} is not in the shipped tables"
    )
    return replace(group, findings=tuple(said if one.problem is Problem.NO_PRODUCT else one for one in group.findings))


def _amd(labels: Mapping[str, str], units: int, stated: tuple[Statement, ...]) -> GpuGroup:
    group = amd.gpus(labels, units)
    best = next((statement for statement in stated if statement.vendor == "amd"), None)
    if group.product or best is None or not best.products:
        return group
    findings = tuple(finding for finding in group.findings if finding.problem is not Problem.NO_PRODUCT)
    return replace(group, product=best.products[0], source=best.source, selects=best.selects, findings=findings)


def _other(labels: Mapping[str, str], resource: str, units: int) -> GpuGroup:
    raw = labels.get(_OTHERS[resource], "")
    readable = PRODUCT.fullmatch(raw) is not None
    return GpuGroup(
        resource=resource,
        product=raw if readable else "",
        usable_memory_bytes=0,
        memory_is_exact=False,
        units=units,
        schedulable=min(units, MAX_GPUS_PER_NODE),
        sharing="none",
        sharing_replicas=1,
        compute_capability=None,
        source=Source.NONE,
        selects=((_OTHERS[resource], raw),) if readable else (),
        findings=(Finding(problem=Problem.VENDOR_UNSUPPORTED),),
    )


def _with_disagreements(group: GpuGroup, stated: Iterable[Statement], labels: Mapping[str, str]) -> GpuGroup:
    """The group, with one finding for each thing that a less trusted source says differently."""
    said = [
        Finding(problem=Problem.SOURCES_DISAGREE, detail=f"{group.source} says {ours}, {statement.source} says {theirs}")
        for statement in stated
        if statement.source != group.source
        for ours, theirs in _differences(group, statement, labels)
    ]
    return replace(group, findings=group.findings + tuple(dict.fromkeys(said))) if said else group


def _differences(group: GpuGroup, statement: Statement, labels: Mapping[str, str]) -> Iterable[tuple[str, str]]:
    vendor = group.resource.partition(".")[0]
    if statement.vendor != vendor:
        yield f"{vendor} GPUs", f"{statement.vendor} GPUs"
        return
    base = MIG_PRODUCT.sub("", group.product)
    if base and statement.products and _card(base) not in map(_card, statement.products):
        yield base, statement.products[0]
    elif base and statement.unknown and statement.source is not Source.COREWEAVE:
        yield base, statement.unknown
    slices = MIG_PRODUCT.search(group.product)
    profile = slices[0].removeprefix("-MIG-") if slices else ""
    if statement.source is Source.GKE and statement.partition != profile:
        yield f"MIG {profile}" if profile else "whole GPUs", f"MIG {statement.partition}" if statement.partition else "whole GPUs"
    ours = _count(group, labels)
    if statement.count is not None and ours is not None and statement.count != ours and not profile:
        yield f"{ours} GPUs", f"{statement.count} GPUs"
    if statement.source is Source.GKE and not profile and statement.sharing != group.sharing:
        yield f"sharing {group.sharing}", f"sharing {statement.sharing}"


def _card(product: str) -> str:
    """What drivers have called one card in turn is one card: Tesla-T4 and NVIDIA-T4, A100-SXM4-80GB and NVIDIA-A100-SXM4-80GB."""
    return product.removesuffix("-SHARED").removeprefix("NVIDIA-").removeprefix("Tesla-")


def _count(group: GpuGroup, labels: Mapping[str, str]) -> int | None:
    """Physical GPUs as the followed source has them: its own label where there is one, else what is left of the units."""
    text = labels.get(COUNT_LABEL, "") if group.source is Source.FEATURE_DISCOVERY else ""
    if text.isdecimal() and len(text) < 6:
        return int(text)
    return group.schedulable // group.sharing_replicas if group.schedulable else None


def _with_health(group: GpuGroup, capacity: Mapping[str, int]) -> GpuGroup:
    """Devices that a device plugin calls unhealthy leave allocatable and stay in capacity."""
    whole = capacity.get(group.resource, 0)
    if 0 < group.schedulable < whole and Problem.MIXED_PRODUCTS not in {f.problem for f in group.findings}:
        detail = f"{group.schedulable} of the node's {whole} {group.resource} are allocatable: devices are unhealthy"
        return replace(group, findings=(*group.findings, Finding(problem=Problem.UNHEALTHY_GPUS, detail=detail)))
    return group
