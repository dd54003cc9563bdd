"""Hostile objects through the whole webhook: whatever the JSON, the answer is a verdict or a 400, never a traceback."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from tests.data.api_corpus.load import cases
from tests.laws import law
from tests.plimsoll_operator.webhook_world import POOL, MemoryStore

from plimsoll_operator.decision import decide
from plimsoll_operator.metrics import Recorder
from plimsoll_operator.webhook.app import WebhookApp

APP = WebhookApp(store=MemoryStore(pools=[POOL], bypass=True), decide=lambda facts, _: decide(facts), recorder=Recorder())
CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "torch_dtype": "bfloat16",
    "tie_word_embeddings": False,
}
ARCHITECTURES = ["LlamaForCausalLM", "Qwen3MoeForCausalLM", "DeepseekV3ForCausalLM", "Gemma3ForCausalLM", "MambaForCausalLM", "No", ""]
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**65), 2**65),
    st.sampled_from([0, 1, 7, 64, 4096, -1, 1 << 40]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
    st.lists(st.integers(0, 9), max_size=3),
    st.dictionaries(st.text(max_size=5), st.integers(0, 9), max_size=2),
)
FLAGS = st.sampled_from(
    [
        "--seed",
        "1",
        "--max-model-len=1",
        "--swap-space=99999",
        "--block-size",
        "--no-enable-prefix-caching",
        "-tp",
        "2",
        "--",
        "-",
        "=",
        "{}",
    ]
) | st.text(min_size=1, max_size=12)
GOOD = [case.obj for case in cases() if case.accepted and case.obj["kind"] == "InferenceDeployment"]


async def _post(body: bytes) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=APP), base_url="https://webhook") as client:
        return await client.post("/validate", content=body)


def ask(obj: Any, old: Any = None) -> None:
    request = {
        "uid": "u",
        "operation": "UPDATE" if old is not None else "CREATE",
        "resource": {"group": "inference.plimsoll.dev", "resource": "inferencedeployments"},
        "namespace": "n",
        "name": "x",
        "object": obj,
        "oldObject": old,
    }
    body = json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}).encode()
    answer = asyncio.run(_post(body))
    if answer.status_code == 400:
        assert answer.json()["error"]
        return
    response = answer.json()["response"]
    assert response["allowed"] or response["status"]["details"]["causes"]
    for line in [
        *response.get("warnings", ()),
        *(cause["message"] for cause in response.get("status", {}).get("details", {}).get("causes", ())),
    ]:
        assert line.isprintable()
        assert line


@law(50, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(
    changes=st.dictionaries(st.sampled_from([*CONFIG, "quantization_config", "rope_scaling", "sliding_window"]), ODD, max_size=3),
    name=st.sampled_from(ARCHITECTURES),
)
def test_any_inline_config(changes: dict[str, Any], name: str) -> None:
    config = CONFIG | {"architectures": [name]} | changes
    obj = json.loads(json.dumps(GOOD[0]))
    obj["spec"]["model"]["profile"] = {"inline": json.dumps(config)}
    ask(obj)


@law(50, derandomize=True)
@given(
    text=st.text(min_size=2, max_size=40) | st.sampled_from(["[" * 60000, '{"a":' * 10000, "NaN", "[]", "null", '{"architectures":[{}]}'])
)
def test_any_text_where_a_config_belongs(text: str) -> None:
    obj = json.loads(json.dumps(GOOD[0]))
    obj["spec"]["model"]["profile"] = {"inline": text}
    ask(obj)


@law(50, derandomize=True)
@given(flags=st.lists(FLAGS, max_size=5))
def test_any_extra_arguments(flags: list[str]) -> None:
    obj = json.loads(json.dumps(GOOD[0]))
    obj["spec"]["engine"]["extraArgs"] = flags
    ask(obj)


@law(50, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(base=st.sampled_from(GOOD), path=st.lists(st.integers(0, 9), min_size=1, max_size=4), value=ODD, update=st.booleans())
def test_any_value_anywhere(base: dict[str, Any], path: list[int], value: Any, update: bool) -> None:
    obj = json.loads(json.dumps(base))
    here: Any = obj
    for step in path[:-1]:
        keys = [key for key in here if isinstance(here[key], dict)] if isinstance(here, dict) else []
        if not keys:
            break
        here = here[keys[step % len(keys)]]
    keys = sorted(here)
    if keys:
        here[keys[path[-1] % len(keys)]] = value
    ask(obj, old=base if update else None)
