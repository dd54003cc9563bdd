"""A refusal names an argument as its reader writes it: by the field of the API, or by the flag where there is none."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.engine.questions import World
from tests.engine.wishes import Wish, whole
from tests.folders import DATA
from tests.plimsoll_operator.decision_world import Files, verdict
from tests.plimsoll_operator.nodes import H100, gpu_node

import plimsoll_estimator
from plimsoll_estimator import EstimatorError
from plimsoll_operator.api import parse_inference_deployment
from plimsoll_operator.decision import decide
from plimsoll_operator.decision.request.fields import FIELD_OF, in_api_words
from plimsoll_operator.gather import facts_for
from plimsoll_operator.verdict import Reject, Undecided, Verdict

IN_CODE = re.compile(rf"engine_args|\b(?:{'|'.join(name for name in FIELD_OF if '_' in name)})\b")
"""Names of arguments that nobody writes in a manifest. Those of one word (dtype) are the same there."""
V100 = gpu_node("v100", "Tesla-V100-SXM2-32GB", 8, 32768)
REFUSALS = ("EngineRefusal", "Unsupported", "Refusal", "use", "Remedy")

SAID = [
    # why, engine, what is said, the field
    ("a value of a later release", {"kvCacheDtype": "bfloat16"}, "spec.engine.kvCacheDtype: 'bfloat16' is not", "spec.engine.kvCacheDtype"),
    ("a flag that has no field", {"extraArgs": ["--task=draft"]}, "--task: 'draft' is a task that", "spec.engine.extraArgs"),
    (
        "two that exclude each other",
        {"maxNumBatchedTokens": 64, "maxNumSeqs": 128},
        "maxNumBatchedTokens (64) must be greater than or equal to maxNumSeqs (128)",
        "spec.engine.maxNumBatchedTokens",
    ),
]


def said_by(found: Verdict) -> str:
    """All that a refusal tells."""
    assert isinstance(found, Reject | Undecided), found
    more = found.details if isinstance(found, Reject) else (found.next_step,)
    return " ".join((found.message, *more))


@pytest.mark.parametrize(("why", "engine", "words", "field"), SAID, ids=[row[0] for row in SAID])
def test_an_argument_is_named_as_it_was_written(why: str, engine: dict[str, Any], words: str, field: str) -> None:
    found = verdict(version="0.10.0", engine=engine, store=Files(H100))
    assert words in said_by(found)
    assert isinstance(found, Reject)
    assert found.field == field


def test_what_has_no_rule_is_named_by_its_flag_too() -> None:
    found = verdict(version="0.8.1", engine={"extraArgs": ["--cpu-offload-gb=4"]}, store=Files(H100))
    assert "falls back to its V0 engine for --cpu-offload-gb" in said_by(found)


def templates() -> list[str]:
    """The constant parts of every sentence that the estimator refuses with."""
    found = []
    for module in Path(plimsoll_estimator.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in REFUSALS:
                found += [
                    part.value
                    for part in ast.walk(node)
                    if isinstance(part, ast.Constant) and isinstance(part.value, str) and " " in part.value
                ]
    return found


def test_no_sentence_of_the_estimator_keeps_a_name_of_code() -> None:
    sentences = templates()
    assert len(sentences) > 150
    assert sum(bool(IN_CODE.search(sentence)) for sentence in sentences) > 5, "some need it, or this shows nothing"
    assert [sentence for sentence in sentences if IN_CODE.search(in_api_words(sentence))] == []


def test_names_inside_longer_names_are_left_alone() -> None:
    assert in_api_words("weight_block_size [128, 128] and block_size 16") == "weight_block_size [128, 128] and blockSize 16"
    assert in_api_words("engine_args.max_num_seqs is 0; use kv_cache_dtype auto") == "maxNumSeqs is 0; use kvCacheDtype auto"


@pytest.mark.thorough
def test_no_refusal_of_the_kept_wishes_names_one() -> None:
    """The wishes that real releases answered (tests/data/engine_answers.jsonl), through the whole decision."""
    seen = 0
    for line in map(json.loads, (DATA / "engine_answers.jsonl").read_text().splitlines()):
        if "refused" not in line:
            continue
        wish = Wish(number=0, product=line["product"], manifest=whole(line["spec"]))
        try:
            found = decide(facts_for(parse_inference_deployment(wish.manifest), World(wish.product), applied_plan=None))
        except EstimatorError as error:
            raise AssertionError(line["argv"]) from error
        if isinstance(found, Reject | Undecided):
            seen += 1
            assert IN_CODE.search(said_by(found)) is None, said_by(found)
    assert seen > 50
