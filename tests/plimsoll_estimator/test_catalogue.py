"""The shipped catalogue: found by exact name, every entry usable, small, and reproducible."""

from __future__ import annotations

import gzip
import importlib.util
import json
from importlib import resources
from pathlib import Path
from types import ModuleType

import pytest

from plimsoll_estimator import catalogue

TOOL = Path(__file__).parents[1] / "tools" / "make_catalogue.py"


def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_catalogue", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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
    tool = maker()
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
