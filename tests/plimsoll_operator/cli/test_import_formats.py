"""Formats that are no plain workload: what of each goes where, in small."""

from typing import Any

import pytest
from tests.plimsoll_operator.cli.importing import at, imported, said

from plimsoll_operator.api import Manifest
from plimsoll_operator.cli.importing import Choices, import_object

GPU = {"limits": {"nvidia.com/gpu": 1}}


def a_predictor(**model: Any) -> Manifest:
    """An InferenceService of the Hugging Face runtime."""
    full = {"modelFormat": {"name": "huggingface"}, "resources": GPU} | model
    predictor = {"minReplicas": 2, "nodeSelector": {"zone": "a"}, "model": full}
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "p"},
        "spec": {"predictor": predictor},
    }


def test_a_predictor_of_the_hugging_face_runtime() -> None:
    args = ["--model_name=llama3", "--model_id=meta-llama/Llama-3.1-8B-Instruct", "--max-model-len=4096", "--backend=vllm"]
    spec = imported(a_predictor(args=args)).manifest["spec"]
    assert spec["model"] == {"name": "meta-llama/Llama-3.1-8B-Instruct"}
    assert spec["replicas"] == 2
    assert at(spec, "engine.maxModelLen") == 4096
    assert list(at(spec, "engine.extraArgs")) == ["--served-model-name=llama3"]
    assert spec["placement"] == {"nodeSelector": {"zone": "a"}}


def test_a_predictor_that_is_another_server_is_passed_over() -> None:
    assert import_object(a_predictor(modelFormat={"name": "sklearn"}), [], Choices()).imported == ()


@pytest.mark.parametrize(
    ("sentence", "model", "words"),
    [
        ("another backend of the same runtime", {"args": ["--backend=huggingface", "--model_id=a/b"]}, "which is not vLLM"),
        ("a store that no source names", {"storageUri": "s3://bucket/model"}, "put the checkpoint on a claim"),
    ],
)
def test_what_a_predictor_cannot_be_is_refused(sentence: str, model: dict[str, Any], words: str) -> None:
    assert words in str(import_object(a_predictor(**model), [], Choices()).refusal), sentence


def test_a_preset_that_nobody_knows_is_refused_and_a_hub_id_is_taken() -> None:
    def workspace(preset: str) -> Manifest:
        return {"apiVersion": "kaito.sh/v1beta1", "kind": "Workspace", "metadata": {"name": "w"}, "inference": {"preset": {"name": preset}}}

    assert "write the model's hub id" in str(import_object(workspace("llama-99"), [], Choices()).refusal)
    assert at(imported(workspace("Qwen/Qwen3-8B")).manifest, "spec.model.name") == "Qwen/Qwen3-8B"


def test_values_name_secrets_and_sizes() -> None:
    token = {"secretName": "hub", "secretKey": "t"}
    config = {"tensorParallelSize": 2, "enablePrefixCaching": False, "extraArgs": ["--enforce-eager"]}
    model = {"name": "m", "repository": "vllm/vllm-openai", "tag": "v0.19.0", "modelURL": "Qwen/Qwen3-8B", "requestGPU": 2}
    one = imported({"servingEngineSpec": {"modelSpec": [model | {"hf_token": token, "vllmConfig": config}]}, "routerSpec": {"x": 1}})
    spec = one.manifest["spec"]
    assert at(spec, "model.source.huggingFace.tokenSecretRef") == {"name": "hub", "key": "t"}
    assert (at(spec, "engine.tensorParallelSize"), at(spec, "engine.enablePrefixCaching"), at(spec, "engine.enforceEager")) == (
        2,
        False,
        True,
    )
    assert [note.field for note in one.notes] == ["routerSpec"], said(one)


def test_arguments_that_need_each_other_stay_together() -> None:
    config = {"tensorParallelSize": 1}
    model = {
        "name": "m",
        "repository": "vllm/vllm-openai",
        "tag": "v0.19.0",
        "modelURL": "Qwen/Qwen3-8B",
        "requestGPU": 1,
        "vllmConfig": config,
    }
    one = imported({"servingEngineSpec": {"modelSpec": [model | {"enableTool": True, "toolCallParser": "hermes"}]}})
    assert sorted(at(one.manifest, "spec.engine.extraArgs")) == ["--enable-auto-tool-choice", "--tool-call-parser=hermes"]
