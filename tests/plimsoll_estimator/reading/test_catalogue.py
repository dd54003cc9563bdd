"""The shipped catalogue: found by exact name, every entry usable, small, and reproducible."""

from __future__ import annotations

import gzip
import json
from importlib import resources
from pathlib import Path

import pytest
from tools import make_catalogue as tool

from plimsoll_estimator import catalogue
from plimsoll_estimator.cases import answer_case
from plimsoll_estimator.engine_args import EngineArgs
from plimsoll_estimator.engine_version import NEWEST_KNOWN, EngineVersion
from plimsoll_estimator.errors import Unsupported
from plimsoll_estimator.estimate import estimate
from plimsoll_estimator.hardware import gpu_from
from plimsoll_estimator.models.register import served_by


def test_holds_at_least_two_hundred_models_in_less_than_two_megabytes() -> None:
    packed = resources.files("plimsoll_estimator").joinpath("data/catalogue.jsonl.gz").read_bytes()
    assert len(catalogue.names()) >= 200
    assert len(packed) < 2_000_000


@pytest.mark.parametrize("name", catalogue.names())
def test_every_entry_names_its_model_class_and_its_source(name: str) -> None:
    entry = catalogue.entry(name)
    assert entry is not None
    assert entry.config.architecture
    assert entry.source
    assert entry.fidelity


def test_a_known_shape_is_the_published_one() -> None:
    entry = catalogue.entry("meta-llama/Llama-3.1-8B-Instruct")
    assert entry is not None
    config = entry.config
    assert (config.int("hidden_size"), config.int("num_hidden_layers"), config.int("num_key_value_heads")) == (4096, 32, 8)
    assert entry.parameters == 8_030_261_248


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("META-LLAMA/llama-3.1-8b-instruct", True),  # hub names do not care about case
        ("llama-3.1-8b-instruct", False),  # a name without its owner is not guessed
        ("meta-llama/Llama-3.1-8B-Instruct-mine", False),  # nor is a longer one
        ("", False),
    ],
)
def test_lookup_is_exact(name: str, found: bool) -> None:
    assert (catalogue.lookup(name) is not None) is found


def test_search_wants_every_word() -> None:
    assert "Qwen/Qwen3-8B" in catalogue.search("qwen qwen3-8b")
    assert catalogue.search("qwen llama-3.1-8b") == ()


def test_a_side_file_becomes_the_quantisation_settings_and_lists_survive(tmp_path: Path) -> None:
    excluded = [f"layers.{n}" for n in range(500)]
    side = {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "NVFP4", "exclude_modules": excluded}}
    config = {
        "architectures": ["X"],
        "hidden_size": 8,
        "layer_types": ["full_attention"] * 3,
        "eos_token_id": 5,
        "text_config": {"head_dim": 4, "initializer_range": 0.02},
    }
    data = {
        "model": "a/b",
        "config": config,
        "hf_quant_config": side,
        "source": {"repo": "r", "path": "p", "commit": "c" * 40},
        "config_fidelity": "verbatim",
        "parameters": 7,
    }
    (tmp_path / "a--b.json").write_text(json.dumps(data))
    (tmp_path / "_notes.json").write_text("[]")
    out = tmp_path / "out.gz"
    assert tool.main(["make_catalogue", str(tmp_path), str(out)]) == 0
    first = out.read_bytes()
    assert tool.main(["make_catalogue", str(tmp_path), str(out)]) == 0
    assert out.read_bytes() == first, "the same folder must give the same bytes"
    name, _, line = gzip.decompress(first).decode().partition("\t")
    made = json.loads(line)
    assert name == "a/b"
    assert made["config"]["quantization_config"] == {"quant_method": "modelopt", **side}
    assert made["config"]["text_config"] == {"head_dim": 4}
    assert made["config"]["layer_types"] == ["full_attention"] * 3
    assert made["source"] == "r: p @ cccccccccccc"
    assert "eos_token_id" not in made["config"]


SIBLINGS = [
    ("of the same publisher", "Qwen/Qwen3-8B", ("Qwen/Qwen3-8B-FP8",)),
    ("of another publisher, by name and shape", "meta-llama/Llama-3.1-70B-Instruct", ("nvidia/Llama-3.1-70B-Instruct-FP8",)),
    ("eight bits before four", "Qwen/Qwen3-235B-A22B", ("Qwen/Qwen3-235B-A22B-FP8", "nvidia/Qwen3-235B-A22B-NVFP4")),
    ("a file that does not name its method is left out", "Qwen/Qwen3-32B", ("Qwen/Qwen3-32B-FP8",)),
    ("case aside", "qwen/qwen3-8b", ("Qwen/Qwen3-8B-FP8",)),
    ("the name is right but the rope differs: another model", "meta-llama/Llama-4-Scout-17B-16E-Instruct", ()),
    ("the file of the sibling says more about the shape: not known to be the same", "zai-org/GLM-5.1", ("zai-org/GLM-5.1-FP8",)),
    ("what is quantised already has none", "Qwen/Qwen3-8B-FP8", ()),
    ("a model of equal shape and another name is another model", "meta-llama/Llama-3.3-70B-Instruct", ()),
    ("what the catalogue does not hold has none", "acme/in-house-13b", ()),
]  # fmt: skip


@pytest.mark.parametrize(("why", "name", "siblings"), SIBLINGS, ids=[row[0] for row in SIBLINGS])
def test_quantised_siblings_are_known_by_name_and_shape(why: str, name: str, siblings: tuple[str, ...]) -> None:
    assert catalogue.quantised_siblings(name) == siblings


def test_a_sibling_of_a_dense_model_takes_less_of_the_gpu() -> None:
    gpu, version = gpu_from("NVIDIA-H200"), EngineVersion.parse("0.33.0")
    for name in ("Qwen/Qwen3-8B", "Qwen/Qwen3-32B", "meta-llama/Llama-3.1-70B-Instruct"):
        weights = []
        for model in (name, *catalogue.quantised_siblings(name)):
            config = catalogue.lookup(model)
            assert config is not None
            weights.append(estimate(config, EngineArgs(max_model_len=1024), gpu, version).ranks[0].weights_bytes)
        assert all(size < 0.6 * weights[0] for size in weights[1:]), "eight bits and what stays in sixteen"


def test_every_model_that_some_release_serves_is_answered_there() -> None:
    """Estimated, or refused as the engine would: never without a rule. What no rule describes at all is not listed."""
    unknown = []
    for name in catalogue.names():
        config = catalogue.lookup(name)
        assert config is not None
        try:
            until = served_by(config).rpartition("until before 0.")[2]
        except Unsupported:
            unknown.append(name)
            continue
        version = f"0.{int(until) - 1}.0" if until else str(NEWEST_KNOWN)
        reply = answer_case({"model": name, "gpu": {"product": "NVIDIA-H200"}, "engine_version": version}, catalogue.lookup)
        assert reply["verdict"] in {"starts", "refused"}, (name, version, reply)
    assert unknown == ["microsoft/Phi-3-small-8k-instruct", "stepfun-ai/Step-3.7-Flash", "stepfun-ai/Step-3.7-Flash-FP8"]
