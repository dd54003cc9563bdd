"""Runs one release's own classes and KV-cache planner on the cases of tests/data and compares what they say with the estimator.

Called by release_drill.py. The cases are the models, arguments and pool sizes of engine_cases.json and kv_cases.json; the figures in
those files are not looked at: they are an earlier release's. What runs inside the other Python is tests/engine/planner.py.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from plimsoll_estimator.cases import answer_case
from plimsoll_estimator.checks import Check

TESTS = Path(__file__).parents[1] / "tests"
INSIDE = TESTS / "engine" / "planner.py"
CASES = ("engine_cases.json", "kv_cases.json")
WHOLE = "engine_cases"
"""The cases whose configurations are as published; the others' lack keys that move no cache, so that their weights are not a model's."""
NOT_ASKABLE = ("TooLong", "RuntimeError", "OSError", "AttributeError", "ImportError", "ModuleNotFoundError", "KeyError")
"""What a machine without the GPU, the kernels or the model's other files says; a release refuses in other words (ValueError, its kin)."""
NOT_IMPORTED = "failed to be inspected"
"""What ModelConfig makes of a model's file that cannot be imported."""
MANY = 0.1
GIB = 1 << 30
CARD = {"name": "NVIDIA H100 80GB HBM3", "major": 9, "minor": 0, "total": int(79.18 * GIB)}
PRODUCT = "NVIDIA-H100-80GB-HBM3"
ROUNDING = 0.0051


def questions(most: int | None = None) -> list[dict[str, Any]]:
    """Every model with every set of arguments that the case files have for a Hopper card, once each; `most` of them, spread evenly."""
    found = list(_every_question())
    if most is None or most >= len(found):
        return found
    return [found[place * len(found) // most] for place in range(most)]


def _every_question() -> Iterator[dict[str, Any]]:
    seen = set()
    for name in CASES:
        document = json.loads((TESTS / "data" / name).read_text(encoding="utf-8"))
        for case in document["cases"]:
            available = case.get("available_bytes") or int((case.get("available_gib") or 0) * GIB)
            key = json.dumps([case["model"], case["engine_args"], available], sort_keys=True)
            if key in seen or not available or case.get("compute_capability", [9, 0]) != [9, 0]:
                continue
            seen.add(key)
            yield {
                "id": key,
                "card": CARD,
                "model": case["model"],
                "folder": f"{Path(name).stem}/{case['model']}",
                "config": document["configs"][case["model"]],
                "engine_args": case["engine_args"],
                "available_bytes": available,
            }


def run(tree: Path, version: str, python: str, work: Path, most: int | None = None) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Each question and what the release says to it.

    Answers are kept in `work` as they come, by release and configuration: a drill that was stopped goes on, and a second one asks nothing.
    Raises RuntimeError when the release's code cannot be run under this interpreter.
    """
    asked = questions(most)
    folder = work / "configs"
    for question in asked:
        place = folder / question["folder"]
        place.mkdir(parents=True, exist_ok=True)
        (place / "config.json").write_text(json.dumps(question["config"]))
    kept = work / f"drill-planner-{version}.jsonl"
    said = dict(map(_kept, kept.read_text().splitlines())) if kept.exists() else {}
    missing = [question for question in asked if _known_by(question) not in said]
    if missing:
        said |= _ask(missing, [python, "-B", str(INSIDE), str(folder), str(tree), version], kept)
    return [(question, said[_known_by(question)]) for question in asked]


def _known_by(question: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(question, sort_keys=True).encode()).hexdigest()[:16]


def _kept(line: str) -> tuple[str, dict[str, Any]]:
    known_by, said = json.loads(line)
    return known_by, said


def _ask(asked: list[dict[str, Any]], command: list[str], kept: Path) -> dict[str, dict[str, Any]]:
    """Each of these questions put to the release, the answer written down before the next is awaited."""
    lines = "".join(json.dumps({key: value for key, value in question.items() if key != "config"}) + "\n" for question in asked)
    found: dict[str, dict[str, Any]] = {}
    with (
        tempfile.TemporaryFile("w+") as questions_file,
        tempfile.TemporaryFile("w+") as words,
        kept.open("a", encoding="utf-8") as written,
    ):
        questions_file.write(lines)
        questions_file.seek(0)
        with subprocess.Popen(command, stdin=questions_file, stdout=subprocess.PIPE, stderr=words, text=True) as process:
            assert process.stdout is not None
            answers = (line for line in process.stdout if line.startswith('{"id"'))
            for question, line in zip(asked, answers, strict=False):
                known_by = _known_by(question)
                found[known_by] = json.loads(line)
                written.write(json.dumps([known_by, found[known_by]]) + "\n")
                written.flush()
        if len(found) != len(asked):
            words.seek(0)
            last = (words.read().strip().splitlines() or ["no words"])[-1]
            raise RuntimeError(f"the planner answered {len(found)} of {len(asked)} cases: {last}")
    return found


@dataclass(slots=True)
class Compared:
    """How many cases agree, and a line for each other one."""

    agreed: int = 0
    differing: list[str] = field(default_factory=list)
    """The release says otherwise than the estimator."""
    unanswered: list[str] = field(default_factory=list)
    """The estimator says that it cannot tell."""
    not_asked: list[str] = field(default_factory=list)
    """The release could not be asked on this machine."""

    @property
    def told_little(self) -> bool:
        """Whether so many could not be asked that the others stand for nothing."""
        return len(self.not_asked) > MANY * (self.agreed + sum(map(len, (self.differing, self.unanswered, self.not_asked))))


def compare(answers: list[tuple[dict[str, Any], dict[str, Any]]], version: str) -> Compared:
    """The release's answers beside the estimator's under the rules of `version`."""
    compared = Compared()
    for question, said in answers:
        reply = estimated(question, version)
        args = " ".join(f"{key}={value}" for key, value in question["engine_args"].items()) or "defaults"
        about = f"{question['model']} {args}"
        refusal = " ".join(said.get("refused", "").split())
        if refusal.startswith(NOT_ASKABLE) or NOT_IMPORTED in refusal:
            compared.not_asked.append(f"{about}: {refusal[:160]}")
        elif reply["verdict"] == "unsupported" and reply["reason"] != Check.ARCHITECTURE_NOT_IN_RELEASE:
            compared.unanswered.append(f"{about}: {reply['reason']}")
        elif (words := difference(said, reply, weights=question["folder"].startswith(WHOLE))) is not None:
            compared.differing.append(f"{about}: {words}")
        else:
            compared.agreed += 1
    return compared


def estimated(question: dict[str, Any], version: str) -> dict[str, Any]:
    """The estimator's answer to the same question."""
    case = {
        "model_config": question["config"],
        "engine_version": version,
        "gpu": {"product": PRODUCT, "total_memory_bytes": CARD["total"]},
        "engine_args": question["engine_args"],
        "available_kv_cache_bytes": question["available_bytes"],
    }
    return answer_case(case, lambda _: None)


def difference(said: dict[str, Any], reply: dict[str, Any], weights: bool = True) -> str | None:
    """What the release says otherwise than the estimator, in words; None where they agree. Without `weights` those are not compared."""
    if "refused" in said:
        return None if reply["verdict"] in ("refused", "unsupported") else f"the release refuses it: {said['refused'][:200]}"
    if reply["verdict"] != "starts":
        return f"the release plans it, {reply['verdict']} here: {reply['message']}"
    built = said["created_bytes"]
    ranks = [rank["weights_created_bytes"] for rank in reply["ranks"]]
    ours = ranks if len(ranks) == len(built) else ranks[:: len(ranks) // len(built)] if len(ranks) % len(built) == 0 else ranks
    if weights and ours != built:
        return f"builds {built} bytes, {ours} here"
    plan = said["plan"] or {"num_gpu_blocks": 0, "kv_cache_tokens": 0}
    mine = {key: reply[key] or 0 for key in ("num_gpu_blocks", "kv_cache_tokens")}
    theirs = {key: plan[key] for key in mine}
    if said["plan"] and theirs != mine:
        return f"plans {theirs}, {mine} here"
    if said["plan"] and abs(plan["max_concurrency"] - reply["max_concurrency"]) > ROUNDING:
        return f"concurrency {plan['max_concurrency']:.2f}, {reply['max_concurrency']:.2f} here"
    return None
