"""`plimsoll observe FILE`: what an engine's own log says it took, beside what is predicted of the same start. Offline.

Reads the log, and asks the estimator about the model, arguments and release that the log names. What a log does not name, an option or a
manifest does; without that the log's own figures are shown and what is missing is said. Refuses to know clusters and the network.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

from plimsoll_estimator import (
    EngineArgs,
    EngineLog,
    EngineVersion,
    Estimate,
    EstimatorError,
    Gpu,
    HfConfig,
    InvalidInput,
    Prepared,
    catalogue,
    gpu_from,
    known_gpus,
    logged_arguments,
    parse_extra_args,
    parse_json,
    prepare,
    read_engine_log,
    release_of,
    total_logged,
)
from plimsoll_operator.api import InferenceDeployment, parse_inference_deployment
from plimsoll_operator.cli.command import SubParsers, add_command, add_output_argument, print_data
from plimsoll_operator.cli.files import at_most
from plimsoll_operator.cli.manifests import manifests
from plimsoll_operator.cli.nicknames import gpu_named, model_called
from plimsoll_operator.cli.observe_calibration import CALIBRATION, add_calibration_arguments, print_calibration
from plimsoll_operator.cli.observe_text import COMPARED, FAILED, UNKNOWN, Observation, data_of, screen_lines
from plimsoll_operator.text import one_line

_SEVERITY: Final = (COMPARED, UNKNOWN, FAILED)
_MAX_LOG_BYTES: Final = 64 << 20
_MAX_CONFIG_BYTES: Final = 32 << 20
_EXACT_BYTES: Final = 16 << 20
"""So far a GPU's logged total may be from the table's before the log's is taken: drivers differ by less."""
_RESOLVED: Final = (
    "the log has no arguments: those that the engine resolved count, and --max-num-seqs and --max-num-batched-tokens follow the release"
)
_DESCRIPTION: Final = (
    "What an engine's start-up log says it took, beside what is predicted of the same start, by component with the error. Arguments of "
    "`vllm serve` that the log does not have may follow; they overrule the log's. Status 0: compared; 1: the log tells of an engine that "
    "ended; 3: something for a prediction is missing, which is said; 2: bad input."
)


def register(subparsers: SubParsers) -> None:
    """Add the command."""
    parser = add_command(subparsers, "observe", run, _DESCRIPTION)
    parser.set_defaults(takes_engine_arguments=True)
    logs = "logs of `vllm serve`, as kubectl logs, docker or a file has them; - reads stdin"
    parser.add_argument("file", metavar="FILE", nargs="*", help=logs)
    parser.add_argument("-f", "--filename", metavar="MANIFEST", type=Path, help="the InferenceDeployment it is of: its model and GPU")
    parser.add_argument("--model", metavar="NAME", help="a model of the catalogue, where the log names a folder")
    parser.add_argument("--config", metavar="CONFIG", type=Path, help="the model's config.json, where the catalogue does not have it")
    parser.add_argument("--gpu", metavar="PRODUCT", help="a product of `plimsoll gpus`, which few logs name")
    parser.add_argument("--engine-version", metavar="VERSION", help="vLLM release, where the log does not tell it; else the log's counts")
    add_output_argument(parser, more=(CALIBRATION,))
    add_calibration_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Read, predict where that can be, print; of several logs the worst status."""
    if not options.file and not (options.cluster and options.output == CALIBRATION):
        raise InvalidInput("FILE", None, "is needed: a log of `vllm serve`, or - for stdin")
    found = (observe(options, file, _text_of(file)) for file in options.file)
    if options.output == CALIBRATION:
        return print_calibration(options, found)
    statuses = [COMPARED]
    for number, one in enumerate(found):
        if options.output == "table":
            print("\n".join([*([""] if number else []), *screen_lines(one)]))
        else:
            print("---\n" if number and options.output == "yaml" else "", end="")
            print_data(data_of(one), options.output)
        statuses.append(one.exit_status)
    return max(statuses, key=_SEVERITY.index)


def observe(options: argparse.Namespace, file: str, text: str) -> Observation:
    """What there is to tell of this log. Raises InvalidInput for an option or a manifest that is none."""
    log = read_engine_log(text)
    deployment = None if options.filename is None else _deployment(options.filename)
    missing: list[str] = []
    notes: list[str] = []
    version = _version(options, log, missing, notes)
    name, config = _model(options, log, deployment, missing)
    gpu = _gpu(options, log, deployment, missing, notes)
    prepared, estimate = None, None
    if version is not None and config is not None and gpu is not None:
        prepared, estimate = _predicted(options, log, version, config, gpu, missing, notes)
    return Observation(
        name=one_line(file, 200),
        log=log,
        model=name,
        version=version,
        gpu=gpu,
        estimate=estimate,
        prepared=prepared,
        missing=tuple(missing),
        notes=tuple(notes),
    )


def _text_of(file: str) -> str:
    try:
        data = sys.stdin.buffer.read(_MAX_LOG_BYTES + 1) if file == "-" else at_most(Path(file), _MAX_LOG_BYTES + 1)
    except OSError as error:
        raise InvalidInput("FILE", file, f"cannot be read: {error.strerror}") from error
    if len(data) > _MAX_LOG_BYTES:
        raise InvalidInput("FILE", file, f"is larger than {_MAX_LOG_BYTES >> 20} MiB: give the part with the start, such as head -c 4M")
    return data.decode(errors="replace")


def _deployment(path: Path) -> InferenceDeployment:
    for manifest in manifests(path):
        if manifest.get("kind") == "InferenceDeployment":
            return parse_inference_deployment(manifest)
    raise InvalidInput("-f", str(path), "has no InferenceDeployment")


def _version(options: argparse.Namespace, log: EngineLog, missing: list[str], notes: list[str]) -> EngineVersion | None:
    try:
        version = release_of(log, options.engine_version)
    except InvalidInput as error:
        if options.engine_version is not None:
            raise
        missing.append(f"{error.field} {error.limit}")
        return None
    if options.engine_version is not None and log.release is not None and EngineVersion.parse(options.engine_version) != log.release:
        notes.append(f"--engine-version {one_line(options.engine_version, 40)} is not what the log says: {log.version} counts")
    return version


def _model(
    options: argparse.Namespace, log: EngineLog, deployment: InferenceDeployment | None, missing: list[str]
) -> tuple[str | None, HfConfig | None]:
    if options.config is not None:
        return options.config.name, _config(options.config)
    name = options.model or (deployment.spec.model.name if deployment is not None else log.model)
    if name is None:
        missing.append("--model NAME or --config CONFIG is needed: the log names no model")
        return None, None
    found = catalogue.lookup(name)
    if found is None and (called := model_called(name)) is not None:
        name, found = called, catalogue.lookup(called)
    if found is None:
        missing.append(f"--model NAME of the catalogue or --config CONFIG is needed: {one_line(name, 200)} is not in it")
    return one_line(name, 200), found


def _config(path: Path) -> HfConfig:
    try:
        data = at_most(path, _MAX_CONFIG_BYTES + 1)
    except OSError as error:
        raise InvalidInput("--config", str(path), f"cannot be read: {error.strerror}") from error
    return HfConfig(parse_json(data, "--config", most_bytes=_MAX_CONFIG_BYTES, infinite=True), str(path))


def _gpu(
    options: argparse.Namespace, log: EngineLog, deployment: InferenceDeployment | None, missing: list[str], notes: list[str]
) -> Gpu | None:
    products = () if deployment is None else deployment.spec.placement.gpu_products
    text = options.gpu or (products[0] if len(products) == 1 else log.gpu_product)
    if text is None:
        missing.append("--gpu PRODUCT is needed: the log does not name the GPU (`plimsoll gpus` lists those that are known)")
        return None
    if text not in known_gpus():
        text = gpu_named(text, "--gpu").products[0]
    total, table = total_logged(log), known_gpus()[text].total_memory_bytes
    if total is None or abs(total.value_bytes - table) <= _EXACT_BYTES + total.off_by_bytes:
        return gpu_from(text)
    notes.append(f"the GPU has {total.value_bytes >> 20} MiB in the log and {table >> 20} MiB in the table: the log's count")
    return gpu_from(text, total_memory_bytes=total.value_bytes)


def _predicted(
    options: argparse.Namespace, log: EngineLog, version: EngineVersion, config: HfConfig, gpu: Gpu, missing: list[str], notes: list[str]
) -> tuple[Prepared | None, Estimate | None]:
    """The start before its budget is divided, and the estimate; the first is None where vLLM is predicted to refuse the arguments."""
    logged = logged_arguments(log, version)
    notes += [f"not taken from the log: {one_line(text, 200)}" for text in logged.left_out]
    if logged.resolved:
        notes.append(_RESOLVED)
    values = {**logged.values, **parse_extra_args(options.engine_arguments, version, {}).engine_args}
    try:
        found = prepare(config, EngineArgs.from_mapping(values), gpu, version)
        estimate = found if isinstance(found, Estimate) else found.estimate()
    except EstimatorError as error:
        missing.append(f"nothing is predicted: {one_line(str(error), 400)}")
        return None, None
    if not estimate.ranks:
        missing.append(f"nothing is predicted: {one_line(estimate.message or str(estimate.reason), 400)}")
        return None, None
    return (found if isinstance(found, Prepared) else None), estimate
