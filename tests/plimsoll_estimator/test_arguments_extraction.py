"""The extraction of arguments from a wheel's sources, on a small source of the same forms."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest

TOOLS = Path(__file__).parents[1] / "tools"

CONFIG = """
Mode = Literal["a", "b"]
Size = Literal[8, 16]

class ModelConfig:
    tensor_parallel_size: int = 1
    max_model_len: int | None = None
    kv_cache_memory_bytes: Optional[int] = None
    mode: Mode = "a"
    block_size: Size | None = None
    enforce_eager: bool = False
    hf_token: bool | str | None = None
    limits: dict[str, int] = {}
    overrides: HfOverrides = {}
    names: list[str] | None = None
    compilation_config: CompilationConfig = None
    ratio: float = 0.9

class CompilationConfig:
    level: int = 0
"""
NAMES = (
    "tensor_parallel_size max_model_len kv_cache_memory_bytes mode block_size enforce_eager hf_token limits overrides names "
    "compilation_config ratio"
)
ENGINE = (
    """
class EngineArgs:
    def add_cli_args(parser):
        kw = get_kwargs(ModelConfig)
        group = parser.add_argument_group("x")
        group.add_argument("--tensor-parallel-size", "-tp", **kw["tensor_parallel_size"])
        group.add_argument("--gone", action="store_true")
        group.add_argument("--cp", **{**kw["ratio"], "default": None})
        group.add_argument("--eager-flag", action=argparse.BooleanOptionalAction)
        group.add_argument("--wait", type=nullable(float))
        group.add_argument("--old-json", type=json.loads)
"""
    + "\n".join(f'        group.add_argument("--{name.replace("_", "-")}", **kw["{name}"])' for name in NAMES.split()[1:])
    + """
def get_kwargs(cls):
    if name == "max_model_len":
        kwargs[name]["type"] = human_readable_int_or_auto
    elif name in ("kv_cache_memory_bytes", "other"):
        kwargs[name]["type"] = human_readable_int
"""
)
FRONT = """
class BaseFrontendArgs:
    api_key: list[str] | None = None
class FrontendArgs(BaseFrontendArgs):
    port: int = 8000
    def add_cli_args(parser):
        for key, value in get_kwargs(FrontendArgs).items():
            parser.add_argument(f"--{key}", **value)
def make_arg_parser(parser):
    parser.add_argument("--headless", action="store_true")
"""


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(TOOLS))
    return importlib.import_module("extract_arguments")


@pytest.fixture
def found(tool: ModuleType) -> dict[str, object]:
    padding = "\n".join(f"    pad_{n}: int = 0" for n in range(100))
    front = FRONT.replace("    port: int = 8000", "    port: int = 8000\n" + padding)
    sources = {"vllm/engine/arg_utils.py": ENGINE, "vllm/config/model.py": CONFIG, "vllm/entrypoints/openai/cli_args.py": front}
    return {flag: argument for flag, argument in tool.arguments_of("0.0.0", sources).items() if not flag.startswith("--pad")}


@pytest.mark.parametrize(
    ("flag", "kind"),
    [
        ("--tensor-parallel-size", "int"),  # through **kw["…"] to the config class
        ("--max-model-len", "human_int_or_auto"),
        ("--kv-cache-memory-bytes", "human_int"),  # listed in a tuple of names
        ("--mode", "str"),  # a Literal of strings
        ("--block-size", "int"),  # a Literal of numbers
        ("--enforce-eager", "bool"),
        ("--hf-token", "optional_str"),
        ("--limits", "json"),
        ("--overrides", "json_or_str"),
        ("--names", "list"),
        ("--compilation-config", "json"),  # a dataclass
        ("--ratio", "float"),
        ("--cp", "float"),  # through a merged dictionary
        ("--gone", "flag"),
        ("--eager-flag", "bool"),
        ("--wait", "float"),
        ("--old-json", "json"),
        ("--headless", "flag"),
        ("--port", "int"),  # a front-end dataclass
        ("--api-key", "list"),  # an inherited field of it
    ],
)
def test_kinds_are_what_argparse_would_make_of_them(found: dict[str, object], flag: str, kind: str) -> None:
    assert getattr(found[flag], "kind", None) == kind


def test_aliases_and_groups_are_kept(found: dict[str, object]) -> None:
    assert getattr(found["--tensor-parallel-size"], "aliases", None) == ("-tp",)
    assert getattr(found["--port"], "group", None) == "FrontendArgs"


def test_minors_merge_into_runs(tool: ModuleType) -> None:
    def argument(kind: str) -> object:
        return tool.Argument("--swap-space", (), kind, "swap_space", "CacheConfig")

    rows = tool.rows({"0.1.5": {"--swap-space": argument("int")}, "0.2.0": {"--swap-space": argument("int")}, "0.3.1": {}, "0.4.0": {}})
    assert [(row["since"], row["last"]) for row in rows] == [("0.1", "0.2")]
    rows = tool.rows({"0.1.5": {"--swap-space": argument("int")}, "0.2.0": {"--swap-space": argument("float")}})
    assert [(row["kind"], row["since"], row["last"]) for row in rows] == [("int", "0.1", "0.1"), ("float", "0.2", None)]


def test_an_engine_argument_that_nobody_classified_counts_as_moving_memory(tool: ModuleType) -> None:
    fresh = tool.Argument("--brand-new", (), "int", "brand_new", "CacheConfig")
    door = tool.Argument("--brand-new", (), "int", "brand_new", "FrontendArgs")
    assert tool.classified("--brand-new", fresh)["moves_memory"] is True
    assert tool.classified("--brand-new", door)["moves_memory"] is False
