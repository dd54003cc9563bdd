"""Parallel layouts of one replica: which ones a request leaves open, in classes of which a later is tried only when none before serves.

Called by `search` for each group of products. Knows GPUs per node and counts of the model, no memory, no pools and no verdicts.

A user who pins no sizes gets tensor parallelism on one node: every token then runs on all GPUs at once, which is what latency
wants. Whole experts, stages and further nodes each cost something and are chosen only where nothing before them serves.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Final

from plimsoll_estimator import EngineArgs, LayoutBounds
from plimsoll_operator.decision.request.request import DeploymentRequest

NODE_COUNTS: Final = (2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64)
"""Nodes of one replica that are tried. Beyond eight the next step is at most a quarter more: a search of every count would be slow."""


class Kind(IntEnum):
    """Classes of layouts, the preferred first."""

    TENSOR = 0
    """One node; stages, engines and experts exactly as pinned."""
    EXPERTS = 1
    """The same with whole experts on ranks, where vLLM cannot slice them at this tensor parallel size."""
    STAGES = 2
    """One node with pipeline stages that nobody asked for."""
    NODES = 3
    """Several nodes, tensor parallel groups inside a node."""
    ACROSS = 4
    """Several nodes with tensor parallel groups across them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Parallel sizes of one replica, and the nodes they are spread over evenly."""

    tensor_parallel_size: int
    pipeline_parallel_size: int = 1
    data_parallel_size: int = 1
    expert_parallel: bool = False
    nodes: int = 1

    @property
    def gpus(self) -> int:
        """GPUs of one replica."""
        return self.tensor_parallel_size * self.pipeline_parallel_size * self.data_parallel_size

    @property
    def gpus_per_node(self) -> int:
        """GPUs of one replica on each of its nodes, which are the GPUs of one pod."""
        return self.gpus // self.nodes

    @property
    def preference(self) -> tuple[int, int, bool]:
        """Between layouts of equal GPUs and cost: fewest nodes, then fewest stages, which is tensor parallel first, then sliced experts."""
        return (self.nodes, self.pipeline_parallel_size, self.expert_parallel)

    def arguments(self, pinned: EngineArgs) -> EngineArgs:
        """The pinned arguments with these sizes."""
        return replace(
            pinned,
            tensor_parallel_size=self.tensor_parallel_size,
            pipeline_parallel_size=self.pipeline_parallel_size,
            data_parallel_size=self.data_parallel_size,
            enable_expert_parallel=self.expert_parallel or pinned.enable_expert_parallel,
            nnodes=self.nodes if self.nodes > 1 else None,
        )

    def __str__(self) -> str:
        said = [f"tensor parallel size {self.tensor_parallel_size}"]
        if self.pipeline_parallel_size > 1:
            said.append(f"pipeline parallel size {self.pipeline_parallel_size}")
        if self.data_parallel_size > 1:
            said.append(f"data parallel size {self.data_parallel_size}")
        if self.expert_parallel:
            said.append("expert parallelism")
        return ", ".join(said) + (f" on {self.nodes} nodes" if self.nodes > 1 else "")


def layouts(kind: Kind, request: DeploymentRequest, counts: LayoutBounds, gpus_per_node: tuple[int, ...]) -> Iterator[Layout]:
    """The layouts of one class on nodes of these sizes. May be empty, is deterministic, and leaves vLLM's own checks to the estimate."""
    largest = max(gpus_per_node)
    if kind is Kind.TENSOR:
        yield from _on_one_node(request, largest)
    elif kind is Kind.EXPERTS:
        if counts.has_experts and request.args.enable_expert_parallel is None:
            found = _on_one_node(request, largest)
            shared = (layout for layout in found if layout.tensor_parallel_size * layout.data_parallel_size > 1)
            yield from (replace(layout, expert_parallel=True) for layout in shared)
    elif kind is Kind.STAGES:
        yield from _in_stages(request, counts, largest)
    else:
        yield from _over_nodes(request, counts, gpus_per_node, across=kind is Kind.ACROSS)


def _most(request: DeploymentRequest, gpus: int) -> int:
    """GPUs that one replica may take of so many: two parts of a shared card may be one card, slices of MIG cannot talk to each other."""
    most = min(gpus, request.max_gpus_per_replica or gpus)
    return most if request.placement.sharing == "none" else min(most, 1)


def _on_one_node(request: DeploymentRequest, gpus_per_node: int) -> Iterator[Layout]:
    """Tensor parallel sizes; stages and engines only as pinned."""
    args = request.args
    pipeline, data = args.pipeline_parallel_size or 1, args.data_parallel_size or 1
    most = _most(request, gpus_per_node) // (pipeline * data)
    sizes = [args.tensor_parallel_size] if args.tensor_parallel_size is not None else range(1, most + 1)
    for size in sizes:
        if size <= most:
            yield Layout(
                tensor_parallel_size=size,
                pipeline_parallel_size=pipeline,
                data_parallel_size=data,
                expert_parallel=bool(args.enable_expert_parallel),
            )


def _in_stages(request: DeploymentRequest, counts: LayoutBounds, gpus_per_node: int) -> Iterator[Layout]:
    """Stages where neither size is pinned: who pins a tensor parallel size has said how many GPUs one replica takes on a node."""
    args = request.args
    if not request.stages or args.tensor_parallel_size is not None or args.pipeline_parallel_size is not None:
        return
    data = args.data_parallel_size or 1
    most = _most(request, gpus_per_node) // data
    for tensor in range(1, most // 2 + 1):
        for pipeline in range(2, most // tensor + 1):
            if _stages_have_layers(counts, pipeline):
                yield Layout(
                    tensor_parallel_size=tensor,
                    pipeline_parallel_size=pipeline,
                    data_parallel_size=data,
                    expert_parallel=bool(args.enable_expert_parallel),
                )


def _over_nodes(request: DeploymentRequest, counts: LayoutBounds, gpus_per_node: tuple[int, ...], *, across: bool) -> Iterator[Layout]:
    """Whole nodes, of more GPUs together than one node has; where all sizes are pinned, equal shares of nodes.

    Inside a node: tensor parallel groups that do not leave it. Across: groups that do, where their size is pinned or the rest is.
    """
    args = request.args
    data = args.data_parallel_size or 1
    for nodes in (count for count in NODE_COUNTS if count <= request.max_nodes):
        if data % nodes and nodes % data:
            continue  # engines would be cut unevenly
        for share in _shares(request, nodes, gpus_per_node):
            gpus = nodes * share
            if gpus <= max(gpus_per_node) or gpus > _most(request, gpus) or gpus % data:
                continue
            engine = gpus // data
            on_node = min(engine, share)
            for tensor in _tensor_sizes(args.tensor_parallel_size, counts, engine, on_node, across=across):
                pipeline = engine // tensor
                if args.pipeline_parallel_size in (None, pipeline) and _stages_have_layers(counts, pipeline):
                    yield Layout(
                        tensor_parallel_size=tensor,
                        pipeline_parallel_size=pipeline,
                        data_parallel_size=data,
                        expert_parallel=bool(args.enable_expert_parallel),
                        nodes=nodes,
                    )


def _stages_have_layers(counts: LayoutBounds, stages: int) -> bool:
    """A stage without a layer is no stage."""
    return counts.layers is None or stages <= counts.layers


def _shares(request: DeploymentRequest, nodes: int, gpus_per_node: tuple[int, ...]) -> Iterator[int]:
    """GPUs of a replica on each of its nodes."""
    tensor, pipeline = request.args.tensor_parallel_size, request.args.pipeline_parallel_size
    if tensor is None or pipeline is None:
        yield from sorted(set(gpus_per_node))
        return
    gpus = tensor * pipeline * (request.args.data_parallel_size or 1)
    if gpus % nodes == 0 and gpus // nodes <= max(gpus_per_node):
        yield gpus // nodes


def _tensor_sizes(pinned: int | None, counts: LayoutBounds, engine: int, on_node: int, *, across: bool) -> Iterator[int]:
    """Sizes that divide an engine's GPUs: those that also divide its share of a node, or those that do not.

    Of sizes that nobody pinned only the two largest that divide the heads: over nodes the smaller ones have nothing to offer.
    """
    if pinned is not None:
        sizes = [pinned] if engine % pinned == 0 else []
    else:
        sizes = [size for size in range(engine, 0, -1) if engine % size == 0 and (counts.heads is None or counts.heads % size == 0)]
    found = [size for size in sizes if (on_node % size != 0) == across]
    yield from found[:2]
