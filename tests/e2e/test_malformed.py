"""Malformed InferenceDeployments: each is refused with the field's name, nothing is half-created, and no process stumbles."""

import copy
import json
from collections.abc import Callable

import pytest
from tests.controlplane.cluster import Json
from tests.e2e.installation import GROUP, Installation

pytestmark = pytest.mark.e2e
VALID: Json = {
    "apiVersion": f"{GROUP}/v1alpha1",
    "kind": "InferenceDeployment",
    "metadata": {"name": "malformed"},
    "spec": {
        "model": {"name": "meta-llama/Llama-3.1-8B-Instruct"},
        "engine": {"image": "vllm/vllm-openai:v0.19.0", "maxModelLen": 8192},
    },
}


def put(*path: str, value: object) -> Callable[[Json], None]:
    """Return a change that sets a nested field."""

    def change(manifest: Json) -> None:
        here = manifest
        for key in path[:-1]:
            here = here.setdefault(key, {})
        here[path[-1]] = value

    return change


def drop(*path: str) -> Callable[[Json], None]:
    """Return a change that removes a nested field."""

    def change(manifest: Json) -> None:
        here = manifest
        for key in path[:-1]:
            here = here[key]
        del here[path[-1]]

    return change


BOTH_SOURCES = {"huggingFace": {}, "persistentVolumeClaim": {"claimName": "weights"}}
ENGINE = ("spec", "engine")


@pytest.mark.parametrize(
    ("change", "names"),
    [
        pytest.param(put(*ENGINE, "tensorParallelSize", value="two"), "spec.engine.tensorParallelSize", id="a number as text"),
        pytest.param(put("spec", "replicas", value=1.5), "spec.replicas", id="half a replica"),
        pytest.param(put("spec", "model", value=[]), "spec.model", id="a list where an object belongs"),
        pytest.param(drop("spec", "model"), "spec.model", id="no model"),
        pytest.param(drop("spec", "model", "name"), "spec.model.name", id="a model without a name"),
        pytest.param(drop("spec", "engine"), "spec.engine", id="no engine"),
        pytest.param(drop("spec"), "spec", id="no spec"),
        pytest.param(put("spec", "model", "source", value=BOTH_SOURCES), "spec.model.source", id="both of a union"),
        pytest.param(put("spec", "model", "source", value={}), "spec.model.source", id="none of a union"),
        pytest.param(put(*ENGINE, "maxModelLen", value=-1), "spec.engine.maxModelLen", id="a negative context"),
        pytest.param(put(*ENGINE, "tensorParallelSize", value=0), "spec.engine.tensorParallelSize", id="no GPU at all"),
        pytest.param(put("spec", "replicas", value=-3), "spec.replicas", id="negative replicas"),
        pytest.param(put("spec", "fit", value={"reserveBytes": "-1Gi"}), "spec.fit.reserveBytes", id="a negative reserve"),
        pytest.param(put(*ENGINE, "gpuMemoryUtilization", value=1.5), "spec.engine.gpuMemoryUtilization", id="more than the whole GPU"),
        pytest.param(put("metadata", "annotations", value={"note": "x" * (2 << 20)}), "metadata.annotations", id="2 MB of annotations"),
        pytest.param(put("spec", "fit", value={"policy": "Maybe"}), "spec.fit.policy", id="an unknown policy"),
        pytest.param(put(*ENGINE, "dtype", value="int3"), "spec.engine.dtype", id="an unknown type"),
        pytest.param(put("spec", "fit", value={"mayChange": ["maxModelLen"]}), "spec.fit.mayChange", id="mayChange that has no effect"),
        pytest.param(put(*ENGINE, "tensorParalelSize", value=2), "tensorParalelSize", id="a misspelt field"),
        pytest.param(put(*ENGINE, "image", value="vllm/vllm-openai:latest"), "spec.engine.version", id="an image that tells no version"),
        pytest.param(put(*ENGINE, "version", value="0.20.0"), "spec.engine.version", id="version and tag differ"),
        pytest.param(put(*ENGINE, "extraArgs", value=["--max-model-len=4096"]), "spec.engine.extraArgs", id="a flag against the spec"),
        pytest.param(put(*ENGINE, "extraArgs", value=["--block-size=16", "--block-size=32"]), "spec.engine.extraArgs", id="a flag twice"),
        pytest.param(put(*ENGINE, "extraArgs", value=["--no-such-flag"]), "spec.engine.extraArgs", id="a flag vLLM does not have"),
        pytest.param(put("spec", "workload", value={"useCase": "training"}), "spec.workload.useCase", id="training is not served"),
        pytest.param(put("spec", "model", "profile", value={"inline": "{"}), "spec.model.profile.inline", id="a profile that is not JSON"),
    ],
)
def test_refused_by_the_fields_name(installation: Installation, namespace: str, change: Callable[[Json], None], names: str) -> None:
    manifest = copy.deepcopy(VALID)
    change(manifest)
    cluster = installation.cluster
    path = f"/apis/{GROUP}/v1alpha1/namespaces/{namespace}/inferencedeployments?fieldValidation=Strict"
    status, answer = cluster.request("POST", path, manifest)
    assert status in (400, 403, 413, 422), answer.get("message")
    causes = [f"{cause.get('field', '')} {cause.get('message', '')}" for cause in answer.get("details", {}).get("causes", [])]
    assert names in " ".join([str(answer.get("message")), *causes])
    made = cluster.get("-n", namespace, "inferencedeployments,deployments,services,pods")
    assert [one["metadata"]["name"] for one in made["items"]] == []


def test_the_pattern_itself_is_accepted(installation: Installation, namespace: str) -> None:
    """Otherwise each refusal above could have another cause."""
    installation.cluster.kubectl("apply", "--dry-run=server", "-n", namespace, "-f", "-", stdin=json.dumps(VALID))


def test_no_process_stumbled(installation: Installation) -> None:
    for name in ("webhook", "controller"):
        assert "Traceback" not in installation.log(name)
