"""Resize and offers: what is moved, by how much, and that what is offered would be admitted."""

import pytest
from tests.plimsoll_operator.decision_world import H100, L4, LLAMA_8B, LLAMA_70B, T4, Files, node, offered, verdict

from plimsoll_operator.verdict import Admit, Reject, Resize

ONE_L4 = {"gpuProducts": ["NVIDIA-L4"]}


def resize(*fields, **fit):
    return {"policy": "Resize", "mayChange": list(fields), **fit}


RESIZES = [
    ("context is lowered to what fits one L4", LLAMA_8B, {"maxModelLen": 131072, "tensorParallelSize": 1},
     ["maxModelLen"], ["maxModelLen"]),
    ("tensor parallelism is raised to the next size that fits", LLAMA_8B, {"maxModelLen": 65536, "tensorParallelSize": 1},
     ["tensorParallelSize"], ["tensorParallelSize"]),
    ("the first field that suffices alone is the only one moved", LLAMA_8B, {"maxModelLen": 131072, "tensorParallelSize": 1},
     ["tensorParallelSize", "maxModelLen"], ["tensorParallelSize"]),
    ("a utilisation too low for the weights is computed instead", LLAMA_8B, {"maxModelLen": 8192, "gpuMemoryUtilization": 0.5,
     "tensorParallelSize": 1}, ["gpuMemoryUtilization"], ["gpuMemoryUtilization"]),
    ("two fields move where neither suffices alone", LLAMA_70B, {"maxModelLen": 131072, "tensorParallelSize": 1, "kvCacheDtype": "auto"},
     ["tensorParallelSize", "maxModelLen"], ["tensorParallelSize"]),
]  # fmt: skip


@pytest.mark.parametrize(("why", "model", "engine", "may_change", "moved"), RESIZES, ids=[row[0] for row in RESIZES])
def test_resize_moves_what_it_may_and_a_second_look_changes_nothing(why, model, engine, may_change, moved):
    placement = ONE_L4 if model == LLAMA_8B else {}
    found = verdict(model, engine=engine, fit=resize(*may_change), placement=placement)
    assert isinstance(found, Resize)
    assert [change.field.removeprefix("spec.engine.") for change in found.changes] == moved
    kinds = {"kvCacheDtype": str, "gpuMemoryUtilization": float}
    new = {change.field.removeprefix("spec.engine."): change.new for change in found.changes}
    again = verdict(model, engine=engine | {name: kinds.get(name, int)(value) for name, value in new.items()}, placement=placement)
    assert isinstance(again, Admit)
    assert again.plan == found.plan


def test_resize_takes_the_smallest_step():
    found = verdict(engine={"maxModelLen": 131072, "tensorParallelSize": 1}, fit=resize("maxModelLen"), placement=ONE_L4)
    context = found.plan.max_model_len
    assert found.plan.kv_cache_needed_bytes <= found.plan.kv_cache_interval_bytes[0], "what we choose surely starts"
    following = verdict(engine={"maxModelLen": context + 16, "tensorParallelSize": 1}, placement=ONE_L4)
    assert isinstance(following, Admit)
    assert any(line.startswith("Close: ") for line in following.warnings), "one step further is no longer sure"


def test_resize_respects_the_least_context():
    found = verdict(
        engine={"maxModelLen": 131072, "tensorParallelSize": 1}, fit=resize("maxModelLen", minMaxModelLen=65536), placement=ONE_L4
    )
    assert isinstance(found, Reject)


def test_nothing_pinned_moves_without_leave():
    assert isinstance(verdict(engine={"maxModelLen": 131072, "tensorParallelSize": 1}, placement=ONE_L4), Reject)


REJECTS = [
    ("context too long for the pinned size", LLAMA_70B, {"maxModelLen": 131072, "tensorParallelSize": 2}, {}, 3),
    ("more GPUs than a node has", LLAMA_8B, {"tensorParallelSize": 16}, {}, 1),
    ("a product that is not there", LLAMA_8B, {}, {"gpuProducts": ["NVIDIA-B200"]}, 1),
    ("a model too large for the product", LLAMA_70B, {"maxModelLen": 8192}, ONE_L4, 1),
    ("a context that only fp8 or less context allows", LLAMA_8B, {"maxModelLen": 65536, "tensorParallelSize": 1}, ONE_L4, 4),
]


@pytest.mark.parametrize(("why", "model", "engine", "placement", "least"), REJECTS, ids=[row[0] for row in REJECTS])
def test_every_offer_applied_is_admitted(why, model, engine, placement, least):
    found = verdict(model, engine=engine, placement=placement)
    assert isinstance(found, Reject)
    assert least <= len(found.offers) <= 4
    for offer in found.offers:
        answer = offered(offer, model, engine=engine, placement=placement)
        assert isinstance(answer, Admit), offer
        assert len(offer.summary) < 256


def test_no_offer_where_nothing_would_help():
    found = verdict(LLAMA_70B, engine={"maxModelLen": 8192}, store=Files(T4))
    assert isinstance(found, Reject)
    assert found.offers == ()


def test_the_order_of_nodes_changes_nothing():
    nodes = [H100, L4, T4, node("l4b", "NVIDIA-L4", 4, 23034, host="180Gi", cpu="47")]
    for engine in ({"maxModelLen": 32768}, {"maxModelLen": 131072, "tensorParallelSize": 1}, {"tensorParallelSize": 16}):
        assert verdict(engine=engine, store=Files(*nodes)) == verdict(engine=engine, store=Files(*reversed(nodes)))
