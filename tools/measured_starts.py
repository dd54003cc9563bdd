"""The estimator against measured starts: errors, headline figures, and errors with a source left out of the fit.

Reads tests/data/startups.jsonl: one measured start a line, with the case in the batch door's words, what vLLM logged in GiB,
and where it was published. Called by accuracy.py, which writes the page, and by the test that holds the thresholds.
"""

from __future__ import annotations

import json
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from plimsoll_estimator.cases import answer_case
from plimsoll_estimator.catalogue import lookup
from plimsoll_estimator.hardware import known_gpus
from plimsoll_estimator.overhead.constants import rows_changed
from plimsoll_estimator.overhead.constants import table as constants

ROOT = Path(__file__).resolve().parents[1]
ROWS = ROOT / "tests" / "data" / "startups.jsonl"
GIB = 1 << 30
ROUNDING_GIB = 0.005
FACTORS = (0.7, 0.85, 1.0, 1.15, 1.3)
COMPONENTS = (  # figure of the row, key of the answer's first rank, title
    ("weights", "weights_bytes", "weights"),
    ("activation", "activation_bytes", "activation peak"),
    ("non_torch", "non_torch_bytes", "non-torch"),
    ("graph_pool", "cuda_graph_pool_bytes", "CUDA graphs captured"),
    ("graph_deducted", "cuda_graph_bytes", "CUDA graphs deducted"),
    ("pool", "available_kv_cache_bytes", "KV pool"),
)


@dataclass(frozen=True, slots=True)
class Measured:
    """One row and its answer. Figures are GiB."""

    row: Mapping[str, Any]
    reply: Mapping[str, Any]

    @property
    def minor(self) -> str:
        return ".".join(self.row["case"]["engine_version"].split(".")[:2])

    @property
    def gpu(self) -> str:
        return str(self.row["case"]["gpu"]["product"])

    @property
    def group(self) -> object:
        return self.row["same_measurement"] if "pool" in self.row["observed"] else self.row["id"]

    @property
    def total_gib(self) -> float:
        """What CUDA reports for one GPU, as the row states it or the table of products has it."""
        stated = self.row["case"]["gpu"].get("total_memory_bytes")
        return (stated or known_gpus()[self.gpu].total_memory_bytes) / GIB

    def predicted(self, key: str) -> float | None:
        ranks = self.reply.get("ranks") or ()
        return ranks[0][key] / GIB if ranks else None

    def error(self, figure: str, key: str) -> float | None:
        """Predicted less logged; None where either is missing."""
        predicted, logged = self.predicted(key), self.row["observed"].get(figure)
        return None if predicted is None or logged is None else predicted - logged

    @property
    def pool_error(self) -> float | None:
        return self.error("pool", "available_kv_cache_bytes")


def merged(base: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """The catalogue's config with a row's differences; quantisation settings are replaced whole."""
    result = dict(base)
    for key, value in patch.items():
        inner = result.get(key)
        parts = key != "quantization_config" and isinstance(value, dict) and isinstance(inner, dict)
        result[key] = merged(inner or {}, value) if parts else value
    return result


@cache
def cases() -> tuple[tuple[Mapping[str, Any], Mapping[str, Any]], ...]:
    """(row, case) of every measured start."""
    found = []
    for line in ROWS.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        found.append((row, case_of(row)))
    return tuple(found)


def case_of(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """The case of a row, its model's config filled in: its own, or the catalogue's with the row's differences."""
    case: Mapping[str, Any] = row["case"]
    if "model_config" in case:
        return case
    config = lookup(case["model"])
    if config is None:
        raise LookupError(case["model"])
    changed = merged(config.as_mapping(), row.get("config_patch", {}))
    dropped = row.get("config_drop", [])
    return {**case, "model_config": {k: v for k, v in changed.items() if k not in dropped}}


def measure(tables: Iterable[str] = ("main",)) -> list[Measured]:
    """Ask the batch door about every row of these tables."""
    wanted = set(tables)
    return [Measured(row, answer_case(case, lambda _: None)) for row, case in cases() if row["table"] in wanted]


def unique(results: Iterable[Measured], value: Callable[[Measured], float | None]) -> list[tuple[Measured, float]]:
    """One value a measurement: rows of one sweep with the same breakdown count once, with their mean."""
    groups: dict[object, list[tuple[Measured, float]]] = defaultdict(list)
    for result in results:
        number = value(result)
        if number is not None:
            groups[result.group].append((result, number))
    return [(items[0][0], statistics.fmean(number for _, number in items)) for items in groups.values()]


def pool_errors(results: Iterable[Measured]) -> list[tuple[Measured, float]]:
    """The KV pool's error of each measurement."""
    return unique(results, lambda r: r.pool_error)


def relative(result: Measured, figure: str, predicted: float | None) -> float | None:
    """|predicted - logged| / logged."""
    logged = result.row["observed"].get(figure)
    return abs(predicted - logged) / logged if predicted is not None and logged else None


def headline(results: Sequence[Measured]) -> dict[str, float]:
    """The figures that are held to thresholds. Shares are fractions; pool errors GiB."""
    errors = pool_errors(results)
    verdicts = [(r.row["outcome"] == "started", r.reply["verdict"]) for r in results]
    cells: dict[tuple[str, str], list[float]] = defaultdict(list)
    for result, error in errors:
        cells[result.minor, result.gpu].append(abs(error))
    means = [statistics.fmean(cell) for cell in cells.values()]
    thick = [statistics.fmean(cell) for cell in cells.values() if len(cell) >= 3]
    weights = [e for _, e in unique(results, lambda r: relative(r, "weights", r.predicted("weights_bytes")))]
    concurrency = [e for _, e in unique(results, lambda r: relative(r, "concurrency", r.reply.get("max_concurrency")))]
    return {
        "answered": statistics.fmean(v in ("starts", "refused") for _, v in verdicts),
        "pool_error_gib": statistics.fmean(abs(e) for _, e in errors),
        "pool_error_share": statistics.fmean(abs(e) / r.total_gib for r, e in errors),
        "pool_over_promised": statistics.fmean(e > 0.5 for _, e in errors),
        "cell_error_gib": statistics.fmean(means),
        "worst_cell_gib": max(thick),
        "weights_error_share": statistics.fmean(weights),
        "concurrency_error_share": statistics.fmean(concurrency),
        "false_accepts": sum(not started and v == "starts" for started, v in verdicts),
        "false_refusals": sum(started and v == "refused" for started, v in verdicts),
        "coverage": coverage(results),
    }


def coverage(results: Iterable[Measured]) -> float:
    """The share of measurements whose logged pool lies in the interval, widened by the log's rounding."""

    def inside(result: Measured) -> float | None:
        interval, logged = result.reply.get("interval"), result.row["observed"].get("pool")
        if not interval or logged is None:
            return None
        low, high = interval["available_kv_cache_bytes"]
        return float(low / GIB - ROUNDING_GIB <= logged <= high / GIB + ROUNDING_GIB)

    return statistics.fmean(value for _, value in unique(results, inside))


# ---------------------------------------------------------------------------------------------- leave one source out
def total_error(results: Iterable[Measured]) -> float:
    """The sum that refitting lowers."""
    return sum(abs(error) for _, error in pool_errors(results))


def answers_of(rows: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> list[Measured]:
    """Ask about these rows under the constants as they stand now."""
    return [Measured(row, answer_case(case, lambda _: None)) for row, case in rows]


def felt(rows: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> dict[tuple[str, int], frozenset[str]]:
    """For each row of each constant (name, index): the ids of the measured starts whose predicted pool moves when it does."""
    before = [m.predicted("available_kv_cache_bytes") for m in answers_of(rows)]
    found = {}
    for name, entries in constants().items():
        for index, entry in enumerate(entries):
            shipped = entry["value"]
            set_value(entry, shipped * 1.1 + 0.01)
            after = [m.predicted("available_kv_cache_bytes") for m in answers_of(rows)]
            set_value(entry, shipped)
            moved = zip(rows, before, after, strict=True)
            found[name, index] = frozenset(row["id"] for (row, _), old, new in moved if old != new)
    return found


def representatives() -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """The first start of each measurement of the main table's KV pools."""
    first: dict[object, tuple[Mapping[str, Any], Mapping[str, Any]]] = {}
    for row, case in cases():
        if row["table"] == "main" and "pool" in row["observed"]:
            first.setdefault(row["same_measurement"], (row, case))
    return list(first.values())


def refit(training: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]], moved_by: Mapping[tuple[str, int], frozenset[str]]) -> None:
    """Refit the constants in place on these rows: one pass over every row of every constant.

    A conditional row that no training start feels is dropped, so that the more general row before it applies, as it would
    had the left-out source never been seen. Each other value moves to the best of a few factors.
    """
    ids = {row["id"] for row, _ in training}
    kept: dict[str, list[tuple[Mapping[str, Any], frozenset[str]]]] = {}
    for name, entries in constants().items():
        pairs = [(entry, moved_by[name, index] & ids) for index, entry in enumerate(entries)]
        kept[name] = [(entry, touched) for entry, touched in pairs if touched or "when" not in entry]
        entries[:] = [entry for entry, _ in kept[name]]
    rows_changed()
    for pairs in kept.values():
        for entry, touched in pairs:
            if touched:
                move_to_best(entry, [pair for pair in training if pair[0]["id"] in touched])


def move_to_best(entry: Mapping[str, Any], rows: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> None:
    """Set one constant to the factor of its value that lowers these rows' errors most; the nearest to 1 among equals."""
    value, scores = entry["value"], {}
    for factor in FACTORS:
        set_value(entry, value * factor)
        scores[factor] = total_error(answers_of(rows))
    set_value(entry, value * min(scores, key=lambda factor: (scores[factor], abs(factor - 1))))


def set_value(entry: Mapping[str, Any], value: float) -> None:
    """Change one constant of the loaded table; only this tool does, in its own process."""
    if not isinstance(entry, dict):
        raise TypeError("the constants are not loaded as dictionaries")
    entry["value"] = value


def leave_one_source_out() -> list[tuple[str, int, float, float]]:
    """(source, measurements, shipped error, error with constants refitted without it) for sources of two and more."""
    rows, blind = representatives(), blind_errors()
    counts = Counter(row["source"] for row, _ in rows)
    found = []
    for source in [s for s, n in counts.most_common() if n >= 2]:
        held = [pair for pair in rows if pair[0]["source"] == source]
        shipped = pool_errors(answers_of(held))
        found.append((source, len(shipped), mean_abs(shipped), statistics.fmean(abs(blind[row["id"]]) for row, _ in held)))
    return found


@cache
def blind_errors() -> Mapping[str, float]:
    """By the row that stands for a measurement: its pool's error (GiB) with the constants refitted without its source."""
    rows = representatives()
    moved_by = felt(rows)
    saved = {name: [dict(entry) for entry in entries] for name, entries in constants().items()}
    found: dict[str, float] = {}
    for source in sorted({row["source"] for row, _ in rows}):
        refit([pair for pair in rows if pair[0]["source"] != source], moved_by)
        held = [pair for pair in rows if pair[0]["source"] == source]
        found |= {result.row["id"]: error for result, error in pool_errors(answers_of(held))}
        for name, entries in constants().items():
            entries[:] = [dict(entry) for entry in saved[name]]
        rows_changed()
    return found


def mean_abs(errors: Sequence[tuple[Measured, float]]) -> float:
    """Mean absolute error."""
    return statistics.fmean(abs(e) for _, e in errors) if errors else 0.0
