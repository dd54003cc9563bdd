"""Profiles from checkpoint folders: real layouts, hostile bytes, and the plan that a profile makes possible."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.plimsoll_operator.checkpoints import CONFIG, HOSTILE, Tensors, llama, safetensors, totals
from tests.plimsoll_operator.decision_world import Files, deployment, manifest, model_of
from tests.plimsoll_operator.nodes import H100

from plimsoll_operator.api import ModelProfile, parse_inference_deployment, parse_object
from plimsoll_operator.cli import main
from plimsoll_operator.gather import facts_for
from plimsoll_operator.ports import Manifest


def folder(tmp_path: Path, config: Manifest = CONFIG, **files: Any) -> Path:
    (tmp_path / "config.json").write_text(json.dumps(config))
    for name, content in files.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    return tmp_path


def ask(capsys: pytest.CaptureFixture[str], path: Path, *argv: str) -> tuple[int, str, str]:
    status = main(["profile", "from-dir", str(path), "--model", "acme/in-house", *argv])
    return status, *capsys.readouterr()


def profile(capsys: pytest.CaptureFixture[str], path: Path, *argv: str) -> Manifest:
    status, out, err = ask(capsys, path, *argv)
    assert status == 0, err
    found: Manifest = yaml.safe_load(out)
    return found


LAYOUTS = [
    ("single file", llama(), False),
    ("tied embeddings have no head", llama(head=False), False),
    ("quantised linears keep their own row", llama(linear="F8_E4M3"), False),
    ("shards are added up", llama(), True),
]


@pytest.mark.parametrize(("why", "tensors", "sharded"), LAYOUTS, ids=[row[0] for row in LAYOUTS])
def test_totals_are_the_tensors_bytes(
    why: str, tensors: Tensors, sharded: bool, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder(tmp_path)
    if sharded:
        names = sorted(tensors)
        parts = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
        for file, members in parts.items():
            safetensors(tmp_path / file, {name: tensors[name] for name in members})
        index = {"weight_map": {name: file for file, members in parts.items() for name in members}}
        (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
        safetensors(tmp_path / "consolidated.safetensors", tensors)  # a second copy that vLLM does not load
    else:
        safetensors(tmp_path / "model.safetensors", tensors)
    spec = profile(capsys, tmp_path)["spec"]
    assert {row["dtype"]: row["bytes"] for row in spec["weights"]["byDtype"]} == totals(tensors)
    assert spec["weights"]["totalBytes"] == sum(totals(tensors).values())


def test_the_config_keeps_what_moves_memory_only(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    safetensors(folder(tmp_path) / "model.safetensors", llama())
    kept = json.loads(profile(capsys, tmp_path)["spec"]["config"])
    assert kept == {key: value for key, value in CONFIG.items() if key not in ("bos_token_id", "id2label")}


def test_the_modelopt_side_file_goes_whole_into_the_config(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    side = {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "NVFP4", "exclude_modules": ["lm_head"]}}
    safetensors(folder(tmp_path, hf_quant_config=side) / "model.safetensors", llama())
    kept = json.loads(profile(capsys, tmp_path)["spec"]["config"])
    assert kept["quantization_config"] == {"quant_method": "modelopt", **side}


def test_a_per_expert_map_is_folded_to_its_first_expert(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    paths = [f"model.layers.{i}.mlp.experts.{e}.{p}_proj" for i in range(60) for e in range(128) for p in ("down", "gate", "up")]
    algorithm = {"quant_algo": "NVFP4"}
    settings = {
        "quant_method": "modelopt",
        "quant_algo": "MIXED_PRECISION",
        "quantized_layers": dict.fromkeys(paths, algorithm),
    }
    config = CONFIG | {"quantization_config": settings}
    assert len(json.dumps(config)) > 1 << 20
    spec = profile(capsys, folder(tmp_path, config))["spec"]
    assert len(json.loads(spec["config"])["quantization_config"]["quantized_layers"]) == 60
    assert len(spec["config"]) < 65536


def test_namespace_cluster_name_and_revision(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    commit = "0123456789abcdef" * 2 + "01234567"
    found = profile(capsys, folder(tmp_path), "--namespace", "team-a", "--revision", commit)
    assert (found["kind"], found["metadata"]) == ("ModelProfile", {"name": "acme-in-house-0123456789ab", "namespace": "team-a"})
    assert found["spec"]["revision"] == commit
    found = profile(capsys, tmp_path, "--cluster", "--name", "mine", "-o", "json")
    assert (found["kind"], found["metadata"]) == ("ClusterModelProfile", {"name": "mine"})


def test_the_digest_is_the_one_the_decision_records(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    safetensors(folder(tmp_path) / "model.safetensors", llama())
    found = profile(capsys, tmp_path)
    facts = facts_for(deployment("acme/in-house"), Files(H100, profiles=(parse_object(ModelProfile, found),)), applied_plan=None)
    assert model_of(facts).digest == found["spec"]["digest"]


NO_TOTALS = [("pytorch_model.bin", "1 .bin files"), (None, "no weight files")]


@pytest.mark.parametrize(("name", "words"), NO_TOTALS)
def test_without_headers_it_says_what_is_not_known(
    name: str | None, words: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder(tmp_path)
    if name:
        (tmp_path / name).write_bytes(b"x")
    status, out, err = ask(capsys, tmp_path)
    assert status == 0
    assert "weights" not in yaml.safe_load(out)["spec"]
    assert words in err
    assert "not known: bytes by dtype" in err


@pytest.mark.parametrize(("why", "data", "words"), HOSTILE, ids=[row[0] for row in HOSTILE])
def test_a_bad_header_is_named_and_nothing_is_printed(
    why: str, data: bytes, words: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (folder(tmp_path) / "model.safetensors").write_bytes(data)
    status, out, err = ask(capsys, tmp_path)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "model.safetensors" in err
    assert words in err


WRONG = [
    ("no config.json", {}, "there is no config.json"),
    ("config.json is a list", {"config.json": "[]"}, "config.json: [] must be a JSON object"),
    ("config.json is cut off", {"config.json": '{"a":'}, "config.json: '{\"a\":' is not JSON"),
    ("no architecture", {"config.json": "{}"}, "config.json.architectures must name the model class"),
    ("GGUF alone", {"m.gguf": "x"}, "Unsupported: there is no config.json, which tells the model's shape; the GGUF files"),
    ("a GGUF file beside a config", {"config.json": json.dumps(CONFIG), "m.Q4_K_M.gguf": "x"}, "Unsupported: known: the shape"),
    ("several GGUF files beside it", {"config.json": json.dumps(CONFIG), "a.gguf": "x", "b.gguf": "x"}, "Ambiguous: known: the shape"),
    ("Mistral's own form", {"params.json": "{}"}, "Unsupported: there is no config.json, and params.json"),
    ("an adapter", {"adapter_config.json": "{}"}, "Unsupported: there is no config.json: this is an adapter"),
    ("the side file is wrong", {"config.json": json.dumps(CONFIG), "hf_quant_config.json": "3"}, "hf_quant_config.json: 3 must be"),
    ("an index leads out", {"config.json": json.dumps(CONFIG), "model.safetensors.index.json": '{"weight_map":{"w":"../../etc/passwd"}}'},
     "'../../etc/passwd' is not among the checkpoint's files"),
    ("an index without a map", {"config.json": json.dumps(CONFIG), "model.safetensors.index.json": "{}"}, "weight_map must be"),
    ("too large after pruning", {"config.json": json.dumps(CONFIG | {"list": [1] * 40_000})}, "more than the 65536"),
]  # fmt: skip


@pytest.mark.parametrize(("why", "files", "words"), WRONG, ids=[row[0] for row in WRONG])
def test_a_wrong_folder_is_one_line_and_status_2(
    why: str, files: dict[str, str], words: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    status, out, err = ask(capsys, tmp_path)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert words in err


def test_a_missing_folder_and_a_bad_name_are_status_2(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "NotFound" in ask(capsys, tmp_path / "absent")[2]
    assert ask(capsys, folder(tmp_path), "--name", "Not A Name")[0] == 2
    assert ask(capsys, tmp_path, "--revision", "a b")[0] == 2


def test_a_profile_turns_undecided_into_admitted(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    safetensors(folder(tmp_path) / "model.safetensors", llama())
    (tmp_path / "profile.yaml").write_text(yaml.safe_dump(profile(capsys, tmp_path)))
    (tmp_path / "nodes.yaml").write_text(yaml.safe_dump(H100 | {"apiVersion": "v1", "kind": "Node"}))
    (tmp_path / "wanted.yaml").write_text(yaml.safe_dump(manifest("acme/in-house")))
    argv = ["plan", "-f", str(tmp_path / "wanted.yaml"), "--nodes", str(tmp_path / "nodes.yaml")]
    assert main(argv) == 3
    assert main([*argv, "--profiles", str(tmp_path / "profile.yaml")]) == 0


def test_a_folder_on_a_volume_makes_a_profile_that_answers_for_the_volume(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    found = profile(capsys, folder(tmp_path), "--claim", "weights", "--path", "llama")
    assert found["spec"]["origin"] == {"persistentVolumeClaim": {"claimName": "weights", "path": "llama"}}
    wish = manifest("acme/in-house", version="0.19.0")
    wish["spec"]["model"]["source"] = {"persistentVolumeClaim": {"claimName": "weights", "path": "./llama"}}
    store = Files(H100, profiles=(parse_object(ModelProfile, found | {"metadata": {"name": "p", "namespace": "default"}}),))
    assert model_of(facts_for(parse_inference_deployment(wish), store, applied_plan=None)).digest == found["spec"]["digest"]


@pytest.mark.parametrize(
    "argv", [["--claim", "Not A Name"], ["--claim", "weights", "--path", "../up"], ["--claim", "weights", "--cluster"]]
)
def test_a_volume_that_cannot_be_is_refused_by_name(argv: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    status, out, err = ask(capsys, folder(tmp_path), *argv)
    assert (status, out) == (2, "")
    assert "spec.origin" in err


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("--path", "x"), "--path: 'x' needs --claim"),
        (("--namespace", "No Way"), "--namespace: 'No Way' must be"),
        (("--claim", "Q_"), "claimName: 'Q_' cannot be spelled so: write it like"),
    ],
)
def test_options_that_say_nothing_or_what_no_object_may_be_called_are_refused(
    argv: tuple[str, str], words: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    status, out, err = ask(capsys, folder(tmp_path), *argv)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert words in err
