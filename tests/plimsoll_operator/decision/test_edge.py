"""Where the interval of an estimate straddles the need: said in every verdict, judged in the middle where a value is pinned."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.plimsoll_operator.decision_world import admitted, manifest, planned, verdict
from tests.plimsoll_operator.nodes import L4

from plimsoll_estimator import format_gib
from plimsoll_operator.cli import main
from plimsoll_operator.verdict import Admit, Reject, Verdict

ONE_L4 = {"gpuProducts": ["NVIDIA-L4"]}
SAID = "On the edge: "


def at(context: int, **kwargs: Any) -> Verdict:
    return verdict(engine={"tensorParallelSize": 1, "maxModelLen": context}, placement=ONE_L4, **kwargs)


CASES = [  # the pool of Llama 3.1 8B on an L4 holds about 37,000 tokens in a first start, 34,200 to 40,400 over the interval
    ("far below nothing is said", 28672, Admit, False),
    ("what the middle holds and the lower end does not is admitted, with the doubt", 36000, Admit, True),
    ("what only the upper end holds is refused, with the doubt", 40000, Reject, True),
    ("what no end holds is plainly refused", 65536, Reject, False),
]


@pytest.mark.parametrize(("why", "context", "kind", "edge"), CASES, ids=[row[0] for row in CASES])
def test_a_need_inside_the_interval_is_said(why: str, context: int, kind: type[Admit | Reject], edge: bool) -> None:
    found = at(context)
    assert isinstance(found, kind), found
    lines = found.details if isinstance(found, Reject) else found.warnings
    assert found.on_the_edge == edge
    assert any(line.startswith(SAID) for line in lines) == edge


PINNED = {"tensorParallelSize": 1, "maxNumSeqs": 64, "maxNumBatchedTokens": 2048, "gpuMemoryUtilization": 0.93}


@pytest.mark.parametrize("context", range(30000, 60000, 3000))
def test_the_edge_is_where_the_two_ends_answer_differently(context: int) -> None:
    """By the figures of a plan with the same batch sizes: nothing but the need changes with the context."""
    found = verdict(engine=PINNED | {"maxModelLen": context}, placement=ONE_L4)
    assert isinstance(found, Admit | Reject), found
    plan = planned(verdict(engine=PINNED | {"maxModelLen": 20000}, placement=ONE_L4))
    low, high = plan.kv_cache_interval_bytes
    needed = plan.kv_cache_needed_bytes * context // 20000
    assert found.on_the_edge == (low < needed <= high)


@pytest.mark.parametrize("context", [36000, 40000])
def test_the_sentence_says_by_which_figure_it_was_decided_with_the_decimals_of_the_plan(context: int) -> None:
    """docs/decisions: a pinned value is judged in the middle, and never in silence."""
    found = verdict(engine={"tensorParallelSize": 1, "maxModelLen": context}, placement=ONE_L4)
    if isinstance(found, Reject):
        assert any(line.startswith(SAID) and "which is not relied on" in line for line in found.details)
        return
    assert isinstance(found, Admit)
    plan = planned(found)
    low, high = map(format_gib, plan.kv_cache_interval_bytes)
    told = next(line for line in found.warnings if line.startswith(SAID))
    assert f"{format_gib(plan.kv_cache_needed_bytes)} of KV cache are needed" in told
    assert f"leave {low} to {high}: what is pinned is judged by the middle" in told


def test_values_that_nobody_pinned_are_never_chosen_on_the_edge() -> None:
    assert not admitted(verdict(placement=ONE_L4)).on_the_edge
    assert not admitted(verdict(engine={"tensorParallelSize": 1}, placement=ONE_L4)).on_the_edge


HEADERS = [
    (36000, "x: Admit, on the edge"),
    (40000, "x: Reject (InsufficientKvCache, spec.engine.maxModelLen), on the edge"),
]


@pytest.mark.parametrize(("context", "first"), HEADERS)
def test_plan_says_it_beside_the_verdict(context: int, first: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    item = manifest(engine={"tensorParallelSize": 1, "maxModelLen": context}, placement=ONE_L4)
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(item))
    (tmp_path / "nodes.yaml").write_text(yaml.safe_dump({"kind": "NodeList", "apiVersion": "v1", "items": [L4]}))
    argv = ["plan", "-f", str(tmp_path / "x.yaml"), "--nodes", str(tmp_path / "nodes.yaml")]
    main(argv)
    assert capsys.readouterr().out.splitlines()[0] == first
    main([*argv, "-o", "yaml"])
    assert yaml.safe_load(capsys.readouterr().out)["on_the_edge"] is True
