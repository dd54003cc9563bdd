"""What one tenant with the role edit may write buys no unbounded work: the others are answered and decided meanwhile."""

import json

import pytest
from tests.controlplane.cluster import Json, KubectlError, wait_until
from tests.e2e.granting import grant
from tests.e2e.installation import GROUP, Installation

pytestmark = pytest.mark.e2e
LLAMA: Json = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "bfloat16", "hidden_size": 4096,
    "intermediate_size": 14336, "num_hidden_layers": 2048, "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256,
    "max_position_embeddings": 131072,
}  # fmt: skip


def quantised(*ignored: str) -> str:
    group = {"targets": ["Linear"], "weights": {"num_bits": 8, "type": "float", "strategy": "channel"}}
    settings = {"quant_method": "compressed-tensors", "config_groups": {"g": group}, "ignore": list(ignored)}
    return json.dumps(LLAMA | {"quantization_config": settings})


POISON = [
    pytest.param('{"architectures":["\\ud800"]}', "half of a surrogate pair", "UnknownModel", id="text that no event can hold"),
    pytest.param('{"a":' * 992 + "1" + "}" * 992, "nests more than 64 deep", "UnknownModel", id="nesting at the parser's end"),
    pytest.param('{"hidden_size":' + "9" * 4301 + "}", "more than 64 digits", "UnknownModel", id="more digits than Python reads"),
    pytest.param(quantised(*(f"re:m{number}" for number in range(4096))), "at most 8192", "", id="thousands of patterns on every layer"),
    pytest.param(
        quantised("re:(.*)*x"), "a group of several characters is repeated", "UnsupportedModel", id="a pattern that backtracks without end"
    ),
]


def wish(name: str, model: Json) -> Json:
    spec = {"model": {"name": "acme/x"} | model, "engine": {"image": "vllm/vllm-openai:v0.19.0", "maxModelLen": 8192}}
    return {"apiVersion": f"{GROUP}/v1alpha1", "kind": "InferenceDeployment", "metadata": {"name": name}, "spec": spec}


def profile(name: str, config: str) -> Json:
    return {
        "apiVersion": f"{GROUP}/v1alpha1",
        "kind": "ModelProfile",
        "metadata": {"name": name},
        "spec": {"model": "acme/x", "config": config},
    }


def apply(installation: Installation, namespace: str, manifest: Json, *more: str) -> str:
    """As a tenant: what kubectl says, refused or not."""
    try:
        return installation.cluster.kubectl("apply", "-n", namespace, "--as=tenant", *more, "-f", "-", stdin=json.dumps(manifest)).stderr
    except KubectlError as error:
        return error.stderr


def verdict_of(installation: Installation, namespace: str, name: str) -> str:
    rows = installation.cluster.get("infd", name, "-n", namespace).get("status", {}).get("conditions", [])
    return next((row["reason"] for row in rows if row["type"] == "Feasible"), "")


@pytest.mark.parametrize(("config", "says", "reason"), POISON)
def test_a_config_beyond_the_bounds_is_named_at_the_door_and_in_the_status_and_stops_nobody(
    installation: Installation, namespace: str, config: str, says: str, reason: str
) -> None:
    cluster = installation.cluster
    grant(cluster, namespace, "tenant", "edit")
    wait_until(lambda: "forbidden" not in apply(installation, namespace, profile("bad", config)), "the built-in role to be aggregated")
    assert says in apply(installation, namespace, wish("inline", {"profile": {"inline": config}}), "--dry-run=server")
    assert says in apply(installation, namespace, wish("named", {"profile": {"name": "bad"}}))
    if reason:
        assert wait_until(lambda: verdict_of(installation, namespace, "named"), "a verdict on it") == reason
    apply(installation, namespace, wish("honest", {"name": "meta-llama/Llama-3.1-8B-Instruct"}))
    assert wait_until(lambda: verdict_of(installation, namespace, "honest"), "a verdict on another's") == "Fits"


def test_a_pattern_of_sixty_characters_that_may_be_absent_is_answered_at_once(installation: Installation, namespace: str) -> None:
    """Within the rule's five seconds, or the API server itself would refuse."""
    grant(installation.cluster, namespace, "tenant", "edit")
    slow = wish("slow", {"profile": {"inline": quantised("re:" + ".?" * 60 + "!")}})

    def said() -> str:
        return apply(installation, namespace, slow, "--dry-run=server")

    wait_until(lambda: "forbidden" not in said(), "the built-in role to be aggregated")
    assert "failed calling webhook" not in said()
    assert "Warning: " in said()


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        pytest.param(quantised("re:" + ".?" * 60 + "!"), "Fits", id="a pattern of sixty characters that may be absent"),
        pytest.param(quantised(*(f"re:m{number}" for number in range(4096))), "InvalidSpec", id="thousands of patterns on every layer"),
    ],
)
def test_a_profile_that_comes_after_its_deployment_holds_up_no_other_decision(
    installation: Installation, namespace: str, config: str, reason: str
) -> None:
    """The webhook has let the deployment in before anything was known of its model: the controller alone meets the config."""
    cluster = installation.cluster
    grant(cluster, namespace, "tenant", "edit")
    wait_until(lambda: "forbidden" not in apply(installation, namespace, wish("early", {"name": "acme/x"})), "the role to be aggregated")
    wait_until(lambda: verdict_of(installation, namespace, "early") == "UnknownModel", "it to wait for its model")
    apply(installation, namespace, profile("late", config))
    cluster.kubectl("create", "namespace", f"{namespace}-2")
    try:
        honest = json.dumps(wish("honest", {"name": "meta-llama/Llama-3.1-8B-Instruct"}))
        cluster.kubectl("apply", "-n", f"{namespace}-2", "-f", "-", stdin=honest)
        wait_until(lambda: verdict_of(installation, f"{namespace}-2", "honest") == "Fits", "the neighbour to be decided", timeout_s=10)
        wait_until(lambda: verdict_of(installation, namespace, "early") == reason, "a verdict on it")
    finally:
        cluster.kubectl("delete", "namespace", f"{namespace}-2", "--wait=false")


def test_no_process_stumbled(installation: Installation) -> None:
    for name in ("webhook", "controller"):
        assert "Traceback" not in installation.log(name)
