"""What a FitPolicy's allow-lists leave of a pod, and what no overlay may bring into it: accounts, mounts and variables."""

import posixpath
from typing import Any
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.plimsoll_operator.decision_world import LLAMA_8B, Files, deployment, verdict
from tests.plimsoll_operator.nodes import gpu_node

from plimsoll_estimator.argument_table import all_rows
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_operator.api import FitPolicy, parse_object
from plimsoll_operator.decision.checks.allowed import ACCOUNT_PATHS
from plimsoll_operator.decision.checks.code_loading import argument_that_loads_code
from plimsoll_operator.decision.checks.environment import LET_THROUGH, LET_THROUGH_PREFIXES, loads_code, moves_the_plan
from plimsoll_operator.decision.checks.images import is_allowed, read_reference
from plimsoll_operator.names import API_VERSION
from plimsoll_operator.overlay import one_form
from plimsoll_operator.ports import Manifest
from plimsoll_operator.render import Origin, render_deployment
from plimsoll_operator.verdict import Admit, Reason, Reject, Verdict

L4 = gpu_node("l4", "NVIDIA-L4", 4, 23034, host="180Gi", cpu="47")
V19 = EngineVersion.parse("0.19.0")


def asked(policy: Manifest | None = None, *, engine: Manifest | None = None, **spec: Any) -> Verdict:
    """The verdict on an ordinary deployment with these additions."""
    made = parse_object(FitPolicy, {"apiVersion": API_VERSION, "kind": "FitPolicy", "metadata": {"name": "default"}, "spec": policy or {}})
    return verdict(LLAMA_8B, engine={"maxModelLen": 8192, **(engine or {})}, store=Files(L4, policies=(made,)), **spec)


def said(found: Verdict) -> tuple[Reason, str] | None:
    """Reason and field of a refusal, or nothing where it is admitted."""
    return (found.reason, found.field) if isinstance(found, Reject) else None


ACME, HUB = "ghcr.io/acme", "docker.io/vllm/vllm-openai"
A, B, AB64 = "sha256:" + "a" * 64, "sha256:" + "b" * 64, "registry.acme.dev:5000"
IMAGES = [
    ("nothing is asked", "anything/at-all:v0.19.0", (), True),
    ("under the registry", "ghcr.io/acme/vllm:v0.19.0", ("ghcr.io",), True),
    ("under the folder", "ghcr.io/acme/vllm:v0.19.0", (ACME,), True),
    ("under the folder, written with a slash", "ghcr.io/acme/vllm:v0.19.0", (f"{ACME}/",), True),
    ("the repository itself", "ghcr.io/acme/vllm:v0.19.0", (f"{ACME}/vllm",), True),
    ("a name that only begins alike", "ghcr.io/acme-evil/vllm:v0.19.0", (ACME,), False),
    ("a registry that only begins alike", "ghcr.io.evil.dev/acme/vllm:v0.19.0", ("ghcr.io",), False),
    ("a folder of another registry", "docker.io/ghcr.io/acme/vllm:v0.19.0", (ACME,), False),
    ("steps upward", "ghcr.io/acme/../evil/vllm:v0.19.0", (ACME,), False),
    ("an empty step", "ghcr.io/acme//vllm:v0.19.0", (f"{ACME}/vllm",), False),
    ("the hub is where no registry is named", "vllm/vllm-openai:v0.19.0", (HUB,), True),
    ("and the prefix may leave it out too", "docker.io/vllm/vllm-openai:v0.19.0", ("vllm/vllm-openai",), True),
    ("by its other name", "index.docker.io/vllm/vllm-openai:v0.19.0", (HUB,), True),
    ("an official image is in library", "ubuntu:24.04", ("docker.io/library",), True),
    ("a bare name is a folder, not the official image", "ubuntu:24.04", ("ubuntu",), False),
    ("the hub's folder of that name", "ubuntu/squid:1", ("ubuntu",), True),
    ("an official image by its host", "docker.io/ubuntu:24.04", ("docker.io/library/ubuntu",), True),
    ("another port is another registry", "registry.acme.dev:5001/vllm:v0.19.0", (AB64,), False),
    ("the port counts", "registry.acme.dev:5000/vllm:v0.19.0", (AB64,), True),
    ("no port is not that port", "registry.acme.dev/vllm:v0.19.0", (AB64,), False),
    ("a host in capitals", "GHCR.IO/acme/vllm:v0.19.0", (ACME,), True),
    ("a first word in capitals is a host", "GHCR/acme/vllm:v0.19.0", ("docker.io",), False),
    ("a path in capitals follows no grammar", "ghcr.io/Acme/vllm:v0.19.0", ("ghcr.io",), False),
    ("localhost is a registry", "localhost/vllm:v0.19.0", ("docker.io",), False),
    ("a digest lies where its repository lies", f"ghcr.io/acme/vllm@{A}", (ACME,), True),
    ("a tag that is pinned", "ghcr.io/acme/vllm:v0.19.0", (f"{ACME}/vllm:v0.19.0",), True),
    ("another tag", "ghcr.io/acme/vllm:v0.19.1", (f"{ACME}/vllm:v0.19.0",), False),
    ("a tag with a digest is the digest", f"ghcr.io/acme/vllm:v0.19.0@{B}", (f"{ACME}/vllm:v0.19.0",), False),
    ("a digest that is pinned", f"ghcr.io/acme/vllm:any@{A}", (f"{ACME}/vllm@{A}",), True),
    ("another digest", f"ghcr.io/acme/vllm@{B}", (f"{ACME}/vllm@{A}",), False),
    ("what is no reference", "not an image", ("docker.io",), False),
    ("something hidden behind a line break", "ghcr.io/acme/vllm\n:v1", (ACME,), False),
    ("one of several", "ghcr.io/acme/vllm:v0.19.0", ("quay.io", ACME), True),
]


@pytest.mark.parametrize(("why", "image", "prefixes", "allowed"), IMAGES, ids=[row[0] for row in IMAGES])
def test_an_image_is_compared_in_its_one_form(why: str, image: str, prefixes: tuple[str, ...], allowed: bool) -> None:
    assert not prefixes or is_allowed(image, prefixes) is allowed
    template = {"sidecars": [{"name": "proxy", "image": image}]}
    field = "spec.template.sidecars[0].image"
    ours = (*prefixes, "docker.io/vllm/vllm-openai") if prefixes else ()
    refused = Reason.POLICY_FORBIDS if read_reference(image) else Reason.INVALID_SPEC
    assert said(asked({"allowedImages": list(ours)}, template=template)) == (None if allowed else (refused, field))


NAMES = st.text("abc019", min_size=1, max_size=6)
PATHS = st.lists(NAMES, min_size=1, max_size=3)


@given(PATHS, st.sampled_from(["", ":v1", "@" + A, ":v1@" + A]))
def test_an_image_lies_under_every_folder_above_it_and_under_no_other(path: list[str], ending: str) -> None:
    image = "/".join(["reg.example.dev", *path]) + ending
    for depth in range(len(path) + 1):
        assert is_allowed(image, ["/".join(["reg.example.dev", *path[:depth]])])
    assert not is_allowed(image, ["/".join(["reg.example.dev", *path, "more"])])
    assert not is_allowed(image, ["reg.example.de", "example.dev", "docker.io"])


@given(st.text(max_size=60))
def test_any_text_is_a_reference_or_none(text: str) -> None:
    found = read_reference(text)
    assert found is None or (found.registry and found.path)


def test_the_engine_s_image_counts_first() -> None:
    found = asked({"allowedImages": [ACME, "quay.io"]})
    assert said(found) == (Reason.POLICY_FORBIDS, "spec.engine.image")
    assert isinstance(found, Reject)
    assert "is not among the FitPolicy's allowedImages (ghcr.io/acme, quay.io)." in found.message


TOLERATIONS = [
    ("a key that is listed", [{"key": "team", "operator": "Exists"}], None),
    ("a key that is not", [{"key": "team", "operator": "Exists"}, {"key": "other", "operator": "Exists"}], 1),
    ("every key", [{"operator": "Exists"}], 0),
    ("what every pod of a plan tolerates", [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}], None),
    ("more of it than that", [{"key": "nvidia.com/gpu", "operator": "Exists"}], 0),
]


@pytest.mark.parametrize(("why", "tolerations", "place"), TOLERATIONS, ids=[row[0] for row in TOLERATIONS])
def test_tolerations_are_among_those_that_are_listed(why: str, tolerations: list[dict[str, str]], place: int | None) -> None:
    found = asked({"allowedTolerations": ["team"]}, placement={"tolerations": tolerations})
    assert said(found) == (None if place is None else (Reason.POLICY_FORBIDS, f"spec.placement.tolerations[{place}]"))
    assert said(asked(placement={"tolerations": tolerations})) is None, "nothing is asked where nothing is listed"


PRIORITIES = [((), "high", True), (("low",), "high", False), (("low", "high"), "high", True), (("low",), None, True)]


@pytest.mark.parametrize(("listed", "name", "allowed"), PRIORITIES)
def test_a_priority_class_is_among_those_that_are_listed(listed: tuple[str, ...], name: str | None, allowed: bool) -> None:
    placement = {} if name is None else {"priorityClassName": name}
    found = said(asked({"allowedPriorityClasses": list(listed)}, placement=placement))
    assert found == (None if allowed else (Reason.POLICY_FORBIDS, "spec.placement.priorityClassName"))


DOTTED = "--structured-outputs-config.reasoning_parser_plugin"
CODE = [
    ("code of the checkpoint", ["--trust-remote-code"], "--trust-remote-code"),
    ("spelled with underscores", ["--trust_remote_code"], "--trust_remote_code"),
    ("its negation", ["--no-trust-remote-code"], None),
    ("the same abbreviated", ["--trust-remote"], "--trust-remote"),
    ("a plug-in abbreviated, with underscores", ["--tool_parser_p=/x.py"], "--tool_parser_p"),
    ("a parser of one's own", ["--tool-parser-plugin", "/plugins/x.py"], "--tool-parser-plugin"),
    ("a middleware", ["--middleware=acme.hooks.Spy"], "--middleware"),
    ("a template", ["--chat-template", "{{ x }}"], "--chat-template"),
    ("a logging configuration may name any callable", ["--log-config-file=/conf/log.json"], "--log-config-file"),
    ("an executor that is a class", ["--distributed-executor-backend", "acme.Executor"], "--distributed-executor-backend"),
    ("one of vLLM's own", ["--distributed-executor-backend", "mp"], None),
    ("a tokenizer that a plug-in registers", ["--tokenizer-mode=custom"], "--tokenizer-mode"),
    ("one of vLLM's own tokenizers", ["--tokenizer-mode=mistral"], None),
    ("a plug-in in a JSON value", ["--structured-outputs-config", '{"reasoning_parser_plugin": "/x.py"}'], "--structured-outputs-config"),
    ("the same by its dotted key", [f"{DOTTED}=/x.py"], DOTTED),
    ("a JSON value without any", ["--structured-outputs-config", '{"backend": "xgrammar", "reasoning_parser_plugin": ""}'], None),
    ("a folder of compiled code", ['--compilation-config={"cache_dir": "/data"}'], "--compilation-config"),
    ("the same by its dotted key", ["--compilation-config.cache_dir=/data"], "--compilation-config.cache_dir"),
    ("a backend by its qualified name", ["--compilation-config", '{"backend": "acme.Backend"}'], "--compilation-config"),
    ("the same by its dotted key", ["--compilation-config.backend", "acme.Backend"], "--compilation-config.backend"),
    ("a pass by its name", ['--compilation-config={"inductor_passes": {"p": "acme.p"}}'], "--compilation-config"),
    ("a function of Inductor's", ['--compilation-config={"inductor_compile_config": {"post_grad_custom_post_pass": "a.b"}}'],
     "--compilation-config"),
    ("a compilation of vLLM's own", ['--compilation-config={"backend": "inductor", "cache_dir": "", "custom_ops": ["none"]}'], None),
    ("flags that load nothing", ["--seed", "1", "--enable-log-requests", "--served-model-name", "x"], None),
]  # fmt: skip


@pytest.mark.parametrize(("why", "arguments", "flag"), CODE, ids=[row[0] for row in CODE])
def test_arguments_that_load_code_are_found_however_they_are_written(why: str, arguments: list[str], flag: str | None) -> None:
    assert argument_that_loads_code(arguments, V19) == flag


def test_code_is_loaded_unless_the_policy_denies_it() -> None:
    assert said(asked(engine={"extraArgs": ["--trust-remote-code"]})) is None
    for engine, template, field, what in (
        ({"extraArgs": ["--trust-remote-code"]}, None, "spec.engine.extraArgs", "--trust-remote-code"),
        ({}, {"env": [{"name": "LD_PRELOAD", "value": "/x.so"}]}, "spec.template.env", "LD_PRELOAD"),
        ({}, {"volumes": [volume("/usr/local/lib/python3.12/dist-packages/vllm")]}, "spec.template.volumes", "a volume at /usr/local"),
    ):
        spec = {} if template is None else {"template": template}
        assert said(asked(engine=engine, **spec)) is None
        found = asked({"codeLoading": "Deny"}, engine=engine, **spec)
        assert said(found) == (Reason.POLICY_FORBIDS, field)
        assert isinstance(found, Reject)
        assert found.message.startswith(f"{what}")
        assert "which the FitPolicy's codeLoading denies." in found.message


def test_every_argument_that_takes_a_class_or_a_plug_in_is_denied() -> None:
    """Also those that a newer table brings: by their name."""
    flags = {row.flag for row in all_rows() if row.flag.endswith("-cls") or "plugin" in row.flag}
    assert len(flags) >= 5
    for flag in flags:
        row = next(row for row in all_rows() if row.flag == flag)
        assert argument_that_loads_code([flag, "acme.x"], row.since) == flag


ANNOTATIONS = [
    ("cdi.k8s.io/gpus", True),
    ("nvidia.cdi.k8s.io/container.vllm", True),
    ("io.kubernetes.cri-o.Devices", True),
    ("container.apparmor.security.beta.kubernetes.io/vllm", True),
    ("example.org/cdi.k8s.io", False),
    ("sidecar.istio.io/inject", False),
]


@pytest.mark.parametrize(("key", "refused"), ANNOTATIONS)
def test_annotations_that_the_container_runtime_obeys_are_refused(key: str, refused: bool) -> None:
    found = said(asked({"mode": "Warn"}, template={"annotations": {key: "nvidia.com/gpu=all"}}))
    assert found == ((Reason.POLICY_FORBIDS, "spec.template.annotations") if refused else None)


COMPILED = [
    ("kernels that somebody else compiled", "/root/.cache/vllm", {"persistentVolumeClaim": {"claimName": "c"}}, True),
    ("scratch space for them", "/root/.cache/vllm", {"emptyDir": {}}, False),
    ("data", "/data", {"persistentVolumeClaim": {"claimName": "c"}}, False),
    ("configuration", "/etc/app", {"configMap": {"name": "m"}}, False),
    ("the loader's configuration", "/etc//ld.so.conf.d", {"configMap": {"name": "m"}}, True),
    ("where sitecustomize leads to", "/etc/python3.12", {"configMap": {"name": "m"}}, True),
    ("what python3 is", "/etc/alternatives", {"persistentVolumeClaim": {"claimName": "c"}}, True),
    ("OpenSSL's modules", "/etc/ssl", {"configMap": {"name": "m"}}, True),
    ("authorities that are trusted", "/etc/ssl/certs", {"configMap": {"name": "m"}}, False),
    ("kernels in /tmp", "/tmp", {"persistentVolumeClaim": {"claimName": "c"}}, True),
    ("scratch space there", "/tmp", {"emptyDir": {}}, False),
]


@pytest.mark.parametrize(("why", "path", "kind", "refused"), COMPILED, ids=[row[0] for row in COMPILED])
def test_only_volumes_with_something_in_them_bring_code(why: str, path: str, kind: Manifest, refused: bool) -> None:
    found = said(asked({"codeLoading": "Deny"}, template={"volumes": [volume(path, **kind)]}))
    assert found == ((Reason.POLICY_FORBIDS, "spec.template.volumes") if refused else None)


def volume(path: str, **kind: Any) -> Manifest:
    return {"name": f"v{crc32(path.encode())}", "mountPath": path} | (kind or {"configMap": {"name": "m"}})


SECRET: Manifest = {"secret": {"name": "t"}}
CLAIM: Manifest = {"persistentVolumeClaim": {"claimName": "c"}}
SCRATCH: Manifest = {"emptyDir": {}}
ACCOUNT = ACCOUNT_PATHS[0]
MOUNTS = [
    ("the account's own path", ACCOUNT, SECRET, Reason.POLICY_FORBIDS),
    ("with a slash at its end", f"{ACCOUNT}/", SECRET, Reason.POLICY_FORBIDS),
    ("with slashes in between", "/var//run/secrets///kubernetes.io/serviceaccount", SECRET, Reason.POLICY_FORBIDS),
    ("with two slashes at the start", f"/{ACCOUNT}", SECRET, Reason.POLICY_FORBIDS),
    ("with a dot", "/var/run/./secrets/kubernetes.io/serviceaccount", SECRET, Reason.POLICY_FORBIDS),
    ("with a step upward", "/data/../var/run/secrets/kubernetes.io/serviceaccount", SECRET, Reason.INVALID_SPEC),
    ("where /var/run leads to", "/run/secrets/kubernetes.io/serviceaccount", SECRET, Reason.POLICY_FORBIDS),
    ("below it", f"{ACCOUNT}/token", SECRET, Reason.POLICY_FORBIDS),
    ("above it, where files lie in folders", "/var/run/secrets", CLAIM, Reason.POLICY_FORBIDS),
    ("above it, from a claim", "/run", CLAIM, Reason.POLICY_FORBIDS),
    ("above it, empty", "/run", SCRATCH, None),
    ("at it, empty", ACCOUNT, SCRATCH, Reason.POLICY_FORBIDS),
    ("from a ConfigMap", ACCOUNT, {"configMap": {"name": "m"}}, Reason.POLICY_FORBIDS),
    ("beside it", "/var/run/secrets/acme", SECRET, None),
    ("a name that only begins alike", f"{ACCOUNT}s", SECRET, None),
    ("shared memory by two slashes", "//dev/shm", SCRATCH, Reason.INVALID_SPEC),
    ("shared memory by a dot", "/dev/./shm", SCRATCH, Reason.INVALID_SPEC),
    ("above shared memory", "/dev/.", SCRATCH, Reason.INVALID_SPEC),
    ("the weights by a step upward", "/data/../models", SCRATCH, Reason.INVALID_SPEC),
    ("the weights by slashes", "//models//x", SCRATCH, Reason.INVALID_SPEC),
    ("the kernel's own files", "/proc", SCRATCH, Reason.INVALID_SPEC),
    ("below them", "/proc/self", SCRATCH, Reason.INVALID_SPEC),
    ("by slashes", "//sys//fs", SCRATCH, Reason.INVALID_SPEC),
    ("devices", "/dev/infiniband", SCRATCH, Reason.INVALID_SPEC),
    ("a name that only begins like them", "/devices", SCRATCH, None),
    ("an ordinary path with a slash at its end", "/data/", SCRATCH, None),
]


@pytest.mark.parametrize(("why", "path", "kind", "reason"), MOUNTS, ids=[row[0] for row in MOUNTS])
def test_mounts_are_compared_in_their_one_form(why: str, path: str, kind: Manifest, reason: Reason | None) -> None:
    found = asked(template={"volumes": [volume(path, **kind)]})
    assert said(found) == (None if reason is None else (reason, "spec.template.volumes[0].mountPath"))


def test_neither_warn_mode_nor_a_bypass_brings_an_account() -> None:
    found = asked({"mode": "Warn"}, template={"volumes": [volume(ACCOUNT, **SECRET)]})
    assert said(found) == (Reason.POLICY_FORBIDS, "spec.template.volumes[0].mountPath")


def test_two_volumes_at_one_place_are_refused_however_they_are_written() -> None:
    first, second = volume("/data/a", **SCRATCH), volume("//data//a/", **SCRATCH)
    found = asked(template={"volumes": [first, second]})
    assert said(found) == (Reason.INVALID_SPEC, "spec.template.volumes[1].mountPath")
    assert isinstance(found, Reject)
    assert f"is where volume {first['name']} is mounted" in found.message


@given(st.lists(st.sampled_from(["", ".", "a", "b", "models"]), max_size=6))
def test_the_one_form_of_a_path_is_stable_and_without_tricks(parts: list[str]) -> None:
    found = one_form("/" + "/".join(parts))
    assert found == one_form(found)
    assert found == "/" + "/".join(part for part in parts if part not in ("", "."))
    assert posixpath.isabs(found)
    assert not found.startswith("//")


NAMED = [
    *((name, True) for name in (
        "VLLM_ALL2ALL_BACKEND", "VLLM_ATTENTION_BACKEND", "NVSHMEM_SYMMETRIC_SIZE", "VLLM_DEEPEP_BUFFER_SIZE_MB", "NCCL_BUFFSIZE",
        "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT", "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", "CUDA_MODULE_LOADING", "CUDA_DEVICE_MAX_CONNECTIONS",
        "CUBLAS_WORKSPACE_CONFIG", "CUBLASLT_WORKSPACE_SIZE", "NCCL_MAX_CTAS", "NCCL_NVLS_ENABLE", "NCCL_CUMEM_ENABLE", "TORCH_ALLOW_TF32",
        "PYTORCH_NO_CUDA_MEMORY_CACHING", "VLLM_MODEL_REDIRECT_PATH", "VLLM_USE_MODELSCOPE", "VLLM_OF_TOMORROW", "RAY_memory_monitor",
        "HIP_FORCE_DEV_KERNARG", "GPU_MAX_HW_QUEUES",
        "TRITON_INTERPRET", "LWS_WORKER_INDEX", "RANK", "MASTER_ADDR",
        "GLIBC_TUNABLES", "FLASHINFER_ENABLE_AOT", "UCX_TLS", "SAFETENSORS_FAST_GPU", "RUNAI_STREAMER_MEMORY_LIMIT",
    )),
    *((name, False) for name in (
        "HF_HOME", "HF_ENDPOINT", "HF_HUB_ENABLE_HF_TRANSFER", "TOKENIZERS_PARALLELISM", "TRANSFORMERS_VERBOSITY", "VLLM_LOGGING_LEVEL",
        "VLLM_LOGGING_PREFIX", "VLLM_API_KEY", "VLLM_CACHE_ROOT", "VLLM_NO_USAGE_STATS", "OTEL_EXPORTER_OTLP_ENDPOINT", 
        "NVIDIA_DRIVER_CAPABILITIES", "CUDA_DEVICE_ORDER", "NCCL_TOPO_FILE", "VLLM_ALLOW_RUNTIME_LORA_UPDATING",
        "NCCL_DEBUG",
        "NCCL_SOCKET_IFNAME", "NCCL_IB_HCA", "NCCL_P2P_DISABLE", "GLOO_SOCKET_IFNAME", "CUDA_LAUNCH_BLOCKING", "TORCH_LOGS",
        "HTTPS_PROXY", "no_proxy", "SSL_CERT_FILE", "TZ", "LANG", "OMP_NUM_THREADS", "MALLOC_ARENA_MAX", "AWS_REGION", "ACME_KEY", "KEY",
        "VLLM_HOST_IP", "PYTHONUNBUFFERED", "LD_LIBRARY_PATH", "PYTHONPATH", "VLLM_PLUGINS", "DEBUG", "ENV",
        "GPU_COUNT", "EP_URL", "HOME", "XDG_CACHE_HOME",
    )),
]  # fmt: skip


@pytest.mark.parametrize(("name", "refused"), NAMED, ids=[row[0] for row in NAMED])
def test_variables_that_move_the_plan_are_refused_with_a_reason_and_all_others_are_the_user_s(name: str, refused: bool) -> None:
    found = asked(template={"env": [{"name": name, "value": "1"}]})
    assert said(found) == ((Reason.NOT_SUPPORTED_YET, "spec.template.env") if refused else None)
    if refused:
        assert isinstance(found, Reject)
        assert found.message.startswith(f"Variable {name} ")


CODE_NAMES = [
    "OPENSSL_CONF", "TMPDIR", "FI_PROVIDER_PATH", "TVM_FFI_CACHE_DIR", "GCC_EXEC_PREFIX",
    "LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "PYTHONPATH", "PYTHONSTARTUP", "PYTHONWARNINGS", "PATH", "HOME", "TRITON_CACHE_DIR",
    "VLLM_PLUGINS", "VLLM_NCCL_SO_PATH", "VLLM_LOGGING_CONFIG_PATH", "VLLM_ALLOW_INSECURE_SERIALIZATION", "NCCL_NET_PLUGIN",
]  # fmt: skip


@pytest.mark.parametrize("name", CODE_NAMES)
def test_variables_that_load_code_are_the_administrator_s_choice(name: str) -> None:
    assert loads_code(name)
    assert moves_the_plan(name) is None
    template = {"env": [{"name": name, "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}
    assert said(asked(template=template)) is None
    assert said(asked({"codeLoading": "Deny"}, template=template)) == (Reason.POLICY_FORBIDS, "spec.template.env")


@given(st.from_regex(r"(VLLM|NCCL|NVSHMEM|CUDA|NVIDIA)_[A-Z0-9_]{1,20}", fullmatch=True))
def test_a_name_in_a_closed_prefix_is_known_or_refused(name: str) -> None:
    known = name in LET_THROUGH or name.startswith(LET_THROUGH_PREFIXES) or loads_code(name)
    assert (moves_the_plan(name) is None) is known


ARGUMENTS = [
    ("a variable of the pod", "--api-key=$(HF_TOKEN)", "--api-key=$$(HF_TOKEN)"),
    ("two dollars are two dollars", "--api-key=a$$b", "--api-key=a$$$$b"),
    ("one alone is left as it was", "--api-key=a$b", "--api-key=a$b"),
]


@pytest.mark.parametrize(("why", "given_", "rendered"), ARGUMENTS, ids=[row[0] for row in ARGUMENTS])
def test_the_engine_is_told_what_was_decided_about_and_no_variable_is_put_in(why: str, given_: str, rendered: str) -> None:
    item = deployment(LLAMA_8B, engine={"maxModelLen": 8192, "extraArgs": [given_]})
    plan = verdict(LLAMA_8B, engine={"maxModelLen": 8192}, store=Files(L4))
    assert isinstance(plan, Admit)
    spec = render_deployment(item, plan.plan, Origin(generation=1, spec_digest="", replan=""))["spec"]["template"]["spec"]
    assert spec["containers"][0]["args"][-1] == rendered
