"""What `plimsoll report` puts on its page, and where its deployments come from."""

import contextlib
import sys
from base64 import b64encode
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.folders import ROOT
from tests.laws import law
from tests.plimsoll_operator.cli.report_world import browsed, full_page, manifest_of, observed, page, plan_of, served, world_of
from tests.plimsoll_operator.decision_world import LLAMA_8B
from tests.plimsoll_operator.fake_kube import FakeKube
from tools.page_commands import blocks, commands

from plimsoll_estimator import GIB, InvalidInput
from plimsoll_operator.api import parse_inference_deployment
from plimsoll_operator.cli import main
from plimsoll_operator.cli.live import read_deployments
from plimsoll_operator.cli.report import MOST_DEPLOYMENTS
from plimsoll_operator.cli.report.bars import SCALE, bar
from plimsoll_operator.cli.report.markup import html_of
from plimsoll_operator.cli.report.page import pool_shown
from plimsoll_operator.cli.world import World
from plimsoll_operator.errors import ApiFailure
from plimsoll_operator.ports import INFERENCE_DEPLOYMENTS, Page, Resource

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onload='alert(1)",
    "</style><style>*{display:none}",
    "</title></svg></article><h1>",
    "{{ 7 * 7 }}{% raw %}",
    "&lt;b&gt;&amp;<!-- -->]]>",
    "javascript:alert(1)",
)
BY_CODE = {"anchor", "cells", "kind", "state"}
"""What our own code writes, and the template compares."""


def altered(value: Any, text: str) -> Any:
    """The same value with every text that may be anybody's replaced."""
    if isinstance(value, str):
        return text
    if isinstance(value, tuple):
        return tuple(altered(item, text) for item in value)
    if is_dataclass(value) and not isinstance(value, type):
        kept = {item.name: getattr(value, item.name) for item in fields(value)}
        return replace(value, **{name: altered(item, text) for name, item in kept.items() if name not in BY_CODE and item})
    return value


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_text_at_any_place_is_text_and_nothing_else(text: str) -> None:
    """Elements and their attributes are those of the harmless page, and every text is read back as it was."""
    whole = full_page()
    assert all((whole.refused, whole.upgraded, whole.notes, whole.pools[0].problems, whole.deployments[-1].warnings))
    harmless, hostile = (browsed(html_of(altered(whole, said))) for said in ("harmless", text))
    assert hostile.wrong == []
    assert [(tag, sorted(attributes)) for tag, attributes in hostile.elements] == [
        (tag, sorted(attributes)) for tag, attributes in harmless.elements
    ]
    assert hostile.words.count(" ".join(text.split())) == harmless.words.count("harmless") > 100
    assert [a["class"] for _, a in hostile.elements if "class" in a] == [a["class"] for _, a in harmless.elements if "class" in a]


def test_hostile_objects_come_through_the_command_as_text(
    files: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a tenant can write into a status, and line breaks, controls and right-to-left marks of it."""
    seen = observed(plan_of()).model_copy(update={"pod": '<img src=x onerror="alert(1)">\n\u202etxt', "engine_version": "</figcaption>"})
    item, _ = served(seen=seen)
    path = files("x.yaml", item.model_dump(by_alias=True, exclude_none=True, mode="json"))
    assert main(["report", "-f", path, "--nodes", str(tmp_path / "nodes.yaml")]) == 0
    html = capsys.readouterr().out
    found = browsed(html)
    assert found.wrong == []
    assert found.all("img") == []
    assert '<img src=x onerror="alert(1)"> txt, vLLM </figcaption>, as its log says.' in found.words
    assert "\u202e" not in html


def test_the_page_fetches_nothing_runs_nothing_and_forbids_both() -> None:
    html = html_of(full_page())
    found = browsed(html)
    assert found.wrong == []
    assert {tag for tag, _ in found.elements}.isdisjoint({"script", "link", "img", "iframe", "object", "form", "base", "use", "image"})
    assert [a for _, a in found.elements if any(name.startswith("on") or name in ("src", "style") for name in a)] == []
    assert all(a["href"].startswith("#") for a in found.all("a"))
    policy = next(a["content"] for a in found.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    style = html.split("<style>")[1].split("</style>")[0]
    assert policy.startswith("default-src 'none'; ")
    assert f"style-src 'sha256-{b64encode(sha256(style.encode()).digest()).decode()}'" in policy
    assert [words for words in ("url(", "@import") if words in style] == []
    assert [words for words in ("prefers-color-scheme: dark", "@media print") if words not in style] == []


def test_who_hears_the_page_or_has_no_mouse_gets_all_of_it() -> None:
    found = browsed(html_of(full_page()))
    ids = [a["id"] for _, a in found.elements if "id" in a]
    assert len(ids) == len(set(ids))
    assert {a["href"][1:] for a in found.all("a")} <= set(ids)
    assert {a["aria-labelledby"] for _, a in found.elements if "aria-labelledby" in a} <= set(ids)
    pictures = found.all("svg")
    assert [a for a in pictures if not (a.get("role") == "img" and a.get("aria-label")) and a.get("aria-hidden") != "true"] == []
    assert len(found.all("caption")) == len(found.all("table"))
    assert [a for a in found.all("th") if a.get("scope") not in ("row", "col")] == []
    assert {a["tabindex"] for _, a in found.elements if "tabindex" in a} == {"0", "-1"}
    assert [a for _, a in found.elements if a.get("class") == "scroll" and (a.get("tabindex") != "0" or not a.get("aria-label"))] == []
    assert found.all("html") == [{"lang": "en"}]
    assert [tag for tag, _ in found.elements if tag in ("h1", "h2", "h3")][:3] == ["h1", "h2", "h3"]


def test_memory_is_shown_predicted_allocated_and_observed_with_the_error() -> None:
    plan = plan_of()
    shown = page(served(seen=observed(plan, kv_gib=plan.predicted.kv_cache_bytes / GIB - 1))).deployments[0]
    assert shown.memory is not None
    assert [row.title for row in shown.memory.bars] == ["predicted", "allocated", "observed"]
    kinds = [segment.kind for segment in shown.memory.bars[2].segments]
    assert kinds == ["weights", "unnamed", "kv-cache"]
    by_label = {row.label: row for row in shown.memory.rows}
    assert by_label["all but the KV cache"].error.startswith("-1.00 GiB (-")
    assert by_label["KV cache"].error.startswith("+1.00 GiB (+")
    assert (by_label["activations"].observed, by_label["activations"].error) == ("not logged", "")
    assert "the plan in force" in shown.memory.caption


def test_what_was_observed_of_another_plan_is_not_put_beside_this_one() -> None:
    item, plan = served(seen=observed(plan_of(maxModelLen=4096)))
    memory = page((item, plan)).deployments[0].memory
    assert memory is not None
    assert (len(memory.bars), memory.origin) == (2, "")


def test_a_plan_in_force_stays_on_the_page_when_it_would_be_refused_today() -> None:
    plan = plan_of()
    wish = parse_inference_deployment(manifest_of("old")).model_copy(update={"status": None})
    engine = wish.spec.engine.model_copy(update={"max_model_len": 4_000_000})
    shown = page((wish.model_copy(update={"spec": wish.spec.model_copy(update={"engine": engine})}), plan)).deployments[0]
    assert shown.state == "refused"
    assert shown.memory is not None
    assert "was admitted earlier, and its pods run on" in shown.sentences[-1]


@given(st.lists(st.integers(min_value=-(1 << 60), max_value=1 << 60), max_size=12), st.integers(min_value=0, max_value=1 << 50))
@law(300)
def test_no_bar_leaves_its_picture_whatever_was_observed(sizes: list[int], whole: int) -> None:
    found = bar("x", "y", [("k", "s", size) for size in sizes], whole)
    assert len(found.segments) == sum(size > 0 for size in sizes)
    for row in found.segments:
        assert 0 <= row.start < SCALE
        assert row.width >= 1
        assert row.start + row.width <= SCALE
    assert [row.start for row in found.segments] == sorted(row.start for row in found.segments)


def test_where_nobody_may_say_what_is_free_nothing_is_called_free() -> None:
    facts = replace(world_of().pool_facts()[0], free_is_known=False, nodes_by_free_gpus=(), free_nodes=())
    shown = pool_shown(facts, 2)
    assert shown.counts[2] == "unknown"
    assert {row.kind for row in shown.bar.segments} == {"unknown"}
    assert shown.nodes == ()


def test_gpus_of_a_pool_are_taken_booked_or_free_and_add_up() -> None:
    facts = replace(world_of().pool_facts()[0], nodes=3, gpus_per_node=8, nodes_by_free_gpus=((2, 1), (8, 1)))
    shown = pool_shown(facts, 3)
    assert [row.said for row in shown.bar.segments] == ["14 taken", "3 booked", "7 free"]
    assert [(row.said, row.cells.count("free")) for row in shown.nodes] == [
        ("1 node with 8 of 8 GPUs free", 8),
        ("1 node with 2 of 8 GPUs free", 2),
    ]


def test_the_documented_command_writes_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    text = (ROOT / "docs" / "report.md").read_text("utf-8")
    line = next(block for block in blocks(text) if block.language == "sh").lines[0]
    command, _, target = line.partition(" > ")
    assert target.strip() == "report.html"
    (words,) = commands(command)
    with contextlib.chdir(ROOT):
        assert main(words[1:]) == 0
    html = capsys.readouterr().out
    found = browsed(html)
    assert (found.wrong, html.count("<!DOCTYPE html>")) == ([], 1)
    assert [words for words in ("impossible-context", "Would be admitted:") if words not in found.words] == []
    assert len([a for a in found.all("article") if a.get("aria-label", "").startswith("Under another release")]) >= 5
    assert len(html) < 400_000


def test_a_terminal_is_not_filled_with_html(
    files: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main(["report", "-f", files("x.yaml", manifest_of("a")), "--nodes", str(tmp_path / "nodes.yaml")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "> report.html" in err


@pytest.mark.parametrize(
    ("why", "words", "said"),
    [
        ("a name is of the cluster", ["a", "-f", "FILE"], "give one of the two"),
        ("nodes stand for a cluster", ["--nodes", "FILE"], "must come with -f"),
        ("a name that no object can have", ["A_b"], "NAME"),
        ("no release", ["-f", "FILE", "--compare-engine", "0.999.0"], "--compare-engine"),
    ],
)
def test_what_cannot_be_reported_on_is_said_in_one_line(
    why: str, words: list[str], said: str, files: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = files("x.yaml", manifest_of("a"))
    assert main(["report", *(path if word == "FILE" else word for word in words)]) == 2, why
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert said in err


class OfOneNamespace(FakeKube):
    """An API server that lets this user list one namespace."""

    def list_page(self, resource: Resource, *, namespace: str = "", **options: Any) -> Page:
        if namespace != "team-a":
            raise ApiFailure(403, "Forbidden", "inferencedeployments is forbidden")
        return FakeKube.list_page(self, resource, namespace=namespace, **options)


@pytest.mark.parametrize(
    ("kind", "name", "everywhere", "found"),
    [
        (FakeKube, None, True, ["a", "b", "c"]),
        (FakeKube, None, False, ["a", "b"]),
        (FakeKube, "b", False, ["b"]),
        (FakeKube, "c", False, []),
        (OfOneNamespace, None, True, ["a", "b"]),
    ],
)
def test_deployments_come_from_the_cluster_as_far_as_one_may_read(
    kind: type[FakeKube], name: str | None, everywhere: bool, found: list[str]
) -> None:
    kube, world = kind(), World(namespace="team-a")
    for which, namespace in (("a", "team-a"), ("b", "team-a"), ("c", "team-b")):
        kube.create(INFERENCE_DEPLOYMENTS, {**manifest_of(which), "metadata": {"name": which, "namespace": namespace}})
    read_deployments(kube, world, name, everywhere=everywhere)
    assert sorted(item.metadata.name for item in world.deployments) == found


def test_who_may_read_no_deployments_is_told() -> None:
    with pytest.raises(InvalidInput, match="you may not list InferenceDeployments"):
        read_deployments(OfOneNamespace(), World(namespace="team-b"), None, everywhere=True)


def test_of_very_many_deployments_a_page_says_how_many_it_leaves_out(
    files: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    many = [{**manifest_of(f"d{number}"), "spec": {**manifest_of("x")["spec"], "model": {"name": "acme/none"}}} for number in range(502)]
    assert main(["report", "-f", files("x.yaml", *many), "--nodes", str(tmp_path / "nodes.yaml")]) == 0
    found = browsed(capsys.readouterr().out)
    assert len([a for a in found.all("article") if a.get("aria-labelledby")]) == MOST_DEPLOYMENTS == 500
    assert "2 more InferenceDeployments are not on this page" in found.words


def test_a_deployment_of_the_catalogue_is_named_as_it_is() -> None:
    assert page(served()).deployments[0].model == LLAMA_8B
