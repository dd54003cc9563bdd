"""Whatever the case: one line of JSON, no traceback, bounded work, no negative need, and the same answer twice."""

import copy
import io
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from tests.laws import law
from tests.plimsoll_estimator.estimates.work import Limited, steps

from plimsoll_estimator import catalogue
from plimsoll_estimator.cases import answer_case, run_cases
from plimsoll_estimator.errors import InvalidInput
from plimsoll_estimator.hardware import known_gpus
from plimsoll_estimator.hf_config import HfConfig

LAW = law(400, derandomize=True, suppress_health_check=list(HealthCheck))
LLAMA = dict((catalogue.lookup("meta-llama/Llama-3.1-8B-Instruct") or HfConfig({})).as_mapping())
H100 = {"product": "NVIDIA-H100-80GB-HBM3"}
MOST_STEPS = 600_000
"""Of one case: twice what the dearest takes, which is to refuse 20,000 patterns. An ordinary one takes a few thousand."""
VERDICTS = {"starts", "refused", "unsupported", "invalid"}
NEEDS = (
    "weights_bytes", "weights_created_bytes", "activation_bytes", "cuda_graph_bytes", "cuda_graph_pool_bytes", "non_torch_bytes",
    "kv_block_bytes", "num_gpu_blocks",
)  # fmt: skip

ODD: st.SearchStrategy[Any] = st.sampled_from(
    [
        None, 0, 1, -1, 3, 7, 2048, 1 << 20, 1 << 40, 1 << 63, 10**400, 0.5, 1e300, float("inf"), float("nan"), "", "x", "fp8", "bfloat16",
        [], [0], [None], ["x"], [[1]], [{}], {}, {"a": 1}, True, False, [1 << 40] * 3, ["full_attention"] * 40, [0] * 3000,
        {"hidden_size": 8},
    ]
)  # fmt: skip
SIZES = st.sampled_from([None, 1, 2, 3, 4, 8, 16, 64, 256, 8192, 1 << 20, 1 << 40, (1 << 50) - 1, 0, -1])
GROUPS = st.just({"targets": ["Linear"], "weights": {"num_bits": 8}})
QUANTIZATIONS = st.fixed_dictionaries(
    {"quant_method": st.sampled_from(["fp8", "gptq", "awq", "compressed-tensors", "modelopt", "mxfp4", "bitsandbytes", "auto-round", "x"])},
    optional={
        "bits": ODD,
        "group_size": ODD,
        "weight_block_size": ODD,
        "ignore": ODD,
        "modules_to_not_convert": ODD,
        "block_name_to_quantize": ODD,
        "quantization": ODD,
        "quant_algo": st.sampled_from(["FP8", "NVFP4", "MIXED_PRECISION", "", None]),
        "config_groups": st.one_of(ODD, st.fixed_dictionaries({"g": st.one_of(ODD, GROUPS)})),
    },
)
ARGUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "tensor_parallel_size": st.sampled_from([1, 2, 3, 4, 8, 1 << 20, 0]),
        "pipeline_parallel_size": st.sampled_from([1, 2, 3, 5, 100, 1 << 30, 1 << 49]),
        "data_parallel_size": st.sampled_from([1, 2, 3, 1 << 30]),
        "enable_expert_parallel": st.booleans(),
        "kv_cache_dtype": st.sampled_from(["auto", "fp8", "fp8_e5m2", "nvfp4", "x"]),
        "max_model_len": SIZES,
        "max_num_seqs": SIZES,
        "max_num_batched_tokens": SIZES,
        "block_size": SIZES,
        "num_speculative_tokens": SIZES,
        "kv_cache_memory_bytes": SIZES,
        "gpu_memory_utilization": st.sampled_from([1e-9, 0.1, 0.9, 1, 1.5]),
        "cpu_offload_gb": st.sampled_from([0, 1, 1e14]),
        "enforce_eager": st.booleans(),
        "limit_mm_per_prompt": st.sampled_from([{}, {"image": 0}, {"image": 1 << 50}, {"image": "x"}, {"image": {}}]),
    },
)
VERSIONS = st.builds("0.{}.{}".format, st.integers(6, 40), st.integers(0, 2))
KNOWN_VERSIONS = st.builds("0.{}.0".format, st.integers(8, 36))
GPUS = st.one_of(
    st.sampled_from(sorted(known_gpus())).map(lambda product: {"product": product}),
    st.sampled_from([{"product": "nobody's", "label_memory_mib": 9}, {"product": "NVIDIA-H100-MIG-1g.10gb", "label_memory_mib": 1}, {}]),
    st.sampled_from([1, 1 << 30, 1 << 44, -1]).map(lambda total: {**H100, "total_memory_bytes": total}),
)


@st.composite
def mutated(draw: st.DrawFn) -> dict[str, Any]:
    """A catalogue config with a few keys dropped, replaced, moved or taken from another model."""
    names = catalogue.names()
    found = catalogue.lookup(draw(st.sampled_from(names)))
    config: dict[str, Any] = copy.deepcopy(dict(found.as_mapping())) if found is not None else {}
    for _ in range(draw(st.integers(0, 3))):
        nested = [level for level in (config, *config.values()) if isinstance(level, dict) and level]
        if not nested:
            break
        level = draw(st.sampled_from(nested))
        key = draw(st.sampled_from(sorted(level)))
        what = draw(st.sampled_from(["drop", "odd", "odd", "odd", "quantization", "wrap", "flatten"]))
        if what == "drop":
            del level[key]
        elif what == "odd":
            level[key] = draw(ODD)
        elif what == "quantization":
            config["quantization_config"] = draw(QUANTIZATIONS)
        elif what == "wrap":
            config = {"text_config": config, "architectures": config.get("architectures")}
        elif isinstance(config.get("text_config"), dict):
            config = {**config.pop("text_config"), **config}
    return config


def reply_to(case: object) -> dict[str, Any]:
    out = io.StringIO()
    assert run_cases([json.dumps(case)], out, catalogue.lookup) == 0
    (line,) = out.getvalue().splitlines()
    line.encode()
    reply: dict[str, Any] = json.loads(line, parse_constant=pytest.fail)
    return reply


@LAW
@given(config=mutated(), arguments=ARGUMENTS, version=VERSIONS, gpu=GPUS)
def test_any_case_is_answered_and_no_size_is_negative(
    config: dict[str, Any], arguments: dict[str, Any], version: str, gpu: dict[str, Any]
) -> None:
    case = {"id": "a", "model_config": config, "engine_args": arguments, "engine_version": version, "gpu": gpu}
    reply = reply_to(case)
    assert reply["verdict"] in VERDICTS
    assert reply["verdict"] == "starts" or (reply["reason"][0].isupper() and 0 < len(reply["message"]) < 1000)
    for rank in reply.get("ranks", ()):
        assert all(rank[name] is None or rank[name] >= 0 for name in NEEDS)
    for name in ("needed_kv_cache_bytes", "host_memory_bytes", "kv_cache_tokens", "estimated_max_model_len", "max_concurrency"):
        assert reply.get(name) is None or reply[name] >= 0
    assert reply_to(case) == reply


@LAW
@given(
    name=st.sampled_from(catalogue.names()),
    version=KNOWN_VERSIONS,
    length=st.integers(16, 4096),
    longer=st.integers(1, 4096),
    seqs=st.integers(1, 256),
    more=st.integers(1, 256),
)
def test_more_context_and_more_sequences_never_need_less(name: str, version: str, length: int, longer: int, seqs: int, more: int) -> None:
    def ask(max_model_len: int, max_num_seqs: int) -> dict[str, Any]:
        arguments = {"max_model_len": max_model_len, "max_num_seqs": max_num_seqs, "max_num_batched_tokens": 8192, "enforce_eager": True}
        return answer_case({"model": name, "gpu": H100, "engine_version": version, "engine_args": arguments}, catalogue.lookup)

    small, large = ask(length, seqs), ask(length + longer, seqs + more)
    if large["verdict"] == "starts":
        assert small["verdict"] == "starts", small
    if small["verdict"] == large["verdict"] == "starts":
        assert large["max_concurrency"] <= small["max_concurrency"]
    for less, greater in zip(small.get("ranks") or (), large.get("ranks") or (), strict=False):
        assert greater["weights_bytes"] + greater["activation_bytes"] >= less["weights_bytes"] + less["activation_bytes"]


def patterned(*patterns: str, **changes: Any) -> dict[str, Any]:
    group = {"targets": ["Linear"], "weights": {"num_bits": 8, "type": "float", "strategy": "channel"}}
    scheme = {"quant_method": "compressed-tensors", "config_groups": {"g": group}, "ignore": [f"re:{pattern}" for pattern in patterns]}
    return {**LLAMA, "quantization_config": {**scheme, **changes}}


@pytest.mark.parametrize(
    ("sentence", "changes", "verdict"),
    [
        ("stages beyond any model's layers are not worked out", {"engine_args": {"pipeline_parallel_size": 1 << 30}}, "invalid"),
        ("a repeated group is not run", {"model_config": patterned("(.*)*(.*)*x!$")}, "unsupported"),
        ("eight repeats are read in one pass", {"model_config": patterned(".*.*.*.*.*.*.*.*x!$")}, "starts"),
        pytest.param(  # the dearest: counted lines are steps as well, which may double them
            "thousands of patterns are too many",
            {"model_config": patterned(*(f".*a.*{i}$" for i in range(20000)))},
            "invalid",
            marks=pytest.mark.uninstrumented,
        ),
        ("a published kind of pattern is matched", {"model_config": patterned(r".*mlp\.(gate|up)_proj.*", r".*attn.*_proj.*")}, "starts"),
        ("groups without end are refused", {"model_config": patterned(config_groups={str(i): {} for i in range(65)})}, "invalid"),
        (
            "AutoRound's block name may be no text",
            {"model_config": {**LLAMA, "quantization_config": {"quant_method": "auto-round", "bits": 4, "block_name_to_quantize": 5}}},
            "invalid",
        ),
        ("an id without UTF-8 can be written", {"id": "\ud800"}, "starts"),
        ("a key without UTF-8 can be written", {"\ud800": 1}, "invalid"),
        ("an id that is not a number is no JSON number", {"id": float("nan")}, "starts"),
        ("a key of megabytes is cut short", {"k" * 3_000_000: 1}, "invalid"),
        ("a value of megabytes is cut short", {"engine_version": "0" * 3_000_000}, "invalid"),
        ("infinity is common in published configs", {"model_config": {**LLAMA, "time_step_limit": [0.0, float("inf")]}}, "starts"),
    ],
)
def test_what_fuzzing_found_stays_answered(sentence: str, changes: dict[str, Any], verdict: str) -> None:
    replies: list[dict[str, Any]] = []
    case = {"id": "a", "model_config": LLAMA, "gpu": H100, "engine_args": {"max_model_len": 8192}, **changes}
    steps(lambda: replies.append(reply_to(case)), Limited(MOST_STEPS))
    assert replies[0]["verdict"] == verdict, sentence
    assert len(replies[0]["message"] or "") < 500, sentence


PLACES = (
    '{"model_config": {"hidden_size": %s}}',
    '{"model_config": %s, "gpu": {"product": "NVIDIA-L4"}}',
    '{"engine_args": {"dtype": %s}}',
)


@pytest.mark.parametrize("depth", [20, 500, 700, 800, 850, 900, 1000, 100_000])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"text_config":', "}"), ('{"a":', "}")])
@pytest.mark.parametrize("place", PLACES)
def test_nesting_up_to_the_parsers_limit_is_answered(place: str, opening: str, closing: str, depth: int) -> None:
    out = io.StringIO()
    assert run_cases([place % (opening * depth + "{}" + closing * depth)], out, catalogue.lookup) in (0, 2)
    assert json.loads(out.getvalue())["verdict"] == "invalid"


def test_a_number_too_long_for_python_to_print_is_named_all_the_same() -> None:
    assert "more than 300 digits" in str(InvalidInput("field", 10**5000, "is too large"))


def test_bytes_that_are_no_utf8_are_not_json() -> None:
    out = io.StringIO()
    assert run_cases([b'{"id": "\xff"}'.decode(errors="surrogateescape"), "null"], out, catalogue.lookup) == 2
    assert [json.loads(line)["reason"] for line in out.getvalue().splitlines()] == ["NotJson", "InvalidInput"]
