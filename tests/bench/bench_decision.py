"""Speed of the decision and of capacity, printed and held to its targets. Run: make bench

CPU time of this process, medians: a busy machine changes them little. "cold" forgets every remembered estimate first; a door
that has seen a model's shape once decides as in "shape seen before".
"""

import statistics
import time

from tests.plimsoll_operator.decision_world import LLAMA_8B, LLAMA_70B, Files, deployment, node

from plimsoll_operator.capacity import CapacityIndex
from plimsoll_operator.decision import decide, engine
from plimsoll_operator.decision.decide import _remembered
from plimsoll_operator.gather import facts_for

PRODUCTS = [
    ("NVIDIA-H100-80GB-HBM3", 8, 81559), ("NVIDIA-H200", 8, 143771), ("NVIDIA-A100-SXM4-80GB", 8, 81920), ("NVIDIA-B200", 8, 183359),
    ("NVIDIA-A100-SXM4-40GB", 8, 40960), ("NVIDIA-L40S", 4, 46068), ("NVIDIA-L4", 4, 23034), ("NVIDIA-L4", 1, 23034),
    ("NVIDIA-A10G", 1, 23028), ("NVIDIA-A10G", 4, 23028), ("Tesla-T4", 1, 15360), ("Tesla-T4", 4, 15360),
]  # fmt: skip


def cluster(nodes):
    return [node(f"n{number}", *PRODUCTS[number % len(PRODUCTS)]) for number in range(nodes)]


def median_ms(action, rounds, before=lambda: None):
    times = []
    for _ in range(rounds):
        before()
        start = time.process_time()
        action()
        times.append(time.process_time() - start)
    return statistics.median(times) * 1000


def forget():
    engine._engine.cache_clear()
    _remembered.cache_clear()


def decisions(nodes):
    store = Files(*cluster(nodes))
    wishes = {
        "Admit 8B": deployment(LLAMA_8B, engine={"maxModelLen": 16384}),
        "Admit 70B": deployment(LLAMA_70B, engine={"maxModelLen": 65536}),
        "Reject with offers": deployment(LLAMA_70B, engine={"maxModelLen": 131072, "tensorParallelSize": 2}, placement={
            "gpuProducts": ["NVIDIA-A100-SXM4-80GB", "NVIDIA-H100-80GB-HBM3"]}),
    }  # fmt: skip
    row = {}
    for name, wish in wishes.items():
        facts = facts_for(wish, store, applied_plan=None)
        verdict = decide(facts)
        row[f"{name}, cold"] = median_ms(lambda facts=facts: decide(facts), 21, forget)
        row[f"{name}, shape seen before"] = median_ms(lambda facts=facts: decide(facts), 21, _remembered.cache_clear)
        row[f"{name}, same facts"] = median_ms(lambda facts=facts: [decide(facts) for _ in range(100)], 9) / 100
        row[f"{name}: offers"] = len(getattr(verdict, "offers", ()))
    row["gather"] = median_ms(lambda: [facts_for(wishes["Admit 8B"], store, applied_plan=None) for _ in range(100)], 9) / 100
    return row, len(store.pools)


def capacity(nodes):
    index = CapacityIndex()
    items = cluster(nodes)
    for item in items:
        index.node_event("ADDED", item)
    pods = [{"metadata": {"uid": f"u{n}", "name": f"p{n}"}, "status": {"phase": "Running"}, "spec": {
        "nodeName": f"n{n % nodes}", "containers": [{"resources": {"limits": {"nvidia.com/gpu": "1"}}}]}} for n in range(2000)]  # fmt: skip
    cordoned = [{**item, "spec": {**item["spec"], "unschedulable": True}} for item in items[:2000]]

    def feed(kind, what):
        event = index.node_event if what is not pods else index.pod_event
        for item in what:
            event(kind, item)

    heartbeats = items[:2000]
    return {
        "pod bound": median_ms(lambda: feed("ADDED", pods), 1) / len(pods) * 1000,
        "pod gone": median_ms(lambda: feed("DELETED", pods), 1) / len(pods) * 1000,
        "node heartbeat": median_ms(lambda: feed("MODIFIED", heartbeats), 5) / len(heartbeats) * 1000,
        "node changed": median_ms(lambda: feed("MODIFIED", cordoned), 1) / len(cordoned) * 1000,
        "all pools read": median_ms(index.pools, 9) * 1000,
    }


TARGETS_MS = [("Admit 8B, shape seen before", 5), ("Admit 70B, shape seen before", 5), ("Reject with offers, shape seen before", 25)]


def test_decisions_are_fast_and_as_fast_on_many_nodes():
    small, _ = decisions(100)
    large, pools = decisions(5000)
    print(f"\ndecision, {pools} pools, 5000 nodes (ms of CPU, median)")
    for name, value in large.items():
        ratio = "" if name.endswith("offers") else f"   x{value / small[name]:.2f} of 100 nodes"
        print(f"  {name:<42} {value:8.3f}{ratio}")
    for name, limit in TARGETS_MS:
        assert large[name] <= limit, name
    assert large["Reject with offers: offers"] == 4
    assert max(value for name, value in large.items() if name.endswith("same facts")) <= 0.1


def test_a_capacity_event_costs_the_same_on_many_nodes():
    events = capacity(5000)
    print("\ncapacity event at 5000 nodes (µs of CPU)")
    for name, value in events.items():
        print(f"  {name:<42} {value:8.1f}")
    assert max(value for name, value in events.items() if name != "all pools read") <= 50
