"""Arguments of vLLM by class, as a deployment meets them: counted, noted, refused with the reason, or let through by a FitPolicy."""

from __future__ import annotations

import pytest
from tests.plimsoll_operator.decision_world import LLAMA_8B, Files, verdict
from tests.plimsoll_operator.nodes import gpu_node

from plimsoll_operator.api import FitPolicy, parse_object
from plimsoll_operator.names import API_VERSION
from plimsoll_operator.verdict import Admit, Reason, Reject, Verdict

H100 = gpu_node("h100", "NVIDIA-H100-80GB-HBM3", 8, 81559, host="1Ti", cpu="128")
RULE_MISSING = ["--mamba-block-size", "64"]


def asked(extra: list[str], policy: dict[str, str] | None = None, **engine: int) -> Verdict:
    """The verdict on an ordinary deployment with these arguments."""
    made = parse_object(FitPolicy, {"apiVersion": API_VERSION, "kind": "FitPolicy", "metadata": {"name": "default"}, "spec": policy or {}})
    return verdict(LLAMA_8B, engine={"maxModelLen": 8192, "extraArgs": extra, **engine}, store=Files(H100, policies=(made,)))


def test_an_argument_without_a_rule_is_refused_with_the_way_round_that_an_administrator_has() -> None:
    found = asked(RULE_MISSING)
    assert isinstance(found, Reject)
    assert (found.reason, found.field) == (Reason.INVALID_SPEC, "spec.engine.extraArgs")
    assert "has no rule here" in found.message
    assert "a FitPolicy with unruledFlags: Reserve lets it through" in found.message


def test_a_policy_lets_it_through_at_the_pessimistic_end_with_a_warning() -> None:
    plain, let = asked([]), asked(RULE_MISSING, {"unruledFlags": "Reserve"})
    assert isinstance(plain, Admit)
    assert isinstance(let, Admit)
    assert any("lets through what has no rule (--mamba-block-size)" in line for line in let.warnings)
    assert let.plan.gpu_memory_utilization <= plain.plan.gpu_memory_utilization


@pytest.mark.parametrize("argument", [["--enable-elastic-ep"], ["--num-gpu-blocks-override", "9"], ["--worker-cls", "mine.Worker"]])
def test_what_contradicts_the_plan_no_policy_lets_through(argument: list[str]) -> None:
    found = asked(argument, {"unruledFlags": "Reserve"})
    assert isinstance(found, Reject)
    assert "is refused: " in found.message
    assert "unruledFlags" not in found.message


def test_a_reserve_is_said() -> None:
    found = asked(["--attention-backend", "FLASHINFER"])
    assert isinstance(found, Admit)
    assert any("are held in reserve" in line for line in found.warnings)


def test_offloaded_blocks_are_in_the_pod_s_memory() -> None:
    plain, offloaded = asked([]), asked(["--kv-offloading-size", "100"])
    assert isinstance(plain, Admit)
    assert isinstance(offloaded, Admit)
    assert offloaded.plan.host_memory_bytes == plain.plan.host_memory_bytes + (100 << 30)


@pytest.mark.parametrize("role", ["kv_producer", "kv_consumer"])
def test_prefill_and_decode_are_two_deployments_that_each_fit(role: str) -> None:
    found = asked(["--kv-transfer-config", f'{{"kv_connector":"NixlConnector","kv_role":"{role}"}}'])
    assert isinstance(found, Admit)
    assert any(line.startswith(f"kv_role {role}: ") for line in found.warnings)


def test_overridden_keys_decide_which_context_there_is() -> None:
    long = 262144
    refused = asked([], maxModelLen=long)
    assert isinstance(refused, Reject)
    found = asked(["--hf-overrides", f'{{"max_position_embeddings": {long}}}'], maxModelLen=long)
    assert isinstance(found, Admit)
    assert found.plan.max_model_len == long
