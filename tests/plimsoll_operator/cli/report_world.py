"""A page of `plimsoll report` as tests ask for it, one with every part on it, and what a browser makes of a page. Knows no expectation."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from typing import Any, Final

from tests.plimsoll_operator.decision_world import LLAMA_8B, LLAMA_70B, admitted, deployment, manifest, verdict
from tests.plimsoll_operator.nodes import H100, L4, T4
from tests.plimsoll_operator.observing.logs import log_of, start

from plimsoll_estimator import EngineVersion
from plimsoll_operator.api import InferenceDeployment, ObservedStatus, Plan, PlanStatus, parse_object
from plimsoll_operator.cli.report.page import Page, page_of
from plimsoll_operator.cli.world import World
from plimsoll_operator.observation import observed_of

VOID: Final = frozenset({"meta", "br", "link", "img", "input", "hr", "base"})


def world_of(*nodes: Any) -> World:
    world = World()
    world.nodes += [{"kind": "Node", "apiVersion": "v1", **node} for node in nodes or (H100, L4, T4)]
    world.derive_pools()
    return world


def plan_of(model: str = LLAMA_8B, **engine: Any) -> Plan:
    return admitted(verdict(model, engine={"maxModelLen": 8192, **engine})).plan


def observed(plan: Plan, **said: Any) -> ObservedStatus:
    found = observed_of(plan, [start(log_of(plan, **said), plan)])
    assert found is not None
    return found


def served(name: str = "served", seen: ObservedStatus | None = None) -> tuple[InferenceDeployment, Plan]:
    """A deployment with its plan in force, and what its engine logged."""
    plan = plan_of()
    wish = deployment(engine={"maxModelLen": 8192})
    status = {"plan": PlanStatus.of(plan), "observed": seen}
    manifest_ = wish.model_dump(by_alias=True, exclude_unset=True, mode="json")
    kept = {key: value.model_dump(by_alias=True, exclude_none=True, mode="json") for key, value in status.items() if value is not None}
    return parse_object(InferenceDeployment, {**manifest_, "metadata": {"name": name, "namespace": "default"}, "status": kept}), plan


def page(*chosen: tuple[InferenceDeployment, Plan | None], releases: tuple[str, ...] = (), left_out: int = 0) -> Page:
    return page_of(world_of(), chosen, [EngineVersion.parse(text) for text in releases], made="now", left_out=left_out)


def full_page() -> Page:
    """What fits and is observed, what fits resized, what is refused with offers, what is not known; under another release too."""
    plan = plan_of()
    wishes = [
        deployment(LLAMA_70B, engine={"tensorParallelSize": 1}),
        deployment("acme/unknown"),
        deployment(
            engine={"maxModelLen": 131072},
            placement={"gpuProducts": ["NVIDIA-L4"]},
            fit={"policy": "Resize", "mayChange": ["maxModelLen"]},
        ),
    ]
    found = page(served(seen=observed(plan)), *((wish, None) for wish in wishes), releases=("0.26.0",), left_out=3)
    problem = replace(found.pools[0], problems=("nodes disagree",))
    warned = replace(found.deployments[-1], warnings=("a warning",))
    return replace(found, deployments=(*found.deployments[:-1], warned), pools=(problem, *found.pools[1:]))


def manifest_of(name: str) -> dict[str, Any]:
    return {**manifest(), "metadata": {"name": name, "namespace": "default"}}


@dataclass
class Browsed(HTMLParser):
    """Elements in their order with their attributes, their text, and every error of nesting."""

    elements: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    open: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    text: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if len({name for name, _ in attrs}) != len(attrs):
            self.wrong.append(f"{tag} says an attribute twice")
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(f"</{tag}> closes nothing")

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


def browsed(html: str) -> Browsed:
    found = Browsed()
    found.feed(html)
    found.close()
    found.wrong += [f"<{tag}> is never closed" for tag in found.open]
    return found
