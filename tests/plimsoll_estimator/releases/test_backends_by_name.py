"""Attention backends by name and without one, against the releases' own classes: every name, kind of model and compute capability.

The answers in tests/data/attention_backends are those of AttentionBackend.validate_configuration and of the release's own list, called in
the CPU build of the release by tests/engine/attention.py, whose first lines say how they are made again.
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import pytest
from tests.plimsoll_estimator.overhead_models import GPT_OSS, LATENT, model

from plimsoll_estimator import catalogue
from plimsoll_estimator.attention_backends import backend_rules, check_name
from plimsoll_estimator.engine_args import EngineArgs
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import EngineRefusal, InvalidInput, Unsupported
from plimsoll_estimator.hardware import gpu_from
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.keeps import model_needs
from plimsoll_estimator.layers.planner_rules import rules_for
from plimsoll_estimator.models.register import read
from plimsoll_estimator.resolve import resolve
from plimsoll_estimator.resolved import ResolvedArgs
from plimsoll_estimator.shape import Shape

ANSWERS: Final = Path(__file__).parents[2] / "data" / "attention_backends"
RELEASES: Final = sorted(path.stem for path in ANSWERS.glob("*.json"))


def of_catalogue(name: str) -> dict[str, Any]:
    config = catalogue.lookup(name)
    assert config is not None, name
    return dict(config.as_mapping())


def heads_of(size: int) -> dict[str, Any]:
    return model(head_dim=size, num_key_value_heads=32)


MIXTURE: Final = {**LATENT, "moe_intermediate_size": 1408}
SPARSE: Final = {
    **MIXTURE, "architectures": ["DeepseekV32ForCausalLM"], "model_type": "deepseek_v32", "q_lora_rank": 1536, "num_attention_heads": 128,
    "index_topk": 2048, "index_n_heads": 64, "index_head_dim": 128,
}  # fmt: skip
BERT: Final[dict[str, Any]] = {"architectures": ["BertModel"], "model_type": "bert"}
WHISPER: Final[dict[str, Any]] = {"architectures": ["WhisperForConditionalGeneration"], "model_type": "whisper"}
WINDOW: Final = model(architectures=["MistralForCausalLM"], model_type="mistral", sliding_window=4096)
HALF, FP8, E5M2 = {"dtype": "float16"}, {"kv_cache_dtype": "fp8"}, {"kv_cache_dtype": "fp8_e5m2"}
MODELS: Final[dict[str, tuple[dict[str, Any], dict[str, Any]]]] = {
    # the answers' kind of model; a model of that kind, and what its arguments come to beside bfloat16
    **{f"heads of {size}": (heads_of(size), {}) for size in (64, 80, 96, 128, 256, 300, 512)},
    "float32": (model(), {"dtype": "float32"}),
    "fp8 cache": (model(), FP8),
    "fp8_e5m2 cache": (model(), E5M2),
    "fp8 cache, heads of 96": (heads_of(96), FP8),
    "sinks": (GPT_OSS, {}),
    "sinks, fp8 cache": (GPT_OSS, FP8),
    "sliding window": (WINDOW, {}),
    "image prefix": (of_catalogue("google/gemma-3-4b-it"), {}),
    "encoder only": (BERT, {}),
    "cross": (WHISPER, {}),
    "latent": (MIXTURE, {}),
    "latent, fp8 cache": (MIXTURE, FP8),
    "latent, float16": (MIXTURE, HALF),
    "latent of 64": ({**MIXTURE, "qk_nope_head_dim": 64, "kv_lora_rank": 224}, {}),
    "latent of 96": ({**MIXTURE, "qk_nope_head_dim": 96}, {}),
    "latent of 192": ({**MIXTURE, "qk_nope_head_dim": 192}, {}),
    "sparse latent": (SPARSE, {}),
    "sparse latent, fp8 cache": (SPARSE, FP8),
    "sparse latent, packed cache": (SPARSE, {"kv_cache_dtype": "fp8_ds_mla"}),
    "sparse latent of 192": ({**SPARSE, "qk_nope_head_dim": 192}, {}),
}


@lru_cache(maxsize=4)
def answers(release: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ANSWERS / f"{release}.json").read_text())
    return found


@lru_cache(maxsize=128)
def asked(release: str, kind: str) -> tuple[Shape, ResolvedArgs]:
    config, changes = MODELS[kind]
    resolved = resolve(HfConfig(config), EngineArgs(max_model_len=400), gpu_from("NVIDIA-H100-80GB-HBM3"), EngineVersion.parse(release))
    return read(HfConfig(config), resolved.architecture), replace(resolved, **{"dtype": "bfloat16", "kv_cache_dtype": "auto", **changes})


def verdict(release: str, kind: str, card: str, named: str | None) -> tuple[str, str]:
    """Whether it is taken, refused or doubted, and the words or the backend."""
    shape, resolved = asked(release, kind)
    major, minor = card.split(".")
    gpu = replace(resolved.gpu, compute_capability=(int(major), int(minor)))
    resolved = replace(resolved, gpu=gpu, given=replace(resolved.given, attention_backend=named))
    try:
        if named is not None:
            check_name("--attention-backend", named, resolved.version)
        return "taken", model_needs(shape, resolved, rules_for(resolved.version)).backend.name
    except (EngineRefusal, InvalidInput) as refusal:
        return "refused", str(refusal)
    except Unsupported as doubt:
        return "doubted", str(doubt)


def read_further(release: str, kind: str, named: str) -> str:
    """Why a list that the release's validation takes is refused nonetheless, or the other way round: what stands elsewhere in its code."""
    if "fp8" in kind and named in ("TRITON_ATTN", "TRITON_MLA"):
        return "its kernels do not compile fp8e4nv below compute capability 8.9"
    if kind == "fp8_e5m2 cache" and named == "FLASH_ATTN":
        return "flash_attn.py: get_fp8_dtype_for_flashattn, Unrecognized FP8 dtype"
    if kind == "sparse latent, fp8 cache" and EngineVersion.parse(release) < EngineVersion(0, 18):
        return "models/config.py: the cache has become the packed one before a backend is asked"
    return ""


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("release", RELEASES)
def test_a_named_backend_is_taken_where_the_release_takes_it(release: str, kind: str) -> None:
    said = answers(release)
    cards = said["unnamed"][kind]
    differ = []
    for named in said["names"]:
        known = bool(backend_rules(named, EngineVersion.parse(release)))
        taken, unknown = (said[place].get(named, {}).get(kind, "").split() for place in ("taken", "not_asked"))
        for card in cards:
            ours, words = verdict(release, kind, card, named)
            right = "taken" if card in taken else "refused"
            if not known:
                assert ours == "doubted", (named, card, words)
            elif card not in unknown and ours != right and not read_further(release, kind, named):
                differ.append((named, card, right, ours, words))
    assert not differ


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("release", RELEASES)
def test_without_a_name_one_is_taken_where_the_release_has_one(release: str, kind: str) -> None:
    """And of latent attention the very one, from which its blocks follow."""
    differ = []
    for card, theirs in answers(release)["unnamed"][kind].items():
        ours, words = verdict(release, kind, card, None)
        if read_further(release, kind, theirs):
            continue
        if (ours == "taken") != bool(theirs) or (
            EngineVersion(0, 18) <= EngineVersion.parse(release) and "latent" in kind and theirs and words != theirs
        ):
            differ.append((card, theirs, ours, words))
    assert not differ
