"""What drafting by a model's own prediction modules loads: a layer of the class's own, a joint projection, and norms.

Sources: model_executor/models/{deepseek,glm4_moe,ernie,mimo,mimo_v2,hy_v3,nemotron_h}_mtp.py and models/deepseek_v4/nvidia/mtp.py of
vLLM 0.32.0.
"""

from __future__ import annotations

from typing import Any

import pytest

from plimsoll_estimator.engine_args import EngineArgs
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import Unsupported
from plimsoll_estimator.hardware import gpu_from
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.resolve import resolve
from plimsoll_estimator.weights import weights_per_stage

WIDE: dict[str, Any] = {"hidden_size": 4096, "num_attention_heads": 32, "num_nextn_predict_layers": 1}
DEEPSEEK = {"architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3", **WIDE}
GLM = {"architectures": ["Glm4MoeForCausalLM"], "model_type": "glm4_moe", **WIDE}
ERNIE = {"architectures": ["Ernie4_5_MoeForCausalLM"], "model_type": "ernie4_5_moe", **WIDE}
MIMO = {"architectures": ["MiMoV2FlashForCausalLM"], "model_type": "mimo_v2_flash", **WIDE}
SEVEN = {"architectures": ["MiMoForCausalLM"], "model_type": "mimo", "intermediate_size": 11008, "vocab_size": 151680, **WIDE}
HY3 = {"architectures": ["HYV3ForCausalLM"], "model_type": "hy_v3", **WIDE}
NEMOTRON = {"architectures": ["NemotronHForCausalLM"], "model_type": "nemotron_h", "n_routed_experts": 128, **WIDE}
V4 = {
    "architectures": ["DeepseekV4ForCausalLM"], "model_type": "deepseek_v4", "num_key_value_heads": 1, "head_dim": 512, **WIDE,
    "q_lora_rank": 1024, "o_groups": 8, "o_lora_rank": 1024, "qk_rope_head_dim": 64, "index_n_heads": 64, "sliding_window": 128,
    "vocab_size": 129280, "n_routed_experts": 256, "n_shared_experts": 1, "num_experts_per_tok": 6, "moe_intermediate_size": 2048,
}  # fmt: skip
JOINT = 2 * 4096 * 4096 * 2
NORM = 4096 * 2
STREAMS = 4 * (4 * 4 * 4096 + 4 + 1)


def created(config: dict[str, Any], **given: Any) -> int:
    args = EngineArgs(**given)
    parsed = HfConfig(config)
    resolved = resolve(parsed, args, gpu_from("NVIDIA-H200"), EngineVersion.parse("0.33.0"))
    return weights_per_stage(parsed, resolved)[0].created_bytes


@pytest.mark.parametrize(
    ("sentence", "config", "shorter", "longer", "beside"),
    [
        ("DeepSeek: experts", DEEPSEEK, {"num_hidden_layers": 4}, {"num_hidden_layers": 5}, JOINT + 3 * NORM),
        ("GLM-4.5: experts", GLM, {"num_hidden_layers": 4}, {"num_hidden_layers": 5}, JOINT + 3 * NORM),
        (
            "ERNIE: dense, whatever the model's last layer is",
            ERNIE,
            {"num_hidden_layers": 4, "moe_layer_start_index": 1},
            {"num_hidden_layers": 5, "moe_layer_start_index": 2},
            JOINT + 2 * NORM,
        ),
        (
            "MiMo-V2: windowed and dense",
            MIMO,
            {"num_hidden_layers": 2, "hybrid_layer_pattern": [0, 1], "moe_layer_freq": [0, 1]},
            {"num_hidden_layers": 3, "hybrid_layer_pattern": [0, 1, 1], "moe_layer_freq": [0, 1, 0]},
            JOINT + 3 * NORM,
        ),
        ("MiMo: dense", SEVEN, {"num_hidden_layers": 4}, {"num_hidden_layers": 5}, JOINT + 3 * NORM),
        ("HY3: experts", HY3, {"num_hidden_layers": 4}, {"num_hidden_layers": 5}, JOINT + 3 * NORM),
        (
            "Nemotron-H: attention and experts",
            NEMOTRON,
            {"hybrid_override_pattern": "M*E"},
            {"hybrid_override_pattern": "M*E*E"},
            JOINT + 3 * NORM,
        ),
        (
            "DeepSeek V4: a window alone, no hashes, two projections, and a head of the streams",
            {**V4, "num_hash_layers": 1},
            {"num_hidden_layers": 2, "compress_ratios": [0, 4]},
            {"num_hidden_layers": 3, "compress_ratios": [0, 4, 0]},
            JOINT + 3 * NORM + STREAMS,
        ),
    ],
)
def test_a_module_is_a_layer_and_what_stands_beside_it(
    sentence: str, config: dict[str, Any], shorter: dict[str, Any], longer: dict[str, Any], beside: int
) -> None:
    plain = created({**config, **shorter})
    layer = created({**config, **longer}) - plain
    assert created({**config, **shorter}, num_speculative_tokens=1, speculative_method="mtp") - plain == layer + beside, sentence


def test_drafting_by_n_grams_loads_no_module() -> None:
    config = {**GLM, "num_hidden_layers": 4}
    assert created(config, num_speculative_tokens=1, speculative_method="ngram") == created(config)


def test_modules_whose_weights_no_rule_counts_are_unsupported_by_name() -> None:
    config = {"architectures": ["ExaoneMoEForCausalLM"], "model_type": "exaone_moe", "vocab_size": 153600, **WIDE}
    assert created(config)
    with pytest.raises(Unsupported, match="prediction modules of ExaoneMoEForCausalLM"):
        created(config, num_speculative_tokens=1, speculative_method="mtp")
