"""Masked language models, and pairing of letters by their networks.

If sentences have trees and a network parses them, `DIR/ARM/trees.png` shows the
trees of some test sentences, the true ones beside the predicted ones. For pairs
`DIR/ARM/structures.png` shows decoded structures below the true ones.
"""

import dataclasses
import pathlib

import jax
import numpy as np

from experiments.masked_language import grammar
from experiments.masked_language import pairs
from experiments.masked_language import structure_figures
from experiments.masked_language import tree_figures
from jaxseq.programs import masked_language as line
from jaxseq.tasks import masked_language
from jaxseq.tasks.masked_language import tree_scores
from jaxseq.training.comparison import experiment
from jaxseq.training.comparison import run
from jaxseq.training.comparison import work as works
from jaxseq.training.devices import processes

# Number of test sequences whose trees or structures are drawn.
_SHOWN = 4


@dataclasses.dataclass(frozen=True)
class Config(pairs.Options, masked_language.Config):
  """A comparison on sequences of letters, with `pairs.Options`."""


_PAIRS = line.with_encoders(pairs.TASK, pairs.Problem)
TASK = dataclasses.replace(line.TASK, arm=pairs.ArmConfig)


def work(config: Config, program: experiment.Experiment) -> works.Work:
  """Returns the arms of the config's objective, with pictures of results."""
  if config.objective == "pairs":
    work = _PAIRS.work(config)
    drawn, name, draw = work.arms, "structures.png", _draw_structures
  else:
    work = TASK.work(config)
    name, draw = "trees.png", _draw_trees
    drawn = {
      name: arm
      for name, arm in work.arms.items()
      if arm.problem.network.parser is not None
      and arm.problem.data["test"].extras.heads is not None
    }

  def show(directory, results):
    del results
    if program.mode == "evaluate" or not processes.is_first():
      return
    for arm_name, arm in drawn.items():
      _, state = run.restore(config, directory, arm_name, arm)
      variables = works.seed_of(jax.device_get(state.variables), 0)
      path = directory / arm_name / name
      draw(path, arm.problem, variables, work.splits.info.tokens)

  return dataclasses.replace(work, show=show)


def _draw_trees(path: pathlib.Path, problem, variables, names):
  """Draws the trees of some test sentences, predicted beside true ones."""
  batch = jax.tree.map(lambda x: x[:_SHOWN], problem.data["test"])
  parse = problem.network.apply(
    variables, batch.inputs, batch.lengths, method="parse"
  )
  sentences = [list(map(_word, row)) for row in _tokens_of(batch, names)]
  found = tree_scores.words_of(parse, batch.lengths - 2).distance
  true = batch.extras.boundaries[:, 1:-1]
  if tree_figures.write(path, sentences, true, found) is not None:
    print(f"Trees: {path}")


def _draw_structures(path: pathlib.Path, problem, variables, names):
  """Draws the pairs of some test sequences, predicted below true ones."""
  batch = jax.tree.map(lambda x: x[:_SHOWN], problem.data["test"])
  logits = problem.network.apply(variables, *problem.inputs(batch))
  found = pairs.structures(logits, batch.lengths, problem.network.gamma)
  sequences = ["".join(row) for row in _tokens_of(batch, names)]
  # Positions from 0 on, after the begin token.
  structures = (
    [
      np.asarray(row)[1 : len(letters) + 1] - 1
      for row, letters in zip(rows, sequences)
    ]
    for rows in (batch.extras.partners, found)
  )
  if structure_figures.write(path, sequences, *structures) is not None:
    print(f"Structures: {path}")


def _tokens_of(batch, names):
  """Returns the token names of each row, without both end tokens."""
  return [
    [names[token] for token in row[1 : length - 1]]
    for row, length in zip(np.asarray(batch.inputs), np.asarray(batch.lengths))
  ]


def _word(name):
  """Returns a word with its grammar class, if it has one."""
  return (
    f"{grammar.CLASS_OF[name]} {name}" if name in grammar.CLASS_OF else name
  )
