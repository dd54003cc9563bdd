"""Configs of the catalogue, for tests that know that they are in it."""

from plimsoll_estimator import catalogue
from plimsoll_estimator.hf_config import HfConfig


def config_of(name: str) -> HfConfig:
    """The config of a model of the catalogue, as shipped."""
    config = catalogue.lookup(name)
    assert config is not None, f"{name} is not in the catalogue"
    return config
