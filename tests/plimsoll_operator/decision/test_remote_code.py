"""A wish for a model whose config only its publisher's code reads: what the decision says with and without the flag."""

from dataclasses import replace

import pytest
from tests.plimsoll_operator.decision_world import Files, deployment, verdict
from tests.plimsoll_operator.nodes import H100

from plimsoll_operator.decision import decide
from plimsoll_operator.facts import ModelFacts
from plimsoll_operator.gather import facts_for
from plimsoll_operator.verdict import Admit, Reason, Reject

QWEN_1 = "Qwen/Qwen-7B"


@pytest.mark.parametrize(
    ("model", "version"), [(QWEN_1, "0.19.1"), ("baichuan-inc/Baichuan2-7B-Chat", "0.19.1"), ("openbmb/MiniCPM3-4B", "0.19.1")]
)
def test_such_a_model_is_refused_with_what_to_write_and_admitted_where_it_is_written(model: str, version: str) -> None:
    refused = verdict(model, version=version, store=Files(H100))
    assert isinstance(refused, Reject)
    assert (refused.reason, refused.field) == (Reason.ENGINE_REFUSES, "spec.engine.extraArgs")
    assert "--trust-remote-code" in refused.message
    assert isinstance(verdict(model, version=version, store=Files(H100), engine={"extraArgs": ["--trust-remote-code"]}), Admit)
    assert isinstance(verdict(model, version=version, store=Files(H100), engine={"extraArgs": ["--no-trust-remote-code"]}), Reject)


def test_a_release_that_has_the_class_needs_no_flag() -> None:
    assert isinstance(verdict("openbmb/MiniCPM3-4B", version="0.25.1", store=Files(H100)), Admit)


def test_a_copy_that_is_not_the_publishers_file_is_not_asked_for_its_model_type() -> None:
    """The catalogue's MiniMax-M3 is a cut of the published file under a model type that nobody publishes."""
    facts = facts_for(deployment("MiniMaxAI/MiniMax-M3", version="0.32.0"), Files(H100), applied_plan=None)
    assert isinstance(facts.model, ModelFacts)
    assert not facts.model.as_published
    assert "--trust-remote-code" not in getattr(decide(facts), "message", "")
    as_if = replace(facts, model=replace(facts.model, as_published=True))
    assert "--trust-remote-code" in getattr(decide(as_if), "message", "")


def test_suffix_drafts_need_a_package_that_vllms_own_image_lacks() -> None:
    """config/speculative.py: "Arctic Inference is required for suffix decoding"."""
    drafts = {"speculative": {"method": "suffix", "numSpeculativeTokens": 2}}
    refused = verdict(version="0.19.1", store=Files(H100), engine=drafts)
    assert isinstance(refused, Reject)
    assert (refused.reason, refused.field) == (Reason.INVALID_SPEC, "spec.engine.speculative.method")
    assert isinstance(
        verdict(version="0.19.1", store=Files(H100), engine={**drafts, "image": "acme/vllm:v0.19.1", "version": "0.19.1"}), Admit
    )
