"""`plimsoll init MODEL`: a first manifest with every choice that people make, commented out and explained. Prints, decides nothing.

The text is a manifest as it stands, and still one with every commented choice taken: a test holds both.
"""

from __future__ import annotations

import argparse
import sys
from typing import Final

from plimsoll_estimator import catalogue
from plimsoll_operator.api import ApiError, parse_inference_deployment
from plimsoll_operator.cli.command import SubParsers, add_command
from plimsoll_operator.cli.fit.request import FitRequest, fit_request_of, manifest_of
from plimsoll_operator.cli.load import describe
from plimsoll_operator.cli.nicknames import gpu_named, model_called

_DESCRIPTION: Final = "Print a manifest to begin with: what is left out is computed, and each choice stands there as a comment."
_TEXT: Final = """\
# {model} served by vLLM {version}. `plimsoll plan -f FILE` says what becomes of it, `kubectl apply -f FILE` does it.
# What is left out is computed: GPU, parallel sizes, context, memory share. A line is chosen by taking its "# " away.
apiVersion: inference.plimsoll.dev/v1alpha1
kind: InferenceDeployment
metadata:
  name: {name}
{namespace}spec:
  model:
    name: {model}
    # revision: main                   # a branch, tag or commit; a commit serves the same weights always
    # source:
    #   huggingFace:
    #     tokenSecretRef: {{name: hf-token, key: token}}   # for a gated model
  engine:
    image: vllm/vllm-openai:v{version}
    # maxModelLen: 8192                # longest prompt and answer in tokens; what is pinned is refused where it does not fit
    # tensorParallelSize: 2            # GPUs that share each layer
    # maxNumSeqs: 64                   # sequences in one step
    # kvCacheDtype: fp8                # twice the tokens in the same memory
    # extraArgs: ["--enable-auto-tool-choice", "--tool-call-parser=hermes"]   # any other argument of vllm serve
  # replicas: 2
  # workload:                          # what must be served, instead of sizes
  #   useCase: chat                    # chat, rag, agents, batch
  # fit:
  #   policy: Resize                   # move what mayChange names rather than refuse
  #   mayChange: [maxModelLen]
{placement}  #   waitForCapacity: true            # hold the pods until their GPUs are free
"""
_ANY_GPU: Final = """\
  # placement:
  #   gpuProducts: [NVIDIA-H100-80GB-HBM3]   # only these; `plimsoll fit {model}` says which do
"""
_THIS_GPU: Final = """\
  placement:
    gpuProducts: [{product}]
"""


def register(subparsers: SubParsers) -> None:
    """Add the command."""
    parser = add_command(subparsers, "init", run, _DESCRIPTION)
    parser.add_argument("model", metavar="MODEL", help="a model as the hub spells it, or what people call it: llama-3.1-8b")
    parser.add_argument("--gpu", metavar="GPU", help="the GPU to be on: h100, a100-80gb, or a product as nodes are labelled")
    parser.add_argument("--engine-version", metavar="VERSION", help="the release of vLLM, the newest known one without it")
    parser.add_argument("-n", "--namespace", metavar="NAMESPACE", help="the namespace that the manifest names; none without it")
    parser.set_defaults(tp=[], context=[], users=None)


def run(options: argparse.Namespace) -> int:
    """Print the manifest. Status 0, or 2 by the errors that the command's frame prints."""
    model = options.model if catalogue.entry(options.model) is not None else model_called(options.model) or options.model
    if model != options.model:
        print(f"plimsoll init: {options.model} is taken for {model}", file=sys.stderr)
    request = fit_request_of(options, model)
    products = () if options.gpu is None else gpu_named(options.gpu, "--gpu").products
    try:
        parse_inference_deployment(manifest_of(request))
    except ApiError as error:
        print(describe(error), file=sys.stderr)
        return 2
    print(text_of(request, products[0] if products else None), end="")
    return 0


def text_of(request: FitRequest, product: str | None) -> str:
    """The manifest with its comments."""
    placement = _ANY_GPU.format(model=request.model) if product is None else _THIS_GPU.format(product=product)
    text = _TEXT.format(
        model=request.model,
        version=request.version,
        name=request.name,
        namespace="" if request.namespace is None else f"  namespace: {request.namespace}\n",
        placement=placement,
    )
    return text if product is None else text.replace("  #   waitForCapacity", "    # waitForCapacity")
