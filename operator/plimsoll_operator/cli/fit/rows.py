"""The table of `plimsoll fit`, as values: one row for each GPU and layout, every figure out of a verdict of the one `decide`.

Each cell is a decision about an InferenceDeployment that asks for that GPU, that layout and that context; nothing is added up here.
Called by the command with what `load` has read. Prints nothing, opens no file.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import groupby

from plimsoll_estimator import known_gpus
from plimsoll_operator.api import parse_inference_deployment
from plimsoll_operator.cli.fit.request import ANY_LAYOUT, STATED_TOKENS, FitRequest, Layout, manifest_of
from plimsoll_operator.cli.world import World
from plimsoll_operator.decision import OutOfTime, decide
from plimsoll_operator.facts import Facts, PoolFacts
from plimsoll_operator.gather import facts_for
from plimsoll_operator.verdict import Admit, Plan, Reject, Resize, Undecided, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """The pools of one product that are shared alike. `free_gpus` is None where it is not known or there is nothing yet to be free.

    `cost` is the highest that a pool states for one GPU, None where none does.
    """

    product: str
    sharing: str
    pools: tuple[PoolFacts, ...]

    @property
    def total_memory_bytes(self) -> int:
        """Least usable memory of one GPU over the pools."""
        return min(pool.usable_memory_bytes for pool in self.pools)

    @property
    def gpus(self) -> int:
        """GPUs there are."""
        return sum(pool.nodes * pool.gpus_per_node for pool in self.pools)

    @property
    def free_gpus(self) -> int | None:
        """GPUs that nobody holds."""
        if not self.gpus or not all(pool.free_is_known for pool in self.pools):
            return None
        return sum(row.gpus * row.nodes for pool in self.pools for row in pool.free)

    @property
    def cost(self) -> int | None:
        """Relative cost of one GPU, as the dearest pool states it."""
        return max((pool.cost for pool in self.pools if pool.cost is not None), default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What is decided where requests are `tokens` long; None as `tokens`: the context is left open."""

    tokens: int | None
    verdict: Verdict

    @property
    def plan(self) -> Plan | None:
        """The plan, where it fits by our figures."""
        return plan_of(self.verdict)

    @property
    def requests(self) -> int:
        """Whole requests of the plan's context that run at once: what the KV cache holds, no more than vLLM schedules. 0: does not fit."""
        plan = self.plan
        if plan is None:
            return 0
        return min(int(Decimal(plan.max_concurrency)), plan.max_num_seqs * plan.data_parallel_size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One GPU with one layout, or a refusal. `main` has the longest context that fits, `cells` the lengths asked.

    `size` is the tensor parallel size that was asked for and refused; None where none was, or no other size is refused otherwise.
    """

    card: Card
    main: Cell
    cells: tuple[Cell, ...] = ()
    size: int | None = None

    @property
    def plan(self) -> Plan | None:
        """The plan of the longest context that fits."""
        return self.main.plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """`lengths` are those of the rows' cells. `best` is the row that would be chosen if all of the GPUs were offered; None: none fits.

    `open` is the verdict with no GPU named: where nothing fits, it says what would. `source` is cluster, files or table.
    """

    request: FitRequest
    source: str
    lengths: tuple[int, ...]
    rows: tuple[Row, ...]
    best: Row | None
    open: Verdict


def plan_of(verdict: Verdict) -> Plan | None:
    """The plan of what fits; what is admitted against our figures (Warn mode, a bypass) fits no better for it."""
    return verdict.plan if isinstance(verdict, Admit | Resize) and verdict.overridden is None else None


def table_of(request: FitRequest, world: World, products: tuple[str, ...], source: str) -> Table:
    """Every GPU's rows. `products` limits the GPUs to these; empty: all that the world has."""
    asker = _Asker(request, world, products)
    cards = asker.cards()
    found = [(card, asker.leading(card)) for card in cards]
    lengths = request.lengths or _stated(cell for _, leading in found for _, cell in leading)
    rows = tuple(row for card, leading in found for row in asker.rows(card, leading, lengths))
    opened = asker.preferred()
    return Table(request=request, source=source, lengths=lengths, rows=rows, best=_best(rows, opened), open=opened)


def _stated(cells: Iterable[Cell]) -> tuple[int, ...]:
    """8K, or what the longest context is where all are shorter."""
    longest = max((cell.plan.max_model_len for cell in cells if cell.plan is not None), default=STATED_TOKENS)
    return (min(STATED_TOKENS, longest),)


def _best(rows: tuple[Row, ...], opened: Verdict) -> Row | None:
    plan = plan_of(opened)
    fitting = [row for row in rows if row.plan is not None]
    same = [row for row in fitting if plan is not None and row.card.product == plan.product and _layout(row.plan) == _layout(plan)]
    return next(iter([*same, *fitting]), None)


def _layout(plan: Plan | None) -> Layout | None:
    """What of a plan's layout is pinned to have it again."""
    if plan is None:
        return None
    stages = plan.pipeline_parallel_size if plan.pipeline_parallel_size > 1 else None
    return Layout(tensor=plan.tensor_parallel_size, pipeline=stages, expert=plan.enable_expert_parallel or None)


def _refusals(card: Card, leading: tuple[tuple[int | None, Cell], ...]) -> tuple[Row, ...]:
    """The refusal of each size that fits at no length, by its first length; once where all of them say the same."""
    fitting = {size for size, cell in leading if cell.plan is not None}
    refused: dict[int | None, Cell] = {}
    for size, cell in leading:
        if size not in fitting:
            refused.setdefault(size, cell)
    if not fitting and len({_why(cell.verdict) for cell in refused.values()}) == 1:
        return (Row(card=card, main=next(iter(refused.values()))),)
    return tuple(Row(card=card, main=cell, size=size) for size, cell in refused.items())


def _why(verdict: Verdict) -> tuple[object, ...]:
    """What makes two refusals the same to a reader: the reason, and the figures where it has some."""
    if isinstance(verdict, Reject):
        return (verdict.reason, verdict.needed_bytes, verdict.available_bytes)
    return (verdict,)


class _Asker:
    """Puts one request to `decide` in its many forms, each about the same world."""

    def __init__(self, request: FitRequest, world: World, products: tuple[str, ...]) -> None:
        self._request, self._world = request, world
        facts = self._facts(ANY_LAYOUT, None, None, "none")
        self._pools = tuple(pool for pool in facts.pools if not products or pool.product in products)

    def cards(self) -> tuple[Card, ...]:
        """The GPUs, the smallest first, as the table has them where they are equal."""
        order = {product: number for number, product in enumerate(known_gpus())}
        pools = sorted((pool for pool in self._pools if pool.product), key=lambda pool: (pool.product, pool.sharing))
        groups = groupby(pools, key=lambda pool: (pool.product, pool.sharing))
        cards = [Card(product=product, sharing=sharing, pools=tuple(group)) for (product, sharing), group in groups]
        return tuple(sorted(cards, key=lambda card: (card.total_memory_bytes, order.get(card.product, len(order)), card.product)))

    def leading(self, card: Card) -> tuple[tuple[int | None, Cell], ...]:
        """What is decided for each size and each length that was asked, before layouts are compared; with the size."""
        sizes: tuple[int | None, ...] = self._request.sizes or (None,)
        lengths: tuple[int | None, ...] = self._request.lengths or (None,)
        return tuple((size, self._cell(card, Layout(tensor=size), length)) for size in sizes for length in lengths)

    def rows(self, card: Card, leading: tuple[tuple[int | None, Cell], ...], lengths: tuple[int, ...]) -> tuple[Row, ...]:
        """A row for each layout that fits at some length, after a refusal for each size that does at none."""
        layouts: dict[Layout, Cell] = {}
        for _, cell in leading:
            layout = _layout(cell.plan)
            if layout is not None:
                layouts[layout] = max(layouts.get(layout, cell), cell, key=_context)
        rows = list(_refusals(card, leading))
        for layout in sorted(layouts, key=lambda one: ((one.tensor or 1) * (one.pipeline or 1), one.tensor or 1)):
            cells = tuple(self._cell(card, layout, length) for length in lengths)
            longest = max((layouts[layout], *(cell for cell in cells if self._request.lengths)), key=_context)
            rows.append(Row(card=card, main=longest, cells=cells))
        return tuple(rows)

    def preferred(self) -> Verdict:
        """With no GPU named, the longest context first: what decide prefers of all of them, or why it has nothing."""
        verdict: Verdict | None = None
        for length in (*reversed(self._request.lengths),) or (None,):
            for size in self._request.sizes or (None,):
                found = decide(self._narrowed(self._facts(Layout(tensor=size), length, None, "none"), self._pools))
                if plan_of(found) is not None:
                    return found
                verdict = verdict or found
        assert verdict is not None
        return verdict

    def _cell(self, card: Card, layout: Layout, length: int | None) -> Cell:
        facts = self._facts(layout, length, card.product, card.sharing)
        return Cell(tokens=length, verdict=_without_offers(self._narrowed(facts, card.pools)))

    def _facts(self, layout: Layout, length: int | None, product: str | None, sharing: str) -> Facts:
        deployment = parse_inference_deployment(manifest_of(self._request, layout, length, product, sharing))
        return facts_for(self._world.placed(deployment), self._world, applied_plan=None)

    @staticmethod
    def _narrowed(facts: Facts, pools: tuple[PoolFacts, ...]) -> Facts:
        """The facts with these pools only: each row speaks of its own GPUs, and the others' offers stand in their own rows."""
        return replace(facts, pools=pools)


def is_on_the_edge(cell: Cell) -> bool:
    """Fits, but the lower end of the interval leaves less KV cache than is needed."""
    plan, verdict = cell.plan, cell.verdict
    if plan is None or isinstance(verdict, Undecided):
        return False
    return verdict.on_the_edge or (bool(plan.kv_cache_interval_bytes) and plan.kv_cache_interval_bytes[0] < plan.kv_cache_needed_bytes)


def _without_offers(facts: Facts) -> Verdict:
    """What is decided, a rejection as soon as it is certain: what would do instead stands in the other rows, and takes longest to find."""
    try:
        return decide(facts, at_leisure=_stop)
    except OutOfTime as stopped:
        return decide(facts) if stopped.known is None else stopped.known


def _stop() -> None:
    raise OutOfTime


def _context(cell: Cell) -> int:
    return 0 if cell.plan is None else cell.plan.max_model_len
