"""What an earlier release admitted and this one refuses: a pipeline that writes the whole object may scale it, and change nothing else."""

import json

import pytest
from tests.controlplane.cluster import Json, wait_until
from tests.e2e.installation import RELEASE, Installation
from tests.e2e.wishes import Wishes, wish

from plimsoll_operator.names import SPEC_DIGEST_ANNOTATION
from plimsoll_operator.render import spec_digest

pytestmark = pytest.mark.e2e
WEBHOOKS = f"/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/{RELEASE}"
STRATEGIC = "application/strategic-merge-patch+json"
MOVES = {"env": [{"name": "VLLM_ATTENTION_BACKEND", "value": "FLASHINFER"}]}


def reviewed(installation: Installation, namespace: str, *, yes: bool) -> None:
    """Whether writes in the namespace are reviewed: an earlier release's webhook knew fewer rules than ours."""
    cluster = installation.cluster
    rule = cluster.request("GET", WEBHOOKS)[1]["webhooks"][0]["name"]
    without = [] if yes else [{"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": [namespace]}]
    patch = {"webhooks": [{"name": rule, "namespaceSelector": {"matchExpressions": without}}]}
    status, answer = cluster.request("PATCH", WEBHOOKS, patch, content_type=STRATEGIC)
    assert status == 200, answer.get("message")


def test_more_replicas_of_what_was_admitted_before_are_let_through_and_made(installation: Installation, namespace: str) -> None:
    wishes = Wishes(installation.cluster, namespace)
    wishes.create(wish("older"))
    wishes.ready("older")
    uids = wishes.uids("older")
    reviewed(installation, namespace, yes=False)
    try:
        wait_until(lambda: "configured" in said(installation, namespace, wish_with(MOVES)), "the write to pass unreviewed")
        spec = wishes.get("older")["spec"]
        assert spec["template"] == MOVES
        record = {"metadata": {"annotations": {SPEC_DIGEST_ANNOTATION: spec_digest(spec)}}}
        path = f"/apis/apps/v1/namespaces/{namespace}/deployments/older"
        assert installation.cluster.request("PATCH", path, record, content_type="application/merge-patch+json")[0] == 200
        wait_until(lambda: wishes.condition("older", "Stalled") == "False", "what runs to be only judged again")
    finally:
        reviewed(installation, namespace, yes=True)
    wait_until(lambda: "VLLM_ATTENTION_BACKEND" in said(installation, namespace, wish_with(MOVES, name="new")), "reviews again")
    assert "refused" not in said(installation, namespace, wish_with(MOVES, replicas=2))
    wait_until(lambda: len(wishes.pods("older")) == 2, "the second pod")
    assert uids < wishes.uids("older"), "the first runs on"
    assert wishes.condition("older", "Feasible") == "False"
    longer = wish_with(MOVES, replicas=2)
    longer["spec"]["engine"]["maxModelLen"] = 4096
    assert "VLLM_ATTENTION_BACKEND" in said(installation, namespace, longer)
    assert wishes.get("older")["spec"]["engine"]["maxModelLen"] == 8192


def wish_with(template: Json, *, name: str = "older", replicas: int = 1) -> Json:
    made = wish(name)
    made["spec"] |= {"template": template, "replicas": replicas}
    return made


def said(installation: Installation, namespace: str, manifest: Json) -> str:
    done = installation.cluster.kubectl("apply", "-n", namespace, "-f", "-", stdin=json.dumps(manifest), check=False)
    return done.stdout + (done.stderr if done.returncode else "")
