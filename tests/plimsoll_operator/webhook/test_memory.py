"""What the webhook keeps of the dry runs it has answered: bounded in bytes, whatever they carried."""

from __future__ import annotations

import gc
import json
import tracemalloc
from itertools import product
from typing import Any

import pytest
from tests.bench.timing import forget
from tests.plimsoll_operator.webhook_world import MemoryStore, manifest, review

from plimsoll_estimator import EngineArgs, EngineVersion, gpu_from, prepare
from plimsoll_estimator.catalogue import lookup
from plimsoll_operator.decision import decide
from plimsoll_operator.decision.fit import engine
from plimsoll_operator.gather import shapes
from plimsoll_operator.remembered import Remembered, all_figures
from plimsoll_operator.webhook.judge import judge
from plimsoll_operator.webhook.review import parse_review

MODEL = "meta-llama/Llama-3.1-8B-Instruct"
FILLINGS = [
    ("many empty lists: thirty times their text, parsed", [[] for _ in range(20000)]),
    ("many small objects", [{"a": 1} for _ in range(7600)]),
]


def dry_run(number: int, filling: object) -> bytes:
    base = lookup(MODEL)
    assert base is not None
    text = json.dumps({**base.as_mapping(), "number": number, "pad": filling}, separators=(",", ":"))
    assert 60_000 < len(text) <= 65_536
    return json.dumps(review(manifest(model={"name": MODEL, "profile": {"inline": text}}))).encode()


@pytest.mark.thorough
@pytest.mark.parametrize(("why", "filling"), FILLINGS, ids=[why for why, _ in FILLINGS])
def test_distinct_dry_runs_keep_no_more_than_the_budgets(why: str, filling: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The budgets are cut to a few MiB, so that a dozen dry runs show what hundreds keep of the real ones."""
    forget()
    monkeypatch.setattr(shapes, "_SHAPES", Remembered("shapes", 2 << 20, lambda shape: shape.kept_bytes))
    monkeypatch.setattr(engine, "_SHAPES", Remembered("engines", 2 << 20, lambda shape: shape.kept_bytes))
    store = MemoryStore()
    judge(parse_review(dry_run(0, filling)), store, decide)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(12):
        assert judge(parse_review(dry_run(number, filling)), store, decide).allowed
    gc.collect()
    kept = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert kept < 6 << 20, why


def config(name: str, **changes: object) -> dict[str, Any]:
    base = lookup(name)
    assert base is not None
    return {**base.as_mapping(), "num_hidden_layers": 2048, **changes}


EVERY = ("moe_topk", "num_experts", "moe_intermediate_size", "num_shared_expert")
WEIGHED = [
    ("equal layers: small answers", config(MODEL)),
    ("no layer like another", config("tencent/Hunyuan-A13B-Instruct", **{key: [8 + layer for layer in range(2048)] for key in EVERY})),
    ("names of modules", config(MODEL, quantization_config={
        "quant_method": "compressed-tensors", "ignore": [f"model.layers.{n}.mlp.x{n}" for n in range(2000)],
        "config_groups": {"g": {"targets": ["Linear"], "weights": {"num_bits": 8, "type": "float", "strategy": "channel"}}},
    })),
]  # fmt: skip


@pytest.mark.thorough
@pytest.mark.parametrize(("why", "values"), WEIGHED, ids=[row[0] for row in WEIGHED])
def test_what_is_said_of_a_config_s_weight_is_at_least_half_of_it(why: str, values: dict[str, Any]) -> None:
    """With the shape and what a search asks of it; Python itself is asked what is kept."""
    text, gpu = json.dumps(values, separators=(",", ":")), gpu_from("NVIDIA-H100-80GB-HBM3")

    def searched() -> shapes._Shape:
        shape = shapes._Shape.read(text)
        for tp, pp in product((1, 2, 4, 8), (1, 2)):
            prepare(
                shape.config, EngineArgs(tensor_parallel_size=tp, pipeline_parallel_size=pp, max_model_len=4096), gpu, EngineVersion(0, 19)
            )
        return shape

    searched()  # tables are read
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    shape = searched()
    gc.collect()
    kept = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert kept / 2 < shape.kept_bytes < 4 * kept, why


def test_all_memories_together_leave_most_of_the_pods_limit_free() -> None:
    not_the_webhooks = {"x", "shared", "deployments"}
    one_of_each = {kept.name: kept.budget_bytes for kept in all_figures() if kept.name not in not_the_webhooks}
    assert sum(one_of_each.values()) <= 192 << 20
