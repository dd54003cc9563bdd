"""KServe's own server (`python -m huggingfaceserver`), which runs vLLM inside itself: what its arguments say of the engine.

Called by the translators of InferenceServices and of plain workloads, as KServe makes them in raw deployment mode. Follows
python/huggingfaceserver/huggingfaceserver/__main__.py of kserve/kserve. Knows no other part of a manifest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from plimsoll_estimator import InvalidInput
from plimsoll_operator.cli.importing.draft import Draft
from plimsoll_operator.cli.importing.kserve import FOLDERS
from plimsoll_operator.cli.importing.read import Found, Part
from plimsoll_operator.cli.importing.server import Server
from plimsoll_operator.cli.importing.stores import lay_uri

_MODULE: Final = "huggingfaceserver"
_PYTHONS: Final = ("python", "python3")
_OWN: Final = ("model_id", "model_name", "model_revision", "backend", "model_dir")


def runs_hugging_face_server(container: Part) -> bool:
    """Whether it starts that server: by the image's entrypoint, or as the module."""
    return _behind_the_module(container) is not None


def hugging_face_server(draft: Draft, pod: Part) -> Server | None:
    """The first container that does: its image, which is no vLLM's, and its command go, and what its arguments say stays.

    Raises InvalidInput naming the field.
    """
    rows = pod.entries("containers")
    for row in rows:
        behind = _behind_the_module(row)
        if behind is None:
            continue
        called, tokens = read_arguments(draft, row, (*behind, *row.words("args")))
        where = row.at("image") if row.has("image") else row.at("command")
        if row.has("command"):
            row.take("command")
        draft.lost(where, f"is not carried over: {row.peek('image') or _MODULE} starts KServe's own server, and the plan starts vllm serve")
        kept = row.with_fields(dict.fromkeys(("image", "command", "args")))
        whole = pod.with_fields({"containers": Found([kept if one is row else one for one in rows], pod.at("containers"))})
        field = row.at("args")
        return Server(pod=whole, container=kept, tokens=tokens, field=field, model=called, model_field=field, folders=FOLDERS)
    return None


def _behind_the_module(container: Part) -> tuple[str, ...] | None:
    """What of the command are arguments of the server; None where it starts something else."""
    command = container.peek("command") or []
    if not command:
        return () if _MODULE in str(container.peek("image")) else None
    if not isinstance(command, list) or not all(isinstance(word, str) for word in command):
        return None
    program = command[0].rpartition("/")[2]
    return tuple(command[3:]) if program in _PYTHONS and command[1:3] == ["-m", _MODULE] else None


def read_arguments(draft: Draft, model: Part, arguments: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """The model and vLLM's arguments out of those of KServe's server, which has some of its own. Raises InvalidInput naming the field."""
    own: dict[str, str] = {}
    rest: list[str] = []
    pending = list(reversed(arguments))
    while pending:
        flag, equals, value = pending.pop().partition("=")
        key = flag.removeprefix("--").replace("-", "_")
        if key == "disable_vllm":
            own["backend"] = "huggingface"
        elif key in _OWN:
            own[key] = value if equals else (pending.pop() if pending else "")
        else:
            rest.append(flag + equals + value)
    if own.get("backend") == "huggingface":
        limit = "asks for --backend=huggingface (or --disable_vllm), which is not vLLM: leave it out to serve by vLLM"
        raise InvalidInput(model.at("args"), None, limit)
    rest += [f"--served-model-name={own['model_name']}"] if own.get("model_name") else []
    rest += [f"--revision={own['model_revision']}"] if own.get("model_revision") else []
    if "model_id" in own:
        if model.has("storageUri"):
            draft.lost(model.at("storageUri"), "is not carried over: --model_id names the model, and counts")
        return own["model_id"], tuple(rest)
    if own.get("model_dir", "") not in ("", *FOLDERS):
        draft.lost_in(model.at("args"), "--model_dir is not carried over: name a claim in spec.model.source, with the folder in it")
    return lay_uri(draft, model.text("storageUri"), own.get("model_name"), model.at("storageUri")), tuple(rest)
