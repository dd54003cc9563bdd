"""`plimsoll doctor` about PodDisruptionBudgets: which keep the pods of a deployment from being evicted, and what to do about it."""

from typing import Any

import pytest
from tests.plimsoll_operator.cli.doctor_world import DENIED, found, healthy, lacks
from tests.plimsoll_operator.decision_world import LLAMA_8B, manifest
from tests.plimsoll_operator.fake_kube import FakeKube

from plimsoll_operator.api import Manifest, parse_inference_deployment
from plimsoll_operator.cli.doctor.selector import selects
from plimsoll_operator.errors import ApiFailure
from plimsoll_operator.names import API_VERSION
from plimsoll_operator.ports import INFERENCE_DEPLOYMENTS, POD_DISRUPTION_BUDGETS, Page, Resource
from plimsoll_operator.render import labels_of

OURS: dict[str, Any] = {"ownerReferences": [{"apiVersion": API_VERSION, "kind": "InferenceDeployment", "name": "x", "uid": "1"}]}
ALL: Manifest = {"matchLabels": {"app.kubernetes.io/instance": "x"}}


def cluster(budget: Manifest | None = None, replicas: int = 2, kube: FakeKube | None = None, **template: Any) -> FakeKube:
    """A healthy cluster with a deployment `x` of the namespace `default`."""
    kube = healthy(kube=kube)
    more: dict[str, Any] = {"podDisruptionBudget": budget} if budget is not None else {}
    kube.create(INFERENCE_DEPLOYMENTS, manifest(LLAMA_8B, replicas=replicas, template=template, **more))
    return kube


def with_budget(kube: FakeKube, name: str, selector: Manifest | None, namespace: str = "default", **metadata: Any) -> None:
    spec = {"maxUnavailable": 1} | ({} if selector is None else {"selector": selector})
    kube.create(POD_DISRUPTION_BUDGETS, {"metadata": {"name": name, "namespace": namespace, **metadata}, "spec": spec})


def test_a_budget_beside_its_own_is_named() -> None:
    kube = cluster({"maxUnavailable": 1})
    with_budget(kube, "x", ALL, **OURS)
    with_budget(kube, "mine", ALL)
    (said,) = lacks(kube)
    assert said == "default/x: several PodDisruptionBudgets are of its pods (mine, its own, x), so that Kubernetes evicts none: keep one"


def test_two_of_others_are_named_too_and_one_is_nobodys_fault() -> None:
    kube = cluster()
    with_budget(kube, "mine", {})
    assert lacks(kube) == []
    kube.fail_next("dry_run", DENIED)
    with_budget(kube, "ours", {"matchExpressions": [{"key": "team", "operator": "DoesNotExist"}]})
    assert "(mine, ours)" in lacks(kube)[0]


@pytest.mark.parametrize(
    ("why", "selector", "namespace"),
    [
        ("it is of other pods", {"matchLabels": {"app.kubernetes.io/instance": "y"}}, "default"),
        ("it is of another namespace", ALL, "elsewhere"),
        ("it selects nothing", None, "default"),
    ],
)
def test_a_budget_of_other_pods_is_none_of_theirs(why: str, selector: Manifest | None, namespace: str) -> None:
    kube = cluster({"maxUnavailable": 1})
    with_budget(kube, "other", selector, namespace)
    assert lacks(kube) == [], why


def test_labels_of_the_template_are_the_pods() -> None:
    kube = cluster({"maxUnavailable": 1}, labels={"team": "search"})
    with_budget(kube, "team", {"matchLabels": {"team": "search"}})
    assert "(team, its own, x)" in lacks(kube)[0]


@pytest.mark.parametrize(
    ("budget", "replicas", "waits"),
    [
        ({"minAvailable": 2}, 2, True),
        ({"minAvailable": 2}, 3, False),
        ({"minAvailable": "60%"}, 2, True),
        ({"minAvailable": "50%"}, 2, False),
        ({"maxUnavailable": 0}, 2, True),
        ({"maxUnavailable": "1%"}, 2, False),
        ({"minAvailable": 1}, 0, False),
        (None, 2, False),
    ],
)
def test_a_budget_that_lets_nobody_go_is_noted(budget: Manifest | None, replicas: int, waits: bool) -> None:
    notes = [one.text for one in found(cluster(budget, replicas)) if "lets none of its replicas go" in one.text]
    assert bool(notes) is waits


class Hiding(FakeKube):
    """Whoever asks may not list budgets."""

    def list_page(self, resource: Resource, **options: Any) -> Page:
        if resource == POD_DISRUPTION_BUDGETS:
            raise ApiFailure(403, "Forbidden", "poddisruptionbudgets is forbidden")
        return FakeKube.list_page(self, resource, **options)


def test_who_may_not_list_them_is_told_so() -> None:
    kube = cluster(kube=Hiding())
    assert any("is not seen with your rights: it takes that of listing them" in one.text for one in found(kube))


@pytest.mark.parametrize(
    ("row", "yes"),
    [
        ({"key": "a", "operator": "In", "values": ["1", "2"]}, True),
        ({"key": "a", "operator": "NotIn", "values": ["1"]}, False),
        ({"key": "b", "operator": "NotIn", "values": ["1"]}, True),
        ({"key": "a", "operator": "Exists"}, True),
        ({"key": "b", "operator": "Exists"}, False),
        ({"key": "a", "operator": "DoesNotExist"}, False),
        ({"key": "a", "operator": "Whatever"}, True),
    ],
)
def test_expressions_select_as_kubernetes_has_them(row: Manifest, yes: bool) -> None:
    assert selects({"matchLabels": {"c": "3"}, "matchExpressions": [row]}, {"a": "1", "c": "3"}) is yes


def test_the_pods_carry_these_labels() -> None:
    wish = parse_inference_deployment(manifest(LLAMA_8B))
    assert selects(ALL, labels_of(wish))
