"""What both processes measure, and the exposition text they serve. The only module that imports prometheus_client.

The webhook calls `admission_reviewed`, the controller `reconciled`; per-object series come from a collector over the
controller's cache at scrape time, so the series of a deleted object vanish with it. Knows no Kubernetes client and no
decision: it is handed numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, exposition
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from plimsoll_operator.observation import ObservedFigures, error_ratio, needed
from plimsoll_operator.remembered import all_figures
from plimsoll_operator.verdict import Plan, Reason

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
MAX_SERIES_PER_DEPLOYMENT: Final = 22
_COMPONENTS: Final = {
    'component="weights",': "weights_bytes",
    'component="kv_cache",': "kv_cache_bytes",
    'component="activation",': "activation_bytes",
    'component="cuda_graphs",': "cuda_graph_bytes",
    'component="non_torch",': "non_torch_bytes",
}
"""Fields of PredictedMemory by the label that their series carry, as they are written."""
_NOT_KV_CACHE: Final = 'component="not_kv_cache",'
"""All components but the cache: known from the budget where the log does not name each of them."""
_OPERATIONS: Final = frozenset({"CREATE", "UPDATE", "DELETE", "CONNECT", "SCALE"})
_VERDICTS: Final = frozenset({"Admit", "Resize", "Reject", "Undecided", "Invalid", "Skipped"})
_REASONS: Final = frozenset(Reason) | {"Invalid", "Unchanged", ""}
_OUTCOMES: Final = frozenset({"applied", "unchanged", "rejected", "undecided", "invalid", "deleted", "retry", "error"})
_REVIEW_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_RECONCILE_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

Rejudged = Literal["", "Proposed", "Reject", "Undecided"]
PoolState = Literal["total", "free", "booked"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentSeries:
    """One InferenceDeployment's applied plan, for the series that carry its namespace and name.

    `rejudged` is what would be decided today where that differs from the plan that is applied, `observed` what its engines logged.
    """

    namespace: str
    name: str
    plan: Plan
    rejudged: Rejudged = ""
    observed: ObservedFigures | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSeries:
    """One GPU pool: GPU counts by state (none for what is not known), usable memory of one GPU in bytes, nodes by problem."""

    pool: str
    gpus: tuple[tuple[PoolState, int], ...]
    gpu_memory_bytes: int
    problem_nodes: tuple[tuple[str, int], ...] = ()


class SeriesSource(Protocol):
    """The cache that is read at scrape time. Each call returns a snapshot and must be cheap."""

    def deployments(self) -> Iterable[DeploymentSeries]:
        """Every deployment that has an applied plan."""
        ...

    def pools(self) -> Iterable[PoolSeries]:
        """Every known pool."""
        ...

    def queue_depth(self) -> int:
        """Keys that wait for the worker."""
        ...

    def watch_ages(self) -> Mapping[str, float]:
        """Seconds since each watched kind last heard from the API server, by kind."""
        ...


class AdmissionRecorder(Protocol):
    """What the webhook reports after each review."""

    def admission_reviewed(self, *, operation: str, verdict: str, reason: str, duration_seconds: float) -> None:
        """Count one review. `verdict` is the verdict's class name, Invalid or Skipped; `reason` a Reason or empty."""
        ...


class ReconcileRecorder(Protocol):
    """What the controller reports after each key."""

    def reconciled(self, *, outcome: str, duration_seconds: float) -> None:
        """Observe one reconcile with its outcome."""
        ...


class Recorder:
    """Both protocols over one registry of its own; nothing global, so that tests and processes do not share series."""

    def __init__(self, source: SeriesSource | None = None, *, max_series: int = MAX_SERIES_PER_DEPLOYMENT) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._reviews = Counter(
            "plimsoll_admission_reviews",
            "Admission reviews answered, by operation, verdict and reason.",
            ("operation", "verdict", "reason"),
            registry=self._registry,
        )
        self._review_seconds = Histogram(
            "plimsoll_admission_review_duration_seconds",
            "Seconds from the parsed request to the answer of one admission review.",
            registry=self._registry,
            buckets=_REVIEW_BUCKETS,
        )
        self._reconcile_seconds = Histogram(
            "plimsoll_reconcile_duration_seconds",
            "Seconds of one reconcile of one InferenceDeployment, by outcome.",
            ("outcome",),
            registry=self._registry,
            buckets=_RECONCILE_BUCKETS,
        )
        self._internal_errors = Counter(
            "plimsoll_internal_errors",
            "Errors of Plimsoll itself, by the unit of work that each of them stopped. The log has their tracebacks.",
            ("unit",),
            registry=self._registry,
        )
        self._source, self._max_series = source, max_series
        if source is not None:
            self._registry.register(_CacheCollector(source))

    def admission_reviewed(self, *, operation: str, verdict: str, reason: str, duration_seconds: float) -> None:
        """Count one review; what is outside the known labels is counted as Other, so cardinality stays bounded."""
        labels = (_known(operation, _OPERATIONS), _known(verdict, _VERDICTS), _known(reason, _REASONS))
        self._reviews.labels(*labels).inc()
        self._review_seconds.observe(duration_seconds)

    def reconciled(self, *, outcome: str, duration_seconds: float) -> None:
        """Observe one reconcile; an outcome outside the known ones is counted as Other."""
        self._reconcile_seconds.labels(_known(outcome, _OUTCOMES)).observe(duration_seconds)

    def internal_error(self, unit: str) -> None:
        """Count a bug that stopped one unit of work; `unit` is one of quarantine.Unit."""
        self._internal_errors.labels(unit).inc()

    def render(self) -> bytes:
        """The registry in Prometheus' text format 0.0.4 (CONTENT_TYPE), and the series of each deployment."""
        text = exposition.generate_latest(self._registry)
        return text if self._source is None else text + _of_deployments(self._source.deployments(), self._max_series)


class CertificateRecorder:
    """What the process that keeps the webhook's certificate measures."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        name = "plimsoll_webhook_certificate_not_after_timestamp_seconds"
        self._not_after = Gauge(name, "When the webhook's serving certificate ends, in seconds since 1970.", registry=self._registry)

    def not_after(self, at: datetime) -> None:
        """What serves ends then."""
        self._not_after.set(at.timestamp())

    def render(self) -> bytes:
        """The exposition text."""
        return exposition.generate_latest(self._registry)


def _known(value: str, known: frozenset[str]) -> str:
    return str(value) if value in known else "Other"


class _CacheCollector(Collector):
    """Makes families from the source on every scrape; holds no series between scrapes."""

    def __init__(self, source: SeriesSource) -> None:
        self._source = source

    def collect(self) -> Iterator[Metric]:
        yield from self._of_pools()
        yield from self._of_memories()
        depth = GaugeMetricFamily("plimsoll_workqueue_depth", "Keys that wait for the reconcile worker.")
        depth.add_metric((), self._source.queue_depth())
        yield depth
        ages = GaugeMetricFamily(
            "plimsoll_watch_staleness_seconds", "Seconds since a watch last heard from the API server.", labels=("kind",)
        )
        for kind, seconds in sorted(self._source.watch_ages().items()):
            ages.add_metric((kind,), seconds)
        yield ages

    def _of_memories(self) -> Iterator[Metric]:
        kept = GaugeMetricFamily(
            "plimsoll_remembered_bytes", "Bytes that a memory of answers is estimated to keep alive.", labels=("memory",)
        )
        asked = CounterMetricFamily("plimsoll_remembered_lookups", "Questions asked of a memory of answers.", labels=("memory", "result"))
        for figures in all_figures():
            kept.add_metric((figures.name,), figures.kept_bytes)
            asked.add_metric((figures.name, "hit"), figures.hits)
            asked.add_metric((figures.name, "miss"), figures.misses)
        yield kept
        yield asked

    def _of_pools(self) -> Iterator[Metric]:
        gpus = GaugeMetricFamily("plimsoll_pool_gpus", "GPUs of a pool, by state.", labels=("pool", "state"))
        memory = GaugeMetricFamily("plimsoll_pool_gpu_memory_bytes", "Bytes that CUDA reports for one GPU of a pool.", labels=("pool",))
        problems = GaugeMetricFamily("plimsoll_pool_problem_nodes", "Nodes of a pool, by what is doubted.", labels=("pool", "problem"))
        for entry in self._source.pools():
            for problem, nodes in entry.problem_nodes:
                problems.add_metric((entry.pool, problem), nodes)
            for state, count in entry.gpus:
                gpus.add_metric((entry.pool, state), count)
            memory.add_metric((entry.pool,), entry.gpu_memory_bytes)
        yield gpus
        yield memory
        yield problems


_FAMILIES: Final = {
    "predicted": ("plimsoll_gpu_memory_predicted_bytes", "Predicted bytes of the fullest rank of one replica, by component."),
    "observed": (
        "plimsoll_gpu_memory_observed_bytes",
        "Bytes of the fullest rank of one replica as its engine logged them at its start, by component and where they are read from.",
    ),
    "error": ("plimsoll_gpu_memory_prediction_error_ratio", "(predicted - observed) / observed, by component."),
    "allocated": (
        "plimsoll_gpu_memory_allocated_bytes",
        "Bytes of one GPU that the engine may use: gpu-memory-utilization times the GPU's CUDA total.",
    ),
    "tokens": ("plimsoll_kv_cache_tokens", "Tokens that the KV cache of one replica holds, by kind."),
    "rejudged": (
        "plimsoll_plan_rejudged",
        "1 where an applied plan would be decided differently today: another plan is proposed, or none would be admitted.",
    ),
}
"""Name and help of each gauge of a deployment."""


def _of_deployments(entries: Iterable[DeploymentSeries], most: int) -> bytes:
    """The series of all deployments, at most so many each, in the text format.

    Written here and not by the client: of 10,000 deployments these are 150,000 lines, for which it takes 3 s of a busy core (0.3 s here).
    """
    lines: dict[str, list[str]] = {family: [] for family in _FAMILIES}
    for entry in entries:
        whose = f'name="{_quoted(entry.name)}",namespace="{_quoted(entry.namespace)}"'
        for family, before, behind, value in _series(entry)[:most]:
            lines[family].append(f"{_FAMILIES[family][0]}{{{before}{whose}{behind}}} {float(value)!r}\n")
    parts = []
    for family, (name, says) in _FAMILIES.items():
        parts += [f"# HELP {name} {says}\n# TYPE {name} gauge\n", *lines[family]]
    return "".join(parts).encode()


def _quoted(value: str) -> str:
    """A label's value as the text format has it (Prometheus, "Exposition formats")."""
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


_Rows = list[tuple[str, str, str, float]]
"""Family, the labels before and behind name and namespace, which the text format wants in the order of the alphabet, and the value."""


def _series(entry: DeploymentSeries) -> _Rows:
    """Each series of one plan, the most useful first."""
    plan = entry.plan
    rejudged: _Rows = [("rejudged", "", f',verdict="{entry.rejudged}"', 1)] if entry.rejudged else []
    return [
        *rejudged,
        ("allocated", "", "", plan.allocated_bytes),
        *(("predicted", label, "", getattr(plan.predicted, name)) for label, name in _COMPONENTS.items()),
        ("tokens", 'kind="predicted",', "", plan.kv_cache_tokens),
        ("tokens", 'kind="needed",', "", plan.kv_cache_needed_tokens),
        *(_observed(plan, entry.observed) if entry.observed is not None else ()),
    ]


def _observed(plan: Plan, observed: ObservedFigures) -> _Rows:
    """What the engine logged, and how far the prediction was from it; of a component that the log does not have, nothing."""
    rows: _Rows = []
    rest = observed.not_kv_cache_bytes
    if rest is not None:
        rows.append(("observed", _NOT_KV_CACHE, ',source="budget"', rest))
    if (ratio := error_ratio(needed(plan.predicted), rest)) is not None:
        rows.append(("error", _NOT_KV_CACHE, "", ratio))
    if observed.kv_cache_tokens is not None:
        rows.append(("tokens", 'kind="observed",', "", observed.kv_cache_tokens))
    logged = dict(observed.memory)
    for label, name in _COMPONENTS.items():
        if name in logged:
            rows.append(("observed", label, ',source="log"', logged[name]))
            if (ratio := error_ratio(getattr(plan.predicted, name), logged[name])) is not None:
                rows.append(("error", label, "", ratio))
    return rows
