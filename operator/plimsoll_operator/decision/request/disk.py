"""What of the spec says what a pod writes to its node's disk: where weights come from, where they are kept, and scratch space.

Read once with the rest of the request; `host` adds the figures of the model. Knows no pools and no engine arithmetic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from plimsoll_estimator import split_arguments
from plimsoll_operator.api import EngineSpec, InferenceDeploymentSpec, TemplateSpec, Volume
from plimsoll_operator.facts import ModelFacts, ModelUnknown
from plimsoll_operator.overlay import one_form
from plimsoll_operator.pod import CACHE_MOUNT, HOME_CACHE_MOUNT
from plimsoll_operator.quantity import parse_quantity
from plimsoll_operator.weights import weights_of

# vLLM's flag for the place of the files alone; chunks stay where huggingface_hub has them.
_DOWNLOAD_DIR: Final = "--download-dir"


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """Of one pod. `weights` and `draft`: it downloads them; `streamed`: weights come over the network and stay nowhere; `files` and
    `chunks`: what the download keeps is on the node's disk.

    `draft_bytes` is the draft's checkpoint where its headers are known. `scratch_bytes` are the size limits of emptyDir volumes: what such
    a volume holds is inside its limit. `files_limit_bytes` and `chunks_limit_bytes` are those of the volumes that hold the download.
    """

    weights: bool = True
    streamed: bool = False
    draft: bool = False
    files: bool = True
    chunks: bool = True
    draft_bytes: int | None = None
    scratch_bytes: int = 0
    files_limit_bytes: int | None = None
    chunks_limit_bytes: int | None = None
    same_volume: bool = False

    @property
    def takes_downloads(self) -> bool:
        """Whether downloads take room on the node's disk."""
        return (self.weights or self.draft) and (self.files or self.chunks)


def disk_of(spec: InferenceDeploymentSpec, draft: ModelFacts | ModelUnknown | None) -> Disk:
    """What is not said literally (a variable from a ConfigMap, the image's own settings) is taken for the default: the node's disk."""
    template = spec.template or TemplateSpec()
    scratch = [volume.empty_dir for volume in template.volumes if volume.empty_dir is not None and not volume.in_memory]
    files, chunks = (_volume_of(path, template.volumes) for path in _caches(template, spec.engine))
    weights, proposer = weights_of(spec.model), spec.engine.speculative
    totals = draft.weights if isinstance(draft, ModelFacts) else None
    return Disk(
        weights=weights.downloaded,
        streamed=weights.streamed,
        draft=not weights.offline and proposer is not None and proposer.model is not None and not proposer.model.startswith("/"),
        files=files is None or files.persistent_volume_claim is None,
        chunks=chunks is None or chunks.persistent_volume_claim is None,
        files_limit_bytes=_limit(files),
        chunks_limit_bytes=_limit(chunks),
        same_volume=files is not None and files == chunks,
        draft_bytes=totals.total_bytes if totals is not None else None,
        scratch_bytes=sum(parse_quantity(one.size_limit) for one in scratch if one.size_limit is not None),
    )


def _caches(template: TemplateSpec, engine: EngineSpec) -> tuple[str, str]:
    """Folders of downloaded files and of xet chunks."""
    said: Mapping[str, str] = {variable.name: variable.value for variable in template.env if variable.value}
    moved = template.security_context is not None and template.security_context.moves_home
    home = said.get("HF_HOME", HOME_CACHE_MOUNT if moved else CACHE_MOUNT)
    files = said.get("HF_HUB_CACHE") or said.get("HUGGINGFACE_HUB_CACHE") or f"{home}/hub"
    for item in split_arguments(engine.extra_args, engine.engine_version) if engine.extra_args else ():
        if item.flag == _DOWNLOAD_DIR:
            files = item.values[0]
    return files, said.get("HF_XET_CACHE", f"{home}/xet")


def _volume_of(path: str, volumes: Sequence[Volume]) -> Volume | None:
    """What is mounted deepest holds the path: scratch space inside a claim is the node's. A path with steps upward may lie anywhere."""
    if not path.startswith("/") or ".." in path.split("/"):
        return None
    held = [(one_form(volume.mount_path), volume) for volume in volumes]
    above = [row for row in held if f"{one_form(path)}/".startswith(f"{row[0].rstrip('/')}/")]
    return max(above, key=lambda row: len(row[0]))[1] if above else None


def _limit(volume: Volume | None) -> int | None:
    """Bytes that the volume may hold, where it says so."""
    scratch = volume.empty_dir if volume is not None else None
    return parse_quantity(scratch.size_limit) if scratch is not None and scratch.size_limit is not None else None
