"""The controller: watches InferenceDeployments, decides, applies their children and writes status. One replica leads."""
