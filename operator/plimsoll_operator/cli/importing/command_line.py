"""What a container runs, read as far as it starts vLLM's server: a list, `sh -c` with a script, or the image's own entrypoint.

Called by `server`. Follows the kubelet ($(NAME) from the container's variables) and, by `shell`, a script as far as it is certain; it runs
nothing and knows no flag. Sources: Kubernetes, "Define a Command and Arguments for a Container"; vLLM's vllm/entrypoints/cli.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import dropwhile
from pathlib import PurePosixPath
from typing import Final

from plimsoll_estimator import InvalidInput
from plimsoll_operator.cli.importing.read import Part
from plimsoll_operator.cli.importing.shell import Command, commands
from plimsoll_operator.cli.importing.words import Budget, Unknown, of_the_kubelet
from plimsoll_operator.text import one_line

_MOST_CHARACTERS: Final = 1 << 16
_SHELLS: Final = frozenset({"ash", "bash", "dash", "sh", "zsh"})
_SERVERS: Final = ("vllm.entrypoints.openai.api_server", "vllm.entrypoints.api_server")
_LEGACY: Final = "the server of vllm.entrypoints.api_server answers /generate, and vllm serve, which the plan starts, /v1 as OpenAI has it"
_BEFORE: Final = frozenset({"exec", "nohup", "time", "numactl", "env"})
"""Words that may stand before the program in a script."""
_SAYS_NOTHING: Final = frozenset({"set", "[", "[[", "test", ":", "true", "wait"})
_PYTHON: Final = re.compile(r"python(?:3(?:\.[0-9]{1,2})?)?")
_SWITCH_OF_PYTHON: Final = re.compile(r"-[bBdEiIOPqsSuvx]+").fullmatch
_TOLD: Final = re.compile(r"-[a-z]*c[a-z]*")
_UNKNOWN: Final = re.compile(r"\$[({A-Za-z_]|`")
_MENTIONS: Final = re.compile(r"\bvllm\s+serve\b|\bvllm\.entrypoints\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Serve:
    """A command that starts the server: what follows `vllm serve`, in which field it stands, and what runs beside it.

    `exports`: variables that the script sets for it. `assumed`: sentences of what is taken for granted.
    """

    tokens: tuple[str, ...]
    field: str
    exports: tuple[tuple[str, str], ...] = ()
    beside: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()


def serve_of(container: Part, env: Mapping[str, str], budget: Budget) -> Serve | None:
    """What the container serves, with the values of its literal variables put in; None where it starts no vLLM.

    Raises InvalidInput naming the field of a script that cannot be read, or that starts vLLM in a way that nobody can tell beforehand.
    """
    _refuse_one_text(container)
    command, args = _words(container, "command"), _words(container, "args")
    field = container.at("args") if args or not command else container.at("command")
    argv = words_of(container, env, budget)
    if not command:
        assumed = _by_its_entrypoint(str(container.peek("image")), argv)
        serve = None if assumed is None else Serve(tokens=tuple(argv), field=field, assumed=assumed)
    elif (script := _script(argv)) is not None:
        serve = _of_a_script(*script, field if len(command) < 3 else container.at("command"), env, budget)
    else:
        tokens = _after_serve(argv)
        assumed = (_LEGACY,) if _SERVERS[1] in argv else ()
        serve = None if tokens is None else Serve(tokens=tuple(map(_templated, tokens)), field=field, assumed=assumed)
    if serve is not None:
        _take(container)
    return serve


def words_of(container: Part, env: Mapping[str, str], budget: Budget) -> tuple[str, ...]:
    """Command and arguments as the kubelet starts them. Raises InvalidInput where they get too long."""
    return tuple(of_the_kubelet(word, env, budget) for key in ("command", "args") for word in _words(container, key))


def module_of(container: Part, module: str, env: Mapping[str, str], budget: Budget) -> Serve | None:
    """What follows `python -m MODULE`, of a list or in a script, as `serve_of` reads what follows vLLM's; None where that is not started.

    Raises InvalidInput of a script that names the module and cannot be read.
    """

    def behind(words: Sequence[str]) -> list[str] | None:
        if not words or _PYTHON.fullmatch(PurePosixPath(words[0]).name) is None:
            return None
        behind_switches = list(dropwhile(_SWITCH_OF_PYTHON, words[1:]))
        return behind_switches[2:] if behind_switches[:2] == ["-m", module] else None

    argv = words_of(container, env, budget)
    field = container.at("args") if len(argv) > len(_words(container, "command")) else container.at("command")
    if (script := _script(argv)) is not None:
        return _of_a_script(*script, field, env, budget, behind) if module in script[0] else None
    tokens = behind(argv)
    return None if tokens is None else Serve(tokens=tuple(map(_templated, tokens)), field=field)


def _program(words: list[str]) -> list[str]:
    """Without what may stand before the program in a script."""
    return list(dropwhile(_BEFORE.__contains__, words))


def _take(container: Part) -> None:
    for key in ("command", "args"):
        container.words(key)


def _words(container: Part, key: str) -> tuple[str, ...]:
    value = container.peek(key)
    return tuple(str(item) for item in value if isinstance(item, str | int | float)) if isinstance(value, list) else ()


def _refuse_one_text(container: Part) -> None:
    for key in ("command", "args"):
        value = container.peek(key)
        if isinstance(value, str) and ("vllm" in value or "vllm" in str(container.peek("image"))):
            raise InvalidInput(container.at(key), None, "is one text, which no API server takes: write a list with each word by itself")


def _by_its_entrypoint(image: str, argv: Sequence[str]) -> tuple[str, ...] | None:
    """Whether an image's entrypoint is the server, as that of vLLM's own and of its copies is; assumed where arguments look like it."""
    repository = image.partition("@")[0].rpartition("/")[2].partition(":")[0]
    if repository.startswith(("vllm-openai", "vllm-cuda-rhel9")):
        return ()
    if "vllm" in repository and any(word.partition("=")[0] == "--model" for word in argv):
        return (f"the entrypoint of {one_line(image, 100)} is taken for vLLM's server, as its arguments are",)
    return None


def _script(argv: Sequence[str]) -> tuple[str, tuple[str, ...]] | None:
    """What a shell is told by -c, and its arguments behind the name; None where no shell is started."""
    if not argv or PurePosixPath(argv[0]).name not in _SHELLS:
        return None
    for place, word in enumerate(argv[1:], start=1):
        if _TOLD.fullmatch(word):
            return (argv[place + 1], tuple(argv[place + 3 :])) if place + 1 < len(argv) else None
    return None


def _after_serve(argv: Sequence[str]) -> list[str] | None:
    """What follows `vllm serve` or `python -m vllm.entrypoints.openai.api_server`; None where neither is there."""
    for place, word in enumerate(argv[:-1]):
        following = argv[place + 1]
        if (PurePosixPath(word).name == "vllm" and following == "serve") or (word == "-m" and following in _SERVERS):
            return list(argv[place + 2 :])
    return None


def _templated(word: str) -> str:
    """A word of a list with a shell's variable in it, which no shell puts in: filled in by whoever applies the file, and unknown here."""
    unknown = _UNKNOWN.search(word) is not None and not word.lstrip("-").startswith(("{", "["))
    return Unknown(word) if unknown else word


def _of_a_script(
    script: str,
    arguments: tuple[str, ...],
    field: str,
    env: Mapping[str, str],
    budget: Budget,
    behind: Callable[[Sequence[str]], list[str] | None] = _after_serve,
) -> Serve | None:
    """By the first command that starts a server: of its words `behind` gives those that are the server's, or None."""
    if len(script) > _MOST_CHARACTERS:
        raise InvalidInput(field, len(script), f"characters are more than {_MOST_CHARACTERS}")
    exports: dict[str, str] = {}
    beside: list[str] = []
    found: list[tuple[Command, list[str], tuple[tuple[str, str], ...]]] = []
    for command in commands(script, field, env, arguments, budget):
        words = _program(list(command.words))
        exports |= {} if command.words else dict(command.assigned)
        tokens = behind(words)
        if tokens is not None:
            found.append((command, tokens, tuple((exports | dict(command.assigned)).items())))
        elif words and words[0] not in _SAYS_NOTHING:
            beside.append(PurePosixPath(words[0]).name)
    if not found:
        if _MENTIONS.search(script):
            limit = "mentions vLLM's server, and how it is run cannot be told beforehand: write the command itself, vllm serve MODEL ..."
            raise InvalidInput(field, None, limit)
        return None
    first, tokens, exported = found[0]
    if first.perhaps and len(found) > 1:
        limit = "starts vLLM in several branches, and which one is run cannot be told beforehand: write the one that you mean by itself"
        raise InvalidInput(field, None, limit)
    beside += ["a second vllm serve"] * (len(found) > 1)
    assumed = ("vLLM is started in a branch of the script, which is taken to be run",) if first.perhaps else ()
    return Serve(tokens=tuple(tokens), field=field, exports=exported, beside=tuple(dict.fromkeys(beside)), assumed=assumed)
