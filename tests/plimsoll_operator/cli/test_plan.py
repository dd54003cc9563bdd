"""plan, render and capacity as a person at a terminal meets them, offline."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator, ValidationError
from tests.folders import ROOT
from tests.plimsoll_operator.cli.command import ask
from tests.plimsoll_operator.decision_world import LLAMA_70B, Files, deployment, manifest, planned
from tests.plimsoll_operator.nodes import H100, L4, T4

from plimsoll_operator.cli import main
from plimsoll_operator.decision import decide
from plimsoll_operator.gather import facts_for
from plimsoll_operator.ports import Manifest
from plimsoll_operator.verdict import Plan

STATUSES = [
    ("what fits is 0", manifest(engine={"maxModelLen": 16384}), 0, "Admit"),
    ("what is resized is 0", manifest(engine={"maxModelLen": 131072, "tensorParallelSize": 1}, placement={"gpuProducts": ["NVIDIA-L4"]},
     fit={"policy": "Resize", "mayChange": ["maxModelLen"]}), 0, "moved: spec.engine.maxModelLen"),
    ("what does not fit is 1", manifest(LLAMA_70B, engine={"tensorParallelSize": 1}), 1, "would be admitted: With engine.tensor"),
    ("what is not known is 3", manifest("acme/unknown"), 3, "Undecided (UnknownModel)"),
    ("what contradicts itself is 2", manifest(engine={"extraArgs": ["--max-model-len", "4096"]}), 2, "--max-model-len"),
    ("what the API refuses is 2", manifest(engine={"tensorParallelSize": -1}), 2, "spec.engine.tensorParallelSize"),
]  # fmt: skip


@pytest.mark.parametrize(("why", "item", "status", "words"), STATUSES, ids=[row[0] for row in STATUSES])
def test_exit_status_says_what_was_decided(
    why: str, item: Manifest, status: int, words: str, files: Callable[..., str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    found, out, err = ask(capsys, tmp_path, "plan", "-f", files("x.yaml", item))
    assert found == status
    assert words in (err if status == 2 else out)


def test_what_the_api_refuses_is_named_with_file_and_object(
    files: Callable[..., str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = files("x.yaml", manifest(), manifest(replicas=-1) | {"metadata": {"name": "second"}})
    status, out, err = ask(capsys, tmp_path, "plan", "-f", path)
    assert (status, out, err) == (2, "", f"{path}: InferenceDeployment second: spec.replicas: -1 must be at least 0\n")


def test_a_rejection_that_is_only_a_warning_here_says_so(
    files: Callable[..., str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    policy = {
        "apiVersion": "inference.plimsoll.dev/v1alpha1",
        "kind": "FitPolicy",
        "metadata": {"name": "default"},
        "spec": {"mode": "Warn"},
    }
    wish = manifest(LLAMA_70B, engine={"tensorParallelSize": 1})
    nodes = str(tmp_path / "nodes.yaml")
    _, out, _ = ask(capsys, tmp_path, "plan", "-f", files("x.yaml", wish), "--nodes", nodes, "--nodes", files("policy.yaml", policy))
    assert out.endswith("stored all the same, as a warning. No pods are made until engine.tensorParallelSize and "
                        "engine.gpuMemoryUtilization are pinned.\n")  # fmt: skip
    assert "stored" not in ask(capsys, tmp_path, "plan", "-f", files("x.yaml", wish))[1]


def test_the_worst_of_several_wins(files: Callable[..., str], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = files("x.yaml", manifest(), manifest("acme/unknown"), manifest(LLAMA_70B, engine={"tensorParallelSize": 1}))
    assert ask(capsys, tmp_path, "plan", "-f", path)[0] == 1


def test_the_plan_of_json_is_the_canonical_one(files: Callable[..., str], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    status, out, _ = ask(capsys, tmp_path, "plan", "-o", "json", "-f", files("x.yaml", manifest()))
    plan = planned(decide(facts_for(deployment(), Files(H100, L4, T4), applied_plan=None)))
    assert status == 0
    assert f'"plan":{plan.canonical_json()},' in out, "byte for byte what the controller records"
    assert Plan.from_json(json.dumps(json.loads(out)["plan"])) == plan


SCHEMA = json.loads((ROOT / "docs" / "plan.schema.json").read_text("utf-8"))


@pytest.mark.parametrize("item", [item for _, item, status, _ in STATUSES if status != 2], ids=["Admit", "Resize", "Reject", "Undecided"])
def test_every_verdict_has_the_shape_that_is_documented_in_json_and_in_yaml(
    item: Manifest, request: pytest.FixtureRequest, files: Callable[..., str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = files("x.yaml", item)
    answer = json.loads(ask(capsys, tmp_path, "plan", "-o", "json", "-f", path)[1])
    Draft202012Validator.check_schema(SCHEMA)
    Draft202012Validator(SCHEMA).validate(answer)
    assert answer["verdict"] == request.node.callspec.id
    assert (answer["name"], answer["namespace"]) == (item["metadata"]["name"], "default")
    assert set(answer) == set(SCHEMA["required"]), "no key comes or goes with the verdict, and each is documented"
    assert yaml.safe_load(ask(capsys, tmp_path, "plan", "-o", "yaml", "-f", path)[1]) == answer
    for key in ("plan", "reason", "offers"):
        with pytest.raises(ValidationError):
            Draft202012Validator(SCHEMA).validate({name: value for name, value in answer.items() if name != key})


def test_yaml_carries_reason_figures_and_patches(files: Callable[..., str], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    _, out, _ = ask(capsys, tmp_path, "plan", "-o", "yaml", "-f", files("x.yaml", manifest(LLAMA_70B, engine={"tensorParallelSize": 1})))
    data = yaml.safe_load(out)
    assert data["short_by_bytes"] == data["needed_bytes"] - data["available_bytes"]
    assert data["offers"][0]["patch"]["spec"]["engine"]["tensorParallelSize"] > 1


def test_profiles_answer_for_models_that_the_catalogue_does_not_know(
    files: Callable[..., str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    config = json.dumps({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 2048, "num_hidden_layers": 16,
                         "num_attention_heads": 16, "num_key_value_heads": 8, "intermediate_size": 8192, "vocab_size": 32000,
                         "max_position_embeddings": 8192, "torch_dtype": "bfloat16"})  # fmt: skip
    profile = {"apiVersion": "inference.plimsoll.dev/v1alpha1", "kind": "ClusterModelProfile", "metadata": {"name": "ours"},
               "spec": {"model": "acme/unknown", "config": config}}  # fmt: skip
    path = files("x.yaml", manifest("acme/unknown"))
    assert ask(capsys, tmp_path, "plan", "-f", path, "--profiles", files("p.yaml", profile))[0] == 0


def test_render_prints_the_children(files: Callable[..., str], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    status, out, _ = ask(capsys, tmp_path, "render", "-f", files("x.yaml", manifest(engine={"maxModelLen": 16384})))
    deployment_, service = yaml.safe_load_all(out)
    arguments = deployment_["spec"]["template"]["spec"]["containers"][0]["args"]
    assert (status, service["kind"]) == (0, "Service")
    assert all("ownerReferences" not in child["metadata"] for child in (deployment_, service))
    assert "16384" in " ".join(arguments).replace("=", " ").split()


def test_capacity_shows_what_is_free_and_what_is_wrong(
    files: Callable[..., str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    strange = json.loads(json.dumps(L4).replace('"l4"', '"odd"'))
    strange["status"]["allocatable"]["nvidia.com/gpu"] = "6"
    pod = {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "p", "uid": "u"}, "status": {"phase": "Running"},
           "spec": {"nodeName": "h100", "containers": [{"resources": {"limits": {"nvidia.com/gpu": 3}}}]}}  # fmt: skip
    nodes = [{"kind": "Node", "apiVersion": "v1", **item} for item in (H100, strange)]
    path = files("n.yaml", *nodes, pod)
    status, out, _ = ask(capsys, tmp_path, "capacity", "--nodes", path)
    assert status == 0
    assert "1 x 5" in out
    assert "not trusted" in out
    assert "MixedProducts" in out
    _, out, _ = ask(capsys, tmp_path, "capacity", "-o", "json", "--nodes", path)
    assert [item["status"]["trusted"] for item in json.loads(out)["items"]] == [True, False]


def test_capacity_shows_who_says_so_and_what_gpu_pools_correct(
    files: Callable[..., str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    rack = json.loads(json.dumps(L4).replace('"l4"', '"odd"'))
    rack["metadata"]["labels"] |= {"rack": "a", "node.kubernetes.io/instance-type": "g6.48xlarge"}
    mine = {"apiVersion": "inference.plimsoll.dev/v1alpha1", "kind": "GPUPool", "metadata": {"name": "mine"},
            "spec": {"selector": {"rack": "a"}, "usableMemoryBytes": "20Gi"}}  # fmt: skip
    cloud = json.loads(json.dumps(H100).replace('"h100"', '"cloud"'))
    cloud["metadata"]["labels"] = {"node.kubernetes.io/instance-type": "p5.48xlarge"}
    nodes = [{"kind": "Node", "apiVersion": "v1", **item} for item in (rack, cloud)]
    _, out, _ = ask(capsys, tmp_path, "capacity", "--nodes", files("n.yaml", *nodes, mine))
    lines = out.splitlines()
    assert lines[0].split("  ")[0] == "POOL"
    assert any(line.startswith("nvidia-h100") and "InstanceType" in line and "79.18 GiB at least" in line for line in lines)
    assert any(line.startswith("nvidia-l4") and "GPUPool" in line and "20.00 GiB" in line for line in lines)
    assert "mine: says 20.00 GiB of 1 node with rack=a" in lines
    assert sum("GpuFeatureDiscovery says 4 GPUs, InstanceType says 8 GPUs (1 of 1 node)" in line for line in lines) == 2
    assert lines[-1] == "free counts every allocatable GPU: no pods were given"


BAD_FILES = [
    ("not YAML", "{", "is not YAML"),
    ("no object", "- 1", "is not a Kubernetes object"),
    ("nothing", "", "no InferenceDeployment"),
    ("a list without items", "{kind: List, items: {}}", "items: {} must be a list"),
    ("brackets that would exhaust the stack", "[" * 100_000, "nested more than 200 deep"),
    ("JSON that would exhaust the stack", '{"a":' * 100_000, "nested more than 200 deep"),
    ("dashes that would exhaust the stack", "- " * 100_000, "nested more than 200 deep"),
    ("mappings that would exhaust the stack", "\n".join(f"{' ' * depth}a:" for depth in range(2000)), "nested more than 200 deep"),
    (
        "a version of the API that is not served",
        "{apiVersion: inference.plimsoll.dev/v1, kind: InferenceDeployment}",
        "must be inference.plim",
    ),
]


@pytest.mark.parametrize(("why", "text", "words"), BAD_FILES, ids=[row[0] for row in BAD_FILES])
def test_bad_files_are_one_line_and_status_2(
    why: str, text: str, words: str, files: Callable[..., str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    status, out, err = ask(capsys, tmp_path, "plan", "-f", str(path))
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert words in err
    assert ask(capsys, tmp_path, "plan", "-f", str(tmp_path / "missing.yaml"))[0] == 2


IN_2_GIB = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
from plimsoll_operator.cli import main
sys.exit(main())
"""


@pytest.mark.thorough
@pytest.mark.parametrize(
    "argv",
    [["plan", "-f", "/dev/zero"], ["estimate", "--gpu", "NVIDIA-L4", "--config", "/dev/zero"]],
    ids=["manifests", "a model's config"],
)
def test_a_file_that_does_not_end_is_one_line_and_status_2(argv: list[str]) -> None:
    done = subprocess.run([sys.executable, "-c", IN_2_GIB, *argv], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr


def test_a_replica_over_nodes_is_planned_and_rendered_where_its_api_is_said_to_be_there(
    files: Callable[..., str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    nodes = [{**H100, "metadata": {**H100["metadata"], "name": f"h{number}"}} for number in range(2)]
    where = ["--nodes", files("two.yaml", {"kind": "NodeList", "apiVersion": "v1", "items": nodes})]
    item = manifest("meta-llama/Llama-3.1-405B", engine={"maxModelLen": 8192}, placement={"maxNodesPerReplica": 2})
    path = files("x.yaml", item)
    status, out, _ = ask(capsys, tmp_path, "plan", "-f", path, *where)
    assert (status, "LeaderWorkerSetMissing" in out) == (1, True)
    status, out, _ = ask(capsys, tmp_path, "plan", "-f", path, *where, "--leader-worker-set")
    assert status == 0
    assert "16 x NVIDIA-H100-80GB-HBM3 per replica on 2 nodes" in out
    assert "Spans 2 nodes in 2 pipeline stages" in out
    _, out, _ = ask(capsys, tmp_path, "render", "-f", path, *where, "--leader-worker-set")
    assert [row["kind"] for row in yaml.safe_load_all(out)] == ["LeaderWorkerSet", "Service"]


@pytest.mark.parametrize("argv", [["nope"], ["plan"], ["profile"], ["estimate", "--params", "-3B"]], ids=" ".join)
def test_arguments_that_cannot_be_read_are_one_line_and_status_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(argv)
    assert (ended.value.code, capsys.readouterr().err.count("\n")) == (2, 1)


def test_a_missing_kubeconfig_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    for command in ("doctor", "capacity"):
        assert main([command]) == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1
        assert "KUBECONFIG leads to no cluster" in err
