"""No config buys unbounded work: what an estimate costs is bounded whatever the config says. Counted in steps, never timed."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import strategies as st
from tests.laws import law
from tests.plimsoll_estimator.estimates.work import Limited, counting, steps

from plimsoll_estimator import catalogue
from plimsoll_estimator.engine_args import EngineArgs
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import EstimatorError, InvalidInput, Unsupported
from plimsoll_estimator.estimate import prepare
from plimsoll_estimator.hardware import gpu_from
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.models.register import known_classes

H100, RELEASE = gpu_from("NVIDIA-H100-80GB-HBM3"), EngineVersion(0, 19)
MOST_STEPS = 3_000_000
"""Of one estimate: about a third of a second. An ordinary one takes a few thousand."""


def config_of(name: str, **changes: Any) -> dict[str, Any]:
    found = catalogue.lookup(name)
    assert found is not None
    written: dict[str, Any] = json.loads(json.dumps(dict(found.as_mapping())))
    return written | changes


def cost(config: dict[str, Any], args: EngineArgs | None = None, release: EngineVersion = RELEASE) -> int:
    """Steps of one estimate of a shape that nothing is known of; refusals are answers."""
    spent = Limited(MOST_STEPS)
    counted = HfConfig(counting(config, spent))

    def estimate() -> None:
        with suppress(EstimatorError):
            prepare(counted, args or EngineArgs(), H100, release)

    return steps(estimate, spent)


LLAMA = config_of("meta-llama/Llama-3.1-8B-Instruct", num_hidden_layers=2048)
MOE = config_of("Qwen/Qwen3-30B-A3B", num_hidden_layers=2048)
GROUP = {"targets": ["Linear"], "weights": {"num_bits": 8, "type": "float", "strategy": "channel"}}
FP8 = {"num_bits": 8, "type": "float", "strategy": "channel"}


def packed(*entries: str, layers: int = 2048, groups: object = None) -> dict[str, Any]:
    settings = {"quant_method": "compressed-tensors", "config_groups": groups or {"g": GROUP}, "ignore": list(entries)}
    return LLAMA | {"num_hidden_layers": layers, "quantization_config": settings}


def modelopt(*entries: str, base: dict[str, Any] = LLAMA, **more: object) -> dict[str, Any]:
    return base | {"quantization_config": {"quant_method": "modelopt", "quant_algo": "FP8", "ignore": list(entries), **more}}


def named(method: str, key: str, entries: object) -> dict[str, Any]:
    return LLAMA | {"quantization_config": {"quant_method": method, "bits": 4, "group_size": 128, key: entries}}


MIXED = {f"layers.{number}.mlp.x": {"quant_algo": "FP8"} for number in range(1600)}
WORST = [
    ("sixty characters that may be absent", packed("re:" + ".?" * 60 + "!")),
    ("four thousand patterns", packed(*(f"re:m{number}" for number in range(4096)))),
    ("patterns that tell every layer from every other", packed(*(f"re:.*9{number}x" for number in range(40)))),
    ("patterns up to the budget of few layers", packed(*(f"re:.*a.*b{number}x" for number in range(500)), layers=64)),
    ("groups that each name modules", packed(groups={str(n): {"targets": [f"re:.*9.*{n}x"], "weights": FP8} for n in range(64)})),
    ("plain names by the thousand", packed(*(f"model.layers.{n}.mlp.x{n}" for n in range(2000)))),
    ("parts of names by the thousand, for ModelOpt", modelopt(*(f"zz{number}x" for number in range(4096)))),
    ("parts of names with digits", modelopt(*(f"z{number}" for number in range(1000)))),
    ("globs without a layer", modelopt(*(f"*z{number}x*9" for number in range(150)))),
    ("globs of one layer", modelopt(*(f"layers.3.*z{number}x" for number in range(4000)))),
    ("parts of names by the thousand, for AWQ", named("awq", "modules_to_not_convert", [f"z{number}" for number in range(6000)])),
    ("rules of GPTQ", named("gptq", "dynamic", {f"-:.*z{number}": {} for number in range(3000)})),
    ("blocks of AutoRound", named("auto-round", "block_name_to_quantize", [f"z{number}" for number in range(6000)])),
    ("modules of AutoRound", named("auto-round", "extra_config", {f"z{number}": {"bits": 16} for number in range(2000)})),
    ("modules of bitsandbytes", named("bitsandbytes", "llm_int8_skip_modules", [f"z{number}" for number in range(6000)])),
    ("algorithms by module, where experts look for theirs", modelopt(base=MOE, quant_algo="MIXED_PRECISION", quantized_layers=MIXED)),
    ("a module's name of dots", modelopt(base=MOE, quant_algo="MIXED_PRECISION", quantized_layers={"a." * 30000: {"quant_algo": "FP8"}})),
]  # fmt: skip


@pytest.mark.thorough
@pytest.mark.parametrize(("why", "config"), WORST, ids=[row[0] for row in WORST])
def test_lists_of_modules_cost_a_bounded_number_of_steps(why: str, config: dict[str, Any]) -> None:
    assert len(json.dumps(config)) <= 140_000, "not far beyond what a profile may hold"
    assert cost(config) < MOST_STEPS, why


def each(name: str, **lists: list[Any]) -> dict[str, Any]:
    return config_of(name, num_hidden_layers=2048, **lists)


COUNTS = [8 + number for number in range(2048)]
BLOCKS = [{"attention": {"n_heads_in_group": 1 << number % 7}, "ffn": {"ffn_mult": 1 + number / 2048}} for number in range(2048)]
OF_EXPERTS = dict.fromkeys(("moe_topk", "num_experts", "moe_intermediate_size", "num_shared_expert"), COUNTS)
UNLIKE = [
    ("experts of another number and width in each", each("tencent/Hunyuan-A13B-Instruct", **OF_EXPERTS)),
    ("heads and widths of its own in each", each("nvidia/Llama-3_3-Nemotron-Super-49B-v1", block_configs=BLOCKS)),
    ("four ratios in turn", each("deepseek-ai/DeepSeek-V4-Flash", compress_ratios=[0, 1, 4, 128] * 512)),
    ("a window in every other", each("google/gemma-2-2b", layer_types=["sliding_attention", "full_attention"] * 1024)),
]  # fmt: skip


@pytest.mark.thorough
@pytest.mark.parametrize(("why", "config"), UNLIKE, ids=[row[0] for row in UNLIKE])
@pytest.mark.parametrize("stages", [1, 8])
def test_layers_unlike_each_other_cost_a_bounded_number_of_steps(why: str, config: dict[str, Any], stages: int) -> None:
    args, release = EngineArgs(pipeline_parallel_size=stages), EngineVersion(0, 33)
    prepare(HfConfig(config), args, H100, release)  # it is no refusal that costs little
    assert cost(config, args, release) < MOST_STEPS // 3, why


FIELD = "config.quantization_config"
NAMED = [
    ("patterns that are too many", packed(*(f"re:m{n}" for n in range(4096))), InvalidInput, f"{FIELD}.ignore: 8", "at most 8192"),
    ("patterns on too many layers", packed(*(f"re:.*9{n}x" for n in range(150))), InvalidInput, f"{FIELD}: ", "at most 1048576"),
    ("what is no regular expression", packed("re:(a"), InvalidInput, f"{FIELD}.ignore: '(a' is no regular", "unterminated"),
    ("what cannot be run in one pass", packed("re:(?!a).*"), Unsupported, "no rule for the pattern '(?!a).*'", "(?! is no plain group"),
]  # fmt: skip


@pytest.mark.parametrize(("why", "config", "kind", "begins", "says"), NAMED, ids=[row[0] for row in NAMED])
def test_what_is_beyond_the_budget_names_field_value_and_limit(
    why: str, config: dict[str, Any], kind: type[Exception], begins: str, says: str
) -> None:
    with pytest.raises(kind) as caught:
        prepare(HfConfig(config), EngineArgs(), H100, RELEASE)
    assert str(caught.value).startswith(begins), why
    assert says in str(caught.value)


RELEASES = st.sampled_from([EngineVersion(0, 19), EngineVersion(0, 33)])
FAMILIES: dict[str, str] = {}
for _name in catalogue.names():
    _config = catalogue.lookup(_name)
    if _config is not None and _config.architecture in known_classes():
        FAMILIES.setdefault(_config.architecture, _name)
ODD = [
    0, 1, 7, 2047, 2048, 4096, 1 << 20, 1 << 40, 10**60, -1, 0.5, 1e308, float("nan"), float("inf"), "", "9" * 5000, "\u00b2", "x" * 60000,
    [0] * 16000, list(range(16000)), ["full_attention"] * 4000, ["x"] * 8000, ["linear_attention", "full_attention"] * 2000,
    [[1, 2]] * 8000, [{}] * 4000, ["1"] * 9000, [1.5] * 4000, {}, {str(number): number for number in range(6000)}, [], [None], None,
]  # fmt: skip


def places(config: dict[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in config.items():
        yield (*above, key)
        if isinstance(value, dict):
            yield from places(value, (*above, key))


@law(150, derandomize=True, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(
    st.data(), st.sampled_from(sorted(FAMILIES.values())), st.integers(1, 3), st.sampled_from([EngineVersion(0, 19), EngineVersion(0, 33)])
)
def test_any_value_anywhere_costs_a_bounded_number_of_steps(data: st.DataObject, name: str, changes: int, release: EngineVersion) -> None:
    """A number, list or text of any size in place of any value, on as many layers as a config may have; nothing but refusals is raised."""
    config = config_of(name)
    for key in ("num_hidden_layers", "n_layer", "num_layers"):
        for holder in (config, config.get("text_config")):
            if isinstance(holder, dict) and key in holder and data.draw(st.booleans()):
                holder[key] = 2048
    for _ in range(changes):
        *above, key = data.draw(st.sampled_from(sorted(places(config))))
        holder = config
        for step in above:
            holder = holder[step]
        holder[key] = copy.copy(ODD[data.draw(st.integers(0, len(ODD) - 1))])
    stages = data.draw(st.sampled_from([1, 8]))
    assert cost(config, EngineArgs(pipeline_parallel_size=stages), release) < MOST_STEPS


FOUND = [
    ("an indexer without heads", "deepseek-ai/DeepSeek-V3.2", {"index_n_heads": 0}, "index_n_heads"),
    ("a projection of rank none", "deepseek-ai/DeepSeek-V4-Flash", {"o_lora_rank": 0}, "without inputs or outputs"),
    ("multiples of nothing", "LiquidAI/LFM2-1.2B", {"block_multiple_of": 0}, "block_multiple_of: 0 must be from 1"),
    ("lists where numbers of layers belong", "LiquidAI/LFM2-1.2B", {"full_attn_idxs": [[1]]}, "full_attn_idxs: [[1]] must be a list"),
    ("more numbers of layers than there can be", "LiquidAI/LFM2-1.2B", {"full_attn_idxs": [1] * 16000, "num_hidden_layers": 2048},
     "full_attn_idxs: 16000 entries are too many on 2048 layers: at most 2048"),
    ("more types of layers than there can be", "Qwen/Qwen3-30B-A3B", {"mlp_only_layers": list(range(9000)), "num_hidden_layers": 2048},
     "mlp_only_layers: 9000 entries are too many"),
    ("levels of a tower by the thousand", "Qwen/Qwen3-VL-8B-Instruct", {"vision_config": {"depth": 27, "hidden_size": 1152, "num_heads": 16,
     "intermediate_size": 4304, "out_hidden_size": 4096, "patch_size": 16, "deepstack_visual_indexes": [1] * 16000}},
     "deepstack_visual_indexes: 16000 levels are too many"),
]  # fmt: skip


@pytest.mark.parametrize(("why", "name", "changes", "says"), FOUND, ids=[row[0] for row in FOUND])
def test_what_the_fuzzing_found_is_named(why: str, name: str, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        prepare(HfConfig(config_of(name, **changes)), EngineArgs(), H100, EngineVersion(0, 33))
    assert says in str(caught.value), why
