"""LoRA slots and speculative decoding as each release takes or refuses them. Sources: vLLM config/lora.py and config/speculative.py."""

import contextlib
from typing import Any

import pytest
from tests.plimsoll_estimator.shipped import config_of

from plimsoll_estimator import ResolvedArgs
from plimsoll_estimator.engine_args import EngineArgs
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import EngineRefusal, Unsupported
from plimsoll_estimator.estimate import estimate
from plimsoll_estimator.hardware import gpu_from
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.resolve import resolve

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
NEXT = "Qwen/Qwen3-Next-80B-A3B-Instruct"
MIMO = "XiaomiMiMo/MiMo-7B-Base"
H100 = gpu_from("NVIDIA-H100-80GB-HBM3")


def asked(model: str, version: str, **args: Any) -> ResolvedArgs:
    return resolve(config_of(model), EngineArgs(max_model_len=4096, **args), H100, EngineVersion.parse(version))


def drafted(method: str | None, tokens: int = 3, model: str | None = "meta-llama/Llama-3.2-1B-Instruct") -> dict[str, Any]:
    config = None if model is None else config_of(model)
    return {"speculative_method": method, "num_speculative_tokens": tokens, "speculative_model_config": config}


OUTCOMES = [  # sentence, model, release, arguments, outcome
    ("a class with adapters takes them", LLAMA, "0.19.0", {"enable_lora": True}, None),
    ("a class without them is refused", "tiiuae/falcon-mamba-7b", "0.19.0", {"enable_lora": True}, "LoraUnsupported"),
    ("experts take adapters since 0.10", "Qwen/Qwen3-30B-A3B", "0.9.2", {"enable_lora": True}, "LoraUnsupported"),
    ("and then do", "Qwen/Qwen3-30B-A3B", "0.19.0", {"enable_lora": True}, None),
    ("0.8.3 was the first to take adapters on the V1 engine", LLAMA, "0.8.5", {"enable_lora": True}, None),
    ("OLMoE took none before 0.11.1", "allenai/OLMoE-1B-7B-0924", "0.11.0", {"enable_lora": True}, "LoraUnsupported"),
    ("and then does, though 0.11.0 did not", "allenai/OLMoE-1B-7B-0924", "0.11.1", {"enable_lora": True}, None),
    ("a class that may only have moved is no refusal", "HuggingFaceTB/SmolLM3-3B", "0.19.0", {"enable_lora": True}, "LoraSupport"),
    ("a rank between the steps is refused", LLAMA, "0.19.0", {"enable_lora": True, "max_lora_rank": 17}, "LoraRankUnsupported"),
    ("rank 1 came with 0.11", LLAMA, "0.10.2", {"enable_lora": True, "max_lora_rank": 1}, "LoraRankUnsupported"),
    ("and is there since", LLAMA, "0.19.0", {"enable_lora": True, "max_lora_rank": 1}, None),
    ("without LoRA a rank means nothing", LLAMA, "0.19.0", {"max_lora_rank": 17}, None),
    ("n-grams need nothing", LLAMA, "0.19.0", drafted("ngram", model=None), None),
    ("suffixes came with 0.11.1", LLAMA, "0.11.0", drafted("suffix", model=None), "SpeculativeMethodUnsupported"),
    ("and are there since", LLAMA, "0.11.1", drafted("suffix", model=None), None),
    ("EAGLE-3 was there before it was listed", LLAMA, "0.9.0", drafted("eagle3"), None),
    ("in 0.8.5 on the older engine", LLAMA, "0.8.5", drafted("eagle3"), "EngineFallsBack"),
    ("EAGLE-3 knew Llama alone up to 0.10.0", "Qwen/Qwen3-8B", "0.10.0", drafted("eagle3", model="Qwen/Qwen3-0.6B"),
     "SpeculativeTargetUnsupported"),
    ("and Qwen since", "Qwen/Qwen3-8B", "0.10.1", drafted("eagle3", model="Qwen/Qwen3-0.6B"), "SpeculativeDraftUnsupported"),
    ("medusa went with 0.33", LLAMA, "0.33.0", drafted("medusa"), "SpeculativeMethod"),
    ("a method of no release is refused", LLAMA, "0.19.0", drafted("oracle", model=None), "SpeculativeMethodUnsupported"),
    ("EAGLE needs a head", LLAMA, "0.19.0", drafted("eagle", model=None), "SpeculativeModelMissing"),
    ("a draft model runs since 0.15", LLAMA, "0.19.0", drafted("draft_model"), None),
    ("and did not in the first releases of the V1 engine", LLAMA, "0.13.0", drafted("draft_model"), "SpeculativeMethodUnsupported"),
    ("nor in 0.14.1, as it says itself", LLAMA, "0.14.1", drafted("draft_model"), "SpeculativeMethodUnsupported"),
    ("draft and target share a vocabulary", LLAMA, "0.19.0", drafted("draft_model", model="Qwen/Qwen2.5-1.5B-Instruct"),
     "SpeculativeVocabularyDiffers"),
    ("modules are needed for mtp", LLAMA, "0.19.0", drafted("mtp", model=None), "SpeculativeModulesMissing"),
    ("one module proposes any number of tokens", "deepseek-ai/DeepSeek-V3", "0.19.0", drafted("mtp", 3, model=None), None),
    # Put to create_engine_config of 0.11.2, 0.19.1 and 0.32.0 on 2026-11-30, 1 to 3 tokens: n_predict is None, and nothing is asked of it.
    *((f"without a count of modules any tokens do: {n}, {version}", NEXT, version,
       drafted("qwen3_next_mtp", n, model=None), None) for version in ("0.10.2", "0.11.2", "0.19.1", "0.32.0") for n in (1, 2, 3)),
    # config/speculative.py: hf_config_override of each release; the class of the modules is in its registry from then on.
    ("MiMo-V2 drafts with its first module, which no file need count", "XiaomiMiMo/MiMo-V2-Flash", "0.25.1",
     drafted("mtp", 1, model=None), None),
    ("and has no class for it before 0.21", "XiaomiMiMo/MiMo-V2-Flash", "0.19.1", drafted("mtp", 1, model=None),
     "SpeculativeModulesMissing"),
    ("Nemotron-H has one since 0.17", "nvidia/NVIDIA-Nemotron-3-Ultra-550B-A55B-BF16", "0.17.0", drafted("mtp", 1, model=None), None),
    ("and none before", "nvidia/NVIDIA-Nemotron-3-Ultra-550B-A55B-BF16", "0.14.1", drafted("mtp", 1, model=None),
     "SpeculativeModulesMissing"),
    ("a wrapper's type is none that vLLM looks for", "moonshotai/Kimi-K2.5", "0.25.1", drafted("mtp", 1, model=None),
     "SpeculativeModulesMissing"),
    ("mtp had the model's name before 0.11", "deepseek-ai/DeepSeek-V3", "0.10.2", drafted("mtp", 1, model=None),
     "SpeculativeMethodUnsupported"),
    ("EAGLE-3 knows some families of targets only", "google/gemma-3-27b-it", "0.19.0", drafted("eagle3"), "SpeculativeTargetUnsupported"),
    ("no tokens, no speculation", LLAMA, "0.19.0", drafted("oracle", 0), None),
]  # fmt: skip


@pytest.mark.parametrize(("why", "model", "version", "args", "outcome"), OUTCOMES, ids=[row[0] for row in OUTCOMES])
def test_what_a_release_takes(why: str, model: str, version: str, args: dict[str, Any], outcome: str | None) -> None:
    if outcome is None:
        asked(model, version, **args)
        return
    with pytest.raises((EngineRefusal, Unsupported)) as caught:
        asked(model, version, **args)
    assert isinstance(caught.value, EngineRefusal | Unsupported)
    assert caught.value.reason == outcome, why


def test_modules_that_no_file_counts_are_refused_as_such_where_their_class_reads_the_count() -> None:
    """glm4_moe_mtp.py: self.num_mtp_layers = config.num_nextn_predict_layers, without a default; put to 0.25.1, it configures."""
    published = config_of("zai-org/GLM-4.5-Air").as_mapping()
    silent = HfConfig({key: value for key, value in published.items() if key != "num_nextn_predict_layers"})
    with pytest.raises(EngineRefusal, match="does not say how many"):
        resolve(silent, EngineArgs(max_model_len=4096, **drafted("mtp", 1, model=None)), H100, EngineVersion.parse("0.25.1"))


@pytest.mark.parametrize(("version", "sought"), [("0.27.1", False), ("0.28.0", True)])
def test_modules_of_a_text_model_are_sought_where_its_type_is_one_of_those_with_modules(version: str, sought: bool) -> None:
    """config/speculative.py: hf_config_override of 0.27.0 names qwen3_5 and qwen3_5_moe; of 0.28.0 also their text types.

    Without it the type is none of MTPModelTypes, and __post_init__ raises NotImplementedError.
    """
    whole = config_of("Qwen/Qwen3.5-27B").as_mapping()
    text = HfConfig({**whole["text_config"], "architectures": ["Qwen3_5ForCausalLM"], "model_type": "qwen3_5_text"})
    for config, taken in ((text, sought), (HfConfig(whole), True)):
        raised = contextlib.nullcontext() if taken else pytest.raises(EngineRefusal, match="does not look for prediction modules")
        with raised:
            resolve(config, EngineArgs(max_model_len=4096, **drafted("mtp", 1, model=None)), H100, EngineVersion.parse(version))


def test_the_draft_is_sharded_by_the_target_s_size() -> None:
    odd = HfConfig({**config_of("meta-llama/Llama-3.2-1B-Instruct").as_mapping(), "num_attention_heads": 6, "num_key_value_heads": 6})
    with pytest.raises(EngineRefusal, match="must be divisible"):
        asked(LLAMA, "0.19.0", tensor_parallel_size=4, **drafted("draft_model") | {"speculative_model_config": odd})


def test_adapters_are_captured_beside_the_plain_graphs_and_drafts_with_theirs() -> None:
    def pool(**args: Any) -> int:
        config, version = config_of(LLAMA), EngineVersion.parse("0.19.0")
        return estimate(config, EngineArgs(max_model_len=4096, **args), H100, version).ranks[0].cuda_graph_pool_bytes

    plain = pool()
    assert pool(enable_lora=True) == pytest.approx(2 * plain, abs=2)
    assert pool(**drafted("draft_model")) > pool(**drafted("ngram", model=None)) >= plain
    assert pool(enable_lora=True, enforce_eager=True) == 0


@pytest.mark.parametrize("method", ["mtp", "mimo_mtp"])
def test_prediction_modules_are_counted_once_whichever_checkpoint_they_are_read_from(method: str) -> None:
    def loaded(**args: Any) -> int:
        found = estimate(config_of(MIMO), EngineArgs(max_model_len=4096, **args), H100, EngineVersion.parse("0.19.0"))
        return found.ranks[0].weights_bytes

    alone = loaded(**drafted(method, tokens=1, model=None))
    assert alone > loaded()
    assert loaded(**drafted(method, tokens=1, model=MIMO)) == alone


@pytest.mark.parametrize("version", ["0.19.0", "0.28.0"])
def test_a_draft_whose_method_nobody_names_is_a_draft_model_in_every_rule(version: str) -> None:
    unnamed, named = (asked(LLAMA, version, **drafted(method)) for method in (None, "draft_model"))
    assert (unnamed.async_scheduling, unnamed.max_in_flight_tokens) == (named.async_scheduling, named.max_in_flight_tokens)


@pytest.mark.parametrize(
    ("model", "gpu", "release", "wanted", "kept"),
    [
        ("deepseek-ai/DeepSeek-V3.2", "NVIDIA-B200", "0.17.1", "fp8", "fp8_ds_mla"),
        ("deepseek-ai/DeepSeek-V3.2", "NVIDIA-B200", "0.18.0", "fp8", "fp8"),
        ("deepseek-ai/DeepSeek-V3.2", "NVIDIA-H200", "0.11.2", "fp8_inc", "fp8_ds_mla"),
        ("nvidia/DeepSeek-V3.2-NVFP4", "NVIDIA-B200", "0.14.1", None, "fp8_ds_mla"),  # as the checkpoint declares it
        ("deepseek-ai/DeepSeek-V3.2", "NVIDIA-H200", "0.32.0", "bfloat16", "auto"),
        ("zai-org/GLM-5", "NVIDIA-B200", "0.31.0", None, "auto"),
        ("zai-org/GLM-5", "NVIDIA-B200", "0.32.0", None, "fp8_e4m3"),
        ("zai-org/GLM-5", "NVIDIA-H200", "0.32.0", None, "auto"),
    ],
)
def test_sparse_attention_keeps_what_its_class_settles(model: str, gpu: str, release: str, wanted: str | None, kept: str) -> None:
    """models/config.py of 0.11.0 to 0.32.0: DeepseekV32ForCausalLM, whose packed form went with 0.18.0; GlmMoeDsaForCausalLM of 0.32.0."""
    args = EngineArgs(max_model_len=4096, kv_cache_dtype=wanted)
    assert resolve(config_of(model), args, gpu_from(gpu), EngineVersion.parse(release)).kv_cache_dtype == kept
