"""Pointing at elements of sets: hulls, tours, triangulations, sorting.

A pointer network reads a set in some order, a set network ignores the order.
Both output positions of elements; `geometry` computes exact answers, and a
set is solved if the whole greedy output equals the answer. Tours are also
decoded, greedily and with beams, and their lengths are compared with the
shortest tour.
"""

import dataclasses
from typing import Any
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from experiments.pointing import answers
from experiments.pointing import decoding
from experiments.pointing import geometry
from experiments.pointing import pointer
from experiments.pointing import set_network
from jaxseq import validate
from jaxseq.tasks import base
from jaxseq.tasks import task as lines
from jaxseq.training import per_seed
from jaxseq.training import supervised
from jaxseq.training import tables
from jaxseq.training.comparison import experiment
from jaxseq.training.comparison import work as works
from jaxseq.training.devices import processes
from jaxseq.types import PyTree

# Configs of runs have the name that the module had when they were saved.
SAVED_AS = "set_answers"
# Seed of the test sets, different from all other draws.
_TEST_SEED = 0x5E75


@dataclasses.dataclass(frozen=True)
class ArmConfig(base.ArmConfig):
  """The network and the training of one arm.

  Attributes:
    network: its stack is used for encoder and decoder of a pointer network, and
      its width for a set network.
    reads: "ordered" for a pointer network, "sets" for a set network.
    no_repeat: whether each element can be chosen only once.
    glimpses: reads of the elements before each choice.
    add_glimpses: whether to add glimpses to the query instead of replacing it.
    steps: processing steps of a set network.
    beams: number of beams with which models decode, reported beside the lengths
      of greedy tours; 1 decodes greedily.
  """

  reads: Literal["ordered", "sets"] = "ordered"
  no_repeat: bool = False
  glimpses: int = 0
  add_glimpses: bool = False
  steps: int = 0
  beams: int = 1

  @property
  def ends(self) -> bool:
    """Returns whether the network outputs an end token."""
    return self.reads == "ordered"


def make_network(
  arm: ArmConfig, features: int, tour: bool = False
) -> pointer.PointerNetwork | set_network.SetNetwork:
  """Returns the network of an arm, for elements with `features` features.

  Raises:
    ValueError: if it is a set network that may repeat cities of a tour.
  """
  stack = arm.network.stack
  common = {
    "features": features,
    "no_repeat": arm.no_repeat,
    "glimpses": arm.glimpses,
    "add_glimpses": arm.add_glimpses,
    "beams": arm.beams,
  }
  if arm.reads == "sets":
    if tour and not arm.no_repeat:
      expected = "True for tours of a network for sets"
      raise validate.error("no_repeat", arm.no_repeat, expected)
    config = set_network.SetConfig(stack.d_model, steps=arm.steps, **common)
    return set_network.SetNetwork(config)
  config = pointer.PointerConfig(stack, stack, tour=tour, **common)
  return pointer.PointerNetwork(config)


class Problem(base.ArrayProblem):
  """Predicting the positions of elements of sets.

  Args:
    arm: the network.
    config: the comparison.
  """

  validated = "solved"

  def __init__(self, arm: ArmConfig, config: "Config"):
    train = config.sets(config.train_sets, 0)
    test = config.sets(config.test_sets, _TEST_SEED)
    tour = config.task == "tour"
    network = make_network(arm, train.points.shape[-1], tour)
    super().__init__(
      arm, network, {"train": train, "test": test}, config.train_sets
    )

  @property
  def kind(self) -> str:
    """Returns the kind of its models, see `models.kinds`."""
    return "pointing" if self.arm.ends else "set_pointing"

  def init(self, key: jax.Array) -> PyTree:
    """Returns the variables of the network."""
    first = base.first(self.data["train"])
    return self.network.init(key, first.points, first.chosen)

  def inputs(self, batch: geometry.Sets) -> tuple[jax.Array, ...]:
    """Returns the network's arguments for a batch."""
    chosen, _ = written(self.arm, batch)
    return batch.points, chosen, batch.lengths

  def score(
    self, outputs: jax.Array, batch: geometry.Sets
  ) -> tuple[dict[str, jax.Array], int]:
    """Returns "test_loss" (nats per set), "accuracy" and "solved"."""
    chosen, mask = written(self.arm, batch)
    logs = jnp.take_along_axis(outputs, chosen[..., None], axis=-1)[..., 0]
    right = jnp.argmax(outputs, axis=-1) == chosen
    metrics = {
      "test_loss": -jnp.where(mask, logs, 0).sum(axis=-1).mean(),
      "accuracy": jnp.where(mask, right, 0).sum() / mask.sum(),
      "solved": (right | ~mask).all(axis=-1).mean(),
    }
    return metrics, len(chosen)

  def loss(
    self, variables: PyTree, batch: geometry.Sets, carry: PyTree, key: jax.Array
  ) -> tuple[jax.Array, supervised.Loss]:
    """Returns the objective on a batch."""
    metrics, _ = self.scores(variables, batch)
    named = {"train_accuracy": metrics["accuracy"]}
    return metrics["test_loss"], supervised.Loss(named, {}, carry)


def written(arm: ArmConfig, sets: geometry.Sets) -> tuple[jax.Array, jax.Array]:
  """Returns the target choices of a network, and their mask.

  Args:
    arm: the network's arm; without an end token the choices begin at 0.
    sets: sets with (batch, time) choices.

  Returns:
    (batch, time) int32, and a bool mask of the same shape.
  """
  chosen = jnp.asarray(sets.chosen)
  mask = chosen > 0
  if not arm.ends:
    return jnp.maximum(chosen - 1, 0), mask
  # Includes the end token after the last choice.
  first = jnp.ones_like(mask[..., :1])
  return chosen, jnp.concatenate([first, mask[..., :-1]], axis=-1)


def area_ratio(
  network: Any, variables: PyTree, sets: geometry.Sets
) -> tuple[float, float]:
  """Returns the areas of greedily decoded hulls relative to the true areas.

  Args:
    network: a pointer network.
    variables: its variables.
    sets: sets with hulls.

  Returns:
    The mean area ratio over the sets; and the share of polygons with at least
    three distinct corners and no repetition.
  """
  chosen, _ = decoding.decode(
    network,
    variables,
    jnp.asarray(sets.points),
    sets.chosen.shape[1],
    lengths=jnp.asarray(sets.lengths),
  )
  ratios, valid = [], []
  for points, row, want in zip(
    sets.points, np.asarray(chosen[:, 0]), sets.chosen
  ):
    corners, hull = (each[each > 0] - 1 for each in (row, want))
    valid.append(len(set(corners.tolist())) == len(corners) > 2)
    ratios.append(geometry.area(points[corners]) / geometry.area(points[hull]))
  return float(np.mean(ratios)), float(np.mean(valid))


def tour_lengths(
  network: Any, variables: PyTree, sets: geometry.Sets, beams: int = 1
) -> dict[str, float]:
  """Returns the lengths of decoded tours, means over sets.

  Args:
    network: a network that points at the cities of tours.
    variables: its variables.
    sets: sets of cities.
    beams: number of beams; 1 is greedy.

  Returns:
    The "length", and the "ratio" to the length of the shortest tour if `sets`
    include it.
  """
  arrays = jnp.asarray(sets.points), jnp.asarray(sets.lengths)
  chosen = answers.answers(network, variables, *arrays, beams)

  def lengths(rows):
    return np.array(
      [
        geometry.tour_length(points, row[row > 0] - 1)
        for points, row in zip(sets.points, np.asarray(rows))
      ]
    )

  found = lengths(chosen)
  result = {"length": float(found.mean())}
  if (sets.chosen[:, 0] > 0).all():
    result["ratio"] = float((found / lengths(sets.chosen)).mean())
  return result


@dataclasses.dataclass(frozen=True)
class Config(base.TaskComparison):
  """A comparison of pointing networks: `task` is one of `geometry`.

  Attributes:
    task_options: fields of `geometry.draw`: the sizes `low` and `high`.
    train_sets: number of training sets.
    test_sets: number of test sets.
    test_sizes: set sizes to test separately after training, with `test_sets`
      sets each; also sizes without training sets. For tours through more than
      `geometry.LONGEST_TOUR` cities only the length is measured.
  """

  _: dataclasses.KW_ONLY
  train_sets: int = 50_000
  test_sets: int = 400
  test_sizes: tuple[int, ...] = ()

  def __post_init__(self):
    super().__post_init__()
    validate.fields(self, positive=("train_sets", "test_sets"))
    geometry.draw(self.task, 1, **self.task_options)

  def sets(self, count: int, seed: int, **options: int) -> geometry.Sets:
    """Draws sets of the task; options override sizes."""
    return geometry.draw(
      self.task, count, seed=seed, **{**self.task_options, **options}
    )


def _decoded(config, arm, network, variables, sets):
  """Returns areas of decoded hulls, or lengths of decoded tours, by seed."""
  rows = []
  for seed in range(config.num_seeds):
    each = works.seed_of(variables, seed)
    row = {}
    if config.task == "hull" and arm.ends:
      row["area"], row["valid"] = area_ratio(network, each, sets)
    elif config.task == "tour":
      row = tour_lengths(network, each, sets)
      if arm.beams > 1:
        more = tour_lengths(network, each, sets, arm.beams)
        row |= {f"{name}_beams": value for name, value in more.items()}
    rows.append(row)
  return {name: per_seed.PerSeed(x[name] for x in rows) for name in rows[0]}


def _more(config, arm, source):
  """Returns the function that scores decoded answers, and sets by size."""
  del source

  def measure(program, variables, *unused):
    network, further = program.problem.network, {}
    for size in config.test_sizes:
      seed = _TEST_SEED + size
      answered = config.task != "tour" or size <= geometry.LONGEST_TOUR
      options = {"low": size, "high": size, "answered": answered}
      sets = config.sets(config.test_sets, seed, **options)

      def solved(variables, sets=sets):
        metrics, _ = program.problem.scores(variables, sets)
        return {"solved": metrics["solved"]}

      entry = program.measure(solved, variables) if answered else {}
      entry |= _decoded(config, arm, network, variables, sets)
      further[f"n = {size}"] = entry
    results = {"further": further} if further else {}
    if config.task == "tour":
      sets = program.problem.data["test"]
      results |= _decoded(config, arm, network, variables, sets)
    return results

  return measure


TASK = lines.Task(
  name="pointing",
  arm=ArmConfig,
  problem=lambda arm, source, config: Problem(arm, config),
  metric="solved",
  better="higher",
  unit="sets",
  columns={
    "solved": "whole sets",
    "accuracy": "choices",
    "test_loss": "nats of a set",
    "length": "length",
    "ratio": "by the shortest",
    "length_beams": "length, beams",
    "ratio_beams": "by the shortest, beams",
  },
  load=lambda config: None,
  more=_more,
  kind="pointing",
  splits=lambda splits, arms: answers.splits_of(
    next(iter(arms.values())).problem.data["train"]
  ),
)


def work(config: Config, program: experiment.Experiment) -> works.Work:
  """Returns the arms, with the table of sets by size."""
  del program
  work = TASK.work(config)

  def show(directory, results):
    del directory
    columns = [f"n = {size}" for size in config.test_sizes]
    if columns and processes.is_first():
      tables.show(
        ["arm", "", *columns],
        [
          [
            name,
            metric,
            *(
              tables.mean_std(x["further"][n].get(metric, ())) for n in columns
            ),
          ]
          for name, x in results.items()
          for metric in dict.fromkeys(
            metric for n in columns for metric in x["further"][n]
          )
        ],
        title=f"{config.task}, by the size of sets",
      )

  return dataclasses.replace(work, show=show)
