"""The memory estimator: what vLLM would do with a model on a GPU, as pure arithmetic.

Standard library only: no clock, no network, no environment, no Kubernetes. Callers are the operator's decision, the
`plimsoll` command and tests.
"""
