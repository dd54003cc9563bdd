"""The table of `plimsoll fit` for people: bars on a wide terminal, figures in a pipe, fewer columns on a narrow one. Decides nothing.

Called by the command with a Table and the Screen it goes to. What does not fit has its reason in its row.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from plimsoll_estimator import GIB
from plimsoll_operator.cli.bars import legend, memory_bar, painted
from plimsoll_operator.cli.fit.rows import Card, Row, Table, is_on_the_edge, plan_of
from plimsoll_operator.cli.screen import Screen, aligned
from plimsoll_operator.verdict import Admit, Plan, Reject, Resize, Undecided, Verdict

_GAP: Final = "  "
_NARROWEST_BAR: Final = 12
_WIDEST_BAR: Final = 36
_SOURCES: Final = {"cluster": "this cluster's GPUs", "files": "the GPUs of these files", "table": "nodes of the shipped table's GPUs"}
_COLOURS: Final = {"yes": "green", "when free": "yellow", "on the edge": "yellow"}
_FITS: Final = "FITS"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Column:
    """`said` gives the text of a row that fits. `needless`: the higher, the sooner it is left out where room is short; 0: never."""

    title: str
    said: Callable[[Row, Plan], str]
    right: bool = False
    needless: int = 0


def lines_of(table: Table, screen: Screen, again: str) -> list[str]:
    """The whole answer; `again` is the command as it was typed, to be continued."""
    refusal = _one_refusal(table)
    if refusal is not None:
        return _filled(refusal, screen)
    head = f"{table.request.model}, vLLM {table.request.version}, {_SOURCES[table.source]}"
    lines = [*_filled([head], screen), "", *_grid(table, screen), ""]
    return lines + _filled(_footer(table, screen, again), screen)


def _one_refusal(table: Table) -> list[str] | None:
    """Where every row would say the same, it is said once."""
    if not table.rows:
        return _refusal(table.open) if not isinstance(table.open, Admit | Resize) else ["There is no GPU here."]
    first = table.rows[0].main.verdict
    if not isinstance(first, Undecided) or any(row.main.verdict != first for row in table.rows):
        return None
    return _refusal(first)


def _refusal(verdict: Verdict) -> list[str]:
    """A refusal by itself, with what would do instead."""
    if isinstance(verdict, Undecided):
        return [verdict.message, verdict.next_step]
    if not isinstance(verdict, Reject):
        return []
    return [verdict.message, *verdict.details, *(f"would be admitted: {offer.summary}" for offer in verdict.offers)]


def _footer(table: Table, screen: Screen, again: str) -> list[str]:
    lines = []
    if table.best is None or table.best.plan is None:
        return ["None of these holds it.", *_refusal(table.open)]
    counted = ", ".join(tokens_text(tokens) for tokens in table.lengths)
    longest = "the longest of these that is served" if table.request.lengths else "the longest that is served"
    lines.append(f"{counted}: requests of so many tokens at once, with the context set to it. CONTEXT: {longest}.")
    if screen.width is not None and _bar_width(table, screen):
        lines.append(f"PER GPU: {legend(screen)}")
    if any(_fits(row) == "on the edge" for row in table.rows):
        lines.append("on the edge: some such starts work and some do not; a shorter context is safer.")
    chosen = f"chosen of these: {table.best.plan.gpus_per_replica} x {table.best.card.product}, {layout_text(table.best.plan)}"
    lines += ["", chosen, f"next: {again} -o manifest | kubectl apply -f -", f"      {again} -o command"]
    return lines


def _grid(table: Table, screen: Screen) -> list[str]:
    """The rows below their titles, refusals over all columns but the first."""
    columns = _columns(table, screen, _bar_width(table, screen))
    fitting = [(row, plan) for row in table.rows if (plan := row.plan) is not None]
    name = _namer(table, screen)
    cells = [["GPU", *(column.title for column in columns)]]
    cells += [[name(row.card), *(column.said(row, plan) for column in columns)] for row, plan in fitting]
    refused = [row for row in table.rows if row.plan is None]
    first = max(len(name(row.card)) for row in table.rows)
    cells = [[row[0].ljust(first), *row[1:]] for row in cells]
    shown = aligned(cells, (number + 1 for number, column in enumerate(columns) if column.right))
    told = {id(row): _GAP.join(_coloured(line, columns, screen)).rstrip() for (row, _), line in zip(fitting, shown[1:], strict=True)}
    lines = [screen.paint(_GAP.join(shown[0]).rstrip(), "bold")] if fitting else []
    for row in table.rows:
        if row in refused:
            lines += _refused(name(row.card).ljust(first), row, screen)
        else:
            lines.append(told[id(row)])
    return lines


def _coloured(line: list[str], columns: list[_Column], screen: Screen) -> list[str]:
    """The line with the colours of its bar and its last word; widths are those of the plain text."""
    out = [line[0]]
    for column, cell in zip(columns, line[1:], strict=True):
        if column.title == _FITS:
            out.append(screen.paint(cell.strip(), _COLOURS.get(cell.strip(), "bold")))
        elif column.title == "PER GPU":
            out.append(painted(cell, screen))
        else:
            out.append(cell)
    return out


def _refused(name: str, row: Row, screen: Screen) -> list[str]:
    why = f"no{'' if row.size is None else f' at TP{row.size}'}: {reason_of(row.main.verdict)}"
    if screen.width is None:
        return [f"{name}{_GAP}{why}"]
    beside = screen.width - len(name) - len(_GAP)
    first, *rest = textwrap.wrap(why, max(20, beside), break_on_hyphens=False) or [""]
    indent = " " * (len(name) + len(_GAP))
    return [f"{name}{_GAP}{screen.paint(first, 'red')}", *(f"{indent}{screen.paint(line, 'red')}" for line in rest)]


def reason_of(verdict: Verdict) -> str:
    """Why not, as short as a row has room for: both figures where memory is the reason, else the sentence without its subject."""
    if isinstance(verdict, Admit | Resize):
        return "" if verdict.overridden is None else reason_of(verdict.overridden)
    if isinstance(verdict, Reject) and verdict.needed_bytes is not None and verdict.available_bytes is not None:
        most = f", most of it {verdict.component}" if verdict.component else ""
        return f"needs {_gib(verdict.needed_bytes)} GiB a GPU{most}; there are {_gib(verdict.available_bytes)} ({verdict.reason})"
    subject, _, rest = verdict.message.partition(": ")
    return rest if rest and subject.startswith(verdict.message.partition(" ")[0]) and " does not " in subject else verdict.message


def _columns(table: Table, screen: Screen, bar: int) -> list[_Column]:
    """What there is to show of a row, as far as the screen is wide."""
    columns = [_Column(title="LAYOUT", said=lambda row, plan: layout_text(plan))]
    if bar:
        columns.append(_Column(title="PER GPU", said=lambda row, plan: _bar(plan, bar, screen)))
    elif screen.width is None:
        columns += [
            _Column(title="GIB", said=lambda row, plan: _gib(plan.gpu_total_bytes), right=True),
            _Column(title="WEIGHTS", said=lambda row, plan: _gib(plan.predicted.weights_bytes), right=True),
            _Column(title="ENGINE", said=lambda row, plan: _gib(_engine_bytes(plan)), right=True),
            _Column(title="KV", said=lambda row, plan: _gib(plan.predicted.kv_cache_bytes), right=True),
        ]
    columns.append(_Column(title="CONTEXT", said=lambda row, plan: tokens_text(plan.max_model_len), right=True))
    for number, tokens in enumerate(table.lengths):
        columns.append(_Column(title=tokens_text(tokens), said=_requests(number), right=True))
    if table.source != "table":
        columns.append(_Column(title="FREE NOW", said=lambda row, plan: free_text(row.card), right=True, needless=1))
    if any(row.card.cost is not None for row in table.rows):
        columns.append(_Column(title="COST", said=lambda row, plan: _cost(row, plan), right=True, needless=2))
    columns.append(_Column(title=_FITS, said=lambda row, plan: _fits(row)))
    return _that_have_room(columns, table, screen)


def _that_have_room(columns: list[_Column], table: Table, screen: Screen) -> list[_Column]:
    while screen.width is not None and _width(columns, table, screen) > screen.width:
        most = max(columns, key=lambda column: column.needless)
        if not most.needless:
            break
        columns = [column for column in columns if column is not most]
    return columns


def _width(columns: list[_Column], table: Table, screen: Screen) -> int:
    name = _namer(table, screen)
    widths = [max((len(name(row.card)) for row in table.rows), default=0)]
    fitting = [(row, plan) for row in table.rows if (plan := row.plan) is not None]
    widths += [max([len(column.title), *(len(column.said(row, plan)) for row, plan in fitting)]) for column in columns]
    return sum(widths) + len(_GAP) * (len(widths) - 1)


def _bar_width(table: Table, screen: Screen) -> int:
    """Columns that are left for the bar beside all the others; 0 where they are too few to tell anything."""
    if screen.width is None:
        return 0
    left = screen.width - _width(_columns(table, screen, 0), table, screen) - len(_GAP)
    return min(_WIDEST_BAR, left) if left >= _NARROWEST_BAR else 0


def _namer(table: Table, screen: Screen) -> Callable[[Card], str]:
    """The product's name: whole in a pipe; on a terminal without its maker, and cut in the middle where that is still too long."""
    most = None if screen.width is None else max(14, min(40, screen.width // 3))

    def name(card: Card) -> str:
        text = card.product if card.sharing == "none" else f"{card.product} ({card.sharing})"
        if most is None:
            return text
        text = text.removeprefix("NVIDIA-").removeprefix("GeForce-")
        return text if len(text) <= most else f"{text[: most - 9]}~{text[-8:]}"

    return name


def _bar(plan: Plan, width: int, screen: Screen) -> str:
    parts = (plan.predicted.weights_bytes, _engine_bytes(plan), plan.predicted.kv_cache_bytes)
    return memory_bar(parts, plan.gpu_total_bytes, width, screen)


def _engine_bytes(plan: Plan) -> int:
    """What the engine takes beside weights and cache."""
    return plan.predicted.total_bytes - plan.predicted.weights_bytes - plan.predicted.kv_cache_bytes


def layout_text(plan: Plan) -> str:
    """The layout in a word: TP2, TP8 PP2, TP8 EP."""
    words = [f"TP{plan.tensor_parallel_size}"]
    words += [f"PP{plan.pipeline_parallel_size}"] if plan.pipeline_parallel_size > 1 else []
    words += [f"DP{plan.data_parallel_size}"] if plan.data_parallel_size > 1 else []
    words += ["EP"] if plan.enable_expert_parallel else []
    return " ".join(words)


def tokens_text(tokens: int) -> str:
    """A length in tokens: 8K for 8192, else the number."""
    return f"{tokens >> 10}K" if tokens and tokens % 1024 == 0 else str(tokens)


def free_text(card: Card) -> str:
    """What is free of what there is; a dash where there is nothing yet."""
    if not card.gpus:
        return "-"
    return f"? of {card.gpus}" if card.free_gpus is None else f"{card.free_gpus} of {card.gpus}"


def _requests(number: int) -> Callable[[Row, Plan], str]:
    def said(row: Row, plan: Plan) -> str:
        return str(row.cells[number].requests or "-")

    return said


def _cost(row: Row, plan: Plan) -> str:
    return "-" if row.card.cost is None else str(row.card.cost * plan.gpus_per_replica)


def _fits(row: Row) -> str:
    verdict = row.main.verdict
    if plan_of(verdict) is None or not isinstance(verdict, Admit | Resize):
        return "no"
    if is_on_the_edge(row.main):
        return "on the edge"
    return "yes" if verdict.plan.available_now or not row.card.gpus else "when free"


def _gib(size: int) -> str:
    return f"{size / GIB:.1f}"


def _filled(lines: list[str], screen: Screen) -> list[str]:
    """Lines as they are in a pipe, wrapped to a terminal; commands are never broken."""
    if screen.width is None:
        return lines
    out: list[str] = []
    for line in lines:
        keep = line.startswith(("next: ", "      "))
        out += [line] if keep or not line else textwrap.wrap(line, screen.width, break_on_hyphens=False, break_long_words=False)
    return out
