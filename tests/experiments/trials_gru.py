"""The tiny projected cart-pole with one arm, and a second evaluation."""

from configs.icrl import projected_cartpole
from jaxseq.training import configuration


def get_config():
  config = projected_cartpole.TINY
  return configuration.updated(
    config,
    arms={"gru": config.arms["gru"]},
    evaluations={"three trials": {"num_trials": 3}},
  )
