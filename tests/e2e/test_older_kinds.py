"""Kinds of an earlier release below the programs of this one, as where the kinds are managed apart and only the image went up."""

import copy

import pytest
from tests.controlplane.cluster import Json, wait_until
from tests.e2e.installation import GROUP, Installation
from tests.e2e.wishes import Wishes, wish

pytestmark = pytest.mark.e2e
PATH = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/inferencedeployments.{GROUP}"


def served(installation: Installation, versions: list[Json]) -> None:
    patch = [{"op": "replace", "path": "/spec/versions", "value": versions}]
    status, answer = installation.cluster.request("PATCH", PATH, patch, content_type="application/json-patch+json")
    assert status == 200, answer.get("message")


def test_a_status_is_written_but_for_what_the_kind_lacks_and_whole_once_it_is_upgraded(installation: Installation, namespace: str) -> None:
    wishes = Wishes(installation.cluster, namespace)
    now = installation.cluster.request("GET", PATH)[1]["spec"]["versions"]
    older = copy.deepcopy(now)
    status = older[0]["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"]
    for part in ("plan", "proposedPlan"):
        del status[part]["properties"]["podForm"]
    served(installation, older)
    try:
        wishes.create(wish("older"))
        wishes.ready("older")
        assert "podForm" not in wishes.status("older")["plan"]
        assert "Apply the CustomResourceDefinitions of this release" in installation.log("controller")
        uids = wishes.uids("older")
    finally:
        served(installation, now)
    wishes.patch("older", {"metadata": {"annotations": {"looked-at": "again"}}})
    wait_until(lambda: wishes.status("older")["plan"].get("podForm"), "the whole status")
    assert wishes.uids("older") == uids
