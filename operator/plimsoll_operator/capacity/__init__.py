"""What the cluster's GPUs really offer: nodes and pods in, pools of alike GPUs out.

The controller and the CLI feed a CapacityIndex; webhook, controller and CLI read GPUPool objects through `pool_facts`.
"""
