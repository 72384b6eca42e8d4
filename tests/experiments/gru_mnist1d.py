"""As gru_digits, on data whose sizes four devices divide."""

from jaxseq.training import configuration
from tests.experiments import gru_digits


def get_config():
  return configuration.updated(
    gru_digits.get_config(),
    data="mnist1d",
    data_options={"train": 128, "test": 32},
  )
