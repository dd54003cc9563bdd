"""Pruning keeps every estimate: what the catalogue holds whole fits an object, and says the same once it does."""

import json

import pytest
from tests.plimsoll_estimator.shipped import config_of

from plimsoll_estimator import catalogue
from plimsoll_estimator.engine_args import EngineArgs
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.estimate import estimate
from plimsoll_estimator.hardware import gpu_from
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_operator.ports import Manifest
from plimsoll_operator.profiles.build import MAX_CONFIG_TEXT
from plimsoll_operator.profiles.prune import prune

FOLDED = ("nvidia/MiniMax-M3-NVFP4", "nvidia/NVIDIA-Nemotron-3.5-Lightning-30B-A3B-NVFP4")


def whole(name: str) -> Manifest:
    return dict(config_of(name).as_mapping())


def test_every_known_model_fits_an_object() -> None:
    sizes = {name: len(json.dumps(prune(whole(name)), separators=(",", ":"))) for name in catalogue.names()}
    assert len(sizes) >= 200
    assert max(sizes.values()) <= MAX_CONFIG_TEXT


@pytest.mark.parametrize("name", FOLDED)
def test_folding_experts_moves_no_estimate(name: str) -> None:
    config, version = whole(name), EngineVersion.parse("0.33.0")
    pruned = prune(config)
    assert len(json.dumps(pruned)) < len(json.dumps(config)) / 20
    args, gpu = EngineArgs(tensor_parallel_size=2), gpu_from("NVIDIA-B200")
    expected = estimate(HfConfig(config), args, gpu, version)
    assert max(rank.weights_bytes for rank in expected.ranks) > 1 << 30
    assert estimate(HfConfig(pruned), args, gpu, version) == expected


ORDERS = [
    ("alike: one entry", ("NVFP4", "NVFP4", "NVFP4"), ["down"]),
    ("the last word stays the last", ("NVFP4", "FP8", "NVFP4"), ["down", "gate", "up"]),
    ("a change is kept", ("NVFP4", "FP8", "FP8"), ["down", "gate"]),
]


@pytest.mark.parametrize(("why", "algorithms", "kept"), ORDERS, ids=[row[0] for row in ORDERS])
def test_projections_that_differ_are_kept(why: str, algorithms: tuple[str, str, str], kept: list[str]) -> None:
    pairs = list(zip(("down", "gate", "up"), algorithms, strict=True))
    layers = {f"layers.0.experts.{expert}.{name}": {"quant_algo": algorithm} for expert in (0, 1, 10) for name, algorithm in pairs}
    layers |= {"layers.0.shared_experts.up": {"quant_algo": "FP8"}}
    found = prune({"quantization_config": {"quantization": {"quantized_layers": layers}}})["quantization_config"]["quantization"]
    assert list(found["quantized_layers"]) == [*(f"layers.0.experts.0.{name}" for name in kept), "layers.0.shared_experts.up"]


def test_dimensions_and_lists_stay_at_every_depth() -> None:
    kept: Manifest = {
        "text_config": {"layer_types": ["full"] * 3, "hidden_size": 8},
        "vision_config": {"depth": 2},
        "list": [{"top_p": 1}],
    }
    dropped = {"use_cache": True, "text_config": kept["text_config"] | {"eos_token_id": 2}, "id2label": {"0": "x"}}
    assert prune(kept | dropped) == kept
