"""Arguments that a release's own configuration refuses together, or beside some models: words as vLLM's validators have them.

Each was put to `create_engine_config` of the release (`make engine-config`); the source is named where the rule is.
"""

from __future__ import annotations

from typing import Any

import pytest

from plimsoll_estimator import Check, EngineArgs, EngineVersion, HfConfig, InvalidInput, ResolvedArgs, catalogue, gpu_from
from plimsoll_estimator.arguments import parse_extra_args
from plimsoll_estimator.errors import EngineRefusal
from plimsoll_estimator.resolve import resolve

TEXT = "Qwen/Qwen3-8B"
SEES = "Qwen/Qwen3-VL-32B-Thinking"
NGRAMS: dict[str, Any] = {"speculative_method": "ngram", "num_speculative_tokens": 2}


def shipped(name: str) -> HfConfig:
    config = catalogue.lookup(name)
    assert config is not None
    return config


def refused(model: str, release: str, *extra: str, **arguments: Any) -> Check | None:
    """What the release refuses of a model with these arguments, or None."""
    version = EngineVersion.parse(release)
    given = EngineArgs(**{**parse_extra_args(extra, version, arguments).engine_args, **arguments})
    try:
        resolve(shipped(model), given, gpu_from("NVIDIA-H200"), version)
    except EngineRefusal as stopped:
        return stopped.reason
    return None


@pytest.mark.parametrize(
    ("args", "release", "words"),
    [
        # config/parallel.py of 0.25.1: _validate_parallel_config and _validate_numa_bind_cpus.
        (["--numa-bind-nodes=0"], "0.32.0", "requires --numa-bind"),
        (["--numa-bind-nodes=0", "--no-numa-bind"], "0.32.0", "requires --numa-bind"),
        (["--numa-bind-nodes=0", "--numa-bind"], "0.25.1", None),
        (["--numa-bind-cpus=info", "--numa-bind"], "0.32.0", "such as 0-3"),
        (["--numa-bind-cpus=7-4", "--numa-bind"], "0.25.1", "such as 0-3"),
        (["--numa-bind-cpus", "0-3", "0,2,4-7", "--numa-bind"], "0.25.1", None),
        # config/parallel.py: "Unable to use nsight profiling unless workers run with Ray".
        (["--ray-workers-use-nsight"], "0.19.1", "requires --distributed-executor-backend ray"),
        (["--ray-workers-use-nsight", "--distributed-executor-backend=mp"], "0.8.5", "requires --distributed-executor-backend ray"),
        (["--ray-workers-use-nsight", "--distributed-executor-backend=ray"], "0.19.1", None),
        # v1/executor/abstract.py: Executor.get_class imports what is not one of its four words.
        (["--distributed-executor-backend=info"], "0.32.0", "must be external_launcher, mp, ray, uni"),
        (["--distributed-executor-backend=none"], "0.11.2", "must be external_launcher, mp, ray, uni"),
        (["--distributed-executor-backend=mine.Executor"], "0.19.1", "can move GPU memory"),
        # config.py of 0.8.5: "Seed must be set when using external launcher backend"; 0.10.2 and 0.11.2 set it themselves.
        (["--distributed-executor-backend=external_launcher"], "0.8.5", "requires --seed"),
        (["--distributed-executor-backend=external_launcher", "--seed=1"], "0.8.5", None),
        (["--distributed-executor-backend=external_launcher"], "0.10.2", None),
        (["--distributed-executor-backend=None"], "0.19.1", None),
        (["--distributed-executor-backend=uni"], "0.32.0", None),
        # config.py: DecodingConfig; config/structured_outputs.py of 0.11, to whose backend none of its flags leads.
        (["--guided-decoding-disable-any-whitespace"], "0.9.2", "requires --guided-decoding-backend guidance or xgrammar"),
        (["--guided-decoding-disable-any-whitespace", "--guided-decoding-backend=xgrammar"], "0.10.2", None),
        (["--no-guided-decoding-disable-any-whitespace"], "0.9.2", None),
        (["--guided-decoding-disable-additional-properties=1"], "0.11.2", "requires --structured-outputs-config"),
        # config/vllm.py: "--per-request-spec-decode-metrics requires speculative decoding to be enabled".
        (["--per-request-spec-decode-metrics=summary"], "0.32.0", "requires speculative decoding"),
        (["--per-request-spec-decode-metrics=none"], "0.32.0", None),
        (["--per-request-spec-decode-metrics=detailed", '--speculative-config={"method":"mtp"}'], "0.29.0", None),
    ],
)
def test_arguments_that_do_not_go_together_are_refused_whatever_the_model(args: list[str], release: str, words: str | None) -> None:
    if words is None:
        parse_extra_args(args, EngineVersion.parse(release))
    else:
        with pytest.raises(InvalidInput, match=words):
            parse_extra_args(args, EngineVersion.parse(release))


def test_drafts_of_the_spec_count_as_speculative_decoding() -> None:
    version = EngineVersion(0, 32)
    parse_extra_args(["--per-request-spec-decode-metrics=summary"], version, {"speculative_method": "ngram", "num_speculative_tokens": 2})


@pytest.mark.parametrize(
    ("model", "args", "refusal"),
    [
        # config/multimodal.py: _validate_multimodal_config; a text model has no such configuration.
        (SEES, ["--mm-shm-cache-max-object-size-mb=64"], Check.PROCESSOR_CACHE_NOT_SHARED),
        (SEES, ["--mm-shm-cache-max-object-size-mb=64", "--mm-processor-cache-type=lru"], Check.PROCESSOR_CACHE_NOT_SHARED),
        (SEES, ["--mm-shm-cache-max-object-size-mb=64", "--mm-processor-cache-type=shm"], None),
        (SEES, ["--mm-shm-cache-max-object-size-mb=128"], None),
        (TEXT, ["--mm-shm-cache-max-object-size-mb=64"], None),
    ],
)
@pytest.mark.parametrize("release", ["0.11.2", "0.19.1", "0.32.0"])
def test_a_limit_of_shared_objects_wants_a_shared_cache(model: str, args: list[str], refusal: Check | None, release: str) -> None:
    assert refused(model, release, *args) is refusal


@pytest.mark.parametrize(
    ("model", "release", "args", "refusal"),
    [
        # config/model.py: __post_init__ of 0.19.1 and 0.26.0; of 0.27.0 only for pooling models.
        (SEES, "0.19.1", ["--renderer-num-workers=2"], Check.RENDERERS_SHARE_CACHE),
        (SEES, "0.26.0", ["--renderer-num-workers=2"], Check.RENDERERS_SHARE_CACHE),
        (SEES, "0.26.0", ["--renderer-num-workers=2", "--mm-processor-cache-gb=0"], None),
        (SEES, "0.26.0", ["--renderer-num-workers=1"], None),
        (TEXT, "0.26.0", ["--renderer-num-workers=2"], None),
        (SEES, "0.27.0", ["--renderer-num-workers=2"], None),
        (SEES, "0.27.0", ["--renderer-num-workers=2", "--runner=pooling"], Check.RENDERERS_SHARE_CACHE),
        # config/scheduler.py: verify_max_model_len, behind `max_num_partial_prefills > 1` up to 0.26.0.
        (TEXT, "0.26.0", ["--long-prefill-token-threshold=8192"], None),
        (TEXT, "0.27.0", ["--long-prefill-token-threshold=8192"], Check.LONG_PREFILL_ABOVE_CONTEXT),
        (TEXT, "0.32.0", ["--long-prefill-token-threshold=4096"], None),
    ],
)
def test_what_stops_a_start_beside_some_models_is_the_releases_own(
    model: str, release: str, args: list[str], refusal: Check | None
) -> None:
    assert refused(model, release, *args, max_model_len=4096) is refusal


@pytest.mark.parametrize("release", ["0.19.1", "0.32.0"])
def test_the_runner_of_drafts_answers_no_request(release: str) -> None:
    with pytest.raises(InvalidInput, match="is a task that is not supported yet"):
        refused(TEXT, release, "--runner=draft")


@pytest.mark.parametrize(
    ("model", "release", "read"),
    [
        # Transformers 5.5.4, configuration_nemotron_h.py: _pattern_to_list knows M, E and *; 5.6.2 knows "-" too.
        ("nvidia/Nemotron-H-56B-Base-8K", "0.19.1", False),
        ("nvidia/Nemotron-H-56B-Base-8K", "0.20.0", True),
        ("nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", "0.19.1", True),
    ],
)
def test_a_pattern_that_the_releases_transformers_cannot_spell_needs_the_checkpoints_code(model: str, release: str, read: bool) -> None:
    assert refused(model, release, trust_remote_code=False) is (None if read else Check.CONFIG_CLASS_UNKNOWN)
    assert refused(model, release, trust_remote_code=True) is None


def resolved(model: str, release: str, **arguments: Any) -> ResolvedArgs:
    return resolve(shipped(model), EngineArgs(**arguments), gpu_from("NVIDIA-H200"), EngineVersion.parse(release))


@pytest.mark.parametrize(
    ("release", "arguments", "second"),
    [
        # config/vllm.py: _get_v2_model_runner_unsupported_features; a draft of its own from 0.31.0 on, tokens of the prompt from 0.32.0 on.
        ("0.25.1", {"speculative_method": "ngram"}, False),
        ("0.25.1", {"speculative_method": "draft_model", "speculative_model_config": shipped(TEXT)}, False),
        ("0.30.0", {"speculative_method": "draft_model", "speculative_model_config": shipped(TEXT)}, False),
        ("0.31.0", {"speculative_method": "draft_model", "speculative_model_config": shipped(TEXT)}, True),
        ("0.31.0", {"speculative_method": "ngram_gpu"}, False),
        ("0.32.0", {"speculative_method": "ngram"}, True),
        ("0.32.0", {"speculative_method": "suffix"}, False),
        ("0.25.1", {}, True),
    ],
)
def test_which_drafts_the_second_runner_takes_is_the_releases_own(release: str, arguments: dict[str, Any], second: bool) -> None:
    drafted = {"num_speculative_tokens": 2} if arguments else {}
    assert resolved(TEXT, release, **arguments, **drafted).uses_v2_model_runner is second


@pytest.mark.parametrize("release", ["0.11.2", "0.25.1", "0.32.0"])
def test_no_graphs_at_all_are_asked_for_with_the_flag_that_says_so(release: str) -> None:
    """config/vllm.py: "Maximum cudagraph size should be greater than or equal to 1 when using cuda graph"."""
    with pytest.raises(InvalidInput, match="--enforce-eager"):
        resolved(TEXT, release, max_cudagraph_capture_size=0)
    assert resolved(TEXT, release, max_cudagraph_capture_size=0, enforce_eager=True).max_cudagraph_capture_size == 0
    assert resolved(TEXT, release, max_cudagraph_capture_size=1).max_cudagraph_capture_size == 1


@pytest.mark.parametrize(("release", "taken"), [("0.14.1", False), ("0.17.1", False), ("0.18.0", True), ("0.32.0", True)])
def test_the_word_auto_is_an_attention_backend_since_a_release(release: str, taken: bool) -> None:
    """config/attention.py: validate_backend_before; before 0.18.0 the enumeration of backends had no such member."""
    if taken:
        parse_extra_args(["--attention-backend=auto"], EngineVersion.parse(release))
    else:
        with pytest.raises(InvalidInput, match="leave the flag out"):
            parse_extra_args(["--attention-backend=auto"], EngineVersion.parse(release))


@pytest.mark.parametrize(
    ("release", "given", "seqs", "tokens"),
    [
        # engine/arg_utils.py: _set_default_args_v1 of 0.10.0 and 0.10.1, _set_default_max_num_seqs_and_batched_tokens of 0.11.1.
        ("0.10.1", {"max_num_batched_tokens": 64}, 64, 64),
        ("0.11.0", {"max_num_seqs": 8, "max_model_len": 512}, 8, 8192),
        ("0.11.1", {"max_num_seqs": 8, "max_model_len": 512}, 8, 4096),
        ("0.10.2", {"runner": "pooling", "enable_chunked_prefill": False, "max_model_len": 4096}, 1024, 4096),
        ("0.11.1", {"runner": "pooling", "enable_chunked_prefill": False, "max_model_len": 4096}, 1024, 8192),
    ],
)
def test_defaults_of_a_step_are_brought_into_line_as_the_release_does(release: str, given: dict[str, Any], seqs: int, tokens: int) -> None:
    answer = resolved(TEXT, release, **given)
    assert (answer.max_num_seqs, answer.max_num_batched_tokens) == (seqs, tokens)


@pytest.mark.parametrize("release", ["0.8.5", "0.10.0"])
def test_fewer_tokens_than_the_default_of_sequences_stop_an_older_release(release: str) -> None:
    assert refused(TEXT, release, max_num_batched_tokens=64) is Check.TOKENS_BELOW_SEQS


@pytest.mark.parametrize(("release", "largest"), [("0.10.2", 1024), ("0.11.0", 992), ("0.11.2", 1024)])
def test_gpt_oss_has_graphs_of_its_own_length(release: str, largest: int) -> None:
    """models/config.py: GptOssForCausalLMConfig."""
    assert resolved("openai/gpt-oss-20b", release).max_cudagraph_capture_size == largest


@pytest.mark.parametrize(("release", "dtype"), [("0.11.2", "auto"), ("0.13.0", "auto"), ("0.14.0", "fp8_e4m3")])
def test_the_cache_that_modelopt_declares_is_read_since_a_release(release: str, dtype: str) -> None:
    """utils/torch_utils.py: resolve_kv_cache_dtype_string; before, nothing but the argument was asked."""
    assert resolved("nvidia/Qwen3-235B-A22B-NVFP4", release).kv_cache_dtype == dtype


@pytest.mark.parametrize(("name", "check"), [("quark", Check.QUANTIZATION_MISMATCH), ("modelopt_fp4", None)])
@pytest.mark.parametrize("model", ["nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-NVFP4", "nvidia/DeepSeek-V3.1-NVFP4"])
def test_modelopts_own_file_in_fp4_is_not_claimed_by_its_class(model: str, name: str, check: Check | None) -> None:
    """transformers_utils/model_arch_config_convertor.py calls the file modelopt_fp4, and the class asks for `modelopt`; seen on 0.19.1."""
    assert refused(model, "0.19.1", quantization=name) is check


def test_settings_in_the_config_itself_are_claimed() -> None:
    assert resolved("nvidia/Gemma-4-31B-IT-NVFP4", "0.25.1", quantization="quark").quantization == "modelopt_fp4"


def test_a_layer_type_that_the_releases_transformers_does_not_list_is_refused() -> None:
    """Transformers 5.5.4 to 5.10.2, configuration_utils.py: validate_layer_type; 5.12.0 lists it."""
    for release in ("0.19.1", "0.22.1"):
        assert refused("nvidia/GLM-5.2-NVFP4", release, trust_remote_code=False) is Check.CONFIG_CLASS_UNKNOWN
    assert refused("nvidia/GLM-5.2-NVFP4", "0.23.0", trust_remote_code=False) is not Check.CONFIG_CLASS_UNKNOWN


def test_text_of_a_type_that_the_releases_transformers_does_not_know_is_refused() -> None:
    """Transformers 4.57: configuration_mistral3.py looks CONFIG_MAPPING up; from 0.12 vLLM reads such a repository's params.json first."""
    model = "mistralai/Devstral-Small-2-24B-Instruct-2512"
    assert refused(model, "0.11.2", trust_remote_code=False) is Check.CONFIG_CLASS_UNKNOWN
    assert refused(model, "0.14.1", trust_remote_code=False) is None
    assert refused(model, "0.19.1", trust_remote_code=False) is None


@pytest.mark.parametrize(("release", "length"), [("0.8.5", 131072), ("0.11.0", 131072), ("0.11.1", 4096), ("0.32.0", 4096)])
def test_longrope_starts_at_its_original_length_since_a_release(release: str, length: int) -> None:
    assert resolved("microsoft/Phi-3-mini-128k-instruct", release).max_model_len == length


@pytest.mark.parametrize(
    ("release", "cached"), [("0.11.0", False), ("0.11.1", True), ("0.11.2", True), ("0.12.0", False), ("0.32.0", False)]
)
def test_prefixes_of_models_without_attention_were_cached_by_two_releases(release: str, cached: bool) -> None:
    """engine/arg_utils.py: "not model_config.is_hybrid" in 0.11.1, is_prefix_caching_supported from 0.12.0 on."""
    assert resolved("tiiuae/falcon-mamba-7b", release).enable_prefix_caching is cached


@pytest.mark.parametrize("model", ["nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-NVFP4", "nvidia/DeepSeek-V3.1-NVFP4"])
def test_modelopts_classes_claim_fp4_of_its_own_file_since_a_release(model: str) -> None:
    assert resolved(model, "0.25.1", quantization="gptq_marlin").quantization == "modelopt_fp4"


@pytest.mark.parametrize(("release", "agrees"), [("0.11.2", False), ("0.19.1", False), ("0.25.1", True)])
def test_the_word_modelopt_is_not_what_its_own_file_of_fp4_is_called_before(release: str, agrees: bool) -> None:
    """config/model.py: _parse_quant_hf_config calls it modelopt_fp4, which no class claims until 0.22; put to the three."""
    found = refused("nvidia/DeepSeek-V3.1-NVFP4", release, quantization="modelopt", max_model_len=4096)
    assert found is (None if agrees else Check.QUANTIZATION_MISMATCH)


@pytest.mark.parametrize(("release", "alone"), [("0.8.5", Check.UNKNOWN_QUANTIZATION), ("0.25.1", None)])
def test_settings_that_name_no_method_agree_with_none(release: str, alone: Check | None) -> None:
    """config/model.py: _verify_quantization, "specified in the model config (None) does not match"; before 0.11 no name is unknown."""
    model = "Qwen/Qwen3-32B-FP8-Static-PerTensor"
    assert refused(model, release, quantization="fp8") is Check.QUANTIZATION_MISMATCH
    assert refused(model, release) is alone


@pytest.mark.parametrize("release", ["0.10.0", "0.32.0"])
def test_balanced_experts_are_whole_and_on_several_ranks(release: str) -> None:
    """config/parallel.py: "enable_expert_parallel must be True to use EPLB", "EPLB requires tensor_parallel_size or ..."."""
    model, flag = "Qwen/Qwen3-30B-A3B", "--enable-eplb"
    assert refused(model, release, flag, tensor_parallel_size=2) is Check.EXPERTS_NOT_SPREAD
    assert refused(model, release, flag, enable_expert_parallel=True) is Check.EXPERTS_NOT_SPREAD
    assert refused(model, release, flag, tensor_parallel_size=2, enable_expert_parallel=True) is None


@pytest.mark.parametrize(("release", "cached", "second"), [("0.19.1", True, False), ("0.25.1", False, False), ("0.32.0", True, True)])
def test_granite_of_attention_alone_is_a_hybrid_to_some_releases(release: str, cached: bool, second: bool) -> None:
    """config/model.py: is_hybrid looks for "attention", which Transformers 5.13 renames; from 0.29 on it looks for both words."""
    answer = resolved("ibm-granite/granite-4-8b-dense-hybrid", release)
    assert (answer.enable_prefix_caching, answer.uses_v2_model_runner) == (cached, second)


@pytest.mark.parametrize(("release", "asks"), [("0.20.0", False), ("0.22.0", True), ("0.25.1", True)])
def test_a_transfer_without_a_connector_is_refused_since_a_release(release: str, asks: bool) -> None:
    """config/vllm.py: supports_hma_config, "Connector name is not set in KVTransferConfig"."""
    if not asks:
        parse_extra_args(["--kv-transfer-config={}"], EngineVersion.parse(release))
        return
    with pytest.raises(InvalidInput, match="names no kv_connector"):
        parse_extra_args(["--kv-transfer-config={}"], EngineVersion.parse(release))


@pytest.mark.parametrize(
    ("release", "model", "given", "check"),
    [
        ("0.32.0", "ai21labs/Jamba-v0.1", {"enable_chunked_prefill": False}, Check.CHUNKED_PREFILL_NEEDED),  # by default
        ("0.32.0", "LiquidAI/LFM2-1.2B", {"enable_chunked_prefill": False}, Check.CHUNKED_PREFILL_NEEDED),
        ("0.32.0", "LiquidAI/LFM2-1.2B", {"enable_chunked_prefill": False, "enable_prefix_caching": False}, None),
        ("0.25.1", "LiquidAI/LFM2-1.2B", {"enable_chunked_prefill": False}, None),
        ("0.25.1", "LiquidAI/LFM2-1.2B", {"enable_chunked_prefill": False, "enable_prefix_caching": True}, Check.CHUNKED_PREFILL_NEEDED),
        ("0.25.1", "ai21labs/Jamba-v0.1", {"enable_chunked_prefill": False, "enable_prefix_caching": True}, None),  # all states
        ("0.14.1", "LiquidAI/LFM2-1.2B", {"enable_chunked_prefill": False, "enable_prefix_caching": True}, None),
        ("0.16.0", "LiquidAI/LFM2-1.2B", {"enable_prefix_caching": True, **NGRAMS}, Check.SPECULATIVE_TARGET_UNSUPPORTED),
        ("0.17.0", "LiquidAI/LFM2-1.2B", {"enable_prefix_caching": True, **NGRAMS}, None),
    ],
)  # fmt: skip
def test_last_states_kept_for_prefixes_want_chunks(release: str, model: str, given: dict[str, Any], check: Check | None) -> None:
    """models/config.py: MambaModelConfig of 0.14.1 to 0.32.0, "Chunked prefill is required for mamba cache mode 'align'"."""
    assert refused(model, release, max_model_len=2048, max_num_batched_tokens=4096, **given) is check


@pytest.mark.parametrize(
    ("release", "engines", "eager"), [("0.8.5", 2, True), ("0.9.0", 2, True), ("0.9.0", 1, False), ("0.9.1", 2, False)]
)
def test_engines_side_by_side_had_no_graphs_up_to_a_release(release: str, engines: int, eager: bool) -> None:
    """platforms/cuda.py of 0.8.5, 0.9.0 and 0.9.1: "Forcing enforce eager to be True since DP is currently not supported"."""
    answer = resolved(TEXT, release, data_parallel_size=engines)
    assert (answer.enforce_eager, answer.max_cudagraph_capture_size == 0) == (eager, eager)


@pytest.mark.parametrize(
    ("release", "given", "runner"),
    [
        ("0.22.0", ["--convert=classify"], "pooling"),
        ("0.22.0", ["--convert=embed"], "pooling"),
        ("0.21.0", ["--convert=classify"], "generate"),
        ("0.32.0", ["--convert=none"], "generate"),
        ("0.32.0", ["--convert=classify", "--runner=generate"], "generate"),
    ],
)
def test_another_head_makes_a_model_pool_since_a_release(release: str, given: list[str], runner: str) -> None:
    """config/model.py: _get_runner_type of 0.20.2, 0.21.0, 0.22.0 and 0.25.1."""
    version = EngineVersion.parse(release)
    args = EngineArgs(**parse_extra_args(given, version).engine_args)
    assert resolve(shipped(TEXT), args, gpu_from("NVIDIA-H200"), version).runner == runner


@pytest.mark.parametrize(
    ("given", "seqs", "tokens"), [({}, 2048, 16384), ({"max_num_seqs": 64}, 64, 16384), ({"max_num_batched_tokens": 4096}, 2048, 4096)]
)
def test_throughput_doubles_the_defaults_that_nobody_pinned(given: dict[str, Any], seqs: int, tokens: int) -> None:
    """engine/arg_utils.py: _set_default_max_num_seqs_and_batched_tokens_args; put to 0.25.1."""
    version = EngineVersion.parse("0.25.1")
    args = EngineArgs(**parse_extra_args(["--performance-mode=throughput"], version).engine_args, **given)
    found = resolve(shipped(TEXT), args, gpu_from("NVIDIA-H200"), version)
    assert (found.max_num_seqs, found.max_num_batched_tokens) == (seqs, tokens)


@pytest.mark.parametrize(
    ("arguments", "taken"),
    [
        # each called in 0.14.1, 0.19.1 and 0.32.0: "should be consistent with the max value of cudagraph_capture_sizes"
        (["--cudagraph-capture-sizes", "1", "2", '--compilation-config={"max_cudagraph_capture_size": 8}'], False),
        (["--cudagraph-capture-sizes", "1", "2", '--compilation-config={"max_cudagraph_capture_size": 2}'], True),
        (["--cudagraph-capture-sizes", "1", "2", "--max-cudagraph-capture-size=2"], True),
        (["--cudagraph-capture-sizes", "1", "2", "--max-cudagraph-capture-size=4"], False),
        (['--compilation-config={"max_cudagraph_capture_size": 8, "cudagraph_capture_sizes": [4]}'], False),
        (['--compilation-config={"cudagraph_capture_sizes": [4]}', "--max-cudagraph-capture-size=8"], False),
        (['--compilation-config={"cudagraph_capture_sizes": [4]}', "--max-cudagraph-capture-size=4"], True),
        # ... which is not asked where nothing is captured (called in 0.25.1)
        (["--cudagraph-capture-sizes", "1", "2", "--max-cudagraph-capture-size=4", "--enforce-eager"], True),
        (["--enforce-eager", '--compilation-config={"max_cudagraph_capture_size": 8, "cudagraph_capture_sizes": [4]}'], True),
        # numbers as pydantic reads them (called in 0.14.1, 0.19.1, 0.25.1 and 0.32.0)
        (['--compilation-config={"max_cudagraph_capture_size": 16.0, "cudagraph_capture_sizes": [1, 16]}'], True),
        (['--compilation-config={"max_cudagraph_capture_size": "16", "cudagraph_capture_sizes": ["1", "16"]}'], True),
        (['--compilation-config={"max_cudagraph_capture_size": "16", "cudagraph_capture_sizes": ["1", "8"]}'], False),
        (["-cc.cudagraph_capture_sizes=[1,2]", "-cc.max_cudagraph_capture_size=16"], False),
        (["-cc.cudagraph_capture_sizes=[1,2]", "-cc.max_cudagraph_capture_size=2"], True),
        # config/vllm.py 0.19.1:1386: "and cudagraph_mode != CUDAGraphMode.NONE"
        (["--cudagraph-capture-sizes", "1", "2", "--max-cudagraph-capture-size=16", "-cc.cudagraph_mode=none"], True),
        (['--compilation-config={"max_cudagraph_capture_size": 8, "cudagraph_capture_sizes": [4], "cudagraph_mode": "NONE"}'], True),
        (["--cudagraph-capture-sizes", "1", "2", "--max-cudagraph-capture-size=16", "-O0"], True),
        (["--cudagraph-capture-sizes", "1", "2", "--max-cudagraph-capture-size=16", "-O1"], False),
    ],
)
def test_the_largest_of_the_capture_sizes_is_the_one_that_is_said(arguments: list[str], taken: bool) -> None:
    for version in ("0.14.1", "0.19.1", "0.32.0"):
        if taken:
            parse_extra_args(arguments, EngineVersion.parse(version))
            continue
        with pytest.raises(InvalidInput, match="contradicts the capture sizes given"):
            parse_extra_args(arguments, EngineVersion.parse(version))
