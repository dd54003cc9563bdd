"""How the leader hears of InferenceDeployments: kopf's watch at a bearable pace, and which of what it tells is new."""
