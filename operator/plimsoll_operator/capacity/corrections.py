"""An administrator's word about nodes: GPUPools with a selector correct what labels say of the nodes they select.

Made from GPUPool objects by the controller and the CLI, applied by the index. A correction overrules labels and never hides them:
what it overrules stays as a finding. It cannot make GPUs: only what the node calls allocatable is handed out. Knows no pods.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from plimsoll_estimator import format_gib
from plimsoll_operator.api import GPUPool, Unreadable
from plimsoll_operator.capacity.groups import GpuGroup, Labels, Sharing, Source
from plimsoll_operator.capacity.labels import MIG_PRODUCT
from plimsoll_operator.capacity.memory import compute_capability, usable_by_product
from plimsoll_operator.capacity.problems import Finding, Problem

# Doubts that an administrator's word settles, by the field that settles them.
_BY_PRODUCT: Final = frozenset({Problem.NO_PRODUCT, Problem.UNKNOWN_PRODUCT})
_BY_MEMORY: Final = frozenset({Problem.MEMORY_ABSURD, Problem.MEMORY_CONTRADICTS_PRODUCT, Problem.MEMORY_UNKNOWN})
_BY_BOTH: Final = frozenset({Problem.MIXED_PRODUCTS, Problem.BAD_LABEL, Problem.MIG_INVALID, Problem.COUNT_UNKNOWN})
_BY_SHARING: Final = frozenset({Problem.SHARED_WITHOUT_STRATEGY})


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """What one GPUPool says of the nodes that have all labels of its selector; None where it says nothing.

    `unreadable` is set where it says something that nobody can read: nothing is planned on what it selects.
    """

    name: str
    selector: Labels
    product: str | None = None
    usable_memory_bytes: int | None = None
    gpus_per_node: int | None = None
    compute_capability: tuple[int, int] | None = None
    sharing: Sharing | None = None
    sharing_replicas: int | None = None
    cost: int | None = None
    unreadable: str = ""

    def selects(self, labels: Mapping[str, str]) -> bool:
        """Whether a node with these labels is meant."""
        return all(labels.get(key) == value for key, value in self.selector)


def corrections_of(pools: Iterable[GPUPool | Unreadable]) -> tuple[Correction, ...]:
    """One for each GPUPool that selects nodes, by name."""
    found = (correction for pool in pools if (correction := _correction(pool)) is not None)
    return tuple(sorted(found, key=lambda row: row.name))


def _correction(pool: GPUPool | Unreadable) -> Correction | None:
    if isinstance(pool, Unreadable):
        text = f"{pool} cannot be read by this release: {pool.problem}"
        return None if pool.nodes == () else Correction(name=pool.name, selector=pool.nodes or (), unreadable=text)
    spec = pool.spec
    if not spec.selector:
        return None
    major, _, minor = (spec.compute_capability or "").partition(".")
    return Correction(
        name=pool.metadata.name,
        selector=tuple(sorted(spec.selector.items())),
        product=spec.product,
        usable_memory_bytes=spec.usable_memory_bytes,
        gpus_per_node=spec.gpus_per_node,
        compute_capability=(int(major), int(minor)) if major else None,
        sharing=spec.sharing,
        sharing_replicas=spec.sharing_replicas,
        cost=spec.cost,
    )


def corrected(group: GpuGroup, by: Correction) -> GpuGroup:
    """The group as the GPUPool has it. What differs from the labels, and every doubt it overrules, is kept as SourcesDisagree."""
    product = by.product or group.product
    usable, exact = _usable(group, by, product)
    settled = _settled(by, usable)
    findings = [finding for finding in group.findings if finding.problem not in settled]
    findings += _overruled(group, by, settled)
    if not usable and not any(finding.problem.excludes for finding in findings):
        findings.append(Finding(problem=Problem.MEMORY_UNKNOWN))
    units = group.schedulable or group.units
    if Problem.NO_ALLOCATABLE in {finding.problem for finding in findings}:
        units = 0
    if by.gpus_per_node is not None:
        if by.gpus_per_node > group.units > 0:
            detail = f"GPUPool {by.name} says {by.gpus_per_node} GPUs, {group.units} are allocatable"
            findings.append(Finding(problem=Problem.FEWER_ALLOCATABLE, detail=detail))
        units = min(group.units, by.gpus_per_node)
    return replace(
        group,
        product=product,
        usable_memory_bytes=usable,
        memory_is_exact=exact,
        schedulable=units,
        sharing=_sharing(group, by),
        sharing_replicas=by.sharing_replicas or (1 if _sharing(group, by) in ("none", "mig") else group.sharing_replicas),
        compute_capability=by.compute_capability or _capability(group, product),
        source=Source.GPU_POOL,
        selects=by.selector if by.product is not None or not group.selects else group.selects,
        findings=tuple(dict.fromkeys(findings)),
    )


def _sharing(group: GpuGroup, by: Correction) -> Sharing:
    """What is named as a slice is one; a whole product says nothing of how it is shared."""
    if by.sharing is None and by.product is not None and MIG_PRODUCT.search(by.product):
        return "mig"
    return by.sharing or group.sharing


def _usable(group: GpuGroup, by: Correction, product: str) -> tuple[int, bool]:
    if by.usable_memory_bytes is not None:
        return by.usable_memory_bytes, True
    if product == group.product and group.usable_memory_bytes:
        return group.usable_memory_bytes, group.memory_is_exact
    return usable_by_product(product)


def _capability(group: GpuGroup, product: str) -> tuple[int, int] | None:
    return group.compute_capability if product == group.product else compute_capability(product)


def _settled(by: Correction, usable: int) -> frozenset[Problem]:
    settled: frozenset[Problem] = frozenset()
    if by.product is not None:
        settled |= _BY_PRODUCT
        if usable:
            settled |= _BY_MEMORY
    if by.usable_memory_bytes is not None:
        settled |= _BY_MEMORY
        if by.product is not None:
            settled |= _BY_BOTH
    return settled | _BY_SHARING if by.sharing is not None else settled


def _overruled(group: GpuGroup, by: Correction, settled: frozenset[Problem]) -> Iterator[Finding]:
    who = f"GPUPool {by.name}"
    base = MIG_PRODUCT.sub("", group.product)
    if by.product is not None and group.product and by.product not in (group.product, base):
        yield _disagreement(f"{who} says {by.product}, {group.source} says {group.product}")
    theirs = group.usable_memory_bytes
    if by.usable_memory_bytes is not None and theirs and by.usable_memory_bytes > theirs:
        yield _disagreement(f"{who} says {format_gib(by.usable_memory_bytes)}, {group.source} says {format_gib(theirs)}")
    if by.sharing is not None and by.sharing != group.sharing:
        yield _disagreement(f"{who} says sharing {by.sharing}, {group.source} says {group.sharing}")
    for finding in group.findings:
        if finding.problem in settled:
            yield _disagreement(f"{who} overrules {finding.problem}")


def _disagreement(detail: str) -> Finding:
    return Finding(problem=Problem.SOURCES_DISAGREE, detail=detail)
