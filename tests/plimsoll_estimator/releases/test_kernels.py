"""Which releases carry kernels for which GPUs: the binaries of the wheels, and starts that ended in "no kernel image is available"."""

from __future__ import annotations

import struct

import pytest
from tools.extract_kernels import MAGIC, common, groups
from tools.support_page import DEFAULT_OUT, page

from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import EngineRefusal, InvalidInput, Unsupported
from plimsoll_estimator.hardware import gpu_from
from plimsoll_estimator.resolve.kernels import check_kernels, kernels_for, machine_of, releases
from plimsoll_estimator.resolve.support import support_of, unstable_in_float16

HAS = [
    # https://github.com/gpustack/gpustack/issues/2097: vLLM 0.8.5.post1 on a 5090 D, "no kernel image is available"
    ("Blackwell's cards before their code", 120, "0.8.5", "no"),
    # https://github.com/vllm-project/vllm/issues/18995: the image of May 2025 (0.9.0)
    ("nor with the first Blackwell release", 120, "0.9.0", "no"),
    ("which is for data centres", 100, "0.8.5", "no"),
    ("only with PyTorch for CUDA 12.8, which the image has and pip does not take", 100, "0.9.0", "not known"),
    ("so for the cards", 120, "0.10.0", "not known"),
    ("since PyTorch 2.8 both have it", 120, "0.10.2", "yes"),
    ("and GB10, whose minor is newer", 121, "0.10.2", "yes"),
    ("and B300", 103, "0.11.0", "yes"),
    # https://github.com/vllm-project/vllm/issues/18818: the image of 0.9.0, "the minimum cuda capability supported by this library is 7.5"
    ("a V100 with the image of 0.9.0 has none, with pip it has", 70, "0.9.0", "not known"),
    ("a V100 until 0.19", 70, "0.19.1", "yes"),
    # https://github.com/vllm-project/vllm/pull/39878: asked on a build of April 2026
    ("and not since 0.20", 70, "0.20.0", "no"),
    # https://github.com/vllm-project/vllm/issues/19542: a GTX 1080 Ti with 0.9.1
    ("Pascal never", 61, "0.9.1", "no"),
    ("Turing always", 75, "0.33.0", "yes"),
    ("Ampere's cards run the code of A100", 86, "0.10.2", "yes"),
    ("a release newer than the table has what the newest has", 90, "0.40.0", "yes"),
]


OF_IMAGE = [
    ("a V100 has none in the image of 0.9.0", 70, "0.9.0", "no"),  # vllm#18818
    ("nor in that of 0.10.0", 70, "0.10.0", "no"),
    ("and again from 0.10.2", 70, "0.10.2", "yes"),
    ("a B200 has them from 0.9.0", 100, "0.9.0", "yes"),
    ("Blackwell's cards in the image of 0.10.0", 120, "0.10.0", "yes"),
    ("and not before vLLM's own were built", 120, "0.9.0", "no"),
]


TABLES = [(*row, None) for row in HAS] + [(*row, True) for row in OF_IMAGE]


@pytest.mark.parametrize(("why", "capability", "version", "has", "of_image"), TABLES, ids=[row[0] for row in TABLES])
def test_a_release_has_the_kernels_of_its_wheel_and_of_its_pytorch(
    why: str, capability: int, version: str, has: str, of_image: bool | None
) -> None:
    """Where the image is vLLM's own its PyTorch decides: for CUDA 12.8, built for 7.5 and newer and for Blackwell (data/kernels.json)."""
    assert kernels_for(capability, "x86_64", EngineVersion.parse(version), of_image=of_image).has == has


def test_nothing_was_published_for_arm_before_0_10_2() -> None:
    assert machine_of("NVIDIA-GH200-480GB") == machine_of("NVIDIA-GB10") == "aarch64"
    assert machine_of("NVIDIA-H200") == machine_of("NVIDIA-B200") == "x86_64"
    assert kernels_for(90, "aarch64", EngineVersion.parse("0.10.1.1")).has == "not known"
    assert kernels_for(90, "aarch64", EngineVersion.parse("0.10.2")).has == "yes"
    assert kernels_for(100, "aarch64", EngineVersion.parse("0.10.2")).has == "yes"


def test_a_start_without_kernels_is_refused_with_the_releases_that_have_them() -> None:
    card = gpu_from("NVIDIA-GeForce-RTX-5090")
    with pytest.raises(EngineRefusal, match=r"no kernels for compute capability 12\.0; 0\.10\.2 and later have kernels for it") as caught:
        check_kernels(card, EngineVersion.parse("0.8.5"))
    assert caught.value.reason == "NoKernels"
    with pytest.raises(EngineRefusal, match=r"7\.0; 0\.8\.0 to 0\.8\.5 and 0\.10\.2 to 0\.19\.1 have kernels for it"):
        check_kernels(gpu_from("Tesla-V100-SXM2-32GB"), EngineVersion.parse("0.33.0"))
    with pytest.raises(EngineRefusal, match=r"no release since 0\.8\.0 has kernels for it"):
        check_kernels(gpu_from("NVIDIA-GeForce-GTX-1080", label_memory_mib=8192), EngineVersion.parse("0.33.0"))


def test_what_is_not_known_is_no_refusal_and_no_fit() -> None:
    with pytest.raises(Unsupported, match="in the official image, and none in the one that pip installs") as caught:
        check_kernels(gpu_from("NVIDIA-GeForce-RTX-5090"), EngineVersion.parse("0.10.0"))
    assert caught.value.reason == "KernelsNotKnown"
    with pytest.raises(Unsupported, match="published for no aarch64 host"):
        check_kernels(gpu_from("NVIDIA-GB10", total_memory_bytes=1 << 37), EngineVersion.parse("0.9.2"))


def test_the_table_is_in_order_and_goes_to_the_newest_release() -> None:
    assert list(releases()) == sorted(releases())
    assert releases()[-1] == EngineVersion.parse("0.33.0")


def test_a_card_of_unknown_generation_says_how_to_give_it() -> None:
    for product in ("NVIDIA-CMP-170HX", "NVIDIA-GeForce-GTX-1650"):
        with pytest.raises(Unsupported, match=r"give its compute capability, such as 7\.5"):
            gpu_from(product, label_memory_mib=8192)
    assert gpu_from("NVIDIA-CMP-170HX", label_memory_mib=8192, compute_capability="8.0").capability == 80
    assert gpu_from("NVIDIA-GeForce-GTX-1650", label_memory_mib=4096, compute_capability="7.5").capability == 75
    with pytest.raises(InvalidInput, match=r"must be a compute capability such as 7\.5"):
        gpu_from("NVIDIA-CMP-170HX", label_memory_mib=8192, compute_capability="sm_80")
    with pytest.raises(InvalidInput, match=r"contradicts the table, where NVIDIA-L4 has 8\.9"):
        gpu_from("NVIDIA-L4", compute_capability="8.0")


def test_a_line_of_support_says_what_a_start_would_meet() -> None:
    turing, ada = gpu_from("Tesla-T4"), gpu_from("NVIDIA-L4")
    versions = [EngineVersion.parse(text) for text in ("0.9.2", "0.10.2", "0.19.1", "0.24.0")]
    assert [support_of(turing, version).fp8_cache for version in versions] == ["V0 engine", "V0 engine", "heads 64/128/256", "no"]
    assert [support_of(ada, version).fp8_cache for version in versions] == ["V0 engine", "V0 engine", "yes", "yes"]
    assert "fp8" in {method.name for method in support_of(turing, versions[3]).quantization}
    assert "fp8" not in {method.name for method in support_of(turing, versions[0]).quantization}
    assert support_of(turing, versions[0]).dtypes == ("float16", "float32")
    assert unstable_in_float16(versions[0]) == ("gemma2", "gemma3", "glm4", "plamo2")
    with pytest.raises(Unsupported, match="has no rules here"):
        support_of(ada, EngineVersion.parse("0.7.3"))


def fatbin(*entries: tuple[int, int]) -> bytes:
    """A fatbin with an empty entry for each kind (1 intermediate, 2 binary) and architecture."""
    body = b"".join(struct.pack("<HHIQ", kind, 0, 64, 0) + bytes(12) + struct.pack("<I", arch) + bytes(32) for kind, arch in entries)
    return MAGIC + struct.pack("<HHQ", 1, 16, len(body)) + body


def test_the_extraction_counts_binary_code_and_takes_what_most_kernels_share() -> None:
    general, special = fatbin((2, 75), (2, 80), (1, 80)), fatbin((2, 90))
    counted = groups(b"elf" + general + b"\0" * 7 + general + special)
    assert counted == {(75, 80): 2, (90,): 1}
    assert common(counted) == [75, 80]
    assert common(groups(b"no kernels")) == []


def test_the_page_is_what_the_tables_say() -> None:
    assert DEFAULT_OUT.read_text() == page(), "run python -m tools.support_page"
