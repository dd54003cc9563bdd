"""The dtype by release: `_get_and_verify_dtype` of config.py and config/model.py, a row a release and a card."""

from __future__ import annotations

from typing import Any

import pytest

from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import EngineRefusal
from plimsoll_estimator.hardware import gpu_from
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.resolve.dtypes import resolve_dtype

T4, V100, A100 = "Tesla-T4", "Tesla-V100-SXM2-32GB", "NVIDIA-A100-SXM4-80GB"


def settled(model_type: str, stated: str | None, wanted: str | None, product: str, version: str, runner: str = "generate") -> str:
    config: dict[str, Any] = {"model_type": model_type, "torch_dtype": stated}
    return resolve_dtype(HfConfig(config), wanted, gpu_from(product), runner, EngineVersion.parse(version))


SETTLED = [
    ("before Ampere bfloat16 becomes float16", "llama", "bfloat16", None, T4, "0.9.0", "float16"),
    ("Gemma 2 becomes float32 there, as float16 is not stable", "gemma2", "bfloat16", None, T4, "0.9.1", "float32"),
    ("Gemma 3 too", "gemma3", "bfloat16", None, V100, "0.10.0", "float32"),
    ("GLM-4 too", "glm4", "bfloat16", None, T4, "0.33.0", "float32"),
    ("in 0.9.0 nobody asked yet", "gemma2", "bfloat16", None, T4, "0.9.0", "float16"),
    ("Gemma 3's text model was not listed before 0.10.2", "gemma3_text", "bfloat16", None, T4, "0.10.1.1", "float16"),
    ("since then it is", "gemma3_text", "bfloat16", None, T4, "0.10.2", "float32"),
    ("and takes float16 until then when asked", "gemma3_text", "bfloat16", "half", T4, "0.10.1", "float16"),
    ("PLaMo 2 takes float16 since 0.27", "plamo2", "bfloat16", None, T4, "0.27.0", "float16"),
    ("a float32 checkpoint ran as float16 everywhere", "llama", "float32", None, A100, "0.8.5", "float16"),
    ("and still in 0.9.0", "llama", None, None, A100, "0.9.0.1", "float16"),
    ("then as what the GPU prefers", "llama", "float32", None, A100, "0.9.1", "bfloat16"),
    ("Gemma's as bfloat16 in the first release", "gemma2", "float32", None, A100, "0.8.0", "bfloat16"),
    ("and PLaMo's in the last of 0.8", "plamo2", "float32", None, A100, "0.8.5", "bfloat16"),
    ("float32 may be asked for", "llama", "bfloat16", "float32", T4, "0.33.0", "float32"),
]


@pytest.mark.parametrize(("why", "model_type", "stated", "wanted", "product", "version", "dtype"), SETTLED, ids=[row[0] for row in SETTLED])
def test_the_dtype_is_that_of_the_release(
    why: str, model_type: str, stated: str | None, wanted: str | None, product: str, version: str, dtype: str
) -> None:
    assert settled(model_type, stated, wanted, product, version) == dtype


def test_pooling_prefers_float16_once_the_gpu_is_asked() -> None:
    assert settled("llama", "float32", None, A100, "0.9.1", "pooling") == "float16"
    assert settled("gemma2", "float32", None, A100, "0.9.1", "pooling") == "bfloat16"


REFUSED = [
    ("auto kept bfloat16 in 0.8, and the worker refused it below 8.0", "llama", "bfloat16", None, T4, "0.8.5"),
    ("so for Gemma", "gemma2", "bfloat16", None, V100, "0.8.0"),
    ("bfloat16 that is asked for is kept", "llama", "float16", "bfloat16", T4, "0.33.0"),
    ("float16 that is asked for of Gemma 3", "gemma3", "bfloat16", "half", A100, "0.9.1"),
]


@pytest.mark.parametrize(("why", "model_type", "stated", "wanted", "product", "version"), REFUSED, ids=[row[0] for row in REFUSED])
def test_what_the_release_refuses(why: str, model_type: str, stated: str, wanted: str | None, product: str, version: str) -> None:
    with pytest.raises(EngineRefusal) as caught:
        settled(model_type, stated, wanted, product, version)
    assert caught.value.reason == "DtypeUnsupported"
