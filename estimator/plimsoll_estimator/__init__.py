"""The memory estimator: what vLLM would do with a model on a GPU, as pure arithmetic.

Standard library only: no clock, no network, no environment, no Kubernetes. What is named here is all that others may import: the
operator's decision, the `plimsoll` command and their tests. Everything below is free to move.

A name brings the module it lives in when it is asked for: a command that only prints its help, or a pod that only reads a config,
loads no model line.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    # isort: off
    from plimsoll_estimator import catalogue as catalogue, quick as quick
    from plimsoll_estimator.argument_spelling import GivenArgument as GivenArgument, split_arguments as split_arguments
    from plimsoll_estimator.arguments import (
        ParsedExtraArgs as ParsedExtraArgs,
        check_rendered as check_rendered,
        flag_of as flag_of,
        flags_between as flags_between,
        known_releases as known_releases,
        parse_extra_args as parse_extra_args,
        parse_int as parse_int,
        render_args as render_args,
    )
    from plimsoll_estimator.cases import MAX_CASE_CHARACTERS as MAX_CASE_CHARACTERS, answer_case as answer_case, run_cases as run_cases
    from plimsoll_estimator.checks import Check as Check
    from plimsoll_estimator.engine_args import EngineArgs as EngineArgs
    from plimsoll_estimator.engine_log import (
        MEMORY_COMPONENTS as MEMORY_COMPONENTS,
        EngineLog as EngineLog,
        FailureCause as FailureCause,
        Figure as Figure,
        WorkerLog as WorkerLog,
        failure_of as failure_of,
        read_engine_log as read_engine_log,
    )
    from plimsoll_estimator.engine_version import NEWEST_KNOWN as NEWEST_KNOWN, OLDEST_KNOWN as OLDEST_KNOWN, EngineVersion as EngineVersion
    from plimsoll_estimator.errors import EstimatorError as EstimatorError, InvalidInput as InvalidInput, Unsupported as Unsupported
    from plimsoll_estimator.estimate import WeightTotals as WeightTotals, prepare as prepare, read_bytes as read_bytes
    from plimsoll_estimator.explain import explanation_lines as explanation_lines
    from plimsoll_estimator.hardware import gpu_from as gpu_from, known_gpus as known_gpus, usable_from_label as usable_from_label
    from plimsoll_estimator.hf_config import HfConfig as HfConfig
    from plimsoll_estimator.kept import answers_bytes as answers_bytes, kept_with_config as kept_with_config
    from plimsoll_estimator.host import checkpoint_bytes as checkpoint_bytes, load_times as load_times, phase_times as phase_times
    from plimsoll_estimator.kv_cache import NULL_BLOCKS as NULL_BLOCKS, Requests as Requests
    from plimsoll_estimator.models.register import served_by as served_by, shape_of as shape_of
    from plimsoll_estimator.outside import (
        DEEPEST as DEEPEST,
        check_text as check_text,
        parse_json as parse_json,
        parse_json_object as parse_json_object,
    )
    from plimsoll_estimator.config_overrides import overridden as overridden
    from plimsoll_estimator.observed import (
        Compared as Compared,
        compare as compare,
        fullest_logged as fullest_logged,
        logged_arguments as logged_arguments,
        release_of as release_of,
        total_logged as total_logged,
    )
    from plimsoll_estimator.overhead.intervals import covered_percent as covered_percent
    from plimsoll_estimator.prepared import Prepared as Prepared, requested_bytes as requested_bytes
    from plimsoll_estimator.resolve.facts import LayoutBounds as LayoutBounds, layout_bounds as layout_bounds
    from plimsoll_estimator.resolve.kernels import machine_of as machine_of
    from plimsoll_estimator.resolve.releases import spans_nodes as spans_nodes
    from plimsoll_estimator.resolve.support import support_of as support_of, support_sources as support_sources
    from plimsoll_estimator.resolved import (
        Corrections as Corrections,
        Estimate as Estimate,
        Gpu as Gpu,
        OutsideBudget as OutsideBudget,
        RankEstimate as RankEstimate,
        ResolvedArgs as ResolvedArgs,
    )
    from plimsoll_estimator.weights import draft_weights_bytes as draft_weights_bytes
    from plimsoll_estimator.units import GIB as GIB, MIB as MIB, ceil_div as ceil_div, format_gib as format_gib, round_up as round_up
    # isort: on

_PLACES: Final = {
    "argument_spelling": "GivenArgument split_arguments",
    "arguments": "ParsedExtraArgs check_rendered flag_of flags_between known_releases parse_extra_args parse_int render_args",
    "cases": "MAX_CASE_CHARACTERS answer_case run_cases",
    "checks": "Check",
    "engine_args": "EngineArgs",
    "engine_log": "MEMORY_COMPONENTS EngineLog FailureCause Figure WorkerLog failure_of read_engine_log",
    "engine_version": "EngineVersion NEWEST_KNOWN OLDEST_KNOWN",
    "errors": "EstimatorError InvalidInput Unsupported",
    "estimate": "WeightTotals prepare read_bytes",
    "explain": "explanation_lines",
    "hardware": "gpu_from known_gpus usable_from_label",
    "hf_config": "HfConfig",
    "kept": "answers_bytes kept_with_config",
    "host": "checkpoint_bytes load_times phase_times",
    "kv_cache": "NULL_BLOCKS Requests",
    "models.register": "served_by shape_of",
    "outside": "DEEPEST check_text parse_json parse_json_object",
    "config_overrides": "overridden",
    "observed": "Compared compare fullest_logged logged_arguments release_of total_logged",
    "overhead.intervals": "covered_percent",
    "prepared": "Prepared requested_bytes",
    "resolve.facts": "LayoutBounds layout_bounds",
    "resolve.kernels": "machine_of",
    "resolve.releases": "spans_nodes",
    "resolve.support": "support_of support_sources",
    "resolved": "Corrections Estimate Gpu OutsideBudget RankEstimate ResolvedArgs",
    "weights": "draft_weights_bytes",
    "units": "GIB MIB ceil_div format_gib round_up",
}
"""Names by the module they live in, as above."""
_HOME: Final = {name: module for module, names in _PLACES.items() for name in names.split()}
_MODULES: Final = ("catalogue", "quick")
__all__ = sorted([*_HOME, *_MODULES])

if not TYPE_CHECKING:  # a type checker would take any name for one of these

    def __getattr__(name: str) -> Any:
        """The public name, from the module it lives in."""
        if name in _MODULES:
            return import_module(f"{__name__}.{name}")
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
        globals()[name] = found
        return found
