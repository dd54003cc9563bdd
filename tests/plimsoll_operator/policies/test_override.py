"""Refusals that are only warnings: Warn mode, the bypass annotation, and what neither lifts; and the namespace's caps."""

import dataclasses
import json
from typing import Any

import pytest
from tests.plimsoll_operator.decision_world import LLAMA_8B, LLAMA_70B, Files, admitted, deployment, refused
from tests.plimsoll_operator.nodes import H100, L4, T4, gpu_node

from plimsoll_operator.api import FitPolicy, parse_object
from plimsoll_operator.decision import decide
from plimsoll_operator.facts import Bypass, DeploymentUse
from plimsoll_operator.gather import facts_for
from plimsoll_operator.names import API_VERSION, BYPASS_ANNOTATION
from plimsoll_operator.ports import Manifest
from plimsoll_operator.verdict import Admit, Plan, Reason, Reject, Resize, Verdict

CRAMPED = gpu_node("l4", "NVIDIA-L4", 4, 23034, host="4Gi", cpu="47")
PINNED: Manifest = {"tensorParallelSize": 1, "gpuMemoryUtilization": 0.9}
WARN = {"mode": "Warn"}


def policy(**spec: Any) -> FitPolicy:
    return parse_object(FitPolicy, {"apiVersion": API_VERSION, "kind": "FitPolicy", "metadata": {"name": "default"}, "spec": spec})


def decided(
    model: str = LLAMA_70B,
    *,
    nodes: tuple[Manifest, ...] = (H100,),
    bypass: str = "",
    protected: bool = False,
    held: dict[str, DeploymentUse] | None = None,
    spec: Manifest | None = None,
    **parts: Any,
) -> Verdict:
    item = deployment(model, **parts)
    if bypass:
        item = item.model_copy(update={"metadata": item.metadata.model_copy(update={"annotations": {BYPASS_ANNOTATION: bypass}})})
    store = Files(*nodes, policies=(policy(**(spec or {})),), held=held, protected=protected)
    return decide(facts_for(item, store, applied_plan=None))


LIFTED = [
    ("Warn mode makes pods at pinned sizes", {"spec": WARN, "engine": PINNED}, Reason.INSUFFICIENT_GPU_MEMORY),
    ("so does a protected bypass annotation", {"bypass": "measured", "protected": True, "engine": PINNED}, Reason.INSUFFICIENT_GPU_MEMORY),
    ("a context beyond the card", {"model": LLAMA_8B, "nodes": (L4,), "spec": WARN, "engine": PINNED | {"maxModelLen": 131072}},
     Reason.INSUFFICIENT_KV_CACHE),
    ("a host too small for the pod", {"model": LLAMA_8B, "nodes": (CRAMPED,), "spec": WARN, "engine": PINNED | {"maxModelLen": 8192}},
     Reason.HOST_MEMORY),
]  # fmt: skip


@pytest.mark.parametrize(("why", "case", "reason"), LIFTED, ids=[row[0] for row in LIFTED])
def test_pods_are_made_against_the_prediction_and_it_is_said(why: str, case: Manifest, reason: Reason) -> None:
    found = decided(**case)
    assert isinstance(found, Admit), found
    assert found.overridden is not None
    assert found.overridden.reason == reason
    assert found.warnings[0].startswith(f"Would be rejected ({reason}), but ")
    assert (found.plan.tensor_parallel_size, found.plan.gpu_memory_utilization) == (case["engine"]["tensorParallelSize"], "0.900")
    assert Plan.from_json(found.plan.canonical_json()) == found.plan


REFUSED = [
    ("without pinned sizes nothing is computed against the prediction", {"spec": WARN, "nodes": (T4,)}, Reason.INSUFFICIENT_GPU_MEMORY),
    ("the parallel size alone is not enough", {"spec": WARN, "engine": {"tensorParallelSize": 1}}, Reason.INSUFFICIENT_GPU_MEMORY),
    ("nor is the utilisation", {"spec": WARN, "nodes": (T4,), "engine": {"gpuMemoryUtilization": 0.9}}, Reason.INSUFFICIENT_GPU_MEMORY),
    ("an annotation that nothing protects is worth nothing", {"bypass": "please", "engine": PINNED}, Reason.INSUFFICIENT_GPU_MEMORY),
    ("a blank annotation is none", {"bypass": "  ", "protected": True, "engine": PINNED}, Reason.INSUFFICIENT_GPU_MEMORY),
    ("a protected cluster without the annotation refuses", {"protected": True, "engine": PINNED}, Reason.INSUFFICIENT_GPU_MEMORY),
    ("what vLLM refuses by its arguments is certain", {"spec": WARN, "engine": PINNED | {"tensorParallelSize": 3}}, Reason.ENGINE_REFUSES),
    ("no pool at all can be made room in", {"spec": WARN, "engine": PINNED, "placement": {"gpuProducts": ["NVIDIA-L4"]}},
     Reason.NO_MATCHING_POOL),
    ("more GPUs than any node has", {"spec": WARN, "engine": PINNED | {"tensorParallelSize": 16}}, Reason.INSUFFICIENT_GPUS_PER_NODE),
]  # fmt: skip


@pytest.mark.parametrize(("why", "case", "reason"), REFUSED, ids=[row[0] for row in REFUSED])
def test_no_pods_are_made(why: str, case: Manifest, reason: Reason) -> None:
    whole: Manifest = {"model": LLAMA_70B if "nodes" not in case else LLAMA_8B, "nodes": (T4,) if case.get("nodes") else (H100,)} | case
    found = decided(**whole)
    assert isinstance(found, Reject), found
    assert found.reason == reason


def test_what_fits_is_admitted_in_any_mode_without_a_word() -> None:
    cases: list[Manifest] = [{"spec": WARN}, {"bypass": "x", "protected": True}, {}]
    for case in cases:
        found = decided(LLAMA_8B, engine=PINNED | {"maxModelLen": 8192}, **case)
        assert isinstance(found, Admit)
        assert found.overridden is None


def test_resize_comes_before_an_override() -> None:
    found = decided(spec=WARN, engine=PINNED | {"maxModelLen": 8192}, fit={"policy": "Resize", "mayChange": ["tensorParallelSize"]})
    assert isinstance(found, Resize)
    assert found.overridden is None


def test_what_is_offered_is_admitted_by_its_own_fit_not_by_the_mode() -> None:
    found = admitted(decided(spec=WARN, engine=PINNED))
    assert found.overridden is not None
    assert found.overridden.offers
    for offer in found.overridden.offers:
        assert json.loads(offer.patch_json)["spec"]["engine"] != {}
    enforced = refused(decided(engine=PINNED))
    assert found.overridden.offers == enforced.offers


def held(replicas: int, gpus: int, gib: int = 20) -> DeploymentUse:
    return DeploymentUse(replicas=replicas, gpus_per_replica=gpus, predicted_bytes_per_gpu=gib << 30)


CAPS = [
    ("below the cap", {"maxGpusPerNamespace": 4}, {"other": held(1, 3)}, None),
    ("above the cap with what others hold", {"maxGpusPerNamespace": 3}, {"other": held(1, 3)}, Reason.POLICY_CAP),
    ("the deployment's own earlier use does not count twice", {"maxGpusPerNamespace": 1}, {"x": held(1, 1)}, None),
    ("predicted memory counts every GPU of the others", {"maxPredictedGibPerNamespace": 100}, {"other": held(2, 2)}, Reason.POLICY_CAP),
    ("nothing is asked where no cap is set", {}, {"other": held(1000, 8)}, None),
]  # fmt: skip


@pytest.mark.parametrize(("why", "spec", "use", "reason"), CAPS, ids=[row[0] for row in CAPS])
def test_caps_count_the_namespace(why: str, spec: dict[str, int], use: dict[str, DeploymentUse], reason: Reason | None) -> None:
    found = decided(LLAMA_8B, nodes=(L4,), engine={"maxModelLen": 8192}, spec=spec, held=use)
    assert (found.reason if isinstance(found, Reject) else None) == reason


def test_warn_mode_lifts_a_cap_and_a_bypass_does_not() -> None:
    over: Manifest = {"nodes": (L4,), "engine": PINNED | {"maxModelLen": 8192}, "held": {"other": held(1, 3)}}
    warned = admitted(decided(LLAMA_8B, spec=WARN | {"maxGpusPerNamespace": 3}, **over))
    assert warned.overridden is not None
    assert warned.overridden.reason == Reason.POLICY_CAP
    bypassed = refused(decided(LLAMA_8B, spec={"maxGpusPerNamespace": 3}, bypass="x", protected=True, **over))
    assert bypassed.reason == Reason.POLICY_CAP


def test_the_same_question_under_another_word_is_another_question() -> None:
    """Verdicts are remembered by what they depend on: the annotation and the namespace's use are part of it."""
    store = Files(H100, protected=True)
    facts = facts_for(deployment(LLAMA_70B, engine=PINNED), store, applied_plan=None)
    assert isinstance(decide(facts), Reject)
    assert isinstance(decide(dataclasses.replace(facts, bypass=Bypass.HONOURED)), Admit)
