"""Models of nothing but Mamba layers. What a silent file means is what Transformers 5.24's config classes hold after reading it."""

from typing import Any

import pytest
from tests.plimsoll_estimator.models.hybrids import mixed, shape_of, shipped
from tests.plimsoll_estimator.published import created_bytes

from plimsoll_estimator.errors import InvalidInput
from plimsoll_estimator.mixers import Mamba1, Mamba2


def test_falcon_mamba_has_no_attention() -> None:
    shape = shipped("tiiuae/falcon-mamba-7b")
    assert mixed(shape) == "64M"
    assert shape.mixers == (Mamba1(inner=8192, state=16, kernel=4, dt_rank=256),)
    assert (shape.size.heads, shape.has_state, shape.hybrid) == (0, True, False)


def test_mamba_2_has_heads_and_groups() -> None:
    shape = shipped("mistralai/Mamba-Codestral-7B-v0.1")
    assert mixed(shape) == "64M"
    assert shape.mixers == (Mamba2(inner=8192, heads=128, head_dim=64, groups=8, state=128, kernel=4),)


@pytest.mark.parametrize(
    ("sentence", "config", "mixer"),
    [
        ("MambaConfig", {}, Mamba1(inner=1536, state=16, kernel=4, dt_rank=48)),
        ("the file's inner channels win over expand", {"intermediate_size": 100}, Mamba1(inner=100, state=16, kernel=4, dt_rank=48)),
        ("d_inner is no key of the class", {"expand": 3, "d_inner": 77}, Mamba1(inner=2304, state=16, kernel=4, dt_rank=48)),
        ("auto is one for 16 hidden channels", {"time_step_rank": "auto"}, Mamba1(inner=1536, state=16, kernel=4, dt_rank=48)),
        ("a rank of the file", {"time_step_rank": 5, "state_size": 8, "conv_kernel": 3}, Mamba1(inner=1536, state=8, kernel=3, dt_rank=5)),
    ],
)
@pytest.mark.parametrize("model_type", ["mamba", "falcon_mamba"])
def test_mamba_is_read_as_its_class_reads_it(sentence: str, config: dict[str, Any], mixer: Mamba1, model_type: str) -> None:
    architecture = "MambaForCausalLM" if model_type == "mamba" else "FalconMambaForCausalLM"
    assert shape_of(architecture, model_type=model_type, **config).mixers == (mixer,), sentence


@pytest.mark.parametrize(
    ("sentence", "config", "mixer"),
    [
        ("Mamba2Config", {}, Mamba2(inner=8192, heads=128, head_dim=64, groups=8, state=128, kernel=4)),
        (
            "heads of the file", {"num_heads": 64, "hidden_size": 2048},
            Mamba2(inner=4096, heads=64, head_dim=64, groups=8, state=128, kernel=4),
        ),
    ],
)  # fmt: skip
def test_mamba_2_is_read_as_its_class_reads_it(sentence: str, config: dict[str, Any], mixer: Mamba2) -> None:
    assert shape_of("Mamba2ForCausalLM", model_type="mamba2", **config).mixers == (mixer,), sentence


def test_heads_that_are_not_the_inner_channels_are_refused_by_name() -> None:
    """Mamba2Config: hidden_size * expand must equal num_heads * head_dim."""
    with pytest.raises(InvalidInput, match=r"num_heads.*must be expand times hidden_size, 4096"):
        shape_of("Mamba2ForCausalLM", model_type="mamba2", hidden_size=2048)


def test_mamba_2_has_a_head_of_its_own_where_the_file_is_silent() -> None:
    config = {"architectures": ["Mamba2ForCausalLM"], "model_type": "mamba2", "num_hidden_layers": 2}
    silent, tied = (created_bytes({**config, **more}, "0.33.0") for more in ({}, {"tie_word_embeddings": True}))
    assert silent - tied == 32768 * 4096 * 2
