"""As gru_digits, on data whose sizes four devices divide."""

from tests.experiments import gru_digits


def get_config():
  config = gru_digits.get_config()
  config.data = "mnist1d"
  config.data_options = {"train": 128, "test": 32}
  return config
