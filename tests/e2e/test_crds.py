"""The API server takes the CRDs, judges the corpus as the types do, and shows the kinds as kubectl users expect them."""

import copy
import json
from functools import partial
from pathlib import Path

import pytest
from tests.controlplane import Cluster
from tests.controlplane.cluster import Json, wait_until
from tests.data.api_corpus.load import Case, cases

from plimsoll_operator import crdgen

pytestmark = pytest.mark.e2e
CRDS = Path(__file__).resolve().parents[2] / "crds"
ROOT = "/apis/inference.plimsoll.dev/v1alpha1"
KINDS = {kind.model.__name__: kind for kind in crdgen.KINDS}
DRY = "dryRun=All&fieldValidation=Strict"


def _served(cluster: Cluster, plural: str) -> bool:
    return cluster.request("GET", f"{ROOT}/{plural}")[0] == 200


@pytest.fixture(scope="module")
def api(cluster: Cluster) -> Cluster:
    """The cluster with our kinds, whether or not a chart has brought them already."""
    cluster.kubectl("apply", "--server-side", "-f", str(CRDS))
    # Not `kubectl wait`: it fails on a CRD so new that its status has no conditions at all.
    for kind in crdgen.KINDS:
        wait_until(partial(_served, cluster, kind.plural), f"{kind.plural} to be served")
    return cluster


def collection(kind: str) -> str:
    """The path under which objects of a kind are created."""
    entry = KINDS[kind]
    return f"{ROOT}/namespaces/default/{entry.plural}" if entry.namespaced else f"{ROOT}/{entry.plural}"


def schema_accepts(status: int, answer: Json) -> bool:
    """Whether the schema let it pass: a webhook that refuses it and a name that exists already come after the schema."""
    return status in (201, 409) or str(answer.get("message", "")).startswith("admission webhook")


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.why)
def test_the_api_server_and_the_types_agree(api: Cluster, case: Case) -> None:
    status, answer = api.request("POST", f"{collection(case.obj['kind'])}?{DRY}", case.obj)
    assert schema_accepts(status, answer) is case.accepted, answer.get("message")
    if not case.accepted and status == 422:
        fields = [cause.get("field", "") for cause in answer["details"]["causes"]]
        # The server names the second of two equal entries, the types the list that holds them.
        assert any(field == case.field or field.startswith(f"{case.field}[") for field in fields), fields
    elif not case.accepted:
        assert case.field.rsplit(".", 1)[-1] in answer["message"]


@pytest.mark.parametrize("kind", ["ModelProfile", "ClusterModelProfile"])
def test_a_profile_keeps_its_model_but_not_its_config(api: Cluster, kind: str) -> None:
    first = {"apiVersion": crdgen.KINDS[0].model.model_fields["api_version"].default, "kind": kind, "metadata": {"name": "crd-test"}}
    first |= {"spec": {"model": "a/b", "config": "{}"}}
    path = collection(kind)
    assert api.request("POST", path, first)[0] == 201
    try:
        patch = "application/merge-patch+json"
        status, answer = api.request("PATCH", f"{path}/crd-test", {"spec": {"model": "c/d"}}, content_type=patch)
        assert (status, "another model is another profile" in answer["message"]) == (422, True)
        assert api.request("PATCH", f"{path}/crd-test", {"spec": {"config": '{"a":1}'}}, content_type=patch)[0] == 200
    finally:
        api.request("DELETE", f"{path}/crd-test")


def deployment(name: str) -> Json:
    """The smallest InferenceDeployment, with no replica so that nothing is booked or made for it."""
    case = next(case for case in cases() if case.obj["kind"] == "InferenceDeployment" and case.accepted)
    manifest = copy.deepcopy(case.obj)
    manifest["metadata"] = {"name": name}
    manifest["spec"]["replicas"] = 0
    return manifest


def test_status_scale_columns_and_short_names(api: Cluster, namespace: str) -> None:
    api.kubectl("apply", "-n", namespace, "--server-side", "-f", "-", stdin=json.dumps(deployment("shown")))
    shown = api.kubectl("get", "infd", "-n", namespace).stdout.splitlines()
    assert shown[0].split() == ["NAME", "MODEL", "GPU", "TP", "UTIL", "CONTEXT", "FIT", "READY", "STATUS", "REASON", "AGE"]
    assert shown[1].split()[:2] == ["shown", "meta-llama/Llama-3.1-8B-Instruct"]
    wide = api.kubectl("get", "infd", "-n", namespace, "-o", "wide").stdout.splitlines()[0].split()
    assert wide[-4:] == ["KV-TOKENS", "PREDICTED", "OBSERVED", "ERROR"]
    assert "shown" in api.kubectl("get", "all", "-n", namespace).stdout
    status, scale = api.request("GET", f"{ROOT}/namespaces/{namespace}/inferencedeployments/shown/scale")
    assert (status, scale["kind"], scale["spec"].get("replicas", 0)) == (200, "Scale", 0)


@pytest.mark.parametrize(
    ("part", "wrong", "example"),
    [
        ("model", {"name": "hf://Qwen/Qwen3-8B"}, "meta-llama/Llama-3.1-8B-Instruct"),
        ("engine", {"image": "vllm/vllm-openai v0.19.0"}, "vllm/vllm-openai:v0.19.0"),
        ("engine", {"quantization": "FP8 dynamic"}, "fp8"),
        ("fit", {"reserveBytes": "2GB"}, "20Gi"),
    ],
)
def test_the_api_server_itself_answers_a_wrong_spelling_with_an_example(api: Cluster, part: str, wrong: Json, example: str) -> None:
    manifest = deployment("misspelled")
    manifest["spec"][part] = {**manifest["spec"].get(part, {}), **wrong}
    status, answer = api.request("POST", f"{collection('InferenceDeployment')}?{DRY}", manifest)
    assert status == 422
    assert f"write it like {example}" in answer["message"]
    assert "should match" not in answer["message"]


def test_defaults_are_shown_by_a_dry_run(api: Cluster) -> None:
    manifest = deployment("defaults")
    del manifest["spec"]["replicas"]
    manifest["spec"]["fit"] = {}
    status, answer = api.request("POST", f"{collection('InferenceDeployment')}?{DRY}", manifest)
    if status == 201:
        assert (answer["spec"]["replicas"], answer["spec"]["fit"]["policy"]) == (1, "Reject")
    else:
        assert schema_accepts(status, answer), answer


@pytest.mark.parametrize("path", ["infd.spec.engine.gpuMemoryUtilization", "gpool.status.nodesByFreeGpus", "infd.spec.fit.mayChange"])
def test_every_field_explains_itself(api: Cluster, path: str) -> None:
    text = api.kubectl("explain", path).stdout
    assert "DESCRIPTION" in text
    assert "<empty>" not in text.split("DESCRIPTION", 1)[1].splitlines()[1]
