"""Which releases know which architecture, as their own registries say."""

import pytest

from plimsoll_estimator import catalogue
from plimsoll_estimator.engine_args import EngineArgs
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import Unsupported
from plimsoll_estimator.estimate import estimate
from plimsoll_estimator.hardware import gpu_from
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.models.register import find, known_classes
from plimsoll_estimator.models.releases import check_registered

# Read by hand in vllm/model_executor/models/registry.py of the releases named.
ROWS = [
    ("a class of every release", "LlamaForCausalLM", "0.8.5", True),
    ("a class that came with 0.10", "Qwen3NextForCausalLM", "0.10.2", True),
    ("the same a release before", "Qwen3NextForCausalLM", "0.9.2", False),
    ("and two patches before", "Qwen3NextForCausalLM", "0.10.1.1", False),
    ("gpt-oss came with a patch", "GptOssForCausalLM", "0.10.0", False),
    ("which is this", "GptOssForCausalLM", "0.10.1", True),
    ("so did Qwen 3", "Qwen3ForCausalLM", "0.8.3", False),
    ("with this", "Qwen3ForCausalLM", "0.8.4", True),
    ("and Llama 4", "Llama4ForConditionalGeneration", "0.8.2", False),
    ("with this one", "Llama4ForConditionalGeneration", "0.8.3", True),
    ("Step 3.5 came with a patch of 0.15", "Step3p5ForCausalLM", "0.15.0", False),
    ("a class that was removed with the V0 engine", "Phi4FlashForCausalLM", "0.10.2", True),
    ("the same afterwards: supported until v0.10.2", "Phi4FlashForCausalLM", "0.11.0", False),
    ("a class that was removed and is built by the Transformers backend", "MllamaForConditionalGeneration", "0.25.1", True),
    ("a class that was removed after 0.23", "MiniMaxM1ForCausalLM", "0.24.0", False),
    ("a class that became the Transformers backend's is still served", "Olmo2ForCausalLM", "0.33.0", True),
    ("a class that moved to a plugin", "BartForConditionalGeneration", "0.19.1", False),
    ("a class that was away for some releases", "ExaoneMoEForCausalLM", "0.28.0", False),
    ("the same after its return", "ExaoneMoEForCausalLM", "0.33.0", True),
    ("a release newer than any known knows what the newest knows", "Qwen3NextForCausalLM", "0.35.0", True),
    ("a name that no release registers is for others to judge", "SomethingForCausalLM", "0.19.1", True),
]


@pytest.mark.parametrize(("why", "architecture", "version", "known"), ROWS, ids=[row[0] for row in ROWS])
def test_a_release_knows_what_it_registers(why: str, architecture: str, version: str, known: bool) -> None:
    if known:
        check_registered(architecture, EngineVersion.parse(version))
        return
    with pytest.raises(Unsupported, match=f"does not know {architecture}; releases from"):
        check_registered(architecture, EngineVersion.parse(version))


def test_a_model_newer_than_the_engine_is_not_known_to_fit() -> None:
    entry = catalogue.entry("Qwen/Qwen3-Next-80B-A3B-Instruct")
    assert entry is not None
    args = EngineArgs(tensor_parallel_size=4, max_model_len=4096)
    assert estimate(entry.config, args, gpu_from("NVIDIA-H200"), EngineVersion.parse("0.19.1")).verdict == "starts"
    with pytest.raises(Unsupported) as doubt:
        estimate(entry.config, args, gpu_from("NVIDIA-H200"), EngineVersion.parse("0.9.2"))
    assert doubt.value.reason == "ArchitectureNotInRelease"


def test_nearly_all_families_here_are_registered_somewhere() -> None:
    """A name of ours that no release has would never be asked for: it is a spelling of old remote code."""

    def known(name: str) -> bool:
        try:
            check_registered(name, EngineVersion.parse("0.1.0"))
        except Unsupported:
            return True
        return False

    assert sum(known(name) for name in known_classes()) >= len(known_classes()) * 9 // 10


CONVERTED = [
    ("an embedder", "LlamaModel", "LlamaForCausalLM"),
    ("a classifier of texts", "Qwen3ForSequenceClassification", "Qwen3ForCausalLM"),
    ("a classifier of tokens", "Qwen2ForTokenClassification", "Qwen2ForCausalLM"),
    ("a reward model as trl names it", "LlamaForRewardModeling", "LlamaForCausalLM"),
    ("a reward model by the shorter ending", "MistralRewardModel", "MistralForCausalLM"),
    ("an embedder by the longer ending", "Qwen2EmbeddingModel", "Qwen2ForCausalLM"),
    ("of a class that says LMHeadModel", "GPT2ForSequenceClassification", "GPT2LMHeadModel"),
    ("the same without a head", "GPT2Model", "GPT2LMHeadModel"),
    ("of a class that sees", "Qwen2VLModel", "Qwen2VLForConditionalGeneration"),
]


@pytest.mark.parametrize(("why", "architecture", "base"), CONVERTED, ids=[row[0] for row in CONVERTED])
def test_a_pooling_class_is_made_of_the_class_that_generates(why: str, architecture: str, base: str) -> None:
    """vllm/config/model.py: _SUFFIX_TO_DEFAULTS, and models/registry.py: _normalize_arch, of 0.32.0."""
    assert base in find(HfConfig({"architectures": [architecture]}), architecture).classes


@pytest.mark.parametrize("architecture", ["LlamaForRewardModel", "LlamaForProcessRewardModel", "LlamaForMaskedLM"])
def test_an_ending_that_the_engine_takes_from_no_class_is_unsupported(architecture: str) -> None:
    """Its table ends in RewardModel, which leaves "LlamaFor": no class of that name."""
    with pytest.raises(Unsupported, match="no rules for the model architecture Llama"):
        find(HfConfig({"architectures": [architecture]}), architecture)


@pytest.mark.parametrize(("kind", "architecture"), [("gpt-sw3", "GPT2LMHeadModel"), ("sarvam_moe", "Glm4MoeForCausalLM")])
def test_every_type_that_transformers_lists_for_a_class_here_is_claimed(kind: str, architecture: str) -> None:
    """MODEL_FOR_CAUSAL_LM_MAPPING_NAMES of Transformers 5.24.0: of all pairs these were missing."""
    assert find(HfConfig({"architectures": [architecture], "model_type": kind}), architecture).classes == (architecture,)
