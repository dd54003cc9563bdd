"""Formats that are no plain workload: what of each goes where, in small."""

from typing import Any

import pytest
from tests.plimsoll_operator.cli.importing import a_deployment, at, imported, said

from plimsoll_operator.api import Manifest
from plimsoll_operator.cli.importing import Choices, Others, import_object

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
    assert import_object(a_predictor(modelFormat={"name": "sklearn"}), Others.of([]), Choices()).imported == ()


@pytest.mark.parametrize(
    ("sentence", "model", "words"),
    [
        ("another backend of the same runtime", {"args": ["--backend=huggingface", "--model_id=a/b"]}, "which is not vLLM"),
        ("an older way to say so", {"args": ["--disable_vllm", "--model_id=a/b"]}, "which is not vLLM"),
        ("a store that no source names", {"storageUri": "https://models.example/a.tar"}, "put the checkpoint on a claim"),
        ("no model at all", {}, "names no model"),
        (
            "a place out of its claim, where the hub's x would be served",
            {"storageUri": "pvc://c/../y", "args": ["--model_name=x"]},
            "must not",
        ),
    ],
)
def test_what_a_predictor_cannot_be_is_refused(sentence: str, model: dict[str, Any], words: str) -> None:
    assert words in str(import_object(a_predictor(**model), Others.of([]), Choices()).refusal), sentence


STORES: list[tuple[str, dict[str, Any]]] = [
    ("hf://Qwen/Qwen3-8B", {"name": "Qwen/Qwen3-8B"}),
    ("hf://Qwen/Qwen3-8B:v1", {"name": "Qwen/Qwen3-8B", "revision": "v1"}),
    ("pvc://models/qwen/8b/", {"name": "8b", "source": {"persistentVolumeClaim": {"claimName": "models", "path": "qwen/8b"}}}),
    ("pvc://models", {"name": "models", "source": {"persistentVolumeClaim": {"claimName": "models"}}}),
    ("oci://quay.io/acme/car:1", {"name": "car", "source": {"image": {"reference": "quay.io/acme/car:1", "path": "models"}}}),
    ("s3://bucket/qwen", {"name": "qwen", "source": {"objectStorage": {"uri": "s3://bucket/qwen"}}, "profile": {"name": "p"}}),
    ("gs://bucket", {"name": "bucket", "source": {"objectStorage": {"uri": "gs://bucket"}}, "profile": {"name": "p"}}),
]


@pytest.mark.parametrize(("uri", "model"), STORES, ids=[row[0] for row in STORES])
def test_an_address_becomes_the_source_that_it_is(uri: str, model: dict[str, Any]) -> None:
    one = imported(a_predictor(storageUri=uri))
    assert one.manifest["spec"]["model"] == model, said(one)


def test_a_bucket_says_which_profile_is_looked_for() -> None:
    one = imported(a_predictor(storageUri="s3://bucket/qwen"))
    assert any("plimsoll profile fetch ORG/NAME --name p" in note.message for note in one.assumed), said(one)


def a_runtime(**container: Any) -> Manifest:
    """A ServingRuntime whose container starts vLLM."""
    command = ["python", "-m", "vllm.entrypoints.openai.api_server"]
    full = {"name": "kserve-container", "image": "vllm/vllm-openai:v0.19.0", "command": command} | container
    body = {"apiVersion": "serving.kserve.io/v1alpha1", "kind": "ServingRuntime", "metadata": {"name": "r"}}
    return {**body, "spec": {"containers": [full]}}


def test_a_runtime_of_the_same_file_says_how_it_is_served() -> None:
    runtime = a_runtime(args=["--port=8080", "--model=/mnt/models", "--served-model-name={{.Name}}"], env=[{"name": "A", "value": "b"}])
    predictor = a_predictor(modelFormat={"name": "vLLM"}, runtime="r", storageUri="pvc://models/qwen", args=["--max-model-len=4096"])
    (one,) = import_object(predictor, Others.of([runtime, predictor]), Choices()).imported
    spec = one.manifest["spec"]
    assert (at(spec, "engine.image"), at(spec, "engine.port"), at(spec, "engine.maxModelLen")) == ("vllm/vllm-openai:v0.19.0", 8080, 4096)
    assert at(spec, "model.source.persistentVolumeClaim") == {"claimName": "models", "path": "qwen"}
    assert list(at(spec, "engine.extraArgs")) == ["--served-model-name=p"]
    assert list(at(spec, "template.env")) == [{"name": "A", "value": "b"}]


@pytest.mark.parametrize("others", [[], [a_runtime(name="other")], [a_runtime(command=["tritonserver"])]])
def test_a_runtime_that_is_elsewhere_or_another_server_is_left_to_kserve(others: list[Manifest]) -> None:
    predictor = a_predictor(modelFormat={"name": "vLLM"}, runtime="r", storageUri="hf://Qwen/Qwen3-8B")
    (one,) = import_object(predictor, Others.of(others), Choices()).imported
    assert any("no image is in the file" in note.message for note in one.assumed)


def test_kserves_own_server_as_a_container() -> None:
    container = {"name": "kserve-container", "image": "kserve/huggingfaceserver:latest", "args": ["--model_id=Qwen/Qwen3-8B"]}
    service = a_predictor()
    service["spec"]["predictor"] = {"containers": [container | {"resources": GPU}]}
    one = imported(service)
    assert at(one.manifest, "spec.model") == {"name": "Qwen/Qwen3-8B"}
    assert any("starts KServe's own server" in note.message for note in one.lost)


@pytest.mark.parametrize("preset", ["gpt-oss-20b", "phi-3-medium-4k-instruct", "qwen2.5-coder-7b-instruct"])
def test_presets_of_kaitos_releases_are_known(preset: str) -> None:
    body = {"apiVersion": "kaito.sh/v1beta1", "kind": "Workspace", "metadata": {"name": "w"}, "inference": {"preset": {"name": preset}}}
    assert "/" in at(imported(body).manifest, "spec.model.name")


def test_a_preset_that_nobody_knows_is_refused_and_a_hub_id_is_taken() -> None:
    def workspace(preset: str) -> Manifest:
        return {"apiVersion": "kaito.sh/v1beta1", "kind": "Workspace", "metadata": {"name": "w"}, "inference": {"preset": {"name": preset}}}

    assert "write the model's hub id" in str(import_object(workspace("llama-99"), Others.of([]), Choices()).refusal)
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


def test_a_model_in_an_image_volume_and_other_images_beside_it() -> None:
    mounts = [{"name": "model", "mountPath": "/weights"}, {"name": "adapters", "mountPath": "/adapters"}]
    container = {
        "name": "vllm",
        "image": "vllm/vllm-openai:v0.19.0",
        "args": ["--model=/weights/8b", "--served-model-name=llama"],
        "resources": GPU,
        "volumeMounts": mounts,
    }
    volumes = [
        {"name": "model", "image": {"reference": "ghcr.io/acme/llama:1", "pullPolicy": "Always"}},
        {"name": "adapters", "image": {"reference": "ghcr.io/acme/adapters:1"}},
    ]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}}
    spec = imported({**pod, "spec": {"hostNetwork": True, "containers": [container], "volumes": volumes}}).manifest["spec"]
    assert at(spec, "model.name") == "llama"
    assert at(spec, "model.source.image") == {"reference": "ghcr.io/acme/llama:1", "pullPolicy": "Always", "path": "8b"}
    adapters = {"name": "adapters", "mountPath": "/adapters", "image": {"reference": "ghcr.io/acme/adapters:1"}}
    assert list(at(spec, "template.volumes")) == [adapters]
    assert at(spec, "template.hostNetwork") is True


def test_of_two_revisions_the_one_that_does_not_count_is_named() -> None:
    address = "hf://acme/model:one"
    for other in ("--revision=two", "--model_revision=two"):
        one = imported(a_predictor(storageUri=address, args=[other]))
        assert at(one.manifest, "spec.model.revision") == "two"
        assert "spec.model.revision one is not carried over: spec.predictor.model.args names another, two, which counts" in said(one)
    assert "is not carried over" not in said(imported(a_predictor(storageUri=address, args=["--revision=one"])))


SERVER = ["python", "-m", "huggingfaceserver"]
AS_KSERVE_MAKES_IT: list[tuple[str, dict[str, Any]]] = [
    ("by the image's entrypoint", {"args": ["--model_id=Qwen/Qwen3-8B", "--model_name=q", "--max-model-len=4096"]}),
    ("as the module", {"command": SERVER, "args": ["--model_id=Qwen/Qwen3-8B", "--model_name=q", "--max-model-len=4096"]}),
    (
        "the module among the arguments",
        {
            "command": ["/usr/bin/python3", "-u"],
            "args": [*SERVER[1:], "--model_id=Qwen/Qwen3-8B", "--model_name=q", "--max-model-len=4096"],
        },
    ),
    (
        "in a script",
        {
            "command": ["sh", "-c", "exec python -m huggingfaceserver --model_id=$MODEL --model_name=q --max-model-len=4096"],
            "env": [{"name": "MODEL", "value": "Qwen/Qwen3-8B"}],
        },
    ),
    (
        "with the task that it has anyway",
        {"args": ["--model_id=Qwen/Qwen3-8B", "--model_name=q", "--task=text_generation", "--max-model-len=4096"]},
    ),
    ("all in the command", {"command": [*SERVER, "--model_id=Qwen/Qwen3-8B", "--model_name=q", "--max-model-len=4096"]}),
]


@pytest.mark.parametrize(("sentence", "container"), AS_KSERVE_MAKES_IT, ids=[row[0] for row in AS_KSERVE_MAKES_IT])
def test_a_deployment_of_kserve_s_own_server_is_read_as_a_predictor_is(sentence: str, container: dict[str, Any]) -> None:
    one = imported(a_deployment({"image": "kserve/huggingfaceserver:v0.15.0-gpu", **container}))
    assert at(one.manifest, "spec.model.name") == "Qwen/Qwen3-8B", sentence
    assert at(one.manifest, "spec.engine.maxModelLen") == 4096
    assert list(at(one.manifest, "spec.engine.extraArgs")) == ["--served-model-name=q"]
    assert "starts KServe's own server" in said(one)
    assert "no image is in the file" not in said(one)
    assert "the file's image is KServe's own server, vllm/vllm-openai" in said(one)
    assert "it is a patch" not in said(one)


def test_the_server_s_own_image_is_no_image_of_vllm_s_in_a_predictor_either() -> None:
    one = imported(a_predictor(image="kserve/huggingfaceserver:v0.15.0-gpu", args=["--model_id=Qwen/Qwen3-8B"]))
    assert str(at(one.manifest, "spec.engine.image")).startswith("vllm/vllm-openai:")
    assert "starts KServe's own server" in said(one)


NO_SUCH_SERVER: list[dict[str, Any]] = [
    {"image": "kserve/sklearnserver:v0.15.0", "command": ["python", "-m", "sklearnserver"]},
    {"image": "acme/huggingfaceserver-proxy:1", "args": ["--port=8080"]},
    {"image": "acme/x:1", "command": ["sh", "-c", "echo python -m huggingfaceserver"]},
    {"image": "acme/x:1", "command": ["python"], "args": ["-m", "huggingfaceserver_proxy"]},
]


@pytest.mark.parametrize("container", NO_SUCH_SERVER, ids=str)
def test_what_only_looks_like_it_is_no_such_server(container: dict[str, Any]) -> None:
    assert import_object(a_deployment(container), Others.of([]), Choices()).imported == ()


NOT_SERVED = [
    ("a task that is no generation", ["--model_id=google-bert/bert-base-uncased", "--task=fill_mask"], "--task=fill_mask"),
    ("in two words", ["--model_id=google-bert/bert-base-uncased", "--task", "token-classification"], "--task=token_classification"),
    ("no model", ["--max-model-len=4096"], "containers[0].args names no model"),
    ("a model that nobody knows", ["--model_id=$(MODEL)"], "by a variable that nobody here knows"),
]


@pytest.mark.parametrize(("sentence", "args", "why"), NOT_SERVED, ids=[row[0] for row in NOT_SERVED])
def test_what_kserve_s_server_does_without_vllm_is_refused_by_name(sentence: str, args: list[str], why: str) -> None:
    refusal = import_object(a_deployment({"image": "kserve/huggingfaceserver:v0.15.0", "args": args}), Others.of([]), Choices())
    assert why in str(refusal), sentence


def test_what_a_script_does_beside_the_server_is_said() -> None:
    script = "pip install x && export VLLM_LOGGING_LEVEL=DEBUG && python -m huggingfaceserver --model_id=Qwen/Qwen3-8B"
    one = imported(a_deployment({"image": "acme/x:1", "command": ["bash", "-c", script]}))
    assert "pip is not carried over" in said(one)
    assert {"name": "VLLM_LOGGING_LEVEL", "value": "DEBUG"} in at(one.manifest, "spec.template.env")


@pytest.mark.parametrize(
    ("sentence", "config", "caching", "assumed"),
    [
        ("said, and on", {"enablePrefixCaching": True}, True, False),
        ("said, and off", {"enablePrefixCaching": False}, False, False),
        ("not said: the chart writes that it is off", {"maxModelLen": 4096}, False, True),
        ("no vllmConfig: the chart writes nothing", {}, None, False),
        ("said behind the chart's own, and on", {"extraArgs": ["--enable-prefix-caching"]}, True, False),
        ("with underscores", {"extraArgs": ["--enable_prefix_caching"]}, True, False),
        ("said behind the chart's own, and off", {"extraArgs": ["--no-enable-prefix-caching"]}, False, False),
    ],
)
def test_prefix_caching_of_the_production_stack_is_as_its_chart_writes_it(
    sentence: str, config: dict[str, Any], caching: bool | None, assumed: bool
) -> None:
    engine = {"name": "m", "repository": "vllm/vllm-openai", "tag": "v0.19.0", "modelURL": "Qwen/Qwen3-8B", "requestGPU": 1}
    one = imported({"servingEngineSpec": {"modelSpec": [engine | ({"vllmConfig": config} if config else {})]}})
    assert at(one.manifest, "spec.engine.enablePrefixCaching") is caching, sentence
    assert ("switches prefix caching off" in said(one)) == assumed, sentence
