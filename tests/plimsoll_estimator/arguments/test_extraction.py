"""The extraction of arguments from a release's own parser, on a small release of the same make."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from tools import extract_arguments as tool

RELEASE = {
    "vllm/__init__.py": "",
    "vllm/platforms/__init__.py": "_current_platform = None\n",
    "vllm/v1/__init__.py": "",
    "vllm/platforms/cpu.py": "class CpuPlatform: pass\n",
    "vllm/utils/__init__.py": "",
    "vllm/utils/argparse_utils.py": "import argparse\nclass FlexibleArgumentParser(argparse.ArgumentParser): pass\n",
    "vllm/engine/__init__.py": "",
    "vllm/engine/arg_utils.py": """
import dataclasses
import only_where_gpus_are.kernels
@dataclasses.dataclass
class AsyncEngineArgs:
    tensor_parallel_size: int = 1
    dtype: str = "auto"
    kv_cache_dtype: str = "auto"
    quantization: str | None = None
    enforce_eager: bool = False
    brand_new: int = 0
""",
    "vllm/model_executor/layers/quantization/__init__.py": 'QUANTIZATION_METHODS = ["awq", "fp8"]\n',
    "vllm/reasoning.py": """
class ReasoningParserManager:
    reasoning_parsers = {"deepseek_r1": object}
""",
    "vllm/tool_parsers.py": """
class ToolParserManager:
    @classmethod
    def list_registered(cls): return ["hermes", "mistral"]
""",
    "vllm/entrypoints/cli/serve.py": """
import argparse, json
import vllm.engine.arg_utils
from vllm.v1.engine.core import anything

def optional_type(kind):
    def _optional_type(text):
        return None if text in ("", "None") else kind(text)
    return _optional_type
def nullable_kvs(text):
    return {key: int(value) for key, value in (pair.split("=") for pair in text.split(","))}
def human_readable_int(text): return int(text)
def human_readable_int_or_auto(text): return int(text)
def union_dict_and_str(text): return text
def parse_dataclass(text): return json.loads(text)

class ServeSubcommand:
    def subparser_init(self, commands):
        parser = commands.add_parser("serve")
        add = parser.add_argument
        add("model_tag", nargs="?")
        add("--model")
        add("--headless", action="store_true")
        add("--tensor-parallel-size", "-tp", type=int)
        add("--brand-new", type=int)
        add("--enforce-eager", action=argparse.BooleanOptionalAction)
        add("--dtype", type=optional_type(str), choices=["auto", "half", None])
        add("--block-size", type=int, choices=[8, 16])
        add("--kv-cache-dtype", type=str, metavar=["auto", "fp8"])
        add("--quantization", "-q", type=optional_type(str))
        add("--tool-call-parser", type=optional_type(str), metavar="{hermes,mistral} or name registered in --tool-parser-plugin")
        add("--reasoning-parser", type=lambda text: "" if text == "none" else text)
        add("--limits", type=nullable_kvs)
        add("--length", type=human_readable_int)
        add("--length-or-auto", type=optional_type(human_readable_int_or_auto))
        add("--overrides", type=union_dict_and_str)
        add("--config-of-one", type=optional_type(parse_dataclass))
        add("--old-json", type=json.loads)
        add("--ratio", type=optional_type(float))
        add("--names", nargs="+")
        add("--sizes", type=int, nargs="+")
        add("--token", type=str, nargs="?", const=True)
        add("--middleware", action="append")
        add("--moe", type=lambda text: text.lower(), choices=["auto", "triton"])
        for number in range(100):
            add(f"--pad-{number}")
        return parser
""",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("work")
    files = RELEASE | {
        "transformers/__init__.py": "class AutoConfig:\n    register = staticmethod(lambda kind, config, exist_ok=False: None)\n"
    }
    for name, text in files.items():
        path = work / "0.1.0" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return work


@pytest.fixture
def found(folder: Path) -> dict[str, dict[str, Any]]:
    """What the release's own parser said, asked in another interpreter, with the GPU's package stood in for."""
    return {tool.flag_of(record): record for record in tool.records_of("0.1.0", folder, sys.executable)}


@pytest.mark.parametrize(
    ("flag", "kind"),
    [
        ("--headless", "flag"),
        ("--tensor-parallel-size", "int"),
        ("--enforce-eager", "bool"),
        ("--dtype", "str"),
        ("--block-size", "int"),
        ("--limits", "pairs"),
        ("--length", "human_int"),
        ("--length-or-auto", "human_int_or_auto"),
        ("--overrides", "json_or_str"),
        ("--config-of-one", "config"),
        ("--old-json", "json"),
        ("--ratio", "float"),
        ("--names", "list"),
        ("--sizes", "int_list"),
        ("--token", "optional_str"),
        ("--middleware", "append"),
        ("--moe", "folded_str"),
    ],
)
def test_kinds_are_what_the_parser_makes_of_them(found: dict[str, dict[str, Any]], flag: str, kind: str) -> None:
    assert tool.kind_of(found[flag]) == kind


@pytest.mark.parametrize(
    ("flag", "values", "why"),
    [
        ("--dtype", ["auto", "half"], "choices, of which None is no word"),
        ("--block-size", [8, 16], "choices that are numbers"),
        ("--kv-cache-dtype", ["auto", "fp8"], "any text for the parser, these for the configuration"),
        ("--quantization", ["awq", "fp8"], "methods that the release registers"),
        ("--tool-call-parser", ["hermes", "mistral"], "parsers that it registers"),
        ("--reasoning-parser", ["deepseek_r1", "none"], "and the word for none of them"),
        ("--ratio", None, "any number"),
    ],
)
def test_lists_of_values_are_found_where_the_release_keeps_them(
    found: dict[str, dict[str, Any]], flag: str, values: list[Any] | None, why: str
) -> None:
    assert found[flag]["values"] == values, why


def test_spellings_negations_and_the_front_end_are_told_apart(found: dict[str, dict[str, Any]]) -> None:
    assert found["--tensor-parallel-size"]["spellings"] == ["--tensor-parallel-size", "-tp"]
    assert found["--enforce-eager"]["negative"] == ["--no-enforce-eager"]
    assert (found["--headless"]["front_end"], found["--enforce-eager"]["front_end"]) == (True, False)
    assert (found["--ratio"]["none"], found["--block-size"]["none"]) == (True, False)


def test_a_negation_that_the_table_would_not_derive_stops_the_extraction(found: dict[str, dict[str, Any]]) -> None:
    record = found["--enforce-eager"]
    tool.check_negations("0.1.0", record, inverses=False)
    with pytest.raises(RuntimeError, match=r"0\.1\.0 --enforce-eager: negations"):
        tool.check_negations("0.1.0", record | {"negative": ["--lazy"]}, inverses=False)


def test_a_release_whose_parser_cannot_be_built_is_named(tmp_path: Path) -> None:
    (tmp_path / "0.2.0" / "vllm").mkdir(parents=True)
    (tmp_path / "0.2.0" / "transformers").mkdir()
    (tmp_path / "0.2.0" / "transformers" / "__init__.py").write_text("AutoConfig = type('AutoConfig', (), {'register': None})\n")
    with pytest.raises(RuntimeError, match=r"parser of 0\.2\.0 cannot be built: .*platforms"):
        tool.records_of("0.2.0", tmp_path, sys.executable)


def record(**changes: Any) -> dict[str, Any]:
    usual = {"spellings": ["--swap-space"], "negative": [], "action": "_StoreAction", "type": "int", "nargs": None}
    return usual | {"values": None, "none": False, "pairs": False, "front_end": False} | changes


def test_releases_merge_into_runs_down_to_the_patch() -> None:
    table = {"0.1.5": {"--swap-space": record()}, "0.1.6": {"--swap-space": record()}, "0.3.1": {}, "0.4.0": {"--swap-space": record()}}
    assert [(row["since"], row.get("before")) for row in tool.rows(table)] == [("0.1.5", "0.3.1"), ("0.4.0", None)]
    table = {"0.1.5": {"--swap-space": record()}, "0.1.6": {"--swap-space": record(type="float")}}
    runs = [(row["kind"], row["since"], row.get("before")) for row in tool.rows(table)]
    assert runs == [("int", "0.1.5", "0.1.6"), ("float", "0.1.6", None)]


def test_values_have_the_releases_that_list_them() -> None:
    lists = {"0.1.0": ["a", "b"], "0.1.1": ["a"], "0.2.0": ["a", "b"]}
    table = {release: {"--mode": record(spellings=["--mode"], values=values)} for release, values in lists.items()}
    assert tool.value_spans(table) == {"--mode": {"a": [["0.1.0", None]], "b": [["0.1.0", "0.1.1"], ["0.2.0", None]]}}
    assert json.loads(tool.written(table))["values"] == tool.value_spans(table)


def test_an_engine_argument_that_nobody_classified_counts_as_moving_memory() -> None:
    assert "moves_memory" not in tool.classified("--brand-new", front_end=False)
    assert tool.classified("--brand-new", front_end=True)["moves_memory"] is False
    assert tool.classified("--config", front_end=True) == {}
