"""Prints what the argument parser of one vLLM release takes, as JSON: run by extract_arguments.py inside another Python.

    VENV/bin/python release_parser.py FOLDER [--stub NAME]...

FOLDER holds the release's Python files. Its own `vllm serve` parser is built by its own code, on whatever PyTorch and Transformers
the interpreter has: nothing of them decides what an argument is. Packages that are not installed are stood in for by empty modules,
one `--stub` each. Nothing is compiled, no GPU is asked for, and no engine starts.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.abc
import importlib.machinery
import json
import os
import sys
import types
from typing import Any

OPEN_BUT_CHECKED = ("--kv-cache-dtype",)
"""The parser takes any text in some releases; config/cache.py then refuses what is not listed."""
REGISTRIES = (
    ("--tool-call-parser", "vllm.entrypoints.openai.tool_parsers", "ToolParserManager", "tool_parsers"),
    ("--tool-call-parser", "vllm.tool_parsers", "ToolParserManager", "tool_parsers"),
    ("--reasoning-parser", "vllm.entrypoints.openai.reasoning_parsers", "ReasoningParserManager", "reasoning_parsers"),
    ("--reasoning-parser", "vllm.reasoning", "ReasoningParserManager", "reasoning_parsers"),
)
"""Where releases keep the names, as they moved; the server refuses others."""
REFUSALS = (argparse.ArgumentTypeError, AssertionError, AttributeError, LookupError, RuntimeError, SyntaxError, TypeError, ValueError)
"""How types of arguments refuse a text."""
SERVERS = (
    "vllm.engine.async_llm_engine",
    "vllm.engine.multiprocessing",
    "vllm.entrypoints.launchers.api_server",
    "vllm.entrypoints.launchers.dp_supervisor",
    "vllm.entrypoints.launchers.launcher",
    "vllm.entrypoints.openai.api_server",
    "vllm.v1.engine",
    "vllm.v1.executor",
    "vllm.v1.metrics",
    "vllm.v1.utils",
)
"""What the command runs once it has parsed: stood in for too."""


class _Anything(type):
    """A class whose attributes, items and calls are again such classes."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Anything(name, (), {})

    def __call__(cls, *args: Any, **_: Any) -> Any:
        return args[0] if len(args) == 1 and callable(args[0]) else _Anything("value", (), {})

    def __getitem__(cls, _: Any) -> Any:
        return cls


class _Stubs(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the named packages, and everything below them, as empty modules."""

    def __init__(self, names: list[str]) -> None:
        self.names = (*names, *SERVERS)

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        if any(fullname == name or fullname.startswith(f"{name}.") for name in self.names):
            return importlib.machinery.ModuleSpec(fullname, self, is_package=True)
        return None

    def create_module(self, spec: Any) -> types.ModuleType:
        module = types.ModuleType(spec.name)
        module.__dict__.update(__version__="0.0", __path__=[])

        def missing(name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(name)
            return _Anything(name, (), {})

        module.__dict__["__getattr__"] = missing
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        pass


def tolerate_newer_transformers() -> None:
    """Releases register config types that a newer Transformers has itself: either will do for a parser."""
    import transformers

    register = transformers.AutoConfig.register
    transformers.AutoConfig.register = staticmethod(lambda kind, config, exist_ok=False: register(kind, config, exist_ok=True))


def stand_on_a_cpu() -> None:
    """The one platform that is there without a driver: arguments are the same on all of them."""
    from vllm import platforms
    from vllm.platforms.cpu import CpuPlatform

    CpuPlatform.import_kernels = classmethod(lambda cls: None)
    platforms._current_platform = CpuPlatform()


def serve_parser() -> argparse.ArgumentParser:
    """The parser of `vllm serve` as the release's own command line builds it."""
    try:
        from vllm.utils.argparse_utils import FlexibleArgumentParser
    except ImportError:
        from vllm.utils import FlexibleArgumentParser
    from vllm.entrypoints.cli import serve

    commands = FlexibleArgumentParser(prog="vllm").add_subparsers(dest="subparser")
    parser: argparse.ArgumentParser = serve.ServeSubcommand().subparser_init(commands)
    return parser


def type_name(kind: Any) -> str:
    """The name of an argument's type and of what it wraps: `optional_type(int)`."""
    name = getattr(kind, "__qualname__", str(kind))
    inner = [type_name(cell.cell_contents) for cell in getattr(kind, "__closure__", None) or () if callable(cell.cell_contents)]
    return f"{name}({', '.join(inner)})" if inner else name


def type_of(action: argparse.Action) -> Any:
    """What reads the argument's text, or None."""
    return action.type


def takes(action: argparse.Action, text: str) -> bool:
    """Whether the argument's type reads the text."""
    try:
        read = type_of(action)
        if read is not None:
            read(text)
    except REFUSALS:
        return False
    return True


def reads_as_none(action: argparse.Action) -> bool:
    """Whether `None` is nothing to the argument rather than a word."""
    try:
        read = type_of(action)
        return read is not None and read("None") is None
    except REFUSALS:
        return False


def registered_names() -> dict[str, list[str]]:
    """What the release registers by name and looks up after parsing, by flag."""
    from vllm.model_executor.layers.quantization import QUANTIZATION_METHODS

    names = {"--quantization": list(QUANTIZATION_METHODS)}
    for flag, module, manager, attribute in REGISTRIES:
        try:
            found = getattr(importlib.import_module(module), manager)
        except ImportError:
            continue
        names[flag] = sorted(found.list_registered() if hasattr(found, "list_registered") else getattr(found, attribute))
    return names


def listed_values(action: argparse.Action, registered: dict[str, list[str]]) -> list[Any] | None:
    """The values that the release takes, where it takes no others."""
    for spelling in action.option_strings:
        if spelling in registered:
            read = type_of(action)
            empty = ["none"] if read is not None and read("none") == "" else []
            return registered[spelling] + empty
    if action.choices is not None:
        return [value for value in action.choices if value not in (None, "None")]
    if set(action.option_strings) & set(OPEN_BUT_CHECKED) and isinstance(action.metavar, list | tuple):
        return list(action.metavar)
    return None


def describe(parser: argparse.ArgumentParser, registered: dict[str, list[str]]) -> list[dict[str, Any]]:
    """One record an argument: spellings, the negative ones of them, action, type, values."""
    found = []
    spellings: dict[int, list[str]] = {}
    for spelling, action in parser._option_string_actions.items():
        spellings.setdefault(id(action), []).append(spelling)
    for action in parser._actions:
        if not action.option_strings or isinstance(action, argparse._HelpAction):
            continue
        words = spellings[id(action)]
        own = getattr(action, "negative_option_strings", None)
        boolean = isinstance(action, argparse.BooleanOptionalAction)
        negative = [word for word in words if boolean and (word in own if own is not None else word.startswith("--no-"))]
        found.append(
            {
                "spellings": [word for word in words if word not in negative],
                "negative": negative,
                "dest": action.dest,
                "action": type(action).__name__,
                "type": None if action.type is None else type_name(action.type),
                "nargs": action.nargs,
                "values": listed_values(action, registered),
                "none": reads_as_none(action),
                "pairs": takes(action, "a=1") and not takes(action, "a"),
                "front_end": action.dest in front_end_dests(),
            }
        )
    return found


def front_end_dests() -> set[str]:
    """Arguments that are no fields of the engine's own."""
    from vllm.engine.arg_utils import AsyncEngineArgs

    return {action_dest for action_dest in _ALL_DESTS if action_dest not in AsyncEngineArgs.__dataclass_fields__}


_ALL_DESTS: set[str] = set()


def main() -> None:
    """Print the records of one release."""
    options = argparse.ArgumentParser()
    options.add_argument("folder")
    options.add_argument("--stub", action="append", default=[])
    given = options.parse_args()
    os.environ.update(HF_HUB_OFFLINE="1", VLLM_LOGGING_LEVEL="ERROR", VLLM_NO_USAGE_STATS="1", CUDA_VISIBLE_DEVICES="")
    sys.path.insert(0, given.folder)
    sys.meta_path.insert(0, _Stubs(given.stub))
    tolerate_newer_transformers()
    stand_on_a_cpu()
    sys.argv = ["vllm"]
    parser = serve_parser()
    _ALL_DESTS.update(action.dest for action in parser._actions)
    print(json.dumps({"allow_abbrev": parser.allow_abbrev, "arguments": describe(parser, registered_names())}))


if __name__ == "__main__":
    main()
