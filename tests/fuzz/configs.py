"""Model configurations for inline shapes, profiles and ConfigMaps: the catalogue's own, bent, and such as nobody would publish.

Called by `recipes`. Returns JSON text of at most 64 KiB. Everything comes from the `random.Random` handed in.
"""

from __future__ import annotations

import copy
import functools
import gzip
import json
import random
import re
from importlib import resources
from typing import Any

from tests.fuzz.schemas import ODD, text

Json = Any
LONGEST = 65536
PATTERNS = (
    "re:" + ".?" * 60 + "!",
    "re:(a+)+$",
    "re:(.*)*x",
    "re:.*.*.*.*.*.*.*.*!",
    "re:(model|layers|[0-9.]+)*!",
    "re:(?:(?:a?){64}){64}!",
    "re:" + "(" * 120 + ")" * 120,
    "re:[",
    "re:\\",
    "re:(?P<a>.)(?P=a)*!",
    "re:(?=(a+))a*b\\1",
    "re:a{1,65535}{1,65535}",
    "re:.*layers\\.(0|1|2)\\..*",
    "re:.*self_attn.*",
    "re:\ud800",
    "re:",
    "",
    "lm_head",
    "model.layers.0",
    "*",
    "*.gate",
)
VALUES: tuple[Json, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2,
    3,
    7,
    2048,
    65536,
    10**6,
    1 << 31,
    1 << 53,
    10**18,
    10**30,
    -(10**30),
    0.5,
    -0.0,
    1e-300,
    1e308,
    "",
    "32",
    "auto",
    "NaN",
    [],
    {},
    [[]],
    [None],
    [0],
    ["x"],
    {"": {}},
    [1] * 300,
    "\ud800",
    "\u2028",
    "x" * 2000,
)
# The keys whose values move loops, memory or names.
LOUD = (
    "num_hidden_layers",
    "hidden_size",
    "intermediate_size",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "vocab_size",
    "num_experts",
    "num_local_experts",
    "n_routed_experts",
    "n_shared_experts",
    "num_experts_per_tok",
    "first_k_dense_replace",
    "moe_layer_freq",
    "max_position_embeddings",
    "sliding_window",
    "layer_types",
    "architectures",
    "model_type",
    "torch_dtype",
    "dtype",
    "rope_scaling",
    "quantization_config",
    "text_config",
    "vision_config",
    "tie_word_embeddings",
    "kv_lora_rank",
    "q_lora_rank",
    "linear_num_value_heads",
    "mamba_d_state",
    "layers_block_type",
    "hybrid_override_pattern",
    "full_attention_interval",
    "num_nextn_predict_layers",
    "attn_layer_period",
)
_DEEP = re.compile(r'"@deep:(\d+)"')
_BIG = (1, 2, 31, 128, 1024, 2047, 2048, 2049, 4096, 100_000, 10**9)


@functools.cache
def _catalogue() -> tuple[tuple[str, str], ...]:
    packed = resources.files("plimsoll_estimator").joinpath("data/catalogue.jsonl.gz").read_bytes()
    rows = [line.partition("\t") for line in gzip.decompress(packed).decode().split("\n")[:-1]]
    return tuple((name, line) for name, _, line in rows)


def model_name(rng: random.Random) -> str:
    """Return the name of a model of the catalogue, or one that nobody knows."""
    return rng.choice(_catalogue())[0] if rng.random() < 0.85 else f"acme/in-house-{rng.randint(0, 50)}"


def config(rng: random.Random) -> str:
    """Return a config.json: realistic, bent, or hostile."""
    roll = rng.random()
    if roll < 0.1:
        return _hostile(rng)
    chosen = json.loads(rng.choice(_catalogue())[1])["config"]
    if roll > 0.25:
        chosen = _bent(rng, chosen)
    return _fitted(rng, chosen)


def _bent(rng: random.Random, chosen: Json) -> Json:
    chosen = copy.deepcopy(chosen)
    for _ in range(rng.choice((1, 1, 2, 3, 8))):
        place = _place(rng, chosen)
        rng.choice((_odd_value, _odd_value, _many_layers, _quantized, _layer_types, _experts, _borrowed, _deep, _dropped))(rng, place)
    return chosen


def _place(rng: random.Random, chosen: Json) -> Json:
    inner = [value for value in chosen.values() if isinstance(value, dict)]
    return rng.choice(inner) if inner and rng.random() < 0.5 else chosen


def _odd_value(rng: random.Random, place: Json) -> None:
    key = rng.choice(sorted(place)) if place and rng.random() < 0.5 else rng.choice(LOUD)
    place[key] = copy.deepcopy(rng.choice(VALUES))


def _many_layers(rng: random.Random, place: Json) -> None:
    place["num_hidden_layers"] = rng.choice(_BIG)


def _experts(rng: random.Random, place: Json) -> None:
    place[rng.choice(("num_experts", "num_local_experts", "n_routed_experts", "num_experts_per_tok"))] = rng.choice(_BIG)


def _layer_types(rng: random.Random, place: Json) -> None:
    kinds = ("full_attention", "sliding_attention", "linear_attention", "chunked_attention", "mamba", "", "\u0085", 7)
    count = rng.choice((0, 1, 48, 2048, 4000))
    place["layer_types"] = [rng.choice(kinds) for _ in range(count)]
    if rng.random() < 0.7:
        place["num_hidden_layers"] = count


def _quantized(rng: random.Random, place: Json) -> None:
    count = rng.choice((1, 3, 40, 4096))
    names = [rng.choice(PATTERNS) if rng.random() < 0.6 else f"model.layers.{rng.randint(0, 4096)}.mlp" for _ in range(count)]
    if rng.random() < 0.5:
        names = [f"re:.*{rng.randint(0, 10**6)}.?{'.?' * rng.choice((0, 2))}" for _ in range(count)]
    method = rng.choice(
        ("compressed-tensors", "fp8", "awq", "gptq", "modelopt", "bitsandbytes", "mxfp4", "quark", "auto-round", "none\ud800")
    )
    group = {
        "weights": {
            "num_bits": rng.choice((4, 8, 0, -1, 10**9)),
            "type": "float",
            "strategy": "channel",
            "group_size": rng.choice((128, 0, -1)),
        }
    }
    groups = {f"group_{index}": {**group, "targets": names[:64]} for index in range(rng.choice((1, 2, 200)))}
    place["quantization_config"] = {
        "quant_method": method,
        "format": rng.choice(("float-quantized", "pack-quantized", "naive-quantized", "")),
        "ignore": names,
        "modules_to_not_convert": names,
        "config_groups": groups,
        "bits": rng.choice((4, 8, 3, 0, -4)),
        "group_size": rng.choice((128, 0, -1, 1)),
        "weight_block_size": rng.choice(([128, 128], [0, 0], [1], None)),
        "quant_algo": rng.choice(("FP8", "NVFP4", "")),
    }


def _borrowed(rng: random.Random, place: Json) -> None:
    other = json.loads(rng.choice(_catalogue())[1])["config"]
    for key in rng.sample(sorted(other), min(len(other), 6)):
        place[key] = other[key]


def _deep(rng: random.Random, place: Json) -> None:
    place[rng.choice((*LOUD, "extra"))] = f"@deep:{rng.choice((5, 60, 64, 65, 300, 990, 20_000))}"


def _dropped(rng: random.Random, place: Json) -> None:
    for key in rng.sample(sorted(place), min(len(place), 3)):
        del place[key]


def _nest(depth: int) -> str:
    """Spell nesting: no encoder goes as deep."""
    return "[" * depth + "]" * depth if depth % 2 else '{"a":' * depth + "1" + "}" * depth


def _fitted(rng: random.Random, chosen: Json) -> str:
    """Write it down within the limit: long lists give way; sometimes it is filled up to the last byte."""
    for _ in range(16):
        written = _DEEP.sub(lambda found: _nest(int(found[1])), json.dumps(chosen, separators=(",", ":")))
        if len(written) <= LONGEST:
            return written.ljust(LONGEST) if rng.random() < 0.1 else written
        _halve(chosen)
    return "{}"


def _halve(value: Json) -> None:
    """Cut the longest lists and texts inside in half."""
    rows = list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    if isinstance(value, list) and len(value) > 8:
        del value[len(value) // 2 :]
        return
    for key, inner in rows:
        if isinstance(inner, dict) and len(inner) > 100:
            value[key] = dict(list(inner.items())[: len(inner) // 2])
        elif isinstance(inner, str) and len(inner) > 8:
            value[key] = inner[: len(inner) // 2]
        else:
            _halve(inner)


def _hostile(rng: random.Random) -> str:
    """Return text that is no config at all, or that only some readers take."""
    quoted = json.dumps(rng.choice(ODD))
    depth = rng.choice((3, 63, 64, 65, 990, 3000))
    digits = rng.choice((4299, 4300, 4301, 60_000))
    return rng.choice(
        (
            "{}",
            "[]",
            "null",
            "0",
            '""',
            "{",
            "\ufeff{}",
            '{"architectures":["\\ud800"]}',
            '{"architectures":[null]}',
            '{"architectures":[[]]}',
            f'{{"architectures":["LlamaForCausalLM"],"num_hidden_layers":{"9" * digits}}}',
            f'{{"num_hidden_layers":1e{"9" * rng.choice((3, 300))}}}',
            '{"hidden_size":NaN,"num_hidden_layers":Infinity}',
            f'{{"model_type":{quoted},"architectures":[{quoted}]}}',
            "[" * 30_000 + "]" * 30_000,
            '{"a":' * 10_000 + "1" + "}" * 10_000,
            '{"text_config":' * depth + "{}" + "}" * depth,
            '{"architectures":["LlamaForCausalLM"],"architectures":["Qwen2ForCausalLM"]}',
            json.dumps(text(rng, 200)),
            "x" * LONGEST,
        )
    )
