"""What a container runs, read as far as it starts vLLM's server: a list, `sh -c` with a script, or the image's own entrypoint.

Called by `server`. Follows the kubelet ($(NAME) from the container's variables) and a POSIX shell as far as words go; it runs nothing and
knows no flag. Sources: Kubernetes, "Define a Command and Arguments for a Container"; vLLM, vllm/entrypoints/cli and its Dockerfile.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from plimsoll_estimator import InvalidInput
from plimsoll_operator.api import Manifest
from plimsoll_operator.cli.importing.read import words

_MOST_CHARACTERS: Final = 1 << 16
_WRITTEN: Final = re.compile(r"""(\\\n)|(?:(?<=[\s;&|()])|^)(#[^\n]*)|'[^']*'|"(?:\\.|[^"\\])*"|\\.""", re.DOTALL)
"""A line that goes on, a comment, and what hides either: quotes, and a sign behind a backslash (POSIX shell, 2.2 and 2.3)."""
_SHELLS: Final = frozenset({"ash", "bash", "dash", "sh", "zsh"})
_SERVER: Final = "vllm.entrypoints.openai.api_server"
_BEFORE: Final = frozenset({"exec", "nohup", "time", "numactl", "env", "then", "do", "else", "{", "("})
"""Words that may stand before the program in a script."""
_ASSIGNMENT: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)
_KUBELETS: Final = re.compile(r"\$(\$|\(([A-Za-z_][-A-Za-z0-9_.]*)\))")
_SHELLS_OWN: Final = re.compile(r"\$(?:([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)(?::?-([^{}]*))?\})")
_UNKNOWN: Final = re.compile(r"\$[({A-Za-z_]|`")
_SEPARATORS: Final = re.compile(r"[;&|\n]+")
_REDIRECTION: Final = re.compile(r"[0-9]?(>>?|<)(&[0-9])?(.*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Serve:
    """A command that starts the server: what follows `vllm serve`, in which field it stands, and what runs beside it.

    `exports`: variables that the script sets for it. `unknown`: whether a token still names a variable that nobody here knows.
    """

    tokens: tuple[str, ...]
    field: str
    exports: tuple[tuple[str, str], ...] = ()
    beside: tuple[str, ...] = ()


def serve_of(container: Manifest, path: str, env: Mapping[str, str]) -> Serve | None:
    """What the container serves, with the values of its literal variables put in; None where it starts no vLLM.

    Raises InvalidInput naming the field of a script that cannot be read.
    """
    command, args = words(container.get("command")), words(container.get("args"))
    whole = [_of_the_kubelet(word, env) for word in (*command, *args)]
    field = f"{path}.args" if args else f"{path}.command"
    if not command:
        return Serve(tokens=tuple(whole), field=f"{path}.args") if _is_vllm_image(container.get("image")) else None
    script = _script(whole)
    if script is not None:
        return _of_a_script(script, field if len(command) < 3 else f"{path}.command", env)
    tokens = _after_serve(whole)
    return None if tokens is None else Serve(tokens=tuple(tokens), field=field)


def _is_vllm_image(image: object) -> bool:
    """Whether an image's entrypoint is the server, as that of vLLM's own and of its copies is."""
    repository = str(image).partition("@")[0].rpartition("/")[2].partition(":")[0]
    return repository.startswith("vllm-openai")


def _of_the_kubelet(word: str, env: Mapping[str, str]) -> str:
    """$(NAME) becomes the variable's value, and $$ one dollar; of a name that is none it stays."""
    return _KUBELETS.sub(lambda found: "$" if found[1] == "$" else env.get(found[2], found[0]), word)


def _script(argv: Sequence[str]) -> str | None:
    """What a shell is told by -c, or None where no shell is started."""
    if not argv or PurePosixPath(argv[0]).name not in _SHELLS:
        return None
    for place, word in enumerate(argv[1:], start=1):
        if word.startswith("-") and not word.startswith("--") and "c" in word:
            return argv[place + 1] if place + 1 < len(argv) else None
    return None


def _after_serve(argv: Sequence[str]) -> list[str] | None:
    """What follows `vllm serve` or `python -m vllm.entrypoints.openai.api_server`; None where neither is there."""
    for place, word in enumerate(argv[:-1]):
        following = argv[place + 1]
        if PurePosixPath(word).name == "vllm" and following == "serve":
            return list(argv[place + 2 :])
        if word == "-m" and following == _SERVER:
            return list(argv[place + 2 :])
    if argv and argv[-1] == _SERVER and argv[-2:-1] == ["-m"]:
        return []
    return None


def _of_a_script(script: str, field: str, env: Mapping[str, str]) -> Serve | None:
    if len(script) > _MOST_CHARACTERS:
        raise InvalidInput(field, len(script), f"characters are more than {_MOST_CHARACTERS}")
    known = dict(env)
    exports: list[tuple[str, str]] = []
    beside: list[str] = []
    found: list[str] | None = None
    for command in _commands(script, field):
        argv = [_of_the_shell(word, known, field) for word in command]
        while argv and (argv[0] in _BEFORE or _ASSIGNMENT.fullmatch(argv[0])):
            _assign(argv.pop(0), known, exports)
        if argv and argv[0] in ("export", "declare", "readonly"):
            for word in argv[1:]:
                _assign(word, known, exports)
            continue
        tokens = _after_serve(argv)
        if tokens is not None and found is None:
            found = _without_redirections(tokens)
        elif argv and argv[0] not in ("set", "fi", "done", "}", ")"):
            beside.append(PurePosixPath(argv[0]).name)
    if found is None:
        return None
    return Serve(tokens=tuple(found), field=field, exports=tuple(exports), beside=tuple(dict.fromkeys(beside)))


def _assign(word: str, known: dict[str, str], exports: list[tuple[str, str]]) -> None:
    found = _ASSIGNMENT.fullmatch(word)
    if found is not None:
        known[found[1]] = found[2]
        exports.append((found[1], found[2]))


def _read(written: re.Match[str]) -> str:
    return " " if written[1] else "" if written[2] else written[0]


def _commands(script: str, field: str) -> list[list[str]]:
    """The script's simple commands, each as its words."""
    lexer = shlex.shlex(_WRITTEN.sub(_read, script), posix=True, punctuation_chars=";&|\n")
    lexer.whitespace, lexer.whitespace_split, lexer.commenters = " \t\r", True, ""
    commands: list[list[str]] = [[]]
    try:
        for word in lexer:
            if _SEPARATORS.fullmatch(word):
                commands.append([])
            else:
                commands[-1].append(word)
    except ValueError as error:
        raise InvalidInput(field, None, f"is a script that no shell would read: {error}") from error
    return [command for command in commands if command]


def _of_the_shell(word: str, known: Mapping[str, str], field: str) -> str:
    """$NAME, ${NAME} and ${NAME:-other} become what the script or the container says; what neither says stays.

    Raises InvalidInput where that makes a word too long: a variable may say itself twice, again and again.
    """
    length = len(word) + sum(len(known.get(found[1] or found[2]) or "") for found in _SHELLS_OWN.finditer(word))
    if length > _MOST_CHARACTERS:
        raise InvalidInput(field, length, f"characters of one word are more than {_MOST_CHARACTERS}")

    def value(found: re.Match[str]) -> str:
        name, fallback = found[1] or found[2], found[3]
        return known[name] if known.get(name) else (fallback if fallback is not None else found[0])

    return _SHELLS_OWN.sub(value, word)


def _without_redirections(tokens: Sequence[str]) -> list[str]:
    """The words before what sends output elsewhere."""
    kept: list[str] = []
    for token in tokens:
        if _REDIRECTION.fullmatch(token):
            break
        kept.append(token)
    return kept


def names_unknown(token: str) -> bool:
    """Whether a token still names a variable, or the output of a command, that nobody here knows."""
    return _UNKNOWN.search(token) is not None
