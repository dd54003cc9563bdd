"""`plimsoll estimate`: one model on one GPU type, a rule of thumb from a size, or a file of cases.

Reads files and arguments, calls the estimator, prints. Refuses to know clusters (`plan`), Kubernetes and the network.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from plimsoll_estimator import (
    MAX_CASE_CHARACTERS,
    NEWEST_KNOWN,
    Check,
    EngineArgs,
    EngineVersion,
    Estimate,
    Gpu,
    HfConfig,
    InvalidInput,
    Unsupported,
    answer_case,
    catalogue,
    explanation_lines,
    gpu_from,
    parse_extra_args,
    parse_int,
    parse_json,
    prepare,
    quick,
    run_cases,
)
from plimsoll_operator.cli.command import SubParsers, add_command, add_output_argument, print_data
from plimsoll_operator.cli.estimate_text import comparison_lines, quick_lines, table_lines, wrapped
from plimsoll_operator.cli.files import at_most, lines
from plimsoll_operator.cli.models import not_in_catalogue
from plimsoll_operator.cli.nicknames import gpu_named, model_called
from plimsoll_operator.cli.screen import screen_of_stdout

_STATUS: Final = {"starts": 0, "refused": 1}
_BAD_INPUT: Final = 2
_MAX_FILE_BYTES: Final = 32 << 20
_DESCRIPTION: Final = (
    "GPU memory of one vLLM replica. Any argument of `vllm serve` that moves memory may follow (for example "
    "--tensor-parallel-size 2 --max-model-len 32K); it is checked against the release given by --engine-version. "
    "Status 0: it starts, or a file of cases is answered; 1: vLLM refuses to start; 2: bad input."
)


def register(subparsers: SubParsers) -> None:
    """Add the command."""
    parser = add_command(subparsers, "estimate", run, _DESCRIPTION)
    parser.set_defaults(takes_engine_arguments=True)
    parser.add_argument("--cases", metavar="FILE", help="JSON Lines of cases in, JSON Lines of answers out; - reads stdin")
    parser.add_argument("--models", metavar="DIR", type=Path, help="a folder of config.json-style files named org--name.json")
    parser.add_argument("--model", metavar="NAME", help="a model of the catalogue or of --models")
    parser.add_argument("--config", metavar="FILE", type=Path, help="the model's config.json")
    parser.add_argument("--params", metavar="SIZE", help="rule of thumb: the model's size, for example 70B")
    parser.add_argument("--kv-heads", metavar="N", help="rule of thumb: KV heads, in place of those typical of the size")
    parser.add_argument("--layers", metavar="N", help="rule of thumb: layers, in place of those typical of the size")
    parser.add_argument("--context", metavar="TOKENS", help="context length, the same as --max-model-len")
    parser.add_argument("--gpu", metavar="PRODUCT", help="a product of `plimsoll gpus`, as the label nvidia.com/gpu.product spells it")
    parser.add_argument("--gpu-memory-mib", metavar="MIB", help="the label nvidia.com/gpu.memory, for products that are not in the table")
    parser.add_argument("--gpu-compute-capability", metavar="X.Y", help="for products whose name does not tell it, for example 7.5")
    parser.add_argument("--interconnect", choices=("nvlink", "pcie", "network"), help="how the GPUs reach one another")
    parser.add_argument("--engine-version", metavar="VERSION", help=f"vLLM release, default {NEWEST_KNOWN}")
    add_output_argument(parser)
    parser.add_argument("--explain", action="store_true", help="show every term as a formula with its numbers and source")
    parser.add_argument("--compare", action="store_true", help="the same model under other parallel layouts")


def run(options: argparse.Namespace) -> int:
    """Choose the door; status 0 where it starts, 1 where it does not. A batch of cases is 0 when it is answered."""
    if options.cases is not None:
        return _run_cases(options)
    if options.params is not None:
        return _run_quick(options)
    for name in ("explain", "compare"):
        if getattr(options, name) and options.output != "table":
            raise InvalidInput(f"--{name}", None, f"is for people: leave out -o {options.output}")
    question = _question(options)
    if options.output != "table":
        case = answer_case(question.as_case(), _lookup(options.models))
        print_data(case, options.output)
        return _STATUS.get(str(case["verdict"]), _BAD_INPUT)
    answer = question.ask(question.args)
    lines = table_lines(question.name, answer, screen_of_stdout()) + _provenance(options, question.config)
    if options.explain:
        lines += ["", *explanation_lines(question.config, answer)]
    if options.compare:
        lines += ["", *comparison_lines(question.ask, question.config, question.args)]
    print("\n".join(wrapped(lines)))
    return _STATUS[answer.verdict]


def _provenance(options: argparse.Namespace, config: HfConfig) -> list[str]:
    """A note where the catalogue's shape is not the published file."""
    entry = None if options.model is None else catalogue.entry(options.model)
    if entry is None or entry.config is not config or entry.fidelity == "verbatim":
        return []
    return [f"note: this shape is not the published file but {entry.fidelity} (from {entry.source}); --config FILE uses the file itself"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    """One model on one GPU type under one release."""

    name: str
    config: HfConfig
    args: EngineArgs
    gpu: Gpu
    version: EngineVersion

    def ask(self, args: EngineArgs) -> Estimate:
        """The estimate under other arguments. Raises InvalidInput naming the argument as it is typed."""
        try:
            found = prepare(self.config, args, self.gpu, self.version)
        except InvalidInput as error:
            of, _, name = error.field.partition(".")
            typed = f"--{name.replace('_', '-')}" if of == "engine_args" else error.field
            raise InvalidInput(typed, error.value, error.limit) from error
        return found if isinstance(found, Estimate) else found.estimate()

    def as_case(self) -> dict[str, Any]:
        """The same question in the words of the batch door."""
        values = {field.name: getattr(self.args, field.name) for field in fields(EngineArgs)}
        gpu = {"product": self.gpu.product, "total_memory_bytes": self.gpu.total_memory_bytes, "interconnect": self.gpu.interconnect}
        return {
            "id": self.name,
            "model_config": self.config.as_mapping(),
            "engine_version": str(self.version),
            "gpu": gpu,
            "engine_args": {name: value for name, value in values.items() if value is not None},
        }


def _question(options: argparse.Namespace) -> _Question:
    if options.model is None and options.config is None:
        raise InvalidInput("--model or --config", None, "is needed, with --gpu; or --params SIZE alone for a rule of thumb")
    if options.model is not None and options.config is not None:
        raise InvalidInput("--config", str(options.config), "and --model exclude one another")
    if options.gpu is None and options.gpu_memory_mib is None:
        raise InvalidInput(
            "--gpu", None, "is needed: a product of `plimsoll gpus`, or --gpu-memory-mib with a name that tells the generation"
        )
    label = None if options.gpu_memory_mib is None else parse_int(options.gpu_memory_mib, "--gpu-memory-mib", "int")
    version = _version(options)
    args = _engine_args(options, version)
    name, config = _model(options)
    return _Question(
        name=name,
        config=config,
        args=args,
        gpu=_gpu(options, label),
        version=version,
    )


def _version(options: argparse.Namespace) -> EngineVersion:
    return NEWEST_KNOWN if options.engine_version is None else EngineVersion.parse(options.engine_version)


def _engine_args(options: argparse.Namespace, version: EngineVersion) -> EngineArgs:
    given: dict[str, Any] = {}
    if options.context is not None:
        given["max_model_len"] = parse_int(options.context, "--context", "human_int_or_auto")
    parsed = parse_extra_args(options.engine_arguments, version, given)
    return EngineArgs.from_mapping({**given, **parsed.engine_args})


def _model(options: argparse.Namespace) -> tuple[str, HfConfig]:
    if options.config is not None:
        return options.config.name, _config_of(_read_json(options.config, "--config"), str(options.config))
    lookup = _lookup(options.models)
    name = options.model
    found = lookup(name)
    if found is None and (called := model_called(name)) is not None:
        print(f"plimsoll estimate: {name} is taken for {called}", file=sys.stderr)
        name, found = called, lookup(called)
    if found is None:
        raise not_in_catalogue("--model", name, "pass --config FILE, or see `plimsoll models --search`")
    return name, found


def _gpu(options: argparse.Namespace, label: int | None) -> Gpu:
    """The GPU as it is labelled, or as people call it. Raises InvalidInput and Unsupported."""

    def described(product: str | None) -> Gpu:
        return gpu_from(product, label, None, None, options.interconnect, options.gpu_compute_capability)

    try:
        return described(options.gpu)
    except Unsupported as error:
        if options.gpu is None or label is not None or error.reason not in (Check.UNKNOWN_GPU_MEMORY, Check.UNKNOWN_GPU):
            raise
    named = gpu_named(options.gpu, "--gpu", "describe it by --gpu-memory-mib and --gpu-compute-capability, or see `plimsoll gpus`")
    if named.gpus is not None:
        raise InvalidInput("--gpu", options.gpu, f"counts GPUs: say --tensor-parallel-size {named.gpus}, or ask `plimsoll fit`")
    first, *others = named.products
    print(f"plimsoll estimate: {options.gpu} is taken for {first}" + (f", not {' or '.join(others)}" if others else ""), file=sys.stderr)
    return described(first)


def _lookup(folder: Path | None) -> Callable[[str], HfConfig | None]:
    """The folder's file of that name first, then the catalogue; each file is read once."""
    if folder is not None and not folder.is_dir():
        raise InvalidInput("--models", str(folder), "is not a folder")

    @lru_cache(maxsize=64)
    def find(name: str) -> HfConfig | None:
        if folder is not None and len(name) <= 200 and "\0" not in name:
            path = folder / (name.replace("/", "--", 1) + ".json")
            if path.parent == folder and path.is_file():
                return _config_of(_read_json(path, "--models"), "model_config")
        return catalogue.lookup(name)

    return find


def _read_json(path: Path, option: str) -> Any:
    try:
        data = at_most(path, _MAX_FILE_BYTES + 1)
        if len(data) > _MAX_FILE_BYTES:
            raise InvalidInput(option, str(path), f"is larger than {_MAX_FILE_BYTES} bytes")
        return parse_json(data.decode(), option, infinite=True)
    except OSError as error:
        raise InvalidInput(option, str(path), f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidInput(option, str(path), "is not JSON") from error
    except InvalidInput as error:
        raise InvalidInput(option, str(path), error.limit) from error


def _config_of(data: Any, path: str) -> HfConfig:
    """A config.json, or a file that keeps one under `config` with ModelOpt's side file beside it."""
    if isinstance(data, dict) and isinstance(data.get("config"), dict) and "architectures" not in data:
        config, side = dict(data["config"]), data.get("hf_quant_config")
        if isinstance(side, dict) and not config.get("quantization_config"):
            config["quantization_config"] = {"quant_method": "modelopt", **side}
        return HfConfig(config, path)
    return HfConfig(data, path)


def _run_cases(options: argparse.Namespace) -> int:
    models = _lookup(options.models)
    if options.cases == "-":
        if isinstance(sys.stdin, io.TextIOWrapper):  # bytes that are not UTF-8 reach the batch door, which answers them by line
            sys.stdin.reconfigure(encoding="utf-8", errors="surrogateescape")
        return run_cases(lines(sys.stdin, MAX_CASE_CHARACTERS), sys.stdout, models)
    try:
        with Path(options.cases).open(encoding="utf-8", errors="surrogateescape") as stream:
            return run_cases(lines(stream, MAX_CASE_CHARACTERS), sys.stdout, models)
    except OSError as error:
        raise InvalidInput("--cases", options.cases, f"cannot be read: {error.strerror}") from error


def _run_quick(options: argparse.Namespace) -> int:
    args = _engine_args(options, _version(options))
    for name in ("model", "config"):
        if getattr(options, name) is not None:
            raise InvalidInput(f"--{name}", str(getattr(options, name)), "and --params exclude one another")
    for name in ("explain", "compare"):
        if getattr(options, name):
            raise InvalidInput(f"--{name}", None, "needs --model or --config: a rule of thumb has neither terms nor layouts")
    answer = quick.quick_estimate(
        options.params,
        storage=args.quantization or args.dtype or "bf16",
        context=8192 if args.max_model_len is None else args.max_model_len,
        sequences=1 if args.max_num_seqs is None else args.max_num_seqs,
        kv_element_bytes=1 if (args.kv_cache_dtype or "").startswith("fp8") else 2,
        kv_heads=None if options.kv_heads is None else parse_int(options.kv_heads, "--kv-heads", "int"),
        layers=None if options.layers is None else parse_int(options.layers, "--layers", "int"),
    )
    gpu = None if options.gpu is None else _gpu(options, None)
    if options.output != "table":
        data = {name: getattr(answer, name) for name in quick.QuickEstimate.__dataclass_fields__}
        print_data({**data, "rule_of_thumb": True}, options.output)
        return 0
    print("\n".join(quick_lines(answer, gpu)))
    return 0
