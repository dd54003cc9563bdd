"""`plimsoll import` of plain workloads: each row a manifest's part, where it goes, and a sentence of why."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.plimsoll_operator.cli.importing import a_deployment, at, imported, said

from plimsoll_operator.api import TemplateSpec, parse_inference_deployment
from plimsoll_operator.api.parse import known_fields
from plimsoll_operator.cli import main
from plimsoll_operator.cli.importing import Choices, Others, import_object
from plimsoll_operator.cli.importing.same import ADVICE
from plimsoll_operator.names import MANAGED_LABEL, MANAGED_VALUE

MODEL = "Qwen/Qwen2.5-7B-Instruct"
NODES = Path(__file__).resolve().parents[3] / "examples/cluster/nodes.yaml"
SERVE = ["vllm", "serve", MODEL]

COMMANDS: list[tuple[str, dict[str, Any]]] = [
    ("a list", {"command": [*SERVE, "--max-model-len", "8192"]}),
    ("command and args", {"command": ["vllm", "serve"], "args": [MODEL, "--max-model-len=8192"]}),
    ("a path to the program", {"command": ["/opt/venv/bin/vllm", "serve", MODEL, "--max_model_len", "8192"]}),
    ("Python's module", {"command": ["python3", "-m", "vllm.entrypoints.openai.api_server", "--model", MODEL, "--max-model-len=8192"]}),
    ("the entrypoint of vLLM's image", {"args": [f"--model={MODEL}", "--max-model-len", "8192"]}),
    ("a shell's string", {"command": ["/bin/sh", "-c"], "args": [f"vllm serve {MODEL} --max-model-len 8192"]}),
    ("a script with lines", {"command": ["bash", "-ec", f"# it\nset -x\nexec vllm serve {MODEL} \\\n --max-model-len 8192 2>&1 | cat\n"]}),
    ("a script's variables", {"command": ["sh", "-c", f'export LEN=8192 M="{MODEL}"; vllm serve $M --max-model-len ${{LEN:-1}}']}),
    ("the kubelet's variables", {"args": ["--model=$(M)", "--max-model-len=8192"], "env": [{"name": "M", "value": MODEL}]}),
]  # fmt: skip


@pytest.mark.parametrize(("sentence", "container"), COMMANDS, ids=[row[0] for row in COMMANDS])
def test_every_way_to_start_the_server_says_the_same(sentence: str, container: dict[str, Any]) -> None:
    one = imported(a_deployment(container))
    assert at(one.manifest, "spec.model.name") == MODEL, sentence
    assert at(one.manifest, "spec.engine.maxModelLen") == 8192
    assert at(one.manifest, "spec.engine.tensorParallelSize") == 1
    assert at(one.manifest, "spec.engine.extraArgs") is None


ARGUMENTS: list[tuple[str, list[str], str, Any]] = [
    ("a size has a field", ["--tensor-parallel-size", "2"], "engine.tensorParallelSize", 2),
    ("an abbreviation too", ["-tp=2"], "engine.tensorParallelSize", 2),
    ("utilisation", ["--gpu_memory_utilization=0.8"], "engine.gpuMemoryUtilization", 0.8),
    ("a negation is a value", ["--no-enable-prefix-caching"], "engine.enablePrefixCaching", False),
    ("the type of the cache", ["--kv-cache-dtype", "fp8"], "engine.kvCacheDtype", "fp8"),
    ("experts", ["--enable-expert-parallel"], "engine.expertParallel", True),
    ("adapters are one field", ["--enable-lora", "--max-lora-rank=64"], "engine.lora", {"maxLoras": 1, "maxLoraRank": 64}),
    ("drafts are one field", ["--speculative-config", '{"method":"mtp","num_speculative_tokens":2}'],
     "engine.speculative", {"method": "mtp", "numSpeculativeTokens": 2}),
    ("the port is a field", ["--port", "8080"], "engine.port", 8080),
    ("the port of every server is said by nobody", ["--port", "8000"], "engine.port", None),
    ("every address is vLLM's own way", ["--host", "0.0.0.0"], "engine.extraArgs", None),
    ("the revision is the model's", ["--revision", "abc"], "model.revision", "abc"),
    ("other arguments in one spelling", ["--trust_remote_code", "--tool-call-parser", "hermes"],
     "engine.extraArgs", ["--trust-remote-code", "--tool-call-parser=hermes"]),
    ("the last of two", ["--max-model-len=1024", "--max-model-len=2048"], "engine.maxModelLen", 2048),
]  # fmt: skip


@pytest.mark.parametrize(("sentence", "args", "field", "value"), ARGUMENTS, ids=[row[0] for row in ARGUMENTS])
def test_an_argument_goes_to_its_field(sentence: str, args: list[str], field: str, value: Any) -> None:
    found = at(imported(a_deployment({"command": [*SERVE, *args]})).manifest, f"spec.{field}")
    assert json.loads(json.dumps(found)) == value, sentence


LOST: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("a flag that the release lacks", {"command": [*SERVE, "--no-such-flag", "x"]}, {}, "--no-such-flag is not carried over"),
    ("a value of a variable that nobody sets", {"command": [*SERVE, "--max-model-len=$(LEN)"]}, {}, "--max-model-len is not carried over"),
    ("a program before the server", {"command": ["sh", "-c", f"pip install x && vllm serve {MODEL}"]}, {}, "pip is not carried over"),
    ("one address", {"command": [*SERVE, "--host", "127.0.0.1"]}, {}, "--host is not carried over"),
    ("a variable that moves memory", {"command": SERVE, "env": [{"name": "NCCL_BUFFSIZE", "value": "1"}]}, {}, "NCCL_BUFFSIZE"),
    ("a variable that the plan owns", {"command": SERVE, "env": [{"name": "CUDA_VISIBLE_DEVICES", "value": "0"}]}, {}, "VISIBLE"),
    ("privilege", {"command": SERVE, "securityContext": {"privileged": True}}, {}, "securityContext.privileged"),
    ("a path of the node", {"command": SERVE, "volumeMounts": [{"name": "d", "mountPath": "/d"}]},
     {"volumes": [{"name": "d", "hostPath": {"path": "/d"}}]}, "hostPath"),
    ("adapters without the flag", {"command": [*SERVE, "--max-loras", "2"]}, {}, "--max-loras"),
    ("adapters by name without it", {"command": [*SERVE, "--lora-modules", "a=b", "c=d", "--seed=1"]}, {}, "it ends vLLM as it starts"),
    ("two GPUs of which one is used", {"command": SERVE, "resources": {"limits": {"nvidia.com/gpu": "2"}}}, {}, "asks for 2 of"),
    ("another number of GPUs is said by product", {"command": SERVE, "resources": {}}, {}, "no GPUs are asked for by count"),
]  # fmt: skip


@pytest.mark.parametrize(("sentence", "container", "pod", "words"), LOST, ids=[row[0] for row in LOST])
def test_what_is_not_carried_over_is_said(sentence: str, container: dict[str, Any], pod: dict[str, Any], words: str) -> None:
    one = imported(a_deployment(container, pod))
    assert words in said(one), sentence
    assert parse_inference_deployment(one.manifest)


SECRETS: list[tuple[str, dict[str, Any]]] = [
    ("an argument", {"command": [*SERVE, "--api-key", "verysecret"]}),
    ("a hub's token", {"command": SERVE, "env": [{"name": "HF_TOKEN", "value": "verysecret"}]}),
    ("a variable by its name", {"command": SERVE, "env": [{"name": "AWS_SECRET_ACCESS_KEY", "value": "verysecret"}]}),
    ("a variable by its look", {"command": SERVE, "env": [{"name": "WHATEVER", "value": "hf_verysecret123"}]}),
    ("a script's export", {"command": ["sh", "-c", f"export HF_TOKEN=verysecret; vllm serve {MODEL}"]}),
    ("an argument by way of a variable", {"args": [MODEL, "--api-key=$(API_KEY)"], "env": [{"name": "API_KEY", "value": "verysecret"}]}),
    ("an address with a password", {"command": SERVE, "env": [{"name": "HTTPS_PROXY", "value": "http://me:verysecret@proxy:1"}]}),
    ("a variable that only an argument shows to be one",
     {"command": ["sh", "-c", f"export MYPW=verysecret; vllm serve {MODEL} --api-key $MYPW"]}),
    ("the same by the container's own", {"args": [MODEL, "--api-key=$(MYPW)"], "env": [{"name": "MYPW", "value": "verysecret"}]}),
    ("an argument in a script", {"command": ["sh", "-c", f"TOKEN=verysecret vllm serve {MODEL} --hf-token $TOKEN"]}),
]  # fmt: skip


@pytest.mark.parametrize(("sentence", "container"), SECRETS, ids=[row[0] for row in SECRETS])
def test_a_secret_is_never_copied(sentence: str, container: dict[str, Any]) -> None:
    one = imported(a_deployment(container))
    assert "verysecret" not in json.dumps(one.manifest) + said(one), sentence
    assert one.lost, "and that is said"


BESIDE: list[tuple[str, dict[str, Any]]] = [
    ("a header in a script", {"command": ["sh", "-c", "curl -H 'Authorization: Bearer verysecret' https://x"]}),
    ("an option of a program", {"command": ["wget", "--password=verysecret", "https://x"]}),
    ("an option and its value", {"args": ["--token", "verysecret"]}),
    ("a login", {"command": ["curl", "-u", "admin:verysecret", "https://x"]}),
    ("a hub's token", {"command": ["sh", "-c", "hf download --token hf_verysecret123"]}),
]


@pytest.mark.parametrize(("sentence", "container"), BESIDE, ids=[row[0] for row in BESIDE])
@pytest.mark.parametrize("before", [True, False])
def test_a_secret_in_the_command_of_another_container_is_never_copied(sentence: str, container: dict[str, Any], before: bool) -> None:
    other = {"name": "other", "image": "x:1"} | container
    obj = a_deployment({"command": SERVE}, pod={"initContainers": [other]} if before else None)
    if not before:
        obj["spec"]["template"]["spec"]["containers"].append(other)
    one = imported(obj)
    assert "verysecret" not in json.dumps(one.manifest) + said(one), sentence
    assert "a secret stands in its command" in said(one)


def test_commands_without_a_secret_are_copied() -> None:
    other = {"name": "other", "image": "x:1", "command": ["run", "--user", "1000", "--token=$TOKEN", "--max-tokens", "5"]}
    one = imported(a_deployment({"command": SERVE}, pod={"initContainers": [other]}))
    assert at(one.manifest, "spec.template.initContainers")[0]["command"] == other["command"]


def test_a_script_that_says_itself_twice_again_and_again_is_bounded() -> None:
    script = "A=aaaaaaaa\n" + "A=$A$A\n" * 40 + f"vllm serve {MODEL} --served-model-name $A"
    outcome = import_object(obj := a_deployment({"command": ["sh", "-c", script]}), Others.of([obj]), Choices())
    assert outcome.refusal is not None
    assert "characters" in str(outcome.refusal)


COMMENTS = [  # POSIX shell, 2.3: a word that begins with # and the rest of its line are no part of a command
    ("behind the command", f"vllm serve {MODEL} # was: --tensor-parallel-size 4 --quantization fp8", {}),
    ("a comment ends at its line, whatever stands before the end", f"vllm serve {MODEL} # no \\\n--max-model-len 4096", {}),
    ("behind a line that goes on", f"vllm serve {MODEL} \\\n  # --max-model-len 4096", {}),
    ("on a line of its own", f"# --max-model-len 1\nvllm serve {MODEL} --max-model-len 4096", {"maxModelLen": 4096}),
    ("no comment in a word", f"vllm serve {MODEL} --served-model-name a#b --max-model-len 4096", {"maxModelLen": 4096}),
    ("nor in quotes", f"vllm serve {MODEL} --served-model-name 'a #b' --max-model-len 4096", {"maxModelLen": 4096}),
]


@pytest.mark.parametrize(("sentence", "script", "engine"), COMMENTS, ids=[row[0] for row in COMMENTS])
def test_a_comment_is_no_argument(sentence: str, script: str, engine: dict[str, Any]) -> None:
    found = imported(a_deployment({"command": ["sh", "-c", script]})).manifest["spec"]["engine"]
    assert found["tensorParallelSize"] == 1
    assert {key: found[key] for key in ("maxModelLen", "quantization") if key in found} == engine, sentence


def test_references_to_secrets_are_kept() -> None:
    reference = {"secretKeyRef": {"name": "hub", "key": "t"}}
    env = [{"name": "HUGGING_FACE_HUB_TOKEN", "valueFrom": reference}, {"name": "VLLM_API_KEY", "valueFrom": reference}]
    manifest = imported(a_deployment({"command": SERVE, "env": env})).manifest
    assert at(manifest, "spec.model.source.huggingFace.tokenSecretRef") == {"name": "hub", "key": "t"}
    assert at(manifest, "spec.template.env") == [{"name": "VLLM_API_KEY", "valueFrom": reference}]


def test_the_pod_goes_to_template_and_placement() -> None:
    pod = {
        "nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-L4", "zone": "a"},
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "c"}}, {"name": "shm", "emptyDir": {"medium": "Memory"}}],
        "imagePullSecrets": [{"name": "pull"}],
        "priorityClassName": "high",
    }
    mounts = [{"name": "data", "mountPath": "/data", "readOnly": True}, {"name": "shm", "mountPath": "/dev/shm"}]
    resources = {"limits": {"nvidia.com/gpu": 1, "memory": "32Gi"}, "requests": {"cpu": 4}}
    one = imported(a_deployment({"command": SERVE, "volumeMounts": mounts, "resources": resources}, pod, replicas=3))
    spec = one.manifest["spec"]
    assert one.notes == ()
    assert spec["replicas"] == 3
    assert spec["placement"] == {
        "gpuProducts": ["NVIDIA-L4"],
        "nodeSelector": {"zone": "a"},
        "tolerations": pod["tolerations"],
        "priorityClassName": "high",
    }
    claim = {"claimName": "c", "readOnly": True}
    assert spec["template"]["volumes"] == [{"name": "data", "mountPath": "/data", "persistentVolumeClaim": claim}]
    assert spec["template"]["resources"] == {"cpu": 4, "memory": "32Gi", "limits": {"memory": "32Gi"}}
    assert spec["template"]["imagePullSecrets"] == ["pull"]
    assert spec["template"]["labels"] == {"app": "served"}


def test_a_folder_on_a_claim_is_the_models_source() -> None:
    pod = {"volumes": [{"name": "w", "persistentVolumeClaim": {"claimName": "weights"}}]}
    container = {
        "command": ["vllm", "serve", "/mnt/w/qwen/7b", "--served-model-name", "qwen"],
        "volumeMounts": [{"name": "w", "mountPath": "/mnt/w"}],
    }
    spec = imported(a_deployment(container, pod)).manifest["spec"]
    assert spec["model"] == {"source": {"persistentVolumeClaim": {"claimName": "weights", "path": "qwen/7b"}}, "name": "qwen"}
    assert "volumes" not in spec["template"]


IMAGES = [
    ("vllm's own tag tells", "docker.io/vllm/vllm-openai:v0.19.0-cu128", None, None, False),
    ("latest tells nothing", "vllm/vllm-openai:latest", None, "0.33.0", True),
    ("the user says it", "registry.example/vllm:7", "0.11.0", "0.11.0", False),
    ("a builder's tag that is known", "ghcr.io/llm-d/llm-d-cuda:v0.8.0", None, "0.23.0", False),
]


@pytest.mark.parametrize(("sentence", "image", "given", "version", "assumed"), IMAGES, ids=[row[0] for row in IMAGES])
def test_the_release_is_told_or_assumed(sentence: str, image: str, given: str | None, version: str | None, assumed: bool) -> None:
    one = imported(a_deployment({"command": SERVE, "image": image}), choices=Choices(version=given))
    assert at(one.manifest, "spec.engine.version") == version, sentence
    assert bool(one.assumed) == assumed


def test_what_serves_no_vllm_or_is_a_plans_own_is_passed_over() -> None:
    other = a_deployment({"image": "nginx", "command": ["nginx"]})
    ours = a_deployment({"command": SERVE})
    ours["metadata"]["labels"] = {MANAGED_LABEL: MANAGED_VALUE}
    for obj in (other, ours, {"apiVersion": "v1", "kind": "Service"}, {"kind": 1}):
        assert import_object(obj, Others.of([]), Choices()).imported == ()


def test_a_server_without_a_model_is_refused() -> None:
    refusal = import_object(a_deployment({"command": ["vllm", "serve"]}), Others.of([]), Choices()).refusal
    assert refusal is not None
    assert "names no model" in str(refusal)


def test_plan_answers_about_a_deployment_directly(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "deployment.yaml"
    path.write_text(json.dumps(a_deployment({"command": [*SERVE, "--api-key", "x"]})))
    assert main(["plan", "-f", str(path), "--nodes", str(NODES)]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("served: Admit")
    assert "read from Deployment served" in err
    assert "not carried over: 1" in err


def test_the_command_prints_what_it_imports_with_comments(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "deployment.yaml"
    path.write_text(json.dumps(a_deployment({"command": [*SERVE, "--api-key", "x"]})))
    assert main(["import", "-f", str(path)]) == 0
    text = capsys.readouterr().out
    (tmp_path / "mine.yaml").write_text(text)
    assert "# Not carried over:\n# - spec.template.spec.containers[0].command: --api-key" in text
    assert main(["plan", "-f", str(tmp_path / "mine.yaml"), "--nodes", str(NODES)]) == 0
    path.write_text("kind: Service\n")
    assert main(["import", "-f", str(path)]) == 2
    assert "known formats: Deployment" in capsys.readouterr().err


def test_what_is_preferred_of_nodes_is_the_template_s() -> None:
    preferred = [{"weight": 5, "preference": {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}}]
    affinity = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}
    one = imported(a_deployment({"command": SERVE}, pod={"affinity": affinity}))
    assert at(one.manifest, "spec.template.affinity") == affinity
    assert "affinity" not in said(one)


def test_nothing_is_said_to_have_no_field_that_has_one() -> None:
    fields = known_fields(TemplateSpec)
    assert [key for key in ADVICE if key in fields] == []


def test_a_refusal_says_once_what_it_is_of(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "deployment.yaml"
    file.write_text(json.dumps(a_deployment({"args": ["--model=a b"]})))
    assert main(["import", "-f", str(file)]) == 2
    assert capsys.readouterr().err.count("Deployment served") == 1


def test_a_kustomization_is_to_be_built_first(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "kustomization.yaml"
    file.write_text("apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [../base]\n")
    assert main(["import", "-f", str(file)]) == 2
    assert "kubectl kustomize FOLDER | plimsoll import -f -" in capsys.readouterr().err
