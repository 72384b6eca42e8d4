"""The tiny suite with one arm, for tests that run it several times."""

from configs.icrl_suite import popgym
from jaxseq.training import configuration


def get_config():
  return configuration.updated(
    popgym.get_config("tiny"), arms=popgym.NONE, films=("none",)
  )
