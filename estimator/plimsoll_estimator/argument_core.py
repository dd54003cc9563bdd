"""Arguments that make vLLM of 0.8.0 to 0.10.2 fall back to its V0 engine, whose memory has no rules here.

Called by `arguments` for what is handed on without a field of EngineArgs; `resolve.engine_core` judges the fields, and what moves memory
without a rule (--num-scheduler-steps, --kv-transfer-config) is refused before. Follows engine/arg_utils.py: _is_v1_supported_oracle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from plimsoll_estimator.argument_spelling import GivenArgument
from plimsoll_estimator.engine_version import OLDEST_KNOWN, EngineVersion
from plimsoll_estimator.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class _Fallback:
    """A flag that V1 does not take from `since` until before `before`, but for the values `never`."""

    flag: str
    before: EngineVersion
    never: frozenset[str] = frozenset()
    since: EngineVersion = OLDEST_KNOWN
    never_on_v1: bool = False
    """Releases without V0 refuse it (argument_rules)."""

    def takes(self, values: tuple[str, ...]) -> bool:
        """Whether V1 runs with these values."""
        return bool(values) and values[0].partition(":")[0] in self.never


_GUIDED: Final = "--guided-decoding-backend"
_FALLBACKS: Final = (
    _Fallback("--otlp-traces-endpoint", EngineVersion(0, 10, 2)),
    _Fallback("--collect-detailed-traces", EngineVersion(0, 10, 2)),
    _Fallback("--preemption-mode", EngineVersion(0, 11)),
    _Fallback("--disable-async-output-proc", EngineVersion(0, 11)),
    _Fallback("--scheduler-delay-factor", EngineVersion(0, 11), never=frozenset({"0", "0.0"})),
    _Fallback("--logits-processor-pattern", EngineVersion(0, 11), never_on_v1=True),
    _Fallback("--max-num-partial-prefills", EngineVersion(0, 11), never=frozenset({"1"}), never_on_v1=True),
    _Fallback("--max-long-partial-prefills", EngineVersion(0, 11), never=frozenset({"1"}), never_on_v1=True),
    _Fallback("--long-prefill-token-threshold", EngineVersion(0, 8, 3), never=frozenset({"0"})),
    _Fallback("--scheduling-policy", EngineVersion(0, 9, 2), never=frozenset({"fcfs"})),
    _Fallback(_GUIDED, EngineVersion(0, 8, 2), never=frozenset({"xgrammar"})),
    _Fallback(_GUIDED, EngineVersion(0, 10), never=frozenset({"auto", "guidance", "xgrammar"}), since=EngineVersion(0, 8, 2)),
    _Fallback(_GUIDED, EngineVersion(0, 10, 1), never=frozenset({"auto", "guidance", "outlines", "xgrammar"}), since=EngineVersion(0, 10)),
)


def check_older_core(items: Sequence[GivenArgument], version: EngineVersion) -> None:
    """Raises InvalidInput naming the argument as written, and the first release that runs it on V1 or has it no more."""
    said = {item.flag: item for item in items if not item.negated}
    for row in _FALLBACKS:
        item = said.get(row.flag)
        if item is None or not row.since <= version < row.before or (not item.key_path and row.takes(item.values)):
            continue
        later = "later releases refuse it" if row.never_on_v1 else f"{row.before} and later run on V1"
        limit = f"makes vLLM {version} fall back to its V0 engine, which has no rules here; {later}"
        raise InvalidInput(item.spelling, " ".join(item.tokens), limit)
