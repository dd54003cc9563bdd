"""Which modules a checkpoint leaves unquantised: names as published checkpoints write them."""

from __future__ import annotations

import pytest

from plimsoll_estimator.quantization.method import canonical
from plimsoll_estimator.quantization.names import Assigned, Ignored, Mode
from plimsoll_estimator.shape import stage_layers

MATCHES: list[tuple[str, list[str], Mode, str, bool]] = [
    ("an exact name, wrappers in another order", ["model.language_model.layers.3.mlp.gate"], "exact", "layers.3.mlp.gate", True),
    ("exact does not reach below a name", ["model.vision_tower"], "exact", "vision_tower.transformer.layers.0.attention.qkv_proj", False),
    ("a regular expression from the start", ["re:.*self_attn.*"], "exact", "layers.7.self_attn.q_proj", True),
    ("a regular expression that asks for the wrapper", [r"re:model\.layers\.1\..*"], "exact", "layers.1.mlp.up_proj", True),
    ("a wildcard at the end", ["model.layers.0*"], "wildcard", "layers.0.self_attn.q_proj", True),
    ("a wildcard is not another layer's", ["model.layers.1.*"], "wildcard", "layers.10.self_attn.q_proj", False),
    ("a wildcard on both sides", ["*.mlp.shared_expert.*"], "wildcard", "layers.4.mlp.shared_expert.up_proj", True),
    ("a part of the name, as AWQ has it", ["visual"], "substring", "visual.blocks.0.attn.qkv", True),
    ("a part that ModelOpt names without a star", ["shared_expert"], "wildcard", "layers.4.mlp.shared_expert.up_proj", True),
    ("a part of one layer's name", ["layers.4.mlp"], "substring", "layers.4.mlp.up_proj", True),
    ("a part of a name of another layer", ["layers.4.mlp"], "substring", "layers.14.mlp.up_proj", False),
    ("a wildcard without a layer", ["lm_*d"], "wildcard", "lm_head", True),
    ("GPTQ's rule beside plain parts", ["re:.*attn.*", "visual"], "substring", "layers.0.self_attn.q_proj", True),
]


@pytest.mark.parametrize(("sentence", "entries", "mode", "path", "expected"), MATCHES, ids=[row[0] for row in MATCHES])
def test_ignore_lists(sentence: str, entries: list[str], mode: Mode, path: str, expected: bool) -> None:
    assert Ignored(entries, mode)(path) is expected


def test_layers_with_equal_entries_have_equal_signatures() -> None:
    ignored = Ignored(["model.layers.0.mlp.gate", "model.layers.1.mlp.gate", "model.layers.2.self_attn"], "exact")
    assert ignored.signature(0) == ignored.signature(1) != ignored.signature(2)


def test_a_regular_expression_with_digits_makes_every_layer_its_own() -> None:
    ignored = Ignored([r"re:.*layers\.(0|1)\..*"], "exact")
    assert ignored.signature(0) != ignored.signature(2)


def test_experts_are_ignored_when_an_entry_names_them() -> None:
    assert Ignored(["model.layers.5.mlp.experts.0.gate_proj"], "exact").experts("layers.5.mlp.experts")
    assert not Ignored(["model.layers.5.mlp.gate"], "exact").experts("layers.5.mlp.experts")


def test_assigned_algorithms_keep_experts_once() -> None:
    entries = [(f"model.layers.0.mlp.experts.{i}.up_proj", "NVFP4") for i in range(8)]
    assigned = Assigned([*entries, ("model.layers.0.self_attn.q_proj", "FP8")])
    assert assigned.experts("layers.0.mlp.experts") == "NVFP4"
    assert assigned("layers.0.self_attn.q_proj") == "FP8"
    assert assigned("layers.1.self_attn.q_proj") is None


@pytest.mark.parametrize(
    ("layers", "stages", "expected"),
    [(32, 3, [11, 11, 10]), (61, 4, [15, 15, 16, 15]), (33, 2, [17, 16]), (2, 4, [0, 1, 1, 0]), (80, 1, [80])],
)
def test_layers_are_spread_as_vllm_spreads_them(layers: int, stages: int, expected: list[int]) -> None:
    ranges = stage_layers(layers, stages)
    assert [len(part) for part in ranges] == expected
    assert [i for part in ranges for i in part] == list(range(layers))


def test_canonical_names_drop_wrappers_only_in_front() -> None:
    assert canonical("model.language_model.layers.0.mlp") == canonical("language_model.model.layers.0.mlp") == "layers.0.mlp"
    assert canonical("vision_tower.vision_model.encoder") == "vision_tower.vision_model.encoder"
