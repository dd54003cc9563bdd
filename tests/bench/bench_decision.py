"""Speed of the decision, printed and held to floors of the same run. Run: make bench

"cold" forgets everything that was worked out before, of the model too; a door that has seen a model's shape once decides as in
"shape seen before", and one asked about unchanged facts (a controller re-judges whenever a pool changes) as in "same facts".
"""

from functools import partial

from tests.bench.timing import FLOOR, Action, Row, forget, hold, show, taken
from tests.plimsoll_operator.decision_world import LLAMA_8B, LLAMA_70B, Files, deployment, model_of, refused
from tests.plimsoll_operator.nodes import gpu_node

from plimsoll_operator.decision import decide
from plimsoll_operator.decision.decide import _VERDICTS
from plimsoll_operator.facts import Facts
from plimsoll_operator.gather import facts_for
from plimsoll_operator.ports import Manifest

PRODUCTS = [
    ("NVIDIA-H100-80GB-HBM3", 8, 81559), ("NVIDIA-H200", 8, 143771), ("NVIDIA-A100-SXM4-80GB", 8, 81920), ("NVIDIA-B200", 8, 183359),
    ("NVIDIA-A100-SXM4-40GB", 8, 40960), ("NVIDIA-L40S", 4, 46068), ("NVIDIA-L4", 4, 23034), ("NVIDIA-L4", 1, 23034),
    ("NVIDIA-A10G", 1, 23028), ("NVIDIA-A10G", 4, 23028), ("Tesla-T4", 1, 15360), ("Tesla-T4", 4, 15360),
]  # fmt: skip


def cluster(nodes: int) -> list[Manifest]:
    return [gpu_node(f"n{number}", *PRODUCTS[number % len(PRODUCTS)]) for number in range(nodes)]


WISHES: dict[str, Manifest] = {
    "Admit 8B": {"model": LLAMA_8B, "engine": {"maxModelLen": 16384}},
    "Admit 70B": {"model": LLAMA_70B, "engine": {"maxModelLen": 65536}},
    "Reject with offers": {"model": LLAMA_70B, "engine": {"maxModelLen": 131072, "tensorParallelSize": 2}, "placement": {
        "gpuProducts": ["NVIDIA-A100-SXM4-80GB", "NVIDIA-H100-80GB-HBM3"]}},
    "Admit a worksheet": {"model": LLAMA_8B, "engine": {}, "replicas": 8, "workload": {"requestClasses": [
        {"name": "chat", "promptTokens": 2048, "outputTokens": 512, "concurrency": 64},
        {"name": "reports", "promptTokens": 100000, "outputTokens": 1000, "concurrency": 2}]},
        "placement": {"gpuProducts": ["NVIDIA-L4"]}},
    "Reject a worksheet": {"model": LLAMA_8B, "engine": {}, "workload": {"requestClasses": [
        {"name": "chat", "promptTokens": 2048, "outputTokens": 512, "concurrency": 640}]}, "placement": {"gpuProducts": ["NVIDIA-L4"]}},
    "Reject on every layout": {"model": "deepseek-ai/DeepSeek-R1", "engine": {"maxModelLen": 65536}, "placement": {
        "gpuProducts": ["NVIDIA-L40S", "NVIDIA-L4", "NVIDIA-A10G", "Tesla-T4", "NVIDIA-A100-SXM4-40GB"]}},
}  # fmt: skip
MOST_FLOORS = {
    "Admit 8B": 170, "Admit 70B": 240, "Reject with offers": 1100, "Admit a worksheet": 300, "Reject a worksheet": 1700,
    "Reject on every layout": 2900, "gather": 20,
}  # fmt: skip
"""Measured cold: 103, 148, 665, 186, 1037 and 1809, and 12; a shape that was seen before is never dearer."""
REPEATED = 1.0
"""The same facts again. Measured: 0.3 and 0.4."""


def decided_again(facts: Facts) -> None:
    for _ in range(100):
        decide(facts)


def decisions(store: Files) -> dict[str, Action]:
    """Every wish on a cluster, in the order in which one leaves to the next what it has worked out."""
    found: dict[str, Action] = {}
    for name, wish in WISHES.items():
        facts = facts_for(deployment(**wish), store, applied_plan=None)
        verdict = decide(facts)
        assert type(verdict).__name__ == name.split()[0]
        if name == "Reject with offers":
            assert len(refused(verdict).offers) == 4
        run = partial(decide, facts)
        found[f"{name}, cold"] = Action(run=run, before=partial(forget, model_of(facts).config))
        found[f"{name}, shape seen before"] = Action(run=run, before=_VERDICTS.cache_clear)
        found[f"{name}, same facts"] = Action(run=partial(decided_again, facts), calls=100)
    admitted = deployment(**WISHES["Admit 8B"])
    found["gather"] = Action(run=lambda: [facts_for(admitted, store, applied_plan=None) for _ in range(20)], calls=20)
    return found


def most_floors(name: str) -> float:
    """What a row of `decisions` may take."""
    return REPEATED if name.endswith("same facts") else MOST_FLOORS[name.split(",")[0]]


def test_decisions_are_fast_and_as_fast_on_many_nodes() -> None:
    few, many = Files(*cluster(100)), Files(*cluster(5000))
    actions = {FLOOR: Action(run=lambda: [deployment(**WISHES["Admit 8B"]) for _ in range(20)], calls=20)}
    actions |= {f"few, {name}": action for name, action in decisions(few).items()} | decisions(many)
    times = taken(actions, 15)
    rows: list[Row] = [(name, times[name], most_floors(name), times[FLOOR]) for name in decisions(many)]
    show(f"decision, {len(many.pools)} pools, 5000 nodes; floor: reading the manifest", rows)
    ratios = {name: time.least / times[f"few, {name}"].least for name, time, _, _ in rows}
    print("  5000 nodes against 100: " + ", ".join(f"{name} x{ratio:.2f}" for name, ratio in ratios.items()))
    hold(rows)
    assert max(ratios.values()) < 2
