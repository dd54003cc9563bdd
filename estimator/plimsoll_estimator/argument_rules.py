"""What `vllm serve` refuses of arguments together before it looks at a model, and what of them it refuses beside some models only.

Called by `arguments` with a list that is cut already. Follows validate_parsed_serve_args and validate_api_server_args of
vllm/entrypoints (openai/cli_args.py and openai/api_server.py, common/cli_args.py from 0.28 on) and the validators of vllm/config.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from plimsoll_estimator.argument_spelling import GivenArgument
from plimsoll_estimator.argument_values import NO_RULE, check_listed, entries, key_value, parse_int, value_of
from plimsoll_estimator.attention_backends import check_name
from plimsoll_estimator.attention_config import check_configuration
from plimsoll_estimator.engine_version import OLDEST_KNOWN, EngineVersion
from plimsoll_estimator.errors import InvalidInput

_TOOLS: Final = "--enable-auto-tool-choice"
_EXECUTOR: Final = "--distributed-executor-backend"
_EXECUTORS: Final = ("external_launcher", "mp", "ray", "uni")
_SEEDED: Final = EngineVersion(0, 9)
"""From then on a seed is 0 where nobody says one (config.py: ModelConfig.__post_init__, on the V1 engine)."""
_CPUS: Final = "--numa-bind-cpus"
_CPU_LIST: Final = re.compile(r"\d{1,9}(?:-\d{1,9})?(?:,\d{1,9}(?:-\d{1,9})?)*")
_DRAFT_METRICS: Final = "--per-request-spec-decode-metrics"
_BACKEND: Final = "--attention-backend"
_ATTENTION: Final = "--attention-config"
_COMPILATION: Final = "--compilation-config"
_SIZES: Final = "--cudagraph-capture-sizes"
_OLDER_SIZES: Final = "--cuda-graph-sizes"
_IMAGES_BACKEND: Final = "--mm-encoder-attn-backend"
_NO_VALUE: Final = ("", "None")
"""What the parser takes for nothing said (engine/arg_utils.py: optional_type)."""
_LARGEST: Final = "--max-cudagraph-capture-size"
_AUTO_BACKEND: Final = EngineVersion(0, 18)
_GUIDED: Final = "--guided-decoding-backend"
_NO_SPACE: Final = "--guided-decoding-disable-any-whitespace"
_NO_PROPERTIES: Final = "--guided-decoding-disable-additional-properties"
_STRUCTURED: Final = "--structured-outputs-config"
_OBJECTS: Final = "--mm-shm-cache-max-object-size-mb"
_SHARED_OBJECTS_MB: Final = "128"
"""Its default (config/multimodal.py), which says nothing."""
_RENDERERS: Final = "--renderer-num-workers"
_LONG_PREFILL: Final = "--long-prefill-token-threshold"
LOOKED_UP: Final = {"--tool-call-parser": "--tool-parser-plugin", "--reasoning-parser": "--reasoning-parser-plugin"}
"""Names that the server looks up as it starts, and the plug-in that may register others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pair:
    """`flag` needs `other`, one of `values` where it has some, or with `apart` does not go with it, from `since` on, before `before`."""

    flag: str
    other: str
    values: tuple[str, ...] = ()
    apart: bool = False
    since: EngineVersion = OLDEST_KNOWN
    before: EngineVersion | None = None

    def holds(self, version: EngineVersion) -> bool:
        """Whether the release has the rule."""
        return version.within(self.since, self.before)

    def has_other(self, said: Mapping[str, GivenArgument]) -> bool:
        """Whether the other one is said, with its value."""
        return self.other in said and (not self.values or said[self.other].values[:1] in [(value,) for value in self.values])


_PAIRS: Final = (
    _Pair(flag=_TOOLS, other="--tool-call-parser"),
    _Pair(flag="--enable-reasoning", other="--reasoning-parser", before=EngineVersion(0, 9)),
    _Pair(flag="--enable-reasoning", other=_TOOLS, apart=True, before=EngineVersion(0, 8, 2)),
    _Pair(flag="--enable-prompt-embeds", other="--enable-prompt-adapter", apart=True, before=EngineVersion(0, 10)),
    _Pair(flag="--collect-detailed-traces", other="--otlp-traces-endpoint", since=EngineVersion(0, 11, 1)),
    _Pair(flag="--enable-log-outputs", other="--enable-log-requests", since=EngineVersion(0, 11)),
    _Pair(flag="--enable-per-request-metrics", other="--disable-log-stats", apart=True, since=EngineVersion(0, 25)),
    # config/parallel.py: "Unable to use nsight profiling unless workers run with Ray", "numa_bind_nodes and numa_bind_cpus require ..."
    _Pair(flag="--ray-workers-use-nsight", other=_EXECUTOR, values=("ray",)),
    _Pair(flag="--numa-bind-nodes", other="--numa-bind"),
    _Pair(flag=_CPUS, other="--numa-bind"),
    # config.py: DecodingConfig; 0.11 gives these to a configuration whose backend --guided-decoding-backend does not reach.
    _Pair(flag=_NO_SPACE, other=_GUIDED, values=("guidance", "xgrammar"), before=EngineVersion(0, 11)),
    _Pair(flag=_NO_PROPERTIES, other=_GUIDED, values=("guidance",), before=EngineVersion(0, 11)),
    _Pair(flag=_NO_SPACE, other=_STRUCTURED, since=EngineVersion(0, 11)),
    _Pair(flag=_NO_PROPERTIES, other=_STRUCTURED, since=EngineVersion(0, 11)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Doubled:
    """`flag` says what `key` of the configuration `config` says too: one of them, from release `since` on, before `before`.

    Without a key the two flags exclude each other. `by_entry`: both are objects, and only an entry that both have is said twice.
    """

    flag: str
    config: str
    key: str | None = None
    by_entry: bool = False
    since: EngineVersion = OLDEST_KNOWN
    before: EngineVersion | None = None


_BOTH_KINDS_OF_SIZES: Final = EngineVersion(0, 11, 1)
_DOUBLED: Final = (
    # engine/arg_utils.py: create_engine_config, "... and compilation_config. ... are mutually exclusive" and its like. What
    # --speculative-config says twice with --spec-method, --spec-model and --spec-tokens is refused where their fields are set.
    _Doubled(flag=_SIZES, config=_COMPILATION, key="cudagraph_capture_sizes", since=_BOTH_KINDS_OF_SIZES),
    _Doubled(flag=_LARGEST, config=_COMPILATION, key="max_cudagraph_capture_size", since=_BOTH_KINDS_OF_SIZES),
    _Doubled(flag=_OLDER_SIZES, config=_COMPILATION, key="cudagraph_capture_sizes", since=_BOTH_KINDS_OF_SIZES),
    _Doubled(flag=_SIZES, config=_OLDER_SIZES, since=_BOTH_KINDS_OF_SIZES),
    _Doubled(flag=_BACKEND, config=_ATTENTION, key="backend", since=EngineVersion(0, 13)),
    _Doubled(flag="--enable-flashinfer-autotune", config="--kernel-config", key="enable_flashinfer_autotune", since=EngineVersion(0, 16)),
    _Doubled(flag="--ir-op-priority", config="--kernel-config", key="ir_op_priority", by_entry=True, since=EngineVersion(0, 20)),
)


def _check_doubled(items: Sequence[GivenArgument], version: EngineVersion) -> None:
    for row in _DOUBLED:
        item = next((one for one in items if one.flag == row.flag), None)
        if item is None or not version.within(row.since, row.before):
            continue
        one, other = entries(items, row.flag, None, version), entries(items, row.config, row.key, version)
        if row.config == _ATTENTION and isinstance(other, str) and other.lower() == "auto":  # nothing is named
            other = None
        twice = one is not None and other is not None
        if row.by_entry and isinstance(one, Mapping) and isinstance(other, Mapping):
            twice = any(one[name] and other[name] for name in one.keys() & other.keys())
        if twice:
            where = row.config if row.key is None else f"{row.key} of {row.config}"
            raise InvalidInput(item.spelling, " ".join(item.tokens), f"and {where} exclude each other in vLLM {version}: say one of them")


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


def _check_executor(said: Mapping[str, GivenArgument], version: EngineVersion) -> None:
    """v1/executor/abstract.py: Executor.get_class; what has a dot is a class of somebody's, imported by its name."""
    item = said.get(_EXECUTOR)
    word = item.values[0] if item is not None and item.values else ""
    if item is not None and word == "external_launcher" and "--seed" not in said and version < _SEEDED:
        raise InvalidInput(item.spelling, " ".join(item.tokens), f"requires --seed in vLLM {version}")
    if item is None or word in ("", "None", *_EXECUTORS):
        return
    if "." in word:
        raise InvalidInput(item.spelling, word, f"names a class that {NO_RULE}")
    raise InvalidInput(item.spelling, word, f"must be {', '.join(_EXECUTORS)} in vLLM {version}")


def _check_cpus(said: Mapping[str, GivenArgument], version: EngineVersion) -> None:
    """config/parallel.py: _validate_numa_bind_nodes and _validate_numa_bind_cpus, since 0.20."""
    for text in said[_CPUS].values if _CPUS in said else ():
        ranges = [part.split("-") for part in text.split(",") if "-" in part] if _CPU_LIST.fullmatch(text) else None
        if ranges is None or any(int(first) > int(last) for first, last in ranges):
            raise InvalidInput(said[_CPUS].spelling, text, f"must be CPUs as numactl lists them, such as 0-3 or 0,2,4-7, in vLLM {version}")


def beside_model(items: Sequence[GivenArgument], version: EngineVersion) -> dict[str, Any]:
    """Fields of EngineArgs for what moves no memory, and stops a start beside some models or lengths (`resolve.checks`)."""
    said = {item.flag: item for item in items if item.values and not item.key_path}
    word = {flag: item.values[0].strip() for flag, item in said.items()}
    found: dict[str, Any] = _by_one_word(word)
    if word.get(_IMAGES_BACKEND, "None") not in _NO_VALUE:
        found["images_backend"] = said[_IMAGES_BACKEND].values[0]  # no name has a blank
    if word.get(_OBJECTS, _SHARED_OBJECTS_MB) != _SHARED_OBJECTS_MB and word.get("--mm-processor-cache-type") != "shm":
        found["limits_unshared_objects"] = True
    workers = said.get(_RENDERERS)
    if workers is not None and parse_int(word[_RENDERERS], workers.spelling, "int") > 1 and word.get("--mm-processor-cache-gb") != "0":
        found["renders_beside_cache"] = True
    if word.get("--reasoning-parser") == "mistral" and not {"--tokenizer", "--tokenizer-mode", "--reasoning-config"} & word.keys():
        found["parses_mistral_reasoning"] = True
    if word.get("--config-format") == "mistral":
        found["reads_mistral_config"] = True
    backend = _named_backend(items, version)
    if backend is not None:
        found["attention_backend"] = backend
    flash = entries(items, _ATTENTION, "flash_attn_version", version)
    if isinstance(flash, int | float):  # others are refused
        found["flash_attn_version"] = int(flash)
    threshold = said.get(_LONG_PREFILL)
    if threshold is not None and threshold.row.kind == "int":
        found["long_prefill_token_threshold"] = parse_int(word[_LONG_PREFILL], threshold.spelling, "int")
    return found


def _by_one_word(word: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if word.get("--logprobs-mode", "").startswith("processed_"):
        found["processes_logprobs"] = True
    if word.get("--convert", "auto") not in ("auto", "none"):
        found["convert"] = word["--convert"]
    if "--performance-mode" in word:
        found["performance_mode"] = word["--performance-mode"]
    return found


def _named_backend(items: Sequence[GivenArgument], version: EngineVersion) -> str | None:
    """The attention backend by its flag, as a key of --attention-config or in it (config/attention.py: validate_backend_before)."""
    return next((word.upper() for _, word in reversed(_said_backends(items, version)) if isinstance(word, str)), None)


def _said_backends(items: Sequence[GivenArgument], version: EngineVersion) -> list[tuple[GivenArgument, object]]:
    """Every place that names an attention backend, and what is written there; not where the release is left to choose."""
    found: list[tuple[GivenArgument, object]] = []
    for item in items:
        if item.flag == _BACKEND:
            found += [(item, word) for word in item.values[:1] if word not in _NO_VALUE]
        elif item.flag == _ATTENTION and item.key_path == ("backend",):
            _, word = key_value("backend", item.values[0], version)
            found += [(item, word)] if word is not None else []
        elif item.flag == _ATTENTION and not item.key_path and isinstance(config := value_of(item), Mapping):
            found += [(item, config["backend"])] if config.get("backend") is not None else []
    return [(item, word) for item, word in found if not (isinstance(word, str) and word.lower() == "auto")]


def _check_backends(items: Sequence[GivenArgument], version: EngineVersion) -> None:
    """config/attention.py: AttentionConfig and AttentionBackendEnum."""
    for item in items:
        if item.flag == _ATTENTION:
            check_configuration(item.spelling, entries([item], _ATTENTION, None, version), version)
    for item, word in _said_backends(items, version):
        if not isinstance(word, str):
            raise InvalidInput(item.spelling, str(word), "must be the name of an attention backend")
        check_name(item.spelling, word, version)
    if version < _AUTO_BACKEND:  # validate_backend_before: the name is looked up as it is
        auto = next((item for item in items if item.flag in (_BACKEND, _ATTENTION) and _leaves_it_open(item)), None)
        if auto is not None:
            raise InvalidInput(auto.spelling, "auto", f"is a value from vLLM {_AUTO_BACKEND} on: leave the flag out")


def _leaves_it_open(item: GivenArgument) -> bool:
    """Whether it says `auto` for the backend."""
    word: object = item.values[0] if item.values and (item.flag == _BACKEND or item.key_path == ("backend",)) else None
    if item.flag == _ATTENTION and not item.key_path and isinstance(config := value_of(item), Mapping):
        word = config.get("backend")
    return isinstance(word, str) and word.lower() == "auto"


def check_together(items: Sequence[GivenArgument], version: EngineVersion, *, drafts: bool = False) -> None:
    """Raises InvalidInput naming the argument as written, in vLLM's words where it has some. `drafts`: tokens are drafted."""
    said = {item.flag: item for item in items if not item.negated}
    _check_words(said, version)
    _check_executor(said, version)
    _check_cpus(said, version)
    _check_doubled(items, version)
    _check_backends(items, version)
    metrics = said.get(_DRAFT_METRICS)
    if metrics is not None and metrics.values[0] != "none" and not drafts:  # config/vllm.py: __post_init__
        raise InvalidInput(metrics.spelling, metrics.values[0], f"requires speculative decoding in vLLM {version}")
    for pair in _PAIRS:
        item = said.get(pair.flag)
        if item is None or not pair.holds(version) or pair.has_other(said) is not pair.apart:
            continue
        limit = f"does not go with {pair.other}" if pair.apart else f"requires {' '.join((pair.other, ' or '.join(pair.values))).strip()}"
        raise InvalidInput(item.spelling, " ".join(item.tokens), f"{limit} in vLLM {version}")
    for flag, plugin in LOOKED_UP.items():
        looked_up = flag in said and plugin not in said and (flag != "--tool-call-parser" or _TOOLS in said)
        if looked_up and not said[flag].key_path:
            check_listed(flag, said[flag].spelling, said[flag].values[0], version)
    silence = said.get("--sse-keep-alive-interval")
    if silence is not None and parse_int(silence.values[0], silence.spelling, "int") < 0:
        raise InvalidInput(silence.spelling, silence.values[0], "must be 0 or more")
