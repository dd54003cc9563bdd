"""Arguments of `vllm serve` laid into spec.engine: into the field that an argument has, else into extraArgs, in one spelling.

Called by `server`. The argument tables of the release say what a flag is, and the decision's own checks whether it may be there; what
neither lets pass is not carried over, and said with their sentence. Knows no format.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from plimsoll_estimator import EngineVersion, GivenArgument, InvalidInput, Unsupported, parse_extra_args, parse_json, split_arguments
from plimsoll_operator.cli.importing.draft import Draft
from plimsoll_operator.cli.importing.secret_looks import secret_in, secret_name
from plimsoll_operator.cli.importing.words import Unknown
from plimsoll_operator.decision.request.fields import FIELD_OF
from plimsoll_operator.serving import DEFAULT_PORT, EXTRA_ARGS, check_reachable
from plimsoll_operator.text import one_line

_MOST_TOKENS: Final = 64
_LONGEST_TOKEN: Final = 512
_SECRETS: Final = {
    "--api-key": "name it in spec.template.env as VLLM_API_KEY with valueFrom.secretKeyRef",
    "--hf-token": "name its Secret in spec.model.source.huggingFace.tokenSecretRef",
}
_ADAPTERS: Final = "--lora-modules"
_DRAFTS: Final = {"method": "method", "model": "model", "num_speculative_tokens": "numSpeculativeTokens"}
_LORA: Final = {"max_loras": "maxLoras", "max_lora_rank": "maxLoraRank"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What the arguments say that is no field of spec.engine: the model, and the name that it answers to."""

    model: str | None = None
    served_as: str | None = None


@dataclass(slots=True, kw_only=True)
class _Reading:
    """One list of arguments on its way."""

    draft: Draft
    version: EngineVersion
    source: str
    extra: list[str]
    lora: dict[str, int]
    adapters: bool = False
    served_as: str | None = None

    def lost(self, flag: str, message: str) -> None:
        self.draft.lost_in(self.source, f"{flag} is not carried over: {message}")


def lay_arguments(draft: Draft, tokens: Sequence[str], version: EngineVersion, source: str) -> Said:
    """Put every argument where the API has it. What cannot be read is said, and the rest goes on."""
    reading = _Reading(draft=draft, version=version, source=source, extra=[], lora={})
    _refuse_lines(reading, tokens)
    model, rest = _model(reading, tokens)
    items = _cut(reading, _known_only(reading, rest))
    latest = {(item.flag, item.key_path): item for item in items}
    for item in items:
        if latest[item.flag, item.key_path] is not item and item.row.kind != "append":
            reading.lost(item.spelling, "it is given again after that, and vLLM takes the last one")
        else:
            _lay(reading, item, items)
    _lay_lora(reading)
    draft.put(EXTRA_ARGS, tuple(reading.extra) or None, source)
    return Said(model=model, served_as=reading.served_as)


def _refuse_lines(reading: _Reading, tokens: Sequence[str]) -> None:
    """A flag and its value in one word, which no program takes for two. Raises InvalidInput showing how it is written."""
    for token in tokens:
        flag, blank, _ = token.partition(" ")
        if blank and flag.startswith("--") and "=" not in flag:
            limit = f"hands vLLM {one_line(flag, 60)} and what follows it as one word, which it does not know: write each word by itself"
            raise InvalidInput(reading.source, None, limit)


def _model(reading: _Reading, tokens: Sequence[str]) -> tuple[str | None, list[str]]:
    """The model, which stands first or behind --model, and the other tokens. Of several vLLM takes the last one of the flag."""
    named: list[str] = []
    rest: list[str] = []
    pending = list(reversed(tokens))
    if pending and not pending[-1].startswith("-"):
        named.append(pending.pop())
    while pending:
        token = pending.pop()
        if token == "--model" and pending:
            named.append(pending.pop())
        elif token.startswith("--model="):
            value = token.partition("=")[2]
            named.append(Unknown(value) if isinstance(token, Unknown) else value)
        else:
            rest.append(token)
    for other in dict.fromkeys(named[:-1]):
        if other != named[-1]:
            reading.lost(f"the model {one_line(other, 100)}", f"{one_line(named[-1], 100)} is named after it, and counts")
    if named and isinstance(named[-1], Unknown):
        limit = f"names the model by {one_line(named[-1], 60)}, whose value is not in the file: write the model's hub id in its place"
        raise InvalidInput(reading.source, None, limit)
    return (named[-1] if named else None), rest


def _known_only(reading: _Reading, tokens: Sequence[str]) -> list[str]:
    """Without arguments whose value nobody here knows: variables that the file does not set, output of other programs."""
    kept: list[str] = []
    for token in tokens:
        if not isinstance(token, Unknown):
            kept.append(token)
            continue
        flag = kept.pop() if not token.startswith("-") and kept and kept[-1].startswith("-") else token.partition("=")[0]
        advice = _SECRETS.get(flag, "write the value into spec.engine, where it has a field, or into extraArgs")
        reading.lost(one_line(flag, 80), f"its value comes from a variable or a program that the file does not show: {advice}")
    return kept


def _cut(reading: _Reading, tokens: list[str]) -> Sequence[GivenArgument]:
    """The tokens as arguments of the release; one that it has not is said and left out, with what follows it."""
    tokens = list(tokens)
    while True:
        try:
            return split_arguments(tokens, reading.version)
        except Unsupported as error:
            raise InvalidInput(reading.source, str(reading.version), str(error)) from error
        except InvalidInput as error:
            at = next((i for i, token in enumerate(tokens) if _speaks_of(error, token)), None)
            if at is None:
                raise InvalidInput(reading.source, None, f"cannot be read: {error.limit}") from error
            shown = tokens[at].partition("=")[0] if tokens[at].startswith("-") else "a word without a flag"
            reading.lost(one_line(shown, 80), f"it {error.limit}")
            end = at + 1
            while tokens[at].startswith("-") and "=" not in tokens[at] and end < len(tokens) and not tokens[end].startswith("-"):
                end += 1
            del tokens[at:end]


def _speaks_of(error: InvalidInput, token: str) -> bool:
    return token == error.value or token.partition("=")[0] == error.field


def _lay(reading: _Reading, item: GivenArgument, items: Sequence[GivenArgument]) -> None:
    """One argument: a field, or tokens of extraArgs, or a sentence."""
    flag = item.flag
    if flag in _SECRETS and item.values:
        for value in item.values:
            reading.draft.secret(value)
        reading.lost(flag, f"a secret is not copied: {_SECRETS[flag]}")
    elif (secret_name(flag) and item.values) or any(secret_in(value) for value in item.values):
        reading.lost(flag, "its value looks like a secret, which is not copied: name a Secret in spec.template.env")
    elif flag == "--port":
        port = int(item.values[0]) if item.values[0].isdecimal() else None
        reading.draft.put("spec.engine.port", port if port != DEFAULT_PORT else None, reading.source)
        if port is None:
            reading.lost(flag, "it must be a whole number")
    elif flag == "--revision":
        reading.draft.put("spec.model.revision", item.values[0], reading.source)
    elif flag == "--host" and item.values and item.values[0] in ("0.0.0.0", "::"):
        return  # what vLLM does by itself
    elif flag == "--speculative-config" and not item.key_path:
        _lay_speculative(reading, item)
    else:
        if flag == "--served-model-name" and item.values:
            reading.served_as = item.values[0]
        _lay_by_table(reading, item, items)


def _lay_by_table(reading: _Reading, item: GivenArgument, items: Sequence[GivenArgument]) -> None:
    try:
        fields = _fields_of(reading, item, items)
        if not any(_has_field(name) for name in fields):
            check_reachable(item.tokens, reading.version)
    except InvalidInput as error:
        reading.lost(item.spelling, f"it {error.limit}")
        return
    except Unsupported as error:
        reading.lost(item.spelling, str(error))
        return
    if not fields or not all(_has_field(name) for name in fields):
        _lay_extra(reading, item)
        return
    for name, value in fields.items():
        if name == "enable_lora":
            reading.adapters = bool(value)
        elif name in _LORA:
            reading.lora[_LORA[name]] = value
        else:
            reading.draft.put(FIELD_OF[name], value, reading.source)


def _fields_of(reading: _Reading, item: GivenArgument, items: Sequence[GivenArgument]) -> Mapping[str, Any]:
    """What the argument alone sets; one that needs another beside it, as a parser of tools does, sets nothing of its own."""
    try:
        return parse_extra_args(item.tokens, reading.version).engine_args
    except InvalidInput:
        for other in items:
            with suppress(InvalidInput):
                parse_extra_args((*item.tokens, *other.tokens), reading.version)
                return {}
        raise


def _has_field(name: str) -> bool:
    return FIELD_OF.get(name, EXTRA_ARGS) != EXTRA_ARGS and FIELD_OF[name].startswith(("spec.engine.", "spec.placement."))


def _lay_extra(reading: _Reading, item: GivenArgument) -> None:
    tokens = _one_spelling(item)
    if any(len(token) > _LONGEST_TOKEN for token in tokens):
        reading.lost(item.flag, f"it has more than {_LONGEST_TOKEN} characters, the most that one of extraArgs may have: shorten it")
    elif len(reading.extra) + len(tokens) > _MOST_TOKENS:
        reading.lost(item.flag, f"extraArgs has {_MOST_TOKENS} words already, the most it may have: leave others out for it")
    else:
        reading.extra += tokens


def _one_spelling(item: GivenArgument) -> list[str]:
    """--flag=value, by the flag's own name with dashes; a list's words and short flags stay as they are."""
    if not item.spelling.startswith("--") or not item.flag.startswith("--"):
        return list(item.tokens)
    name = ".".join(("--no-" + item.flag.removeprefix("--") if item.negated else item.flag, *item.key_path))
    if len(item.values) == 1:
        return [f"{name}={item.values[0]}"]
    return [name, *item.values]


def _lay_lora(reading: _Reading) -> None:
    """Slots for adapters, which are one field; adapters by name end the server where it has none."""
    if reading.adapters:
        reading.draft.put("spec.engine.lora", {"maxLoras": 1, "maxLoraRank": 16} | reading.lora, reading.source)
        return
    if any(word.startswith(_ADAPTERS) for word in reading.extra):
        at = next(place for place, word in enumerate(reading.extra) if word.startswith(_ADAPTERS))
        end = next((place for place in range(at + 1, len(reading.extra)) if reading.extra[place].startswith("-")), len(reading.extra))
        del reading.extra[at:end]
        reading.lost(_ADAPTERS, "without --enable-lora it ends vLLM as it starts: set spec.engine.lora, and name the adapters in extraArgs")
    for key in reading.lora:
        flag = next(name for name, field in _LORA.items() if field == key)
        reading.lost(f"--{flag.replace('_', '-')}", "it says nothing without --enable-lora")


def _lay_speculative(reading: _Reading, item: GivenArgument) -> None:
    try:
        config = parse_json(item.values[0], item.spelling)
    except InvalidInput as error:
        reading.lost(item.flag, f"it {error.limit}")
        return
    if not isinstance(config, Mapping):
        reading.lost(item.flag, "it must be a JSON object")
        return
    for key in config:
        if key not in _DRAFTS:
            reading.lost(f"{one_line(str(key), 60)} of {item.flag}", "spec.engine.speculative has no such field: vLLM's default holds")
    found = {_DRAFTS[key]: value for key, value in config.items() if key in _DRAFTS}
    reading.draft.put("spec.engine.speculative", found, reading.source)
