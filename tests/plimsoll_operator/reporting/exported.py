"""Every series that the three processes export, with its labels. Called by the tests of whatever asks for series."""

from collections.abc import Mapping

from prometheus_client.parser import text_string_to_metric_families
from tests.plimsoll_operator.plans import PLAN

from plimsoll_operator.api import MemoryByComponent, ObservedStatus
from plimsoll_operator.metrics import CertificateRecorder, DeploymentSeries, PoolSeries, Recorder
from plimsoll_operator.observation import ObservedFigures
from plimsoll_operator.remembered import Remembered, kept_bytes


class Full:
    """A cache in which there is something of everything."""

    def deployments(self) -> list[DeploymentSeries]:
        observed = ObservedStatus(memory=MemoryByComponent.model_validate({"weights_bytes": 1}), not_kv_cache_bytes=1, kv_cache_tokens=1)
        return [DeploymentSeries(namespace="team", name="chat", plan=PLAN, rejudged="Proposed", observed=ObservedFigures.of(observed))]

    def pools(self) -> list[PoolSeries]:
        return [PoolSeries(pool="l4", gpus=(("total", 4),), gpu_memory_bytes=1, problem_nodes=(("Cordoned", 1),))]

    def queue_depth(self) -> int:
        return 1

    def watch_ages(self) -> Mapping[str, float]:
        return {"Node": 1.0}


def exported() -> dict[str, tuple[str, frozenset[str]]]:
    """Name -> type and labels of every series of the three processes."""
    kept: Remembered[str, str] = Remembered("page", 1 << 20, kept_bytes)
    kept.ask("question", lambda: "answer")
    recorder = Recorder(Full())
    recorder.admission_reviewed(operation="CREATE", verdict="Admit", reason="Fits", duration_seconds=0.1)
    recorder.reconciled(outcome="applied", duration_seconds=0.1)
    recorder.internal_error("key")
    found: dict[str, tuple[str, frozenset[str]]] = {}
    for text in (recorder.render(), CertificateRecorder().render()):
        for family in text_string_to_metric_families(text.decode()):
            if family.name.startswith("plimsoll_") and not family.name.endswith("_created"):
                name = f"{family.name}_total" if family.type == "counter" else family.name
                labels = {label for sample in family.samples for label in sample.labels} - {"le"}
                found[name] = (family.type, frozenset(labels))
    return found


def exported_samples() -> dict[str, frozenset[str]]:
    """Name -> labels as a query sees them: a histogram is its buckets, sum and count."""
    found: dict[str, frozenset[str]] = {}
    for name, (kind, labels) in exported().items():
        if kind == "histogram":
            found |= {f"{name}_bucket": labels | {"le"}, f"{name}_sum": labels, f"{name}_count": labels}
        else:
            found[name] = labels
    return found
