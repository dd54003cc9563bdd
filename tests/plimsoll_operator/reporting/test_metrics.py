from dataclasses import dataclass, field, replace

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.plimsoll_operator.plans import PLAN

from plimsoll_operator.api import MemoryByComponent, ObservedStatus, Plan, PredictedMemory
from plimsoll_operator.metrics import MAX_SERIES_PER_DEPLOYMENT, DeploymentSeries, PoolSeries, Recorder
from plimsoll_operator.observation import ObservedFigures
from plimsoll_operator.remembered import Remembered, kept_bytes

GIB = 1 << 30


def plan() -> Plan:
    return replace(
        PLAN,
        gpu_total_bytes=22 * GIB,
        allocated_bytes=19 * GIB,
        predicted=PredictedMemory(
            weights_bytes=15 * GIB, activation_bytes=GIB, cuda_graph_bytes=512, non_torch_bytes=256, kv_cache_bytes=3 * GIB
        ),
        kv_cache_interval_bytes=(2 * GIB, 4 * GIB),
        kv_cache_needed_bytes=GIB,
    )


@dataclass
class Cache:
    entries: list[DeploymentSeries] = field(default_factory=list)
    pool_entries: list[PoolSeries] = field(default_factory=list)
    depth: int = 0

    def deployments(self) -> list[DeploymentSeries]:
        return self.entries

    def pools(self) -> list[PoolSeries]:
        return self.pool_entries

    def queue_depth(self) -> int:
        return self.depth

    def watch_ages(self) -> dict[str, float]:
        return {"Node": 1.5}


def lines(recorder: Recorder) -> set[str]:
    return {line for line in recorder.render().decode().splitlines() if not line.startswith("#")}


def test_series_follow_the_cache_and_vanish_with_the_object() -> None:
    cache = Cache(entries=[DeploymentSeries(namespace="team", name="chat", plan=plan())], depth=3)
    recorder = Recorder(cache)
    shown = lines(recorder)
    assert f'plimsoll_gpu_memory_predicted_bytes{{component="weights",name="chat",namespace="team"}} {float(15 * GIB)}' in {
        sort_labels(line) for line in shown
    }
    assert f'plimsoll_gpu_memory_allocated_bytes{{name="chat",namespace="team"}} {float(19 * GIB)}' in {sort_labels(line) for line in shown}
    assert 'plimsoll_kv_cache_tokens{kind="predicted",name="chat",namespace="team"} 20000.0' in {sort_labels(line) for line in shown}
    assert "plimsoll_workqueue_depth 3.0" in shown
    assert 'plimsoll_watch_staleness_seconds{kind="Node"} 1.5' in shown
    cache.entries.clear()
    assert not [line for line in lines(recorder) if "chat" in line]


def sort_labels(line: str) -> str:
    if "{" not in line:
        return line
    head, rest = line.split("{", 1)
    labels, value = rest.rsplit("}", 1)
    number = value.strip()
    return f"{head}{{{','.join(sorted(labels.split(',')))}}} {float(number)}"


def test_what_prometheus_s_own_parser_reads_is_what_is_meant() -> None:
    """Names of objects are no worse than DNS allows, and a name that were would not forge a series."""
    entry = DeploymentSeries(namespace="team", name='a"} 1\nforged{x="\\', plan=plan(), rejudged="Reject")
    families = {family.name: family for family in text_string_to_metric_families(Recorder(Cache(entries=[entry])).render().decode())}
    assert "forged" not in families
    (sample,) = families["plimsoll_plan_rejudged"].samples
    assert (sample.labels, sample.value) == ({"namespace": "team", "name": entry.name, "verdict": "Reject"}, 1.0)
    assert families["plimsoll_gpu_memory_predicted_bytes"].type == "gauge"
    weights = next(row for row in families["plimsoll_gpu_memory_predicted_bytes"].samples if row.labels["component"] == "weights")
    assert weights.value == 15 * GIB


def test_one_deployment_never_makes_more_series_than_the_limit() -> None:
    cache = Cache(entries=[DeploymentSeries(namespace="team", name="chat", plan=plan())])
    assert len([line for line in lines(Recorder(cache)) if "chat" in line]) <= 10, "of what is predicted alone"
    names = ("weights_bytes", "activation_bytes", "cuda_graph_bytes", "non_torch_bytes", "kv_cache_bytes")
    memory = MemoryByComponent.model_validate(dict.fromkeys(names, GIB))
    observed = ObservedStatus(memory=memory, not_kv_cache_bytes=GIB, kv_cache_tokens=1)
    cache.entries[:] = [
        DeploymentSeries(namespace="team", name="chat", plan=plan(), rejudged="Proposed", observed=ObservedFigures.of(observed))
    ]
    assert len([line for line in lines(Recorder(cache)) if "chat" in line]) == MAX_SERIES_PER_DEPLOYMENT
    assert len([line for line in lines(Recorder(cache, max_series=3)) if "chat" in line]) == 3


def test_what_was_observed_is_beside_what_was_predicted() -> None:
    memory = MemoryByComponent.model_validate({"weights_bytes": 12 * GIB, "kv_cache_bytes": 4 * GIB})
    observed = ObservedStatus(plan_digest=plan().digest, memory=memory, not_kv_cache_bytes=15 * GIB, kv_cache_tokens=21_000, source="log")
    cache = Cache(
        entries=[DeploymentSeries(namespace="team", name="chat", plan=plan(), rejudged="Proposed", observed=ObservedFigures.of(observed))]
    )
    shown = {sort_labels(line) for line in lines(Recorder(cache))}
    named = 'name="chat",namespace="team"'
    for component, source, value in (("weights", "log", 12 * GIB), ("kv_cache", "log", 4 * GIB), ("not_kv_cache", "budget", 15 * GIB)):
        line = f'plimsoll_gpu_memory_observed_bytes{{component="{component}",{named},source="{source}"}} {float(value)}'
        assert line in shown
    for component, ratio in (("weights", 0.25), ("kv_cache", -0.25)):
        assert f'plimsoll_gpu_memory_prediction_error_ratio{{component="{component}",{named}}} {ratio}' in shown
    assert f'plimsoll_kv_cache_tokens{{kind="observed",{named}}} 21000.0' in shown
    assert not any('component="activation"' in line for line in shown if "predicted" not in line), "of what is not logged nothing is said"
    cache.entries.clear()
    assert not [line for line in lines(Recorder(cache)) if "chat" in line]


def test_a_component_of_which_nothing_was_taken_has_no_error() -> None:
    memory = MemoryByComponent.model_validate({"activation_bytes": 0})
    entry = DeploymentSeries(namespace="team", name="chat", plan=plan(), observed=ObservedFigures.of(ObservedStatus(memory=memory)))
    assert not [line for line in lines(Recorder(Cache(entries=[entry]))) if "error_ratio" in line]


def test_pools_are_counted_by_state() -> None:
    pool = PoolSeries(pool="h100", gpus=(("total", 16), ("free", 6), ("booked", 2)), gpu_memory_bytes=79 * GIB)
    shown = {sort_labels(line) for line in lines(Recorder(Cache(pool_entries=[pool])))}
    assert 'plimsoll_pool_gpus{pool="h100",state="free"} 6.0' in shown
    assert f'plimsoll_pool_gpu_memory_bytes{{pool="h100"}} {float(79 * GIB)}' in shown


@pytest.mark.parametrize(
    ("operation", "verdict", "reason", "expected"),
    [
        ("CREATE", "Reject", "InsufficientKvCache", 'operation="CREATE",verdict="Reject",reason="InsufficientKvCache"'),
        ("UPDATE", "Admit", "", 'operation="UPDATE",verdict="Admit",reason=""'),
        ("PATCH\n", "Maybe", "x" * 500, 'operation="Other",verdict="Other",reason="Other"'),
    ],
    ids=["a known reason is a label", "an admission has no reason", "foreign words cannot make new series"],
)
def test_reviews_are_counted_with_bounded_labels(operation: str, verdict: str, reason: str, expected: str) -> None:
    recorder = Recorder()
    recorder.admission_reviewed(operation=operation, verdict=verdict, reason=reason, duration_seconds=0.002)
    shown = {sort_labels(line) for line in lines(recorder)}
    assert sort_labels(f"plimsoll_admission_reviews_total{{{expected}}} 1.0") in shown
    assert "plimsoll_admission_review_duration_seconds_count 1.0" in lines(recorder)


def test_reconciles_are_timed_by_outcome() -> None:
    recorder = Recorder()
    recorder.reconciled(outcome="applied", duration_seconds=0.2)
    recorder.reconciled(outcome="applied", duration_seconds=0.3)
    assert 'plimsoll_reconcile_duration_seconds_sum{outcome="applied"} 0.5' in lines(recorder)


def test_memories_tell_what_they_keep_and_how_often_they_helped() -> None:
    memory: Remembered[str, str] = Remembered("of this test", 1 << 20, kept_bytes)
    for key in ("a", "b", "a"):
        memory.ask(key, lambda: "x" * 1000)
    shown = {sort_labels(line) for line in lines(Recorder(Cache()))}
    assert f'plimsoll_remembered_bytes{{memory="of this test"}} {float(memory.figures().kept_bytes)}' in shown
    assert 'plimsoll_remembered_lookups_total{memory="of this test",result="hit"} 1.0' in shown
    assert 'plimsoll_remembered_lookups_total{memory="of this test",result="miss"} 2.0' in shown
