"""plan where the model's shape is in a ConfigMap among the files."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.plimsoll_operator.cli.command import ask
from tests.plimsoll_operator.decision_world import manifest

from plimsoll_operator.ports import Manifest

SHAPE = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 2048, "num_hidden_layers": 16,
         "num_attention_heads": 16, "num_key_value_heads": 8, "intermediate_size": 8192, "vocab_size": 32000,
         "max_position_embeddings": 8192, "torch_dtype": "bfloat16"}  # fmt: skip


def mapped(namespace: str = "default", **data: str) -> Manifest:
    metadata = {"name": "shape", "namespace": namespace}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data or {"config.json": json.dumps(SHAPE)}}


def of_config_map() -> Manifest:
    item = manifest("acme/unknown")
    item["spec"]["model"]["profile"] = {"configMapRef": {"name": "shape"}}
    return item


CONFIG_MAPS = [
    ("beside the deployment it gives the shape", [mapped()], 0, "Admit"),
    ("of another namespace it does not", [mapped(namespace="other")], 3, "was read from key config.json of ConfigMap shape"),
    ("without it the shape is not known", [], 3, "was read from key config.json of ConfigMap shape"),
    ("a missing key is named", [mapped(other="{}")], 2, "ConfigMap default/shape has no text under the key config.json"),
    ("what is no config is named", [mapped(**{"config.json": "{nope"})], 2, "key config.json of ConfigMap default/shape"),
]


@pytest.mark.parametrize(("why", "given", "status", "words"), CONFIG_MAPS, ids=[row[0] for row in CONFIG_MAPS])
def test_a_config_map_among_the_files(
    why: str, given: list[Manifest], status: int, words: str, files: Callable[..., str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    found, out, err = ask(capsys, tmp_path, "plan", "-f", files("x.yaml", of_config_map(), *given))
    assert found == status
    assert words in (err if status == 2 else out)


def test_a_config_map_goes_before_what_an_earlier_reading_of_it_has_left(
    files: Callable[..., str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    origin = {"configMapRef": {"name": "shape"}}
    shorter = json.dumps(SHAPE | {"max_position_embeddings": 1024})
    old = {"apiVersion": "inference.plimsoll.dev/v1alpha1", "kind": "ModelProfile", "metadata": {"name": "a", "namespace": "default"},
           "spec": {"model": "acme/unknown", "origin": origin, "config": shorter}}  # fmt: skip
    given = files("x.yaml", of_config_map(), mapped())
    argv = ["plan", "-o", "json", "-f", given, "--profiles", files("p.yaml", old)]
    _, out, _ = ask(capsys, tmp_path, *argv)
    assert json.loads(out)["plan"]["max_model_len"] == 8192
