"""The tiny suite with one arm, for tests that run it several times."""

from configs.icrl_suite import popgym


def get_config():
  config = popgym.get_config("tiny")
  del config.arms["gru"]
  config.films = ("none",)
  return config
