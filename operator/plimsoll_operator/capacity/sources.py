"""Which source is believed about a node's GPUs, and what the others say: groups of alike GPUs with their doubts.

Called by `nodes.parse_node`. One order of trust (groups.Source): the first source that names the GPUs is followed, every other
that says something different is kept as a SourcesDisagree finding, shown and counted, never merged. Knows no pods and no pools.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from plimsoll_operator.capacity import amd, nvidia
from plimsoll_operator.capacity.clouds import claims, unknown_instance_type
from plimsoll_operator.capacity.groups import MAX_GPUS_PER_NODE, Claim, GpuGroup, Source
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
    claimed = claims(labels)
    slices = [resource for resource in sorted(allocatable) if nvidia.MIG_RESOURCE.fullmatch(resource)]
    groups = [nvidia.mig_slices(labels, _devices(resource, allocatable, capacity)) for resource in slices]
    whole = _nvidia(labels, allocatable, capacity, claimed, cut=nvidia.cards_cut(allocatable))
    if whole is not None:
        groups.insert(0, whole)
    units = allocatable.get(AMD_RESOURCE, 0)
    if units or (any(claim.vendor == "amd" for claim in claimed) and not groups):
        groups.append(_with_disagreements(_amd(labels, units, claimed), claimed, labels))
    groups += [_other(labels, resource, allocatable[resource]) for resource in _OTHERS if allocatable.get(resource)]
    return tuple(_with_health(group, capacity) for group in groups)


def _devices(resource: str, allocatable: Mapping[str, int], capacity: Mapping[str, int]) -> nvidia.Devices:
    return nvidia.Devices(resource=resource, units=allocatable.get(resource, 0), capacity=capacity.get(resource, 0))


def _nvidia(
    labels: Mapping[str, str],
    allocatable: Mapping[str, int],
    capacity: Mapping[str, int],
    claimed: tuple[Claim, ...],
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
        counted = next((claim.count for claim in claimed if claim.vendor == "nvidia" and claim.count is not None), None)
        return _with_disagreements(nvidia.whole_gpus(labels, replace(devices, counted=counted)), claimed, labels)
    best = next((claim for claim in claimed if claim.vendor == "nvidia" and (claim.products or claim.unknown)), None)
    if best is not None and (units or not cut):
        return _with_disagreements(nvidia.claimed_gpus(best, devices), claimed, labels)
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


def _amd(labels: Mapping[str, str], units: int, claimed: tuple[Claim, ...]) -> GpuGroup:
    group = amd.gpus(labels, units)
    best = next((claim for claim in claimed if claim.vendor == "amd"), None)
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


def _with_disagreements(group: GpuGroup, claimed: Iterable[Claim], labels: Mapping[str, str]) -> GpuGroup:
    """The group, with one finding for each thing that a less trusted source says differently."""
    said = [
        Finding(problem=Problem.SOURCES_DISAGREE, detail=f"{group.source} says {ours}, {claim.source} says {theirs}")
        for claim in claimed
        if claim.source != group.source
        for ours, theirs in _differences(group, claim, labels)
    ]
    return replace(group, findings=group.findings + tuple(dict.fromkeys(said))) if said else group


def _differences(group: GpuGroup, claim: Claim, labels: Mapping[str, str]) -> Iterable[tuple[str, str]]:
    vendor = group.resource.partition(".")[0]
    if claim.vendor != vendor:
        yield f"{vendor} GPUs", f"{claim.vendor} GPUs"
        return
    base = MIG_PRODUCT.sub("", group.product)
    if base and claim.products and base not in claim.products:
        yield base, claim.products[0]
    elif base and claim.unknown:
        yield base, claim.unknown
    slices = MIG_PRODUCT.search(group.product)
    profile = slices[0].removeprefix("-MIG-") if slices else ""
    if claim.source is Source.GKE and claim.partition != profile:
        yield f"MIG {profile}" if profile else "whole GPUs", f"MIG {claim.partition}" if claim.partition else "whole GPUs"
    ours = _count(group, labels)
    if claim.count is not None and ours is not None and claim.count != ours and not profile:
        yield f"{ours} GPUs", f"{claim.count} GPUs"
    if claim.source is Source.GKE and not profile and claim.sharing != group.sharing:
        yield f"sharing {group.sharing}", f"sharing {claim.sharing}"


def _count(group: GpuGroup, labels: Mapping[str, str]) -> int | None:
    """Physical GPUs as the followed source has them: its own label where there is one, else what is left of the units."""
    text = labels.get(COUNT_LABEL, "") if group.source is Source.FEATURE_DISCOVERY else ""
    if text.isdigit() and len(text) < 6:
        return int(text)
    return group.schedulable // group.sharing_replicas if group.schedulable else None


def _with_health(group: GpuGroup, capacity: Mapping[str, int]) -> GpuGroup:
    """Devices that a device plugin calls unhealthy leave allocatable and stay in capacity."""
    whole = capacity.get(group.resource, 0)
    if 0 < group.schedulable < whole and Problem.MIXED_PRODUCTS not in {f.problem for f in group.findings}:
        detail = f"{group.schedulable} of the node's {whole} {group.resource} are allocatable: devices are unhealthy"
        return replace(group, findings=(*group.findings, Finding(problem=Problem.UNHEALTHY_GPUS, detail=detail)))
    return group
