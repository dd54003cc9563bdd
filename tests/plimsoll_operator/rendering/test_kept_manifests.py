"""Deployments of every kind that people write, on stated nodes: what is rendered of each is kept, and vLLM's own release has read it.

`python -m tests.engine.manifests` writes what is kept anew, and puts lists that have changed to their release.
"""

from __future__ import annotations

import json

import pytest
from tests.engine import manifests
from tests.engine.manifests import GROUPS, IMPORTED, Rendered, differing, golden, kept, lists, objects, public, put_in, rendered, settled
from tools import import_page

from plimsoll_operator.names import PLAN_ANNOTATION

EVERY = (*GROUPS, *public())
LISTS = [one for group in EVERY for one in lists(group)]
OURS = [one for one in LISTS if not one.name.startswith("imported/")]
ANSWERS = kept()
AGAIN = "has changed: python -m tests.engine.manifests --python VENV/bin/python --release {}"


@pytest.mark.parametrize("group", EVERY)
def test_what_is_rendered_is_what_is_kept(group: str) -> None:
    assert settled(rendered(group)) == settled(golden(group).read_text("utf-8")), "run make shown"


def test_only_figures_of_the_estimate_may_move() -> None:
    text = golden("layouts").read_text("utf-8")
    for figure, other in (('"kv_cache_tokens":', '"kv_cache_tokens":1'), ("memory: ", "memory: 1")):
        assert settled(text.replace(figure, other)) == settled(text) != text.replace(figure, other)
    for figure in ("--max-num-seqs=", "cpu: ", "replicas: ", '"tensor_parallel_size":'):
        assert figure in text
        assert settled(text.replace(figure, f"{figure}1")) != settled(text)


@pytest.mark.parametrize("one", LISTS, ids=[one.name for one in LISTS])
def test_the_release_itself_has_configured_this_list_as_the_plan_says(one: Rendered) -> None:
    answer = ANSWERS.get(one.name, {"digest": "never put"})
    assert (answer["digest"], answer["release"]) == (one.digest, one.plan.engine_version), AGAIN.format(one.plan.engine_version)
    assert "refused" not in answer, answer
    assert differing(one.plan, answer["resolved"]) == []


def test_no_answer_is_kept_of_a_list_that_is_gone() -> None:
    assert ANSWERS.keys() == {one.name for one in LISTS}


def test_a_value_that_the_engine_resolves_otherwise_is_found() -> None:
    one = LISTS[0]
    told = ANSWERS[one.name]["resolved"]
    assert differing(one.plan, told | {"max_num_seqs": 1}) == ["max_num_seqs"]
    assert differing(one.plan, told | {"uses_v0_engine": True}) == ["V0 engine"]


def test_a_changed_list_is_another() -> None:
    one = LISTS[0]
    share = [word for word in one.argv if word.startswith(manifests.SHARE)]
    moved = [f"{manifests.SHARE}=0.5" if word in share else word for word in one.argv]
    assert len(share) == 1
    assert Rendered(name=one.name, argv=tuple(moved), plan=one.plan).digest == one.digest
    assert Rendered(name=one.name, argv=(*one.argv, "--enforce-eager"), plan=one.plan).digest != one.digest


def test_a_container_s_words_are_expanded_as_a_kubelet_does() -> None:
    assert put_in("$(A) $$(A) $(B) $ $$ a$(A)$(A)", {"A": "1"}) == "1 $(A) $(B) $ $ a11"


def test_they_are_of_every_kind() -> None:
    deployments = {one.deployment: one for one in OURS}
    assert len(deployments) >= 40
    assert len({one.plan.engine_version for one in OURS}) >= 7
    assert {one.plan.tensor_parallel_size for one in OURS} >= {1, 2, 4, 8}
    assert {one.plan.sharing for one in OURS} >= {"none", "mig", "time-slicing"}
    assert sum(one.plan.nodes_per_replica > 1 for one in OURS) >= 4
    assert len({one.plan.quantization for one in OURS}) >= 9
    assert len({one.plan.model for one in OURS}) >= 30
    kinds = {item["kind"] for group in GROUPS for item in objects(group)}
    assert kinds == {"Deployment", "LeaderWorkerSet", "Service", "PodDisruptionBudget"}


def test_ten_public_manifests_and_more_become_pods_that_vllm_starts() -> None:
    files = {row["file"] for row in json.loads((IMPORTED / "sources.json").read_text("utf-8"))}
    started = {one.name.split("/")[1] for one in LISTS if one.name.startswith("imported/")}
    assert len(started) >= 10
    assert {f"{name}.yaml" for name in started} <= files


@pytest.mark.parametrize("group", EVERY)
def test_every_workload_says_its_plan(group: str) -> None:
    for item in objects(group):
        if item["kind"] in ("Deployment", "LeaderWorkerSet"):
            assert PLAN_ANNOTATION in item["metadata"]["annotations"]


def test_the_page_shows_what_the_engine_has_answered_of_public_manifests() -> None:
    assert import_page.now() == import_page.PAGE.read_text("utf-8"), "run python -m tools.import_page"
