"""One pod that serves by vLLM, laid into a draft: image, arguments, model, variables, volumes, the pod, and the layout that is pinned.

Called by every translator, which says where in its format the parts stand. Knows no format.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from plimsoll_estimator import InvalidInput
from plimsoll_operator.cli.importing.arguments import Said, lay_arguments
from plimsoll_operator.cli.importing.command_line import serve_of
from plimsoll_operator.cli.importing.draft import Draft
from plimsoll_operator.cli.importing.env import lay_engine_env, literals
from plimsoll_operator.cli.importing.image import NO_IMAGE, lay_image
from plimsoll_operator.cli.importing.pod import lay_pod
from plimsoll_operator.cli.importing.read import Found, Ledger, Part
from plimsoll_operator.cli.importing.resources import gpus_of
from plimsoll_operator.cli.importing.stores import lay_store
from plimsoll_operator.cli.importing.volumes import Mounted, Volumes
from plimsoll_operator.cli.importing.words import Budget
from plimsoll_operator.names import GPU_RESOURCE, MIG_RESOURCE_PREFIX, SHARED_RESOURCE
from plimsoll_operator.text import one_line

_SIZES: Final = ("tensorParallelSize", "pipelineParallelSize", "dataParallelSize")


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A pod's server: its container, one of the pod's, `tokens` after `vllm serve` and the `field` that they stand in.

    `model`: a name that stands elsewhere than in the tokens, with `model_field`; `folders`: where the format's own program would put it, as
    the arguments may have it. `nodes`: pods of one replica. `pinned`: whether an absent size is vLLM's default of 1; otherwise the
    format's own program chooses it, as the decision does. `missing`: why no image is in the container. `exports`: variables beside the
    container's own, by field.
    """

    pod: Part
    container: Part
    tokens: tuple[str, ...]
    field: str
    model: str | None = None
    model_field: str = ""
    folders: tuple[str, ...] = ()
    nodes: int = 1
    pinned: bool = True
    missing: str = NO_IMAGE
    exports: tuple[tuple[str, str], ...] = ()
    beside: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()


def servers_of(pod: Part) -> Iterator[Server]:
    """Every container of the pod that starts vLLM's server. Raises InvalidInput of a script that cannot be read."""
    for container in pod.entries("containers"):
        budget = Budget(container.path)
        serve = serve_of(container, literals(container, budget), budget)
        if serve is not None:
            yield Server(
                pod=pod, container=container, tokens=serve.tokens, field=serve.field, exports=serve.exports, beside=serve.beside,
                assumed=serve.assumed,
            )  # fmt: skip


def lay_server(draft: Draft, server: Server) -> None:
    """Put all of it. Raises InvalidInput naming the field: no model is named, or one that no source of weights can be."""
    container = server.container
    found = gpus_of(container)
    version = lay_image(draft, container.text("image"), container.at("image"), server.missing)
    said = lay_arguments(draft, server.tokens, version, server.field)
    for program in server.beside:
        draft.lost_in(server.field, f"{program} is not carried over, which the script runs too: do what it does in the image, or before")
    for sentence in server.assumed:
        draft.assume(server.field, sentence)
    volumes = Volumes.of(draft, server.pod, container)
    volumes.lay(_lay_model(draft, server, said, volumes))
    lay_engine_env(draft, [*container.entries("env"), *_exported(server, draft.ledger)])
    lay_pod(draft, server.pod, container, volumes)
    _lay_layout(draft, server, found)


def _exported(server: Server, ledger: Ledger) -> list[Part]:
    """What a script sets, as rows of a container's variables; one whose value nobody here knows is left to be named."""
    rows = []
    for name, value in server.exports:
        fields = {"name": Found(name, server.field), "value": Found(value, server.field)}
        rows.append(Part(server.field, ledger, fields))
    return rows


def _lay_model(draft: Draft, server: Server, said: Said, volumes: Volumes) -> Mounted | None:
    """The model's name, and the claim where it is a folder on one, whose mount is returned."""
    name, field = (server.model, server.model_field) if server.model is not None else (said.model, server.field)
    if name is None:
        raise InvalidInput(field, None, "names no model: vLLM would serve its own default, which nobody means; write the model's hub id")
    if server.model is not None and said.model not in (None, server.model, *server.folders):
        draft.lost_in(server.field, f"the model {one_line(said.model or '', 100)} is not carried over: {field} names another, which counts")
    if "://" in name:
        draft.put("spec.model.name", lay_store(draft, name, said.served_as, field), field)
        return None
    if name.startswith(("./", "../", "~")):
        limit = f"names the model by {one_line(name, 100)}, a folder below another: write its path from the root on, or the model's hub id"
        raise InvalidInput(field, None, limit)
    if not name.startswith("/"):
        draft.put("spec.model.name", name, field)
        return None
    used = volumes.lay_model_folder(name, field)
    called = (said.served_as or name.rstrip("/").rpartition("/")[2]) if used is not None else name
    draft.put("spec.model.name", called or name, field)
    return used


def _lay_layout(draft: Draft, server: Server, found: tuple[str, int] | None) -> None:
    """Sizes that nobody said are vLLM's default of one GPU; what does not agree with the GPUs that are asked for is said."""
    where = server.container.at("resources")
    if server.nodes > 1:
        draft.put("spec.placement.maxNodesPerReplica", server.nodes, server.pod.path)
    if found is not None and found[0].startswith(MIG_RESOURCE_PREFIX):
        draft.put("spec.placement.sharing", "mig", where)
    elif found is not None and found[0] == SHARED_RESOURCE:
        draft.put("spec.placement.sharing", "time-slicing", where)
    if not server.pinned:
        return
    if draft.get("spec.engine.tensorParallelSize") is None:
        draft.put("spec.engine.tensorParallelSize", 1, server.field)
    wanted = 1
    for size in _SIZES:
        wanted *= draft.get(f"spec.engine.{size}") or 1
    if found is None:
        draft.assume(where, f"no GPUs are asked for by count; the pods will ask for {wanted}, which the arguments need")
    elif found[1] * server.nodes != wanted:
        asked = f"{found[1]} of {found[0]}" + (f" on each of {server.nodes} nodes" if server.nodes > 1 else "")
        fix = "pin spec.engine.tensorParallelSize" if found[0] == GPU_RESOURCE else "look at spec.engine"
        draft.assume(where, f"asks for {asked}, and the arguments use {wanted}, as the pods will: {fix} if it should be another number")
