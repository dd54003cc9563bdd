"""What the webhook keeps of the dry runs it has answered: bounded in bytes, whatever they carried."""

from __future__ import annotations

import gc
import json
import tracemalloc
from typing import Any

import pytest
from tests.bench.timing import forget
from tests.plimsoll_operator.webhook_world import MemoryStore, manifest, review

from plimsoll_estimator.catalogue import lookup
from plimsoll_operator import gather
from plimsoll_operator.decision import decide, engine
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


@pytest.mark.parametrize(("why", "filling"), FILLINGS, ids=[why for why, _ in FILLINGS])
def test_distinct_dry_runs_keep_no_more_than_the_budgets(why: str, filling: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The budgets are cut to a few MiB, so that a dozen dry runs show what hundreds keep of the real ones."""
    forget()
    monkeypatch.setattr(gather, "_SHAPES", Remembered("shapes", 2 << 20, lambda shape: shape.kept_bytes))
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


def test_all_memories_together_leave_most_of_the_pods_limit_free() -> None:
    assert sum(kept.budget_bytes for kept in all_figures() if kept.name not in ("x", "shared")) <= 192 << 20
