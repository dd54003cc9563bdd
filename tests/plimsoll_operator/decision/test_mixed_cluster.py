"""What twelve models get on a mixed cluster equals the table derived by hand in mixed_cluster.py."""

import pytest
from tests.plimsoll_operator.decision.mixed_cluster import CONTEXT, KARPENTER, LEFT_OUT, TABLE, mixed
from tests.plimsoll_operator.decision_world import LLAMA_8B, LLAMA_70B, deployment, planned, refused, undecided, verdict

from plimsoll_operator.decision.request.placement import match
from plimsoll_operator.verdict import Admit

GIB = 1 << 30


@pytest.mark.parametrize(("model", "weights", "cache", "product", "tp", "free", "why"), TABLE, ids=[row[0] for row in TABLE])
def test_each_model_gets_what_was_derived_by_hand(
    model: str, weights: float, cache: float, product: str, tp: int, free: bool, why: str
) -> None:
    found = verdict(model, engine={"maxModelLen": CONTEXT}, store=mixed())
    assert isinstance(found, Admit), found
    plan = found.plan
    assert (plan.product, plan.tensor_parallel_size, plan.gpus_per_replica, plan.available_now) == (product, tp, tp, free), why
    # The figures that the derivation starts from: weights within what kernels pad, the cache as the formula has it.
    assert weights * 1e9 * 0.99 <= plan.predicted.weights_bytes * tp <= weights * 1e9 * 1.08
    assert plan.kv_cache_needed_bytes == pytest.approx(cache * GIB, rel=0.05)


def test_the_order_in_which_nodes_were_seen_changes_no_plan() -> None:
    for model, *_ in TABLE[:6]:
        wish = {"engine": {"maxModelLen": CONTEXT}}
        assert verdict(model, **wish, store=mixed()) == verdict(model, **wish, store=mixed(backwards=True))


def test_pods_for_the_pool_at_zero_ask_for_what_karpenter_knows() -> None:
    plan = planned(verdict("meta-llama/Llama-3.1-405B", engine={"maxModelLen": CONTEXT}, store=mixed()))
    assert (plan.pools, plan.node_selectors) == (("karpenter-h200",), ((KARPENTER,),))


def test_a_model_that_nobody_knows_gets_nothing() -> None:
    assert undecided(verdict("acme/in-house-13b", store=mixed())).reason == "UnknownModel"


@pytest.mark.parametrize(("pool", "words"), LEFT_OUT, ids=[row[0] for row in LEFT_OUT])
def test_every_pool_that_is_not_planned_with_says_why(pool: str, words: str) -> None:
    matched = match(deployment(LLAMA_8B).spec.placement, mixed().pool_facts())
    reasons = [why for facts, why in matched.excluded if facts.name.startswith(pool)]
    assert any(words in why for why in reasons), matched.excluded


def test_a_refusal_names_the_pools_that_were_passed_over() -> None:
    nowhere = refused(verdict(LLAMA_70B, placement={"gpuProducts": ["NVIDIA-GB200"]}, store=mixed()))
    shared = ["Tesla-T4", "NVIDIA-A100-SXM4-80GB-MIG-1g.10gb"]
    on_shared = refused(verdict(LLAMA_8B, placement={"gpuProducts": shared}, store=mixed()))
    text = " ".join(nowhere.details + on_shared.details)
    for word in ("VendorUnsupported", "MixedProducts", "shares its GPUs (time-slicing)", "shares its GPUs (mig)"):
        assert word in text
