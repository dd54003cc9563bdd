"""Laws of the decision, on drawn clusters and wishes."""

import json
import random
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.bench.timing import forget
from tests.laws import law
from tests.plimsoll_operator.decision_world import LLAMA_8B, LLAMA_70B, Files, deployment, offered, planned
from tests.plimsoll_operator.nodes import gpu_node

from plimsoll_operator.decision import decide
from plimsoll_operator.decision.fit.fit import Look, longest_context
from plimsoll_operator.decision.search.moves import bisect
from plimsoll_operator.gather import facts_for
from plimsoll_operator.ports import Manifest
from plimsoll_operator.verdict import Admit, Reject, Resize, Verdict

KINDS = [("NVIDIA-H100-80GB-HBM3", 8, 81559), ("NVIDIA-A100-SXM4-40GB", 4, 40960), ("NVIDIA-L4", 4, 23034), ("NVIDIA-A10G", 1, 23028),
         ("Tesla-T4", 1, 15360), ("NVIDIA-L40S", 2, 46068)]  # fmt: skip
NODES = st.lists(st.sampled_from(KINDS), min_size=1, max_size=4).map(
    lambda kinds: [gpu_node(f"n{number}", *kind) for number, kind in enumerate(kinds)]
)
OPTIONAL = {
    "maxModelLen": st.sampled_from([4096, 16384, 65536, 131072]),
    "tensorParallelSize": st.sampled_from([1, 2, 4, 8]),
    "maxNumSeqs": st.sampled_from([16, 256]),
    "gpuMemoryUtilization": st.sampled_from([0.5, 0.85]),
    "kvCacheDtype": st.sampled_from(["auto", "fp8"]),
}
ENGINES = st.fixed_dictionaries({}, optional=OPTIONAL)
MODELS = st.sampled_from([
    LLAMA_8B, LLAMA_70B, "Qwen/Qwen2.5-1.5B-Instruct", "openai/gpt-oss-20b", "tiiuae/falcon-mamba-7b", "google/gemma-3-27b-it",
])  # fmt: skip
LAW = law(40)


def verdict(model: str, engine: Manifest, nodes: list[Manifest], **spec: Any) -> Verdict:
    return decide(facts_for(deployment(model, engine=engine, **spec), Files(*nodes), applied_plan=None))


@LAW
@given(MODELS, ENGINES, NODES)
def test_every_offer_applied_is_admitted(model: str, engine: Manifest, nodes: list[Manifest]) -> None:
    found = verdict(model, engine, nodes)
    if isinstance(found, Reject):
        for offer in found.offers:
            assert isinstance(offered(offer, model, engine=engine, store=Files(*nodes)), Admit)


@LAW
@given(MODELS, ENGINES, NODES, st.permutations(["maxModelLen", "tensorParallelSize", "maxNumSeqs", "gpuMemoryUtilization", "kvCacheDtype"]))
def test_a_resized_spec_decided_again_is_a_fixed_point(model: str, engine: Manifest, nodes: list[Manifest], order: list[str]) -> None:
    found = verdict(model, engine, nodes, fit={"policy": "Resize", "mayChange": order})
    if isinstance(found, Resize):
        kinds = {"kvCacheDtype": str, "gpuMemoryUtilization": float}
        moved = {change.field.removeprefix("spec.engine."): change.new for change in found.changes}
        assert moved.keys() <= engine.keys()
        again = verdict(model, engine | {name: kinds.get(name, int)(value) for name, value in moved.items()}, nodes)
        assert isinstance(again, Admit)
        assert again.plan == found.plan


@LAW
@given(MODELS, ENGINES, NODES, st.permutations(["maxModelLen", "tensorParallelSize", "kvCacheDtype"]), st.sampled_from([None, 2048, 8192]))
def test_a_resize_keeps_the_least_context_and_moves_nothing_in_vain(
    model: str, engine: Manifest, nodes: list[Manifest], order: list[str], least: int | None
) -> None:
    if least is not None and engine.get("maxModelLen", least) < least:
        return
    fit = {"policy": "Resize", "mayChange": order} | ({} if least is None else {"minMaxModelLen": least})
    found = verdict(model, engine, nodes, fit=fit)
    if isinstance(found, Resize):
        moved = {change.field.removeprefix("spec.engine."): change.new for change in found.changes}
        if "maxModelLen" in moved:
            assert found.plan.max_model_len >= (least or min(8192, engine["maxModelLen"]))
        kinds = {"kvCacheDtype": str}
        new = {name: kinds.get(name, int)(value) for name, value in moved.items()}
        for name in moved:
            back = engine | {other: value for other, value in new.items() if other != name}
            assert not isinstance(verdict(model, back, nodes), Admit), f"{name} need not have moved"


@LAW
@given(MODELS, ENGINES, NODES, st.randoms())
def test_the_order_of_nodes_changes_nothing(model: str, engine: Manifest, nodes: list[Manifest], rng: random.Random) -> None:
    shuffled = list(nodes)
    rng.shuffle(shuffled)
    assert verdict(model, engine, nodes) == verdict(model, engine, shuffled)


@LAW
@given(MODELS, ENGINES, NODES, st.randoms(), st.sampled_from([(), ("NVIDIA-L4", "Tesla-T4"), ("NVIDIA-H100-80GB-HBM3", "NVIDIA-L4")]))
def test_the_order_of_pools_changes_nothing(
    model: str, engine: Manifest, nodes: list[Manifest], rng: random.Random, products: tuple[str, ...]
) -> None:
    store = Files(*nodes, *(gpu_node(f"b{number}", *kind) for number, kind in enumerate(KINDS)))
    wish = deployment(model, engine=engine, placement={"gpuProducts": list(products)})
    facts = facts_for(wish, store, applied_plan=None)
    pools = list(facts.pools)
    rng.shuffle(pools)
    rng.shuffle(store.pools)
    assert decide(facts_for(wish, store, applied_plan=None)) == decide(facts) == decide(replace(facts, pools=tuple(pools)))


@LAW
@given(MODELS, st.lists(st.tuples(ENGINES, NODES), min_size=2, max_size=3))
def test_what_was_decided_before_changes_no_verdict(model: str, wishes: list[tuple[Manifest, list[Manifest]]]) -> None:
    def alone(engine: Manifest, nodes: list[Manifest]) -> Verdict:
        forget()
        return verdict(model, engine, nodes)

    expected = [alone(*wish) for wish in wishes]
    forget()
    assert [verdict(model, *wish) for wish in wishes] == expected
    assert [verdict(model, *wish) for wish in reversed(wishes)] == expected[::-1]


@LAW
@given(MODELS, ENGINES, NODES, st.integers(1024, 131072), st.integers(0, 100_000))
def test_a_shorter_context_never_turns_admit_into_reject(
    model: str, engine: Manifest, nodes: list[Manifest], length: int, less: int
) -> None:
    held = engine | {"maxNumSeqs": 128, "maxNumBatchedTokens": 4096}
    if isinstance(verdict(model, held | {"maxModelLen": length}, nodes), Admit):
        assert isinstance(verdict(model, held | {"maxModelLen": max(1024, length - less)}, nodes), Admit)


@given(
    st.integers(1, 5000), st.integers(1, 5000), st.integers(0, 6000), st.none() | st.integers(0, 6000), st.randoms(use_true_random=False)
)
def test_the_longest_context_is_found_whatever_the_guesses(low: int, more: int, limit: int, hint: int | None, rng: random.Random) -> None:
    """What fits is all up to `limit`; each look's guess may be right, wrong or wild."""
    high = low + more

    def look(length: int) -> Look:
        assert low <= length < high, "no other length is asked about"
        return Look(length <= limit, rng.choice([limit, limit - 1, rng.randrange(0, 7000), 0]))

    steps = [length for length in range(low, high) if length <= limit and (length == low or length % 16 == 0)]
    assert longest_context(look, low, high, hint) == max(steps, default=0)


@given(st.integers(1, 3000), st.integers(1, 3000), st.sampled_from([1, 16, 64]), st.integers(0, 6000))
def test_a_number_moves_by_the_smallest_step_that_fits(below: int, more: int, step: int, limit: int) -> None:
    fitting = [value for value in range(below + 1, below + more) if value % step == 0 and value <= limit]
    assert bisect(below, below + more, step, lambda value: value <= limit) == max(fitting, default=below)


@LAW
@given(MODELS, ENGINES, NODES, st.sampled_from(KINDS), st.sampled_from(["60Gi", "200Gi", "1500Gi"]))
def test_another_trusted_node_never_turns_admit_into_reject(
    model: str, engine: Manifest, nodes: list[Manifest], kind: tuple[str, int, int], host: str
) -> None:
    if isinstance(verdict(model, engine, nodes), Admit):
        assert isinstance(verdict(model, engine, [*nodes, gpu_node("new", *kind, host=host)]), Admit)


@LAW
@given(MODELS, ENGINES, NODES)
def test_an_applied_plan_is_kept_while_it_fits(model: str, engine: Manifest, nodes: list[Manifest]) -> None:
    found = verdict(model, engine, nodes)
    if isinstance(found, Admit):
        larger = Files(*nodes, *(gpu_node(f"b{number}", *kind) for number, kind in enumerate(KINDS)))
        facts = facts_for(deployment(model, engine=engine), larger, applied_plan=found.plan)
        kept = planned(decide(facts))
        assert (kept.product, kept.tensor_parallel_size) == (found.plan.product, found.plan.tensor_parallel_size)
        assert planned(decide(replace(facts, applied_plan=None))).gpus_per_replica <= kept.gpus_per_replica


@LAW
@given(MODELS, ENGINES, NODES)
def test_a_plan_stays_inside_the_gpu_and_inside_what_is_pinned(model: str, engine: Manifest, nodes: list[Manifest]) -> None:
    found = verdict(model, engine, nodes)
    if isinstance(found, Admit):
        plan = found.plan
        predicted = plan.predicted
        claimed = predicted.weights_bytes + predicted.activation_bytes + predicted.cuda_graph_bytes + predicted.non_torch_bytes
        assert claimed + plan.kv_cache_needed_bytes <= plan.allocated_bytes + 2 * plan.gpu_total_bytes // 1000
        assert float(plan.gpu_memory_utilization) <= engine.get("gpuMemoryUtilization", 0.95)
        for field, value in (("maxModelLen", plan.max_model_len), ("tensorParallelSize", plan.tensor_parallel_size)):
            assert engine.get(field, value) == value
        assert json.loads(plan.canonical_json())["model"] == model


@LAW
@given(MODELS, ENGINES, st.integers(12 << 30, 100 << 30), st.integers(0, 60 << 30))
def test_more_gpu_memory_never_turns_admit_into_reject(model: str, engine: Manifest, memory: int, more: int) -> None:
    held = engine | {"maxNumSeqs": 128, "maxNumBatchedTokens": 4096}

    def with_memory(n_bytes: int) -> Verdict:
        store = Files(gpu_node("n", "NVIDIA-H100-80GB-HBM3", 8, 81559))
        (pool,) = store.pools
        store.pools = [pool.model_copy(update={"spec": pool.spec.model_copy(update={"usable_memory_bytes": n_bytes})})]
        return decide(facts_for(deployment(model, engine=held), store, applied_plan=None))

    if isinstance(with_memory(memory), Admit):
        assert isinstance(with_memory(memory + more), Admit)
