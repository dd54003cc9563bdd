"""No config buys unbounded work: what an estimate costs is bounded whatever the config says. Counted in steps, never timed."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from tests.plimsoll_estimator.work import Limited, counting, steps

from plimsoll_estimator import catalogue
from plimsoll_estimator.engine_args import EngineArgs
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import EstimatorError, InvalidInput, Unsupported
from plimsoll_estimator.estimate import prepare
from plimsoll_estimator.hardware import gpu_from
from plimsoll_estimator.hf_config import HfConfig

H100, RELEASE = gpu_from("NVIDIA-H100-80GB-HBM3"), EngineVersion(0, 19)
MOST_STEPS = 3_000_000
"""Of one estimate: about a third of a second. An ordinary one takes a few thousand."""


def config_of(name: str, **changes: Any) -> dict[str, Any]:
    found = catalogue.lookup(name)
    assert found is not None
    return json.loads(json.dumps(dict(found.as_mapping()))) | changes  # type: ignore[no-any-return]


def cost(config: dict[str, Any], args: EngineArgs | None = None) -> int:
    """Steps of one estimate of a shape that nothing is known of; refusals are answers."""
    spent = Limited(MOST_STEPS)
    counted = HfConfig(counting(config, spent))

    def estimate() -> None:
        with suppress(EstimatorError):
            prepare(counted, args or EngineArgs(), H100, RELEASE)

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


@pytest.mark.parametrize(("why", "config"), WORST, ids=[row[0] for row in WORST])
def test_lists_of_modules_cost_a_bounded_number_of_steps(why: str, config: dict[str, Any]) -> None:
    assert len(json.dumps(config)) <= 140_000, "not far beyond what a profile may hold"
    assert cost(config) < MOST_STEPS, why


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
