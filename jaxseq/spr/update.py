"""Updates of an agent: the random numbers, and the step itself.

An agent with a memory learns from sequences (`sequence_loss`), any other from
transitions (`transition_loss`); `learner` does the rest.
"""

import types

import jax

from jaxseq.rl.replay import frames
from jaxseq.spr import inputs
from jaxseq.spr import learner
from jaxseq.spr import sequence_loss
from jaxseq.spr import transition_loss

Array = jax.Array


def _loss_of(config: learner.Config) -> types.ModuleType:
  """Returns the module of an agent's loss."""
  return sequence_loss if config.recurrent else transition_loss


def draw(
  key: Array, config: learner.Config, batch: frames.Batch
) -> inputs.Draws:
  """Draws the random numbers of an update with a batch."""
  return learner.draw(key, config, _loss_of(config).images(config, batch))


def train_step(
  config: learner.Config, state: learner.State, batch: frames.Batch, key: Array
) -> tuple[learner.State, learner.Metrics]:
  """Draws noise and augmentations, and does an update."""
  return update(config, state, batch, draw(key, config, batch))


def update(
  config: learner.Config,
  state: learner.State,
  batch: frames.Batch,
  draws: inputs.Draws,
) -> tuple[learner.State, learner.Metrics]:
  """Does an update with what `draw` drew.

  Priorities in the metrics are those of the transitions or, for an agent with
  a memory, of the sequences.

  Raises:
    ValueError: if the batch does not fit the configuration.
  """
  loss = _loss_of(config).make(config, state, batch, draws)
  return learner.descend(config, state, loss, draws.noise)
