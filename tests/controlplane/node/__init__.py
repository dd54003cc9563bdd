"""One real node beside the control plane: kubelet, containerd, runc, CNI and kube-proxy, with images and no container engine.

`python -m tests.controlplane.node` (make node) prepares programs and images, opens a sandbox of namespaces in which nothing outlives the
run, boots control plane and node in it, and runs the tests that need them there. It knows of Plimsoll only what its Dockerfile makes.
"""
