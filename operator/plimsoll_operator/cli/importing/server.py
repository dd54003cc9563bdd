"""One pod that serves by vLLM, laid into a draft: image, arguments, model, variables, volumes, the pod, and the layout that is pinned.

Called by every translator, which says where in its format the parts stand. Knows no format.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from plimsoll_estimator import InvalidInput
from plimsoll_operator.api import Manifest
from plimsoll_operator.cli.importing.arguments import Said, lay_arguments
from plimsoll_operator.cli.importing.command_line import serve_of
from plimsoll_operator.cli.importing.draft import Draft
from plimsoll_operator.cli.importing.env import lay_engine_env, literals
from plimsoll_operator.cli.importing.image import lay_image
from plimsoll_operator.cli.importing.pod import gpus_of, lay_pod
from plimsoll_operator.cli.importing.read import entries, text
from plimsoll_operator.cli.importing.stores import lay_store
from plimsoll_operator.cli.importing.volumes import Mounted, lay_model_folder, lay_volumes, mounts_of
from plimsoll_operator.names import GPU_RESOURCE, MIG_RESOURCE_PREFIX, SHARED_RESOURCE

_SIZES: Final = ("tensorParallelSize", "pipelineParallelSize", "dataParallelSize")


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A pod's server: `place` of its container, `tokens` after `vllm serve` and the `field` that they stand in.

    `model`: a name that stands elsewhere than in the tokens, with `model_field`. `at`: where a format has the container's part, if in no
    pod. `nodes`: pods of one replica. `pinned`: whether an absent size is vLLM's default of 1; otherwise the format's own program
    chooses it, as the decision does. `exports`: variables beside the container's own, by field.
    """

    pod: Manifest
    path: str
    place: int
    tokens: tuple[str, ...]
    field: str
    model: str | None = None
    model_field: str = ""
    at: str = ""
    nodes: int = 1
    pinned: bool = True
    exports: tuple[tuple[str, Manifest], ...] = ()
    beside: tuple[str, ...] = ()

    @property
    def container(self) -> Manifest:
        """The engine's container."""
        return dict(self.pod["containers"][self.place])

    @property
    def container_path(self) -> str:
        """Its field."""
        return self.at or f"{self.path}.containers[{self.place}]"


def servers_of(pod: Manifest, path: str) -> Iterator[Server]:
    """Every container of the pod that starts vLLM's server. Raises InvalidInput of a script that cannot be read."""
    for place, container in entries(pod.get("containers")):
        serve = serve_of(container, f"{path}.containers[{place}]", literals(container))
        if serve is not None:
            exports = tuple((serve.field, {"name": name, "value": value}) for name, value in serve.exports)
            yield Server(pod=pod, path=path, place=place, tokens=serve.tokens, field=serve.field, exports=exports, beside=serve.beside)


def lay_server(draft: Draft, server: Server) -> None:
    """Put all of it. Raises InvalidInput naming the field: no model is named, or one that no source of weights can be."""
    container, path = server.container, server.container_path
    version = lay_image(draft, text(container.get("image")), f"{path}.image")
    said = lay_arguments(draft, server.tokens, version, server.field)
    for program in server.beside:
        draft.lost(server.field, f"{program} is not carried over, which the script runs too: do what it does in the image, or before")
    mounts = mounts_of(container, server.pod, path)
    used = _lay_model(draft, server, said, mounts)
    lay_volumes(draft, mounts, used)
    own = [(f"{path}.env[{place}]", row) for place, row in entries(container.get("env"))]
    lay_engine_env(draft, [*own, *server.exports], said.secrets)
    lay_pod(draft, server.pod, server.path, server.place, path)
    _lay_layout(draft, server)


def _lay_model(draft: Draft, server: Server, said: Said, mounts: Sequence[Mounted]) -> Mounted | None:
    """The model's name, and the claim where it is a folder on one, whose mount is returned."""
    name, field = (server.model, server.model_field) if server.model is not None else (said.model, server.field)
    if name is None:
        raise InvalidInput(field, None, "names no model: vLLM would serve its own default, which nobody means; write the model's hub id")
    if "://" in name:
        draft.put("spec.model.name", lay_store(draft, name, said.served_as, field), field)
        return None
    if not name.startswith("/"):
        draft.put("spec.model.name", name, field)
        return None
    used = lay_model_folder(draft, list(mounts), name, field)
    called = (said.served_as or name.rstrip("/").rpartition("/")[2]) if used is not None else name
    draft.put("spec.model.name", called or name, field)
    return used


def _lay_layout(draft: Draft, server: Server) -> None:
    """Sizes that nobody said are vLLM's default of one GPU; what does not agree with the GPUs that are asked for is said."""
    found = gpus_of(server.container)
    if server.nodes > 1:
        draft.put("spec.placement.maxNodesPerReplica", server.nodes, server.path)
    if found is not None and found[0].startswith(MIG_RESOURCE_PREFIX):
        draft.put("spec.placement.sharing", "mig", f"{server.container_path}.resources")
    elif found is not None and found[0] == SHARED_RESOURCE:
        draft.put("spec.placement.sharing", "time-slicing", f"{server.container_path}.resources")
    if not server.pinned:
        return
    if draft.get("spec.engine.tensorParallelSize") is None:
        draft.put("spec.engine.tensorParallelSize", 1, server.field)
    wanted = 1
    for size in _SIZES:
        wanted *= draft.get(f"spec.engine.{size}") or 1
    where = f"{server.container_path}.resources"
    if found is None:
        draft.assume(where, f"no GPUs are asked for by count; the pods will ask for {wanted}, which the arguments need")
    elif found[1] * server.nodes != wanted:
        asked = f"{found[1]} of {found[0]}" + (f" on each of {server.nodes} nodes" if server.nodes > 1 else "")
        fix = "pin spec.engine.tensorParallelSize" if found[0] == GPU_RESOURCE else "look at spec.engine"
        draft.assume(where, f"asks for {asked}, and the arguments use {wanted}, as the pods will: {fix} if it should be another number")
