"""Variables of spec.template.env that vLLM reads as it reads an argument, and what each of their values means to the estimate.

Read by the request, which counts them, and by the checks, which refuse by name what is not counted here. A name has its releases and
the texts that are known; any other text, or a reference whose text is in the cluster, is unknown, and what is unknown is not let in.
Source: vllm/envs.py of 0.8.5 to 0.32.0. Pure; knows no API server and no verdicts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypedDict

from plimsoll_estimator import OLDEST_KNOWN, EngineVersion
from plimsoll_operator.api import EnvVar

_WARM_UP_HAS_MODES: Final = EngineVersion(0, 11, 1)
_WARMS_UP: Final = EngineVersion(0, 10, 1)
_NAMES_ARE_TODAYS: Final = EngineVersion(0, 11, 1)
"""Before, the same backends had other names (FLASH_ATTN_VLLM_V1), and nobody here has read what each takes."""
_BACKENDS: Final = ("FLASH_ATTN", "FLASHINFER", "TRITON_ATTN", "FLEX_ATTENTION")
"""Of ordinary attention; as they are written, since the variable does not take small letters."""


class Counted(TypedDict, total=False):
    """Fields of EngineArgs that a variable can set."""

    use_flashinfer_sampler: bool
    use_deep_gemm: bool
    deep_gemm_warmup: Literal["full", "relax", "skip"]
    attention_backend: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Variable:
    """`means`: what of EngineArgs each text sets, nothing where it is the release's default said aloud. Read `since`, until `before`."""

    means: Mapping[str, Counted]
    instead: str
    since: EngineVersion = OLDEST_KNOWN
    before: EngineVersion | None = None


_COUNTED: Final[Mapping[str, _Variable]] = {
    "VLLM_USE_FLASHINFER_SAMPLER": _Variable(
        means={"0": {"use_flashinfer_sampler": False}, "1": {"use_flashinfer_sampler": True}},
        instead="leave it out",
    ),
    "VLLM_USE_DEEP_GEMM": _Variable(means={"0": {"use_deep_gemm": False}, "1": {"use_deep_gemm": True}}, instead="leave it out"),
    "VLLM_SKIP_DEEP_GEMM_WARMUP": _Variable(
        means={"0": {}, "1": {"deep_gemm_warmup": "skip"}},
        instead="VLLM_DEEP_GEMM_WARMUP says it from 0.11.1 on",
        since=_WARMS_UP,
        before=_WARM_UP_HAS_MODES,
    ),
    "VLLM_DEEP_GEMM_WARMUP": _Variable(
        means={mode: {"deep_gemm_warmup": mode} for mode in ("full", "relax", "skip")},
        instead="VLLM_SKIP_DEEP_GEMM_WARMUP says it from 0.10.1 until before 0.11.1",
        since=_WARM_UP_HAS_MODES,
    ),
    "VLLM_ATTENTION_BACKEND": _Variable(
        means={name: {"attention_backend": name} for name in _BACKENDS},
        instead="leave it out; from 0.13 on --attention-backend in spec.engine.extraArgs says it",
        since=_NAMES_ARE_TODAYS,
        before=EngineVersion(0, 15),
    ),
    "VLLM_ENABLE_V1_MULTIPROCESSING": _Variable(means={"1": {}}, instead="leave it out, the engine has its own process"),
}


def is_counted(name: str) -> bool:
    """Whether the estimate knows what a variable of this name means in some release."""
    return name in _COUNTED


def counted(env: Iterable[EnvVar], version: EngineVersion) -> Counted:
    """Fields of EngineArgs that the engine's variables set. What `why_not_counted` names sets nothing: it is refused."""
    found: Counted = {}
    for variable in env:
        if is_counted(variable.name) and why_not_counted(variable, version) is None:
            found |= _COUNTED[variable.name].means[variable.value or ""]
    return found


def why_not_counted(variable: EnvVar, version: EngineVersion) -> str | None:
    """Why this text of a counted variable is unknown in the release, to follow its name; None where it is known."""
    known = _COUNTED[variable.name]
    if not version.within(known.since, known.before):
        return f"is not read by vLLM {version}, or not as it is counted: {known.instead}"
    if variable.value_from is not None:
        return f"decides what the plan counts, and a reference is not read for that: write its value, {_listed(known)}"
    if variable.value not in known.means:
        return f"must be {_listed(known)} for the plan to count it, is {variable.value or ''!r}: {known.instead}"
    return None


def _listed(known: _Variable) -> str:
    return " or ".join(known.means)
