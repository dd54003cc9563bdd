"""Speed of the decision, printed and held to its targets. Run: make bench

"cold" forgets everything that was worked out before, of the model too; a door that has seen a model's shape once decides as in
"shape seen before", and one asked about unchanged facts (a controller re-judges whenever a pool changes) as in "same facts".
"""

from functools import partial

from tests.bench.timing import Row, Taken, forget, hold, show, taken
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
TARGETS_US = {
    "Admit 8B": 5000, "Admit 70B": 5000, "Reject with offers": 25000, "Admit a worksheet": 5000, "Reject a worksheet": 25000,
}  # fmt: skip
REPEATED_US = 100


def decided_again(facts: Facts) -> None:
    for _ in range(100):
        decide(facts)


def decisions(nodes: int) -> tuple[dict[str, tuple[Taken, float | None]], Taken, int]:
    """{what: (time, target)} of deciding on a cluster of so many nodes, and the floor: reading the manifest."""
    store = Files(*cluster(nodes))
    found: dict[str, tuple[Taken, float | None]] = {}
    for name, wish in WISHES.items():
        facts = facts_for(deployment(**wish), store, applied_plan=None)
        verdict = decide(facts)
        assert type(verdict).__name__ == name.split()[0]
        if name == "Reject with offers":
            assert len(refused(verdict).offers) == 4
        cold, again = partial(decide, facts), partial(decided_again, facts)
        target = TARGETS_US.get(name)
        found[f"{name}, cold"] = (taken(cold, 21, before=partial(forget, model_of(facts).config)), target)
        found[f"{name}, shape seen before"] = (taken(cold, 21, before=_VERDICTS.cache_clear), target)
        found[f"{name}, same facts"] = (taken(again, 21, calls=100), REPEATED_US)
    admitted = deployment(**WISHES["Admit 8B"])
    found["gather"] = (taken(lambda: [facts_for(admitted, store, applied_plan=None) for _ in range(100)], 9, calls=100), None)
    floor = taken(lambda: [deployment(**WISHES["Admit 8B"]) for _ in range(20)], 21, calls=20)
    return found, floor, len(store.pools)


def test_decisions_are_fast_and_as_fast_on_many_nodes() -> None:
    small, _, _ = decisions(100)
    large, floor, pools = decisions(5000)
    rows: list[Row] = [(name, time, target, floor) for name, (time, target) in large.items()]
    show(f"decision, {pools} pools, 5000 nodes; floor: reading the manifest", rows)
    ratios = {name: time.least / small[name][0].least for name, (time, _) in large.items()}
    print("  5000 nodes against 100: " + ", ".join(f"{name} x{ratio:.2f}" for name, ratio in ratios.items()))
    hold(rows)
    assert max(ratios.values()) < 2
