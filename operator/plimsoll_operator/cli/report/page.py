"""What is on the page of `plimsoll report`, as values: each deployment judged by `decide`, its memory, the pools, counts. Pure.

Called by the command with a World; `markup` writes what is here and adds no word. Text from outside is made one printable line of bounded
length here; that it means nothing to a browser is the template's business.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from plimsoll_estimator import EngineVersion, format_gib
from plimsoll_operator.api import InferenceDeployment, Unreadable
from plimsoll_operator.cli.comparison_text import comparison_cells, differences, headline
from plimsoll_operator.cli.plan_text import plan_rows
from plimsoll_operator.cli.report.bars import Bar, bar
from plimsoll_operator.cli.report.memory import Memory, memory_of
from plimsoll_operator.cli.world import World
from plimsoll_operator.decision import decide
from plimsoll_operator.facts import Facts, PoolFacts
from plimsoll_operator.gather import facts_for
from plimsoll_operator.text import one_line, without_tokens
from plimsoll_operator.upgrade import compare
from plimsoll_operator.verdict import Admit, Plan, Reject, Resize, Undecided, Verdict

_MOST_WORDS: Final = 1200
_MOST_CELLS: Final = 32
"""GPUs of a node that are drawn one by one."""
_MEMORY_ROWS: Final = frozenset({"weights", "activation", "CUDA graphs", "non-torch", "KV cache"})
"""Rows of a plan that the table of memory has."""
FITS: Final = "fits"
REFUSED: Final = "refused"
UNKNOWN: Final = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferShown:
    """A change that would be admitted, and the patch that makes it."""

    summary: str
    patch: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UpgradeShown:
    """The request under other releases: what becomes of it, figures side by side (label, cells, whether they differ), and the rest."""

    headlines: tuple[str, ...]
    releases: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...], bool], ...]
    said: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentShown:
    """One deployment. `state` is one of FITS, REFUSED, UNKNOWN; `memory` is of the plan in force, else of the one that would be made."""

    anchor: str
    namespace: str
    name: str
    model: str
    state: str
    verdict: str
    sentences: tuple[str, ...]
    rows: tuple[tuple[str, str], ...]
    memory: Memory | None
    warnings: tuple[str, ...]
    offers: tuple[OfferShown, ...]
    upgrade: UpgradeShown | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodesShown:
    """Nodes of a pool that have as many GPUs free: `cells` are one node's GPUs, taken ones first."""

    nodes: int
    said: str
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolShown:
    """One pool: its GPUs as a bar, and its nodes by what is free on them."""

    name: str
    product: str
    memory: str
    counts: tuple[str, str, str, str]
    trust: str
    bar: Bar
    nodes: tuple[NodesShown, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The whole page. `notes` are what it does not show and why."""

    made: str
    deployments: tuple[DeploymentShown, ...]
    pools: tuple[PoolShown, ...]
    notes: tuple[str, ...]

    def count(self, state: str) -> int:
        """Deployments that stand so."""
        return sum(item.state == state for item in self.deployments)

    @property
    def refused(self) -> tuple[DeploymentShown, ...]:
        """Those that do not fit."""
        return tuple(item for item in self.deployments if item.state == REFUSED)

    @property
    def upgraded(self) -> tuple[DeploymentShown, ...]:
        """Those that were judged under other releases too."""
        return tuple(item for item in self.deployments if item.upgrade is not None)


def page_of(
    world: World,
    chosen: Iterable[tuple[InferenceDeployment, Plan | None]],
    others: Sequence[EngineVersion],
    *,
    made: str,
    left_out: int,
) -> Page:
    """Every deployment judged, with the plan in force beside it. `left_out` is how many more there are."""
    facts = world.pool_facts()
    given = {pool.metadata.name: pool.status.booked_gpus for pool in world.pools if pool.status is not None}
    booked = given | {pool.name: pool.booked_gpus for pool in world.derived}
    deployments = tuple(_deployment(number, item, plan, world, others) for number, (item, plan) in enumerate(chosen, 1))
    return Page(
        made=_text(made),
        deployments=deployments,
        pools=tuple(pool_shown(row, booked.get(row.name, 0)) for row in facts),
        notes=tuple(_notes(world.unreadable, left_out)),
    )


def _notes(unreadable: Iterable[Unreadable], left_out: int) -> Iterable[str]:
    if left_out:
        yield f"{left_out} more InferenceDeployments are not on this page: name one, or a namespace with -n."
    for row in unreadable:
        yield _text(f"{row.kind} {row.name} cannot be read by this release: {row.problem}.")


def _deployment(
    number: int, item: InferenceDeployment, applied: Plan | None, world: World, others: Sequence[EngineVersion]
) -> DeploymentShown:
    facts = facts_for(item, world, applied_plan=applied)
    verdict = decide(facts)
    would = verdict.plan if isinstance(verdict, Admit | Resize) else None
    plan = applied or would
    observed = item.status.observed if item.status is not None else None
    return DeploymentShown(
        anchor=f"deployment-{number}",
        namespace=_text(item.metadata.namespace or "default"),
        name=_text(item.metadata.name),
        model=_text(item.spec.model.name),
        state=state_of(verdict),
        verdict=_word(verdict),
        sentences=tuple(map(_text, [*_sentences(verdict), *_beside(applied, would)])),
        rows=() if plan is None else tuple((label, _text(value)) for label, value in plan_rows(plan).items() if label not in _MEMORY_ROWS),
        memory=None if plan is None else memory_of(plan, observed, in_force=applied is not None),
        warnings=tuple(map(_text, verdict.warnings)) if isinstance(verdict, Admit | Resize) else (),
        offers=_offers(verdict),
        upgrade=_upgrade(facts, others) if others else None,
    )


def state_of(verdict: Verdict) -> str:
    """One of FITS, REFUSED and UNKNOWN."""
    if isinstance(verdict, Reject):
        return REFUSED
    return UNKNOWN if isinstance(verdict, Undecided) else FITS


def _word(verdict: Verdict) -> str:
    if isinstance(verdict, Reject):
        return f"does not fit ({verdict.reason})"
    if isinstance(verdict, Undecided):
        return f"not known ({verdict.reason})"
    against = f", against {verdict.overridden.reason}" if verdict.overridden is not None else ""
    edge = ", on the edge" if verdict.on_the_edge else ""
    return f"{'fits, resized' if isinstance(verdict, Resize) else 'fits'}{against}{edge}"


def _sentences(verdict: Verdict) -> list[str]:
    if isinstance(verdict, Reject):
        return [verdict.message, *verdict.details]
    if isinstance(verdict, Undecided):
        return [verdict.message, verdict.next_step]
    if isinstance(verdict, Resize):
        return [f"{change.field} moved from {change.old} to {change.new}: {change.why}." for change in verdict.changes]
    return []


def _beside(applied: Plan | None, would: Plan | None) -> list[str]:
    """What is to be said of a plan in force that today's verdict does not have."""
    if applied is None:
        return []
    if would is None:
        return ["What is shown of memory is the plan in force: it was admitted earlier, and its pods run on."]
    same = applied.digest == would.digest
    return [] if same else [f"Today another plan would be made: {would.gpus_per_replica} x {would.product}, context {would.max_model_len}."]


def _offers(verdict: Verdict) -> tuple[OfferShown, ...]:
    found = verdict.offers if isinstance(verdict, Reject) else ()
    return tuple(
        OfferShown(summary=_text(offer.summary), patch=_text(json.dumps(json.loads(offer.patch_json), sort_keys=True))) for offer in found
    )


def _upgrade(facts: Facts, others: Sequence[EngineVersion]) -> UpgradeShown | None:
    comparison = compare(facts, others)
    if not comparison.others:
        return None
    head, *rows = comparison_cells(comparison.judged)
    return UpgradeShown(
        headlines=tuple(_text(headline(other)) for other in comparison.others),
        releases=tuple(head[1:]),
        rows=tuple((row[0].strip(), tuple(map(_text, row[1:])), len(set(row[1:])) > 1) for row in rows),
        said=tuple(
            (f"vLLM {other.judged.version}", tuple(_text(line) for line in differences(other, comparison.present.version)))
            for other in comparison.others
        ),
    )


def pool_shown(pool: PoolFacts, booked: int) -> PoolShown:
    """A pool with what is taken, booked and free of it; where free is not known, nothing is called free."""
    total = pool.nodes * pool.gpus_per_node
    free = sum(gpus * nodes for gpus, nodes in pool.nodes_by_free_gpus) if pool.free_is_known else None
    promised = min(booked, free) if free is not None else 0
    left = free - promised if free is not None else 0
    taken = total - (free or 0)
    parts = [("booked", f"{promised} booked", promised), ("free", f"{left} free", left)]
    used = (
        ("taken", f"{taken} taken", taken) if free is not None else ("unknown", f"{total} of which nobody may say how many are free", total)
    )
    memory = format_gib(pool.usable_memory_bytes) + ("" if pool.memory_is_exact else " at least") if pool.usable_memory_bytes else "unknown"
    trust = "declared" if pool.declared and not pool.nodes else "trusted" if pool.trusted else "not trusted"
    return PoolShown(
        name=_text(pool.name),
        product=_text((pool.product or "-") + (f" ({pool.sharing})" if pool.sharing != "none" else "")),
        memory=memory,
        counts=(str(pool.nodes), str(total), "unknown" if free is None else str(free), str(booked)),
        trust=trust,
        bar=bar("GPUs", f"{total} GPU{'s' * (total != 1)}", [used, *parts], total),
        nodes=tuple(_nodes(pool.gpus_per_node, gpus, nodes) for gpus, nodes in reversed(pool.nodes_by_free_gpus)),
        problems=tuple(map(_text, pool.problems)),
    )


def _nodes(of: int, free: int, nodes: int) -> NodesShown:
    drawn = of if of <= _MOST_CELLS else 0
    said = f"{nodes} node{'s' * (nodes != 1)} with {free} of {of} GPUs free"
    return NodesShown(nodes=nodes, said=said, cells=("taken",) * max(0, drawn - free) + ("free",) * min(drawn, free))


def _text(text: str) -> str:
    return without_tokens(one_line(text, _MOST_WORDS))
