"""Training on sentences of items in stages, as in Recformer.

The optional pretraining has the objective of `item_sentences.pretraining`. In
the first stage histories are trained to predict their next item by a matrix of
all items, which is recomputed after every evaluation. In the second stage the
matrix stays that of the best evaluation, and the encoder of histories is
trained further. Each stage has its own learning rate schedule: in the release
(AaronHeee/RecFormer) one schedule ends with the first stage, and the second
trains at a rate of 0 if the first uses all of its epochs.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import copy
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import data
from jaxseq import validate
from jaxseq.tasks import base
from jaxseq.tasks.recommendation import item_sentences
from jaxseq.tasks.recommendation import sentence_network
from jaxseq.training import supervised
from jaxseq.training.comparison import supervised_arms

PRETRAINING, FIRST, SECOND = range(3)


def pretraining(
  network: sentence_network.SentenceNetwork,
  variables: Mapping,
  batch: data.ArrayDataset,
  key: jax.Array,
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """Returns `item_sentences.pretraining` of histories, and its terms.

  Args:
    network: the network.
    variables: variables of the network.
    batch: histories, each of which is cut before one of its items.
    key: key of the cuts and of the masks.
  """
  key, place = jax.random.split(key)
  lengths, target = cut(batch, place)
  histories = network.apply(
    variables, batch.inputs, lengths, method="sentences"
  )
  items = network.apply(variables, target, method="alone")
  encoder = item_sentences.Encoder(network.options)
  params = {"params": variables["params"]["encoder"]}
  value, terms = item_sentences.pretraining(
    encoder, params, histories, items, key
  )
  return value, dict(terms)


def next_item(
  network: sentence_network.SentenceNetwork,
  variables: Mapping,
  batch: data.ArrayDataset,
  key: jax.Array,
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """Returns the cross-entropy over all items, and its accuracy.

  The matrix of items is not a parameter: only the encoding of histories is
  trained. The arguments are those of `pretraining`.
  """
  lengths, target = cut(batch, key)
  logits = network.apply(variables, batch.inputs, lengths)
  value, accuracy, _ = base.cross_entropy(logits, target - 1)
  return value, {"train_accuracy": accuracy}


def cut(
  batch: data.ArrayDataset, key: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Returns random lengths of histories, and the items after them.

  Args:
    batch: n histories, with a target after each item.
    key: key of the lengths.
  """
  place = jax.random.randint(key, batch.lengths.shape, 0, batch.lengths)
  target = jnp.take_along_axis(batch.targets, place[:, None], axis=1)[:, 0]
  return place + 1, target


def ends(config: supervised_arms.Supervised, shares: Sequence[float]) -> tuple:
  """Returns the number of updates at the end of each stage.

  Args:
    config: the comparison.
    shares: shares of the stages, see `recommendation_arms.Options`.

  Raises:
    ValueError: if a stage with a share would end without an evaluation.
  """
  every = config.updates_per_chunk * config.chunks_per_evaluation
  share = np.cumsum(shares) / np.sum(shares)
  places = every * np.round(share * (config.num_updates / every)).astype(int)
  places[-1] = config.num_updates
  lengths = np.diff(places, prepend=0)
  if np.any((lengths < every) & (np.asarray(shares) > 0)):
    expected = f"an evaluation, {every} updates, or more in each stage"
    raise validate.error("num_updates", config.num_updates, expected)
  return tuple(places.tolist())


class Program(supervised_arms.Program):
  """The seeds of an arm, with stages that end at evaluations.

  Work between two stages is done in the chunk after it, so that a resumed run
  does it once. A rule always keeps the variables that are best on validation,
  and it never ends the training.
  """

  def __init__(
    self, config: supervised_arms.Supervised, group: Sequence["Arm"]
  ):
    super().__init__(config, group)
    arm = group[0]
    problem, recipe = arm.problem, arm.problem.arm
    self.ends = ends(config, recipe.stages)
    self.rule = arm.rule(config.num_updates + 1)
    begins = 0
    self._stages = []
    for stage, end in enumerate(self.ends):
      part, optimizer = copy.copy(problem), arm.optimizer
      part.stage = stage
      if end > begins:
        optimizer = base.make_optimizer(recipe, end - begins)
      one = dataclasses.replace(arm, problem=part, optimizer=optimizer)
      self._stages.append(supervised_arms.Program(config, [one]))
      begins = end

    def begin(variables):
      # The optimizer states of all stages have the same structure.
      return optimizer.init({"params": variables["params"]})

    self._begin = self.compile(begin)
    self._read = self.compile(problem.network.read)

  def chunk(self, state: supervised.State, count: int) -> tuple[Any, Any]:
    """Makes `count` updates of all seeds, within one stage."""
    done = int(jax.device_get(state.update)[0])
    stage = sum(done >= end for end in self.ends)
    first = done == (0, *self.ends)[stage]
    if first and done:
      if stage == SECOND:
        # `best` stays: the second stage has to surpass it.
        best = jax.tree.map(jnp.copy, state.best.variables)
        state = state._replace(variables=best)
      else:
        state = self.rule.initial(state)
      state = state._replace(opt_state=self._begin(state.variables))
    every = self.config.updates_per_chunk * self.evaluate_every
    if stage != SECOND and (first or done % every == 0):
      state = state._replace(variables=self._read(state.variables))
    return self._stages[stage].chunk(state, count)


class Arm(supervised_arms.Arm):
  """An arm with training in stages."""

  programs = Program
