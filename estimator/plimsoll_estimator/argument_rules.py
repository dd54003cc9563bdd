"""What the front end of `vllm serve` refuses of arguments together, before it looks at a model.

Called by `arguments` with a list that is cut already. Follows validate_parsed_serve_args and validate_api_server_args of
vllm/entrypoints (openai/cli_args.py and openai/api_server.py, common/cli_args.py from 0.28 on). Knows no engine argument.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from plimsoll_estimator.argument_spelling import GivenArgument
from plimsoll_estimator.argument_values import check_listed, parse_int
from plimsoll_estimator.engine_version import OLDEST_KNOWN, EngineVersion
from plimsoll_estimator.errors import InvalidInput

_TOOLS: Final = "--enable-auto-tool-choice"
LOOKED_UP: Final = {"--tool-call-parser": "--tool-parser-plugin", "--reasoning-parser": "--reasoning-parser-plugin"}
"""Names that the server looks up as it starts, and the plug-in that may register others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pair:
    """`flag` needs `other`, or with `apart` does not go with it, from release `since` on and before `before`."""

    flag: str
    other: str
    apart: bool = False
    since: EngineVersion = OLDEST_KNOWN
    before: EngineVersion | None = None

    def holds(self, version: EngineVersion) -> bool:
        """Whether the release has the rule."""
        return version.within(self.since, self.before)


_PAIRS: Final = (
    _Pair(flag=_TOOLS, other="--tool-call-parser"),
    _Pair(flag="--enable-reasoning", other="--reasoning-parser", before=EngineVersion(0, 9)),
    _Pair(flag="--enable-reasoning", other=_TOOLS, apart=True, before=EngineVersion(0, 8, 2)),
    _Pair(flag="--enable-prompt-embeds", other="--enable-prompt-adapter", apart=True, before=EngineVersion(0, 10)),
    _Pair(flag="--collect-detailed-traces", other="--otlp-traces-endpoint", since=EngineVersion(0, 11, 1)),
    _Pair(flag="--enable-log-outputs", other="--enable-log-requests", since=EngineVersion(0, 11)),
    _Pair(flag="--enable-per-request-metrics", other="--disable-log-stats", apart=True, since=EngineVersion(0, 25)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Words:
    """`flag` takes these words only, from release `since` on and before `before`, though its parser takes others."""

    flag: str
    words: tuple[str, ...]
    since: EngineVersion
    before: EngineVersion | None = None


_WORDS: Final = (
    # engine/arg_utils.py: "data_parallel_backend can only be ray or mp"
    _Words(flag="--data-parallel-backend", words=("mp", "ray"), since=EngineVersion(0, 9, 1)),
    # engine/arg_utils.py: _check_feature_supported, "Concurrent Partial Prefill is not supported"; until 0.10.2 such starts ran on V0
    _Words(flag="--max-num-partial-prefills", words=("1",), since=EngineVersion(0, 11), before=EngineVersion(0, 27)),
    _Words(flag="--max-long-partial-prefills", words=("1",), since=EngineVersion(0, 11), before=EngineVersion(0, 27)),
    _Words(flag="--logits-processor-pattern", words=(), since=EngineVersion(0, 11), before=EngineVersion(0, 17)),
    # config/observability.py: a list of single words, which the parser's "worker,model" is not
    _Words(flag="--collect-detailed-traces", words=("all", "model", "worker"), since=EngineVersion(0, 10, 2), before=EngineVersion(0, 32)),
)


def _check_words(said: Mapping[str, GivenArgument], version: EngineVersion) -> None:
    for row in _WORDS:
        item = said.get(row.flag)
        if item is None or item.key_path or not version.within(row.since, row.before):
            continue
        other = next((value for value in item.values if value not in row.words), None)
        if other is not None:
            limit = f"must be {' or '.join(row.words)} in vLLM {version}" if row.words else f"is not supported in vLLM {version}"
            raise InvalidInput(item.spelling, other, limit)


def check_together(items: Sequence[GivenArgument], version: EngineVersion) -> None:
    """Raises InvalidInput naming the argument as written, in vLLM's words where it has some."""
    said = {item.flag: item for item in items if not item.negated}
    _check_words(said, version)
    for pair in _PAIRS:
        item = said.get(pair.flag)
        if item is None or not pair.holds(version) or (pair.other in said) is not pair.apart:
            continue
        limit = f"does not go with {pair.other}" if pair.apart else f"requires {pair.other}"
        raise InvalidInput(item.spelling, " ".join(item.tokens), f"{limit} in vLLM {version}")
    for flag, plugin in LOOKED_UP.items():
        looked_up = flag in said and plugin not in said and (flag != "--tool-call-parser" or _TOOLS in said)
        if looked_up and not said[flag].key_path:
            check_listed(flag, said[flag].spelling, said[flag].values[0], version)
    silence = said.get("--sse-keep-alive-interval")
    if silence is not None and parse_int(silence.values[0], silence.spelling, "int") < 0:
        raise InvalidInput(silence.spelling, silence.values[0], "must be 0 or more")
