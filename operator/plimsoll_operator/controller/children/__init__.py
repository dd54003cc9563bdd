"""The Deployment, LeaderWorkerSet and Service of one InferenceDeployment: what runs, what should, who else writes to it, who refuses.

Called by the reconciler and by recovery. Knows plans and rendered objects, no pools.
"""
