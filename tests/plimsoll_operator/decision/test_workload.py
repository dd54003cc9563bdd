"""The decision under a worksheet: what serves the traffic is admitted, what does not is refused with how many replicas would."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.folders import ROOT
from tests.laws import law
from tests.plimsoll_operator.decision_world import LLAMA_8B, Files, admitted, offered, planned, refused, verdict
from tests.plimsoll_operator.nodes import H100, L4, gpu_node

from plimsoll_operator.decision.request.worksheet import PRESETS
from plimsoll_operator.ports import Manifest
from plimsoll_operator.verdict import Admit, Reject, Resize

ON_L4 = {"gpuProducts": ["NVIDIA-L4"]}


def traffic(prompt: int = 2048, output: int = 512, concurrency: int = 48, name: str = "chat", **more: Any) -> Manifest:
    return {"name": name, "promptTokens": prompt, "outputTokens": output, "concurrency": concurrency, **more}


def workload(*classes: Manifest, headroom: int = 0) -> Manifest:
    return {"requestClasses": list(classes), "headroomPercent": headroom}


SIZES = [  # sentence, spec -> tensor parallel size, context, sequences, KV tokens needed
    ("context and sequences follow from the class", {"workload": workload(traffic(concurrency=8))}, (1, 2560, 8, 8 * 2560 + 16)),
    ("more requests than one card holds take two", {"workload": workload(traffic())}, (2, 2560, 48, 48 * 2560 + 16)),
    ("two replicas hold half each", {"workload": workload(traffic(concurrency=16)), "replicas": 2}, (1, 2560, 8, 8 * 2560 + 16)),
    ("headroom adds to the KV tokens and to nothing else", {"workload": workload(traffic(concurrency=8), headroom=50)},
     (1, 2560, 8, 12 * 2560 + 16)),
    ("a pinned context longer than the class stays", {"workload": workload(traffic(concurrency=8)), "engine": {"maxModelLen": 4096}},
     (1, 4096, 8, 8 * 2560 + 16)),
    ("pinned sequences above the class stay", {"workload": workload(traffic(concurrency=8)), "engine": {"maxNumSeqs": 16}},
     (1, 2560, 16, 8 * 2560 + 16)),
    ("the least context the user allows is kept", {"workload": workload(traffic(concurrency=2)), "fit": {"minMaxModelLen": 8192}},
     (1, 8192, 2, 8192)),
    ("scaled to none, it is planned as for one", {"workload": workload(traffic(concurrency=8)), "replicas": 0},
     (1, 2560, 8, 8 * 2560 + 16)),
]  # fmt: skip


@pytest.mark.parametrize(("why", "spec", "sizes"), SIZES, ids=[row[0] for row in SIZES])
def test_sizes_follow_from_the_traffic(why: str, spec: Manifest, sizes: tuple[int, int, int, int]) -> None:
    # 16 tokens are the block that vLLM keeps for itself.
    found = verdict(placement=ON_L4, **spec)
    assert isinstance(found, Admit)
    plan = found.plan
    size, context, seqs, tokens = sizes
    assert (plan.tensor_parallel_size, plan.max_model_len, plan.max_num_seqs) == (size, context, seqs)
    assert tokens <= plan.kv_cache_needed_tokens <= tokens + 16, "rounded up to what the plan's unit is"
    assert plan.kv_cache_needed_tokens <= plan.kv_cache_tokens
    assert plan.kv_cache_needed_bytes <= plan.predicted.kv_cache_bytes
    assert plan.replicas_needed >= 1


def test_the_same_traffic_takes_fewer_blocks_with_a_common_prefix_and_says_when_it_does_not_count() -> None:
    apart = planned(verdict(workload=workload(traffic(concurrency=16)), placement=ON_L4))
    common = workload(traffic(concurrency=16, prefixCacheHitPercent=50))
    together = admitted(verdict(workload=common, placement=ON_L4))
    # 16 x (160 - 64) + 64 blocks instead of 16 x 160
    assert apart.kv_cache_needed_tokens - together.plan.kv_cache_needed_tokens == pytest.approx((16 * 64 - 64) * 16, abs=16)
    off = admitted(verdict(workload=common, placement=ON_L4, engine={"enablePrefixCaching": False}))
    assert off.plan.kv_cache_needed_tokens == apart.kv_cache_needed_tokens
    assert any("prefixCacheHitPercent is not counted" in line for line in off.warnings)


def test_too_much_for_one_replica_is_refused_with_the_replicas_that_hold_it() -> None:
    wish: Manifest = {"workload": workload(traffic(concurrency=400)), "placement": ON_L4}
    found = verdict(**wish)
    assert isinstance(found, Reject)
    assert (found.reason, found.field, found.component) == ("InsufficientKvCache", "spec.workload", "KV cache")
    replicas = next(patch["spec"]["replicas"] for offer in found.offers if "replicas" in (patch := json.loads(offer.patch_json))["spec"])
    assert f"{replicas} replicas would hold the workload." in found.message
    assert "400 requests in flight with 1024000 tokens" in found.message
    assert isinstance(verdict(**wish, replicas=replicas), Admit)
    assert isinstance(verdict(**wish, replicas=replicas - 1), Reject), "not one replica more than it takes"


def test_replicas_are_never_changed_but_more_than_it_takes_is_told() -> None:
    found = verdict(workload=workload(traffic(concurrency=32)), replicas=4, placement=ON_L4)
    assert isinstance(found, Admit)
    assert (found.plan.max_num_seqs, found.plan.replicas_needed) == (8, 3)


CONTRADICTIONS = [
    ("a context shorter than a request", {"maxModelLen": 2048}, "spec.engine.maxModelLen", {"maxModelLen": 2560}),
    ("fewer sequences than requests in flight", {"maxNumSeqs": 20}, "spec.engine.maxNumSeqs", {"maxNumSeqs": 48}),
    ("both", {"maxModelLen": 2048, "maxNumSeqs": 20}, "spec.engine.maxModelLen", {"maxModelLen": 2560, "maxNumSeqs": 48}),
]


@pytest.mark.parametrize(("why", "engine", "field", "way_out"), CONTRADICTIONS, ids=[row[0] for row in CONTRADICTIONS])
def test_a_pinned_value_below_the_need_is_refused_and_raised_only_with_leave(
    why: str, engine: dict[str, int], field: str, way_out: dict[str, int]
) -> None:
    wish: Manifest = {"workload": workload(traffic()), "engine": engine}
    found = refused(verdict(**wish))
    assert (found.reason, found.field) == ("WorkloadNotServed", field)
    assert json.loads(found.offers[0].patch_json) == {"spec": {"engine": way_out}}
    moved = verdict(**wish, fit={"policy": "Resize", "mayChange": ["maxNumSeqs", "maxModelLen"]})
    assert isinstance(moved, Resize)
    assert {change.field.removeprefix("spec.engine."): int(change.new) for change in moved.changes} == way_out


def test_resize_lowers_nothing_below_what_the_traffic_needs() -> None:
    wish: Manifest = {
        "workload": workload(traffic(concurrency=16)),
        "placement": ON_L4,
        "engine": {"maxModelLen": 131072, "tensorParallelSize": 1},
    }
    found = verdict(**wish, fit={"policy": "Resize", "mayChange": ["maxModelLen"]})
    if isinstance(found, Resize):
        assert found.plan.max_model_len >= 2560
    crowded: Manifest = {
        "workload": workload(traffic(concurrency=40)),
        "placement": ON_L4,
        "engine": {"maxNumSeqs": 64, "tensorParallelSize": 1},
    }
    assert isinstance(verdict(**crowded, fit={"policy": "Resize", "mayChange": ["maxNumSeqs"]}), Reject)


def test_a_class_longer_than_the_model_can_is_refused_at_the_worksheet() -> None:
    found = refused(verdict(workload=workload(traffic(prompt=200_000))))
    assert (found.reason, found.field) == ("EngineRefuses", "spec.workload")


def test_requests_beyond_the_percentile_are_spoken_of() -> None:
    beyond = "longer requests will be refused"
    assert any(beyond in line for line in admitted(verdict(workload=workload(traffic()))).warnings)
    assert not any(beyond in line for line in admitted(verdict(workload=workload(traffic(percentile=100)))).warnings)
    assert not any(beyond in line for line in admitted(verdict(workload=workload(traffic()), engine={"maxModelLen": 4096})).warnings)


def test_a_few_long_requests_deserve_a_deployment_of_their_own() -> None:
    mixed = workload(traffic(concurrency=64), traffic(100_000, 1000, 2, name="reports"))
    found = admitted(verdict(workload=mixed, replicas=8, placement=ON_L4))
    said = next(line for line in found.warnings if "deployment of its own" in line)
    assert "reports (101000 tokens, 2 in flight)" in said
    assert f"8 x {found.plan.gpus_per_replica} = {8 * found.plan.gpus_per_replica} GPUs" in said
    alone = planned(verdict(workload=workload(traffic(concurrency=64)), replicas=8, placement=ON_L4)).gpus_per_replica
    apart = planned(verdict(workload=workload(traffic(100_000, 1000, 2)), placement=ON_L4)).gpus_per_replica
    assert f"apart 8 x {alone} and 1 x {apart} = {8 * alone + apart}" in said
    similar = workload(traffic(concurrency=64), traffic(3000, 1000, 2, name="reports"))
    assert not any("of its own" in line for line in admitted(verdict(workload=similar, replicas=8, placement=ON_L4)).warnings)


@pytest.mark.parametrize("use_case", sorted(PRESETS))
def test_a_preset_runs_on_one_node_of_h100(use_case: str) -> None:
    found = verdict(workload={"useCase": use_case}, store=Files(H100))
    assert isinstance(found, Admit)
    longest = max(entry.prompt_tokens + entry.output_tokens for entry in PRESETS[use_case])
    assert found.plan.max_model_len == longest


def test_the_page_gives_every_number_of_every_preset() -> None:
    page = (ROOT / "docs" / "workload.md").read_text()
    for use_case, classes in PRESETS.items():
        for c in classes:
            row = f"| `{use_case}` | {c.prompt_tokens} | {c.output_tokens} | {c.concurrency} | {c.burst} | {c.prefix_cache_hit_percent} % |"
            assert row in page


MODELS = st.sampled_from([LLAMA_8B, "google/gemma-3-27b-it", "tiiuae/falcon-mamba-7b", "Qwen/Qwen2.5-1.5B-Instruct"])
TRAFFIC = st.builds(
    traffic,
    st.sampled_from([16, 1000, 3000]),
    st.sampled_from([16, 500]),
    st.integers(1, 300),
    burst=st.sampled_from([1.0, 1.5]),
    prefixCacheHitPercent=st.sampled_from([0, 30, 100]),
)
LAW = law(25)


@LAW
@given(MODELS, TRAFFIC, st.integers(1, 4), st.integers(0, 40), st.sampled_from([{}, {"tensorParallelSize": 1}]))
def test_what_is_admitted_holds_it_and_less_traffic_is_admitted_too(
    model: str, load: Manifest, replicas: int, headroom: int, engine: Manifest
) -> None:
    found = verdict(model, engine=engine, workload=workload(load, headroom=headroom), replicas=replicas, store=Files(H100, L4))
    if isinstance(found, Admit):
        plan = found.plan
        assert plan.kv_cache_needed_tokens <= plan.kv_cache_tokens or plan.kv_cache_tokens == 0
        assert plan.replicas_needed <= replicas
        lighter = workload({**load, "concurrency": max(1, load["concurrency"] // 2)}, headroom=headroom)
        assert isinstance(verdict(model, engine=engine, workload=lighter, replicas=replicas, store=Files(H100, L4)), Admit)
        more = verdict(model, engine=engine, workload=workload(load, headroom=headroom), replicas=replicas + 1, store=Files(H100, L4))
        assert isinstance(more, Admit)
    if isinstance(found, Reject):
        for offer in found.offers:
            spec = {"engine": engine, "workload": workload(load, headroom=headroom), "replicas": replicas}
            assert isinstance(offered(offer, model, store=Files(H100, L4), **spec), Admit), offer


def test_a_worksheet_too_large_for_any_number_of_replicas_offers_none() -> None:
    small = Files(gpu_node("t4", "Tesla-T4", 1, 15360, host="30Gi", cpu="7500m"))
    found = verdict("google/gemma-3-27b-it", workload=workload(traffic()), store=small)
    assert isinstance(found, Reject)
    assert found.offers == ()
