"""KServe's own server (`python -m huggingfaceserver`), which runs vLLM inside itself: what its arguments say of the engine.

Called by the translators of InferenceServices and of plain workloads, as KServe makes them in raw deployment mode. Follows
python/huggingfaceserver/huggingfaceserver/__main__.py of kserve/kserve. Knows no other part of a manifest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from plimsoll_estimator import InvalidInput
from plimsoll_operator.cli.importing.command_line import Serve, module_of, words_of
from plimsoll_operator.cli.importing.draft import Draft
from plimsoll_operator.cli.importing.env import literals
from plimsoll_operator.cli.importing.image import NO_IMAGE
from plimsoll_operator.cli.importing.kserve import FOLDERS
from plimsoll_operator.cli.importing.read import Found, Part
from plimsoll_operator.cli.importing.server import Server
from plimsoll_operator.cli.importing.stores import lay_uri
from plimsoll_operator.cli.importing.words import Budget, Unknown
from plimsoll_operator.decision.checks.images import read_reference

_MODULE: Final = "huggingfaceserver"
_IMAGES: Final = (_MODULE, f"{_MODULE}-gpu", f"{_MODULE}-cpu")
"""Last names of images whose entrypoint it is."""
ITS_IMAGE: Final = "the file's image is KServe's own server"
"""Why there is no image of vLLM."""
_NOT_VLLMS: Final = frozenset({
    "fill_mask", "multiple_choice", "question_answering", "reranking", "sequence_classification", "table_question_answering",
    "text2text_generation", "text_embedding", "time_series_forecast", "token_classification",
})  # fmt: skip
"""Tasks of the server's own --task beside text_generation: none of them is for a server that generates."""
_OWN: Final = ("model_id", "model_name", "model_revision", "backend", "model_dir", "task")


def runs_hugging_face_server(container: Part) -> bool:
    """Whether it starts that server: by the image's entrypoint, or as the module."""
    return _behind_the_module(container) is not None


def hugging_face_server(draft: Draft, pod: Part) -> Server | None:
    """The first container that does: its image, which is no vLLM's, and its command go, and what its arguments say stays.

    Raises InvalidInput naming the field.
    """
    rows = pod.entries("containers")
    for row in rows:
        serve = _behind_the_module(row)
        if serve is None:
            continue
        row.words("command")
        row.words("args")
        called, tokens = read_arguments(draft, row, serve.tokens, stored=False)
        where = row.at("image") if row.has("image") else row.at("command")
        draft.lost(where, f"is not carried over: {row.peek('image') or _MODULE} starts KServe's own server, and the plan starts vllm serve")
        kept = row.with_fields(dict.fromkeys(("image", "command", "args")))
        whole = pod.with_fields({"containers": Found([kept if one is row else one for one in rows], pod.at("containers"))})
        missing = ITS_IMAGE if row.has("image") else NO_IMAGE
        return Server(
            pod=whole, container=kept, tokens=tokens, field=serve.field, model=called, model_field=serve.field, folders=FOLDERS,
            missing=missing, exports=serve.exports, beside=serve.beside, assumed=serve.assumed,
        )  # fmt: skip
    return None


def is_its_image(image: object) -> bool:
    """Whether the image's entrypoint is that server."""
    found = read_reference(str(image))
    return found is not None and found.path[-1] in _IMAGES


def _behind_the_module(container: Part) -> Serve | None:
    """The arguments of the server; None where it starts something else."""
    budget = Budget(container.path)
    env = literals(container, budget)
    if container.peek("command"):
        return module_of(container, _MODULE, env, budget)
    if not is_its_image(container.peek("image")):
        return None
    return Serve(tokens=words_of(container, env, budget), field=container.at("args"))


def read_arguments(draft: Draft, model: Part, arguments: Sequence[str], *, stored: bool = True) -> tuple[str, tuple[str, ...]]:
    """The model and vLLM's arguments out of those of KServe's server, which has some of its own; `stored`: storageUri may name it as well.

    Raises InvalidInput naming the field.
    """
    own: dict[str, str] = {}
    rest: list[str] = []
    pending = list(reversed(arguments))
    while pending:
        word = pending.pop()
        flag, equals, value = word.partition("=")
        key = flag.removeprefix("--").replace("-", "_")
        if key == "disable_vllm":
            own["backend"] = "huggingface"
        elif key in _OWN:
            told = word if equals else pending.pop() if pending else ""
            if isinstance(told, Unknown):
                raise InvalidInput(model.at("args"), None, f"tell --{key} by a variable that nobody here knows: write its value")
            own[key] = value if equals else told
        else:
            rest.append(word)
    if own.get("backend") == "huggingface":
        limit = "asks for --backend=huggingface (or --disable_vllm), which is not vLLM: leave it out to serve by vLLM"
        raise InvalidInput(model.at("args"), None, limit)
    rest += _task(own.get("task"), model.at("args"))
    rest += [f"--served-model-name={own['model_name']}"] if own.get("model_name") else []
    rest += [f"--revision={own['model_revision']}"] if own.get("model_revision") else []
    if "model_id" in own:
        if model.has("storageUri"):
            draft.lost(model.at("storageUri"), "is not carried over: --model_id names the model, and counts")
        return own["model_id"], tuple(rest)
    if own.get("model_dir", "") not in ("", *FOLDERS):
        draft.lost_in(model.at("args"), "--model_dir is not carried over: name a claim in spec.model.source, with the folder in it")
    if not (stored or own.get("model_name")):
        raise InvalidInput(model.at("args"), None, "names no model: write --model_id with the model's hub id")
    return lay_uri(draft, model.text("storageUri"), own.get("model_name"), model.at("storageUri")), tuple(rest)


def _task(task: str | None, field: str) -> list[str]:
    """vLLM's --task where it is one of vLLM's own; its server generates text without being told. Raises InvalidInput of another."""
    own = (task or "text_generation").replace("-", "_")
    if own in _NOT_VLLMS:
        limit = (
            f"asks for --task={own}, which is no generation of text, and plans are for servers that generate: keep as it is what runs it"
        )
        raise InvalidInput(field, None, limit)
    return [] if own == "text_generation" else [f"--task={task}"]
