"""Base classes of supervised problems: arm options, batches and averages."""

from collections.abc import Callable
from collections.abc import Hashable
import dataclasses
import functools
from typing import Any
from typing import Literal

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
import optax

from jaxseq import nn
from jaxseq import validate
from jaxseq.data import datasets
from jaxseq.data import registry
from jaxseq.tasks.losses import cross_entropy as cross_entropy
from jaxseq.training import optimizers
from jaxseq.training import recipes
from jaxseq.training import supervised
from jaxseq.training.comparison import arms
from jaxseq.training.comparison import supervised_arms
from jaxseq.training.devices import device_mesh
from jaxseq.types import Network
from jaxseq.types import PyTree

# Seed of the keys of evaluations, which no run uses.
_EVALUATION = 0xE7A1


@dataclasses.dataclass(frozen=True)
class ArmConfig:
  """Options of an arm's network and training.

  Attributes:
    network: options of the network.
    optimizer: options of the optimizer.
    batch_size: examples per update.
  """

  network: nn.NetworkConfig = nn.NetworkConfig()
  optimizer: recipes.Recipe = recipes.Recipe()
  batch_size: int = 32

  def __post_init__(self):
    validate.literals(self)
    validate.integer("batch_size", self.batch_size, 1)

  @property
  def ssm_parameters(self) -> tuple[str, ...]:
    """Names of the parameters that recipes may treat separately."""
    return self.network.stack.ssm_parameters


@dataclasses.dataclass(frozen=True)
class Comparison(supervised_arms.Supervised):
  """A comparison of networks on one task.

  Attributes:
    network: fields of `nn.NetworkConfig` that all arms share.
    optimizer: fields of `recipes.Recipe` that all arms share.
    batch_size: examples per update.
  """

  _: dataclasses.KW_ONLY
  network: arms.Fields = arms.EMPTY
  optimizer: arms.Fields = arms.EMPTY
  batch_size: int = 32


@dataclasses.dataclass(frozen=True)
class TaskComparison(Comparison):
  """A comparison of networks on one task: sampled, or a data set by name.

  Attributes:
    task: name of the task.
    task_options: options of the task.
  """

  _: dataclasses.KW_ONLY
  task: str
  task_options: arms.Fields = arms.EMPTY

  @property
  def subject(self) -> str:
    """The name of the task, for titles."""
    return self.task


@dataclasses.dataclass(frozen=True)
class DataComparison(Comparison):
  """A comparison of networks on one data set.

  Attributes:
    data: name of the data set in `jaxseq.data`.
    data_options: options of its loader.
    by_size: whether width, layers, dropout and learning rate that no field sets
      are derived from the size of the data, see `tasks.sizes`.
  """

  _: dataclasses.KW_ONLY
  data: str
  data_options: arms.Fields = arms.options("data", registry.annotations)
  by_size: bool = False

  @property
  def subject(self) -> str:
    """The name of the data set, for titles."""
    return self.data

  def load(self, **options: Any) -> datasets.Splits:
    """Loads the data set; `options` of its loader replace `data_options`."""
    return registry.load(self.data, **{**self.data_options, **options})


def make_optimizer(
  arm: ArmConfig, num_updates: int
) -> optax.GradientTransformation:
  """Returns the optimizer of an arm for a run of `num_updates`.

  Raises:
    ValueError: if the run ends during the warmup of the learning rate.
  """
  recipe = arm.optimizer
  if recipe.schedule != "constant" and num_updates <= recipe.warmup_steps:
    raise validate.error(
      "num_updates",
      num_updates,
      f"more than optimizer.warmup_steps, which is {recipe.warmup_steps} "
      "(--config.optimizer.warmup_steps=0 for none)",
    )
  names = arm.ssm_parameters
  return optimizers.make_optimizer(
    recipes.make(arm.optimizer, names, num_updates)
  )


class Scored:
  """Base of the problems that minimize one of their network's scores.

  A subclass has `network`, `inputs`, `score` and the other attributes of a
  `supervised.Problem`.

  Attributes:
    objective: the minimized metric.
    train_metrics: metrics that training reports as "train_NAME", if present.
  """

  network: Network
  objective: str = "test_loss"
  train_metrics: tuple[str, ...] = ("accuracy",)

  def inputs(self, batch: Any) -> tuple[Any, ...]:
    """Returns the network's arguments for a batch."""
    return (batch.inputs,)

  def keywords(self, batch: Any) -> dict[str, Any]:
    """Returns the network's keyword arguments for a batch."""
    del batch
    return {}

  def score(
    self, outputs: Any, batch: Any
  ) -> tuple[dict[str, jax.Array], jax.Array | int]:
    """Returns means over a batch's scored elements, and the element count."""
    raise NotImplementedError

  def loss(
    self, variables: PyTree, batch: Any, carry: PyTree, key: jax.Array
  ) -> tuple[jax.Array, supervised.Loss]:
    """Returns the objective on a batch."""
    outputs, collections, penalty = in_training(
      self.network,
      variables,
      key,
      *self.inputs(batch),
      **self.keywords(batch),
    )
    metrics, _ = self.score(outputs, batch)
    names = [name for name in self.train_metrics if name in metrics]
    named = {f"train_{name}": metrics[name] for name in names}
    value = metrics[self.objective] + penalty
    return value, supervised.Loss(named, collections, carry)

  def scores(
    self, variables: PyTree, batch: Any, key: jax.Array | None = None
  ) -> tuple[dict[str, jax.Array], jax.Array | int]:
    """Returns `score` of the network on a batch.

    The key is for random draws of an evaluation; it is the same for the same
    batch in every evaluation.
    """
    del key
    outputs = self.network.apply(
      variables, *self.inputs(batch), **self.keywords(batch)
    )
    return self.score(outputs, batch)


class ArrayProblem(Scored):
  """Base of the problems whose examples are arrays on the device.

  Without a validation part, training is monitored on the test part; this holds
  for all these problems. There is then no basis for early stopping.

  A subclass has `init` of `supervised.Problem` and `score` of `Scored`.

  Attributes:
    arm: network and batch size.
    network: the arm's network.
    data: arrays by part: "train", "test" and perhaps "valid".
    part: part that training is monitored on: "validation" if there is one, or
      "test".
    carry: None, as batches are independent.
    size: number of training examples.
    validated: metric that is also reported for the validation examples.
    metric: metric by which training is monitored; None for the task's.
    better: whether higher or lower values of it are better; None as the task.
    at_least: minimum batch size of evaluations.
  """

  carry: PyTree = None
  validated: str = "accuracy"
  metric: str | None = None
  better: Literal["higher", "lower"] | None = None
  at_least: int = 1

  def __init__(
    self, arm: ArmConfig, network: Network, data: dict[str, PyTree], size: int
  ):
    self.arm = arm
    self.network = network
    self.data = data
    self.size = size
    has_valid = data.get("valid") is not None
    self.part: arms.Part = "validation" if has_valid else "test"
    if arm.batch_size > size:
      raise validate.error(
        "batch_size",
        arm.batch_size,
        f"at most {size}, the number of training examples; set "
        "--config.batch_size",
      )

  def program_key(self) -> Hashable | None:
    """Returns all that the problem's programs depend on except data shapes.

    None if that cannot be compared. Problems of one class with equal keys, on
    data of the same shapes, have the same programs.
    """
    fields = {k: x for k, x in vars(self).items() if k != "data"}
    try:
      hash(tuple(fields.values()))
    except TypeError:
      return None
    return tuple(sorted(fields.items()))

  def sample(self, key: jax.Array, update: jax.Array, data: PyTree) -> PyTree:
    """Draws a batch; each example comes once before any is repeated."""
    return take(data["train"], self.draw(key, update))

  def draw(self, key: jax.Array, update: jax.Array) -> jax.Array:
    """Returns the indices of a batch, (batch,) int32."""
    return supervised.draw(key, update, self.size, self.arm.batch_size)

  def average(
    self, examples: PyTree, function: Callable
  ) -> dict[str, jax.Array]:
    """Averages metrics of (batch, key), in batches of `batch_size` or more."""
    count = jax.tree.leaves(examples)[0].shape[0]
    key = jax.random.key(_EVALUATION)

    def keyed(batch):
      examples, places = batch
      return function(examples, jax.random.fold_in(key, places[0]))

    batch_size = max(self.arm.batch_size, self.at_least)
    return average_over(keyed, (examples, jnp.arange(count)), batch_size)

  def evaluate(self, variables: PyTree, data: PyTree) -> supervised.Metrics:
    """Scores the examples outside of the training part.

    Returns:
      The metrics of the test examples and, if there are validation examples,
      their metric `validated`, under its name in `validate`.
    """
    metrics = self.measure(variables, data["test"])
    if self.part == "validation":
      valid = self.measure(variables, data["valid"])
      metrics[self.watched(self.validated)] = valid[self.validated]
    return metrics

  def validate(self, variables: PyTree, data: PyTree) -> supervised.Metrics:
    """Scores the validation examples; the test examples if there are none.

    Returns:
      The metrics; those of validation examples with the prefix "valid_", which
      replaces the prefix "test_".
    """
    if self.part == "test":
      # Using the same program saves compiling two.
      return self.evaluate(variables, data)
    metrics = self.measure(variables, data["valid"])
    metrics.pop(supervised.TALLIES, None)
    return {self.watched(name): value for name, value in metrics.items()}

  def watched(self, metric: str) -> str:
    """Returns the name in `validate` of a metric of `evaluate`."""
    if self.part == "test":
      return metric
    return f"valid_{metric.removeprefix('test_')}"

  def measure(self, variables: PyTree, examples: PyTree) -> supervised.Metrics:
    """Scores the examples of a part."""
    return self.average(examples, functools.partial(self.scores, variables))


def check_pooling(network: nn.NetworkConfig, pools: bool, reason: str) -> None:
  """Checks whether a network pools over time.

  Args:
    network: options of the network.
    pools: whether it has to pool.
    reason: why, as the end of a sentence.

  Raises:
    ValueError: if it pools and should not, or does not and should.
  """
  if (network.pooling != "none") != pools:
    expected = "'mean' or 'last'" if pools else "'none'"
    raise validate.error(
      "network.pooling", network.pooling, f"{expected}, as {reason}"
    )


def in_training(
  network: Network,
  variables: PyTree,
  key: jax.Array,
  *inputs: Any,
  **options: Any,
) -> tuple[Any, PyTree, jax.Array | int]:
  """Applies a network as in training: with dropout and batch statistics.

  Args:
    network: a Flax module with the argument `train`.
    variables: variables of the network.
    key: key of the dropout.
    *inputs: arguments of the network.
    **options: keyword arguments of the network.

  Returns:
    Its outputs, the updated collections, and the sum of the auxiliary losses,
    such as the load balancing losses of routers.
  """
  outputs, collections = network.apply(
    variables,
    *inputs,
    train=True,
    rngs={"dropout": key},
    mutable=["batch_stats", "losses"],
    **options,
  )
  collections = dict(collections)
  penalties = jax.tree.leaves(collections.pop("losses", {}))
  return outputs, collections, sum(map(jnp.sum, penalties))


def average_over(
  function: Callable[[PyTree], tuple[dict[str, jax.Array], jax.Array]],
  examples: PyTree,
  batch_size: int,
) -> dict[str, jax.Array]:
  """Averages metrics over all examples in batches; returns weighted means.

  Args:
    function: maps a batch to metrics that are means over its examples, and the
      weight of these means (such as the number of scored elements). It gets
      whole batches; the last one may be shorter.
    examples: pytree of arrays with a leading axis of examples.
    batch_size: number of examples per batch.
  """
  count = jax.tree.leaves(examples)[0].shape[0]
  whole, rest = divmod(count, min(batch_size, count))
  size = min(batch_size, count)

  def weighted(batch):
    batch = device_mesh.spread_evenly(batch)
    metrics, weight = function(batch)
    weight = jnp.asarray(weight, jnp.float32)
    # Unscored elements may be undefined; a batch without scored ones adds 0.
    scaled = jax.tree.map(
      lambda x: jnp.where(weight > 0, x * weight, 0.0), metrics
    )
    return scaled, weight

  stacked = jax.tree.map(
    lambda x: x[: whole * size].reshape((whole, size) + x.shape[1:]), examples
  )
  totals = jax.tree.map(lambda x: x.sum(axis=0), lax.map(weighted, stacked))
  if rest:
    last = weighted(jax.tree.map(lambda x: x[whole * size :], examples))
    totals = jax.tree.map(jnp.add, totals, last)
  metrics, weight = totals
  return jax.tree.map(lambda x: x / weight, metrics)


def parts(splits: datasets.Splits) -> dict[str, datasets.ArrayDataset]:
  """Returns the present parts of a data set, as NumPy arrays by name."""
  named = dict(zip(("train", "valid", "test"), splits[:3]))
  return host({name: x for name, x in named.items() if x is not None})


def first(arrays: PyTree) -> PyTree:
  """Returns the first example, with the leading axis kept."""
  return jax.tree.map(lambda x: jnp.asarray(x[:1]), arrays)


def last_changed(tree: PyTree, change: Callable[[PyTree], PyTree]) -> PyTree:
  """Returns a network's parameters with a changed last layer.

  Args:
    tree: parameters of a dense layer, or of layers, the last of which has the
      greatest name or is named "head".
    change: function from the last layer's parameters to their replacement.
  """
  if "kernel" in tree:
    return change(tree)
  name = "head" if "head" in tree else max(tree)
  return {**tree, name: last_changed(tree[name], change)}


def zeros(tree: PyTree) -> PyTree:
  """Returns zeros in the shapes of parameters."""
  return jax.tree.map(jnp.zeros_like, tree)


def take(arrays: PyTree, index: jax.Array) -> PyTree:
  """Selects examples from arrays with a leading axis of examples."""
  return jax.tree.map(lambda x: jnp.take(x, index, axis=0), arrays)


def host(arrays: PyTree) -> PyTree:
  """Converts the arrays of a pytree to NumPy; Nones stay in place."""
  return jax.tree.map(np.asarray, arrays)
