"""Whatever nodes say and pods ask for, every pool can be written down: one that cannot would stop each decision of the cluster."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.plimsoll_operator.nodes import gpu_node, gpu_pod, index_of, status_of

from plimsoll_operator.api import GPUPool, parse_object
from plimsoll_operator.capacity import CapacityIndex
from plimsoll_operator.capacity.booking import Booking
from plimsoll_operator.capacity.pools import pool_manifest
from plimsoll_operator.pod import PodRequests

AMOUNTS = st.sampled_from(["0", "1", "2", "1000m", "2147483647", "2147483648", "9223372036854775807", "1Ei", "1024Pi", "1e18", "9" * 20])
RESOURCES = st.fixed_dictionaries({}, optional=dict.fromkeys(("cpu", "memory", "ephemeral-storage", "nvidia.com/gpu", "pods"), AMOUNTS))


def written(index: CapacityIndex, bookings: Mapping[str, Iterable[Booking]] = MappingProxyType({})) -> list[GPUPool]:
    """Every pool as the API reads it."""
    return [parse_object(GPUPool, pool_manifest(pool)) for pool in index.pools(bookings)]


@pytest.mark.parametrize("gpus", ["5", "2147483648", "9223372036854775807", "1Ei"])
def test_a_pod_bound_by_hand_holds_no_more_of_a_node_than_the_node_has(gpus: str) -> None:
    (pool,) = written(index_of(gpu_node(count=4), pods=[gpu_pod("a", "n1", gpus), gpu_pod("b", "n1", gpus)]))
    assert status_of(pool).foreign_gpus == 4
    assert status_of(pool).free_gpus == 0


@pytest.mark.parametrize("name", ["memory", "cpu", "ephemeral-storage"])
def test_a_node_that_claims_more_than_any_host_has_is_taken_for_the_largest_that_can_be_written_down(name: str) -> None:
    boastful = gpu_node()
    boastful["status"]["allocatable"][name] = "1Ei"
    (pool,) = written(index_of(boastful))
    assert status_of(pool).free_gpus == 4


@given(st.lists(RESOURCES, max_size=3), st.lists(AMOUNTS, max_size=4), st.integers(0, 1 << 40))
def test_any_pool_can_be_written_down(allocatable: list[dict[str, str]], asked: list[str], booked: int) -> None:
    nodes = [gpu_node(f"n{index}") for index, _ in enumerate(allocatable)]
    for each, amounts in zip(nodes, allocatable, strict=True):
        each["status"]["allocatable"] |= amounts
    pods = [gpu_pod(f"p{index}", f"n{index % 2}", gpus) for index, gpus in enumerate(asked)]
    index = index_of(*nodes, pods=pods)
    booking = Booking(pods=booked, each=PodRequests(gpus=4, host_memory_bytes=1, host_cpu_millis=1, ephemeral_storage_bytes=1))
    written(index, {pool.name: [booking] for pool in index.pools()})
