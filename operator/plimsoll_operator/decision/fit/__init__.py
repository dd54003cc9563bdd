"""What fits: one model on one GPU type in one parallel layout, and what its pod takes of a node. Arithmetic over the estimator.

`engine` asks the estimator and remembers, `fit` chooses utilisation, batch sizes and context, `host` adds the pod's other needs,
`workload` what the worksheet demands of one engine, `miss` says by how much it does not. Knows no pools' order and no verdicts.
"""
