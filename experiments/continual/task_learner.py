"""The loop that all methods of continual learning share, for one seed.

A learner is a `supervised.Problem` whose variables hold everything it keeps:
the parameters, a memory of exemplars, statistics, and a record of accuracies.
Tasks have equally many updates. Methods act between tasks in `end` and `begin`;
each task has a fresh optimizer.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any
from typing import Literal

from flax import linen
import jax
import jax.numpy as jnp

from experiments.continual import exemplars
from experiments.continual import task_streams
from jaxseq import data
from jaxseq import nn
from jaxseq import validate
from jaxseq.nn import dense
from jaxseq.nn import heads
from jaxseq.tasks import base
from jaxseq.tasks import losses
from jaxseq.training import supervised
from jaxseq.training.comparison import arms
from jaxseq.types import PyTree

# Collections of the variables that a learner needs from task to task.
KEPT = ("params", "memory", "statistics")
Method = Literal[
  "finetune",
  "joint",
  "replay",
  "derpp",
  "er_ace",
  "ewc",
  "protocl",
  "memo",
]


@dataclasses.dataclass(frozen=True)
class ArmConfig(base.ArmConfig):
  """The network, the method and the training of one arm.

  Attributes:
    network: the stack and its pooling, in front of the dense blocks; with the
      pooling "none" there is no stack, and inputs are one vector. It has no
      dropout and no batch norm.
    method: the method against forgetting.
    widths: widths of the dense blocks, with a ReLU after each; in MEMO each
      task has its own last block, and shares the others.
    budget: total bytes to keep: parameters, statistics and, with the remaining
      bytes, exemplars.
    stored: storage format of exemplars, 256 levels or float32.
    replay: number of exemplars of each draw in an update.
    alpha: weight of stored logits (DER++).
    beta: weight of replayed labels (DER++).
    strength: weight of the penalty (EWC).
    decay: factor of earlier tasks' information (EWC).
    fisher: largest number of random examples of a task over which its
      information is averaged (EWC).
    information: "true" or "empirical", see `rehearsal.fisher` (EWC).
    variance: variance of the features of a class (ProtoCL).
    auxiliary: weight of the loss that separates new classes from old ones
      (MEMO).
    train_shared: whether the shared blocks are trained after the first task
      (MEMO).
    align: whether to scale the weights of new classes to the norm of old ones
      (MEMO). It corrects for the few exemplars among many new examples.
  """

  _: dataclasses.KW_ONLY
  method: Method = "replay"
  widths: tuple[int, ...] = (32, 16)
  budget: int = 34_000
  stored: Literal["levels", "float32"] = "levels"
  replay: int = 32
  alpha: float = 0.5
  beta: float = 0.5
  strength: float = 100.0
  decay: float = 1.0
  fisher: int = 256
  information: Literal["true", "empirical"] = "true"
  variance: float = 0.05
  auxiliary: float = 1.0
  train_shared: bool = False
  align: bool = True

  def __post_init__(self):
    super().__post_init__()
    validate.fields(
      self,
      positive=("budget", "replay", "fisher"),
      above_zero=("variance",),
      not_negative=("alpha", "beta", "strength", "decay", "auxiliary"),
    )
    if not self.widths:
      raise validate.error("widths", self.widths, "at least one width")
    validate.all_positive(
      **{f"widths[{i}]": x for i, x in enumerate(self.widths)}
    )
    stack = self.network.stack
    for each in (stack, *stack.every_layer):
      if self.network.pooling != "none" and (
        each.dropout or each.norm == "batch"
      ):
        got = f"dropout {each.dropout}, norm {each.norm!r}"
        expected = "no dropout and no batch norm"
        raise validate.error("network.stack", got, expected)

  @property
  def ssm_parameters(self) -> tuple[str, ...]:
    """Names of the stack's parameters; empty without a stack."""
    return () if self.network.pooling == "none" else super().ssm_parameters


class Network(linen.Module):
  """Shared blocks, a special block, and a read-out.

  Attributes:
    config: the stack and its pooling; without pooling there is no stack.
    widths: widths of the dense blocks, the special one last.
    outputs: number of classes; 0 for the features of the special block, without
      a ReLU.
    middle: threshold of the stream, see `task_streams.Stream`.
  """

  config: nn.NetworkConfig
  widths: tuple[int, ...]
  outputs: int
  middle: float | None = None

  def setup(self):
    """Builds the blocks."""
    *shared, special = self.widths
    self.sequence = nn.SequenceNetwork(self.config, 1)
    self.base = heads.MLP(tuple(shared), "relu", activate_last=True)
    last = self.outputs > 0
    self.special = heads.MLP((special,), "relu", activate_last=last)
    self.head = dense.Dense(self.outputs)

  def shared(self, inputs: jax.Array) -> jax.Array:
    """Maps (n, time, features) to inputs of the special block, (n, width)."""
    if self.config.pooling == "none":
      x = inputs.reshape(len(inputs), -1)
    else:
      lengths = None
      if self.middle is not None:
        inputs, inside = inputs[..., :-1], inputs[..., -1] > self.middle
        # Empty places of the memory have no elements.
        lengths = jnp.maximum(inside.sum(axis=1), 1)
      x, _ = self.sequence(inputs, lengths=lengths, features=True)
      x = heads.pool(self.config.pooling, x, lengths)
    return self.base(x)

  def __call__(self, inputs: jax.Array) -> jax.Array:
    """Maps (n, time, features) to logits (n, outputs), or features."""
    x = self.special(self.shared(inputs))
    return self.head(x) if self.outputs else x


class Learner:
  """Training on one task after the other, without a method against forgetting.

  Methods override: `_objective`, the loss of a batch and its logits;
  `_offered`, collections that a batch changes; `_parameters` and `_statistics`,
  the initial ones; `_finish` and `_start`, collections that change at the end
  of a task and the beginning of the next; and `_scores`, the highest of which
  is predicted.

  Args:
    arm: the configuration.
    stream: the tasks.
    updates: number of updates per task.

  Attributes:
    size: number of places of the memory; 0 without a memory.
    data: training and test examples.
  """

  carry: None = None
  part: arms.Part = "test"
  remembers: bool = False
  stores_logits: bool = False
  reads_out: bool = True

  def __init__(self, arm: ArmConfig, stream: task_streams.Stream, updates: int):
    self.arm, self.stream, self.updates = arm, stream, updates
    if arm.batch_size > min(stream.sizes):
      expected = (
        f"at most {min(stream.sizes)}, the examples of a task; set "
        "--config.batch_size"
      )
      raise validate.error("batch_size", arm.batch_size, expected)
    if arm.network.pooling == "none" and stream.middle is not None:
      expected = "'mean' or 'last', as series have several lengths"
      raise validate.error("network.pooling", "none", expected)
    train = stream.train.inputs
    self.levels = float(train.min()), float(train.max())
    self.network = Network(
      arm.network,
      arm.widths,
      stream.classes if self.reads_out else 0,
      stream.middle,
    )
    self.data = base.host({"train": stream.train, "test": stream.test})
    self.size = self._places()

  def _places(self):
    """Returns the number of exemplars that fit into the rest of the budget."""
    held = jax.eval_shape(self.held, jax.random.key(0))
    counter = 4
    each = exemplars.num_bytes(self._memory(1)) - counter
    fixed = exemplars.num_bytes(held) + counter * self.remembers
    size = exemplars.capacity(self.arm.budget, fixed, each)
    wanted = self.stream.classes if self.remembers else 0
    if size < wanted:
      expected = f"at least {fixed + wanted * each}"
      got = f"{self.arm.budget}, of which {fixed} are held without exemplars"
      raise ValueError(f"budget: got {got}, expected {expected}.")
    return min(size, len(self.stream.train.targets)) if self.remembers else 0

  def _memory(self, size):
    """Returns a memory without examples."""
    example = self.store(jnp.asarray(self.stream.train.inputs[:1]))
    return exemplars.empty(
      size, example, self.stream.classes, self.stores_logits
    )

  def store(self, inputs: jax.Array) -> jax.Array:
    """Encodes inputs for the memory."""
    if self.arm.stored == "float32":
      return inputs
    return exemplars.encode(inputs, *self.levels)

  def load(self, stored: jax.Array) -> jax.Array:
    """Decodes inputs from the memory."""
    if self.arm.stored == "float32":
      return stored
    return exemplars.decode(stored, *self.levels)

  def held(self, key: jax.Array) -> dict[str, PyTree]:
    """Returns parameters and statistics before the first task."""
    params = self._parameters(key)
    return {"params": params, "statistics": self._statistics(params)}

  def init(self, key: jax.Array) -> dict[str, PyTree]:
    """Returns the initial variables, with an empty record."""
    tasks = self.stream.tasks
    record = {name: jnp.zeros((tasks, tasks)) for name in ("class", "task")}
    variables = self.held(key)
    variables["record"] = record | {"now": jnp.zeros((), jnp.int32)}
    if self.remembers:
      variables["memory"] = self._memory(self.size)
    return variables

  def sample(
    self, key: jax.Array, update: jax.Array, data: PyTree
  ) -> data.ArrayDataset:
    """Draws a batch of the current task."""
    return base.take(data["train"], self.draw(key, update))

  def draw(self, key: jax.Array, update: jax.Array) -> jax.Array:
    """Returns the indices of a batch."""
    return self.stream.draw(key, update, self.updates, self.arm.batch_size)

  def loss(
    self,
    variables: PyTree,
    batch: data.ArrayDataset,
    carry: None,
    key: jax.Array,
  ) -> tuple[jax.Array, supervised.Loss]:
    """Returns the method's objective; the batch is offered to the memory."""
    key, key_offer = jax.random.split(key)
    value, logits = self._objective(variables, batch, key)
    seen = self._visible(variables, logits)
    accuracy = (seen.argmax(axis=1) == batch.targets).mean()
    kept = self._offered(variables, batch, logits, key_offer)
    return value, supervised.Loss({"train_accuracy": accuracy}, kept, carry)

  def _offered(self, variables, batch, logits, key):
    """Returns collections that a batch changes, such as the memory."""
    if not self.remembers:
      return {}
    stored = self.store(batch.inputs)
    memory = variables["memory"]
    return {
      "memory": exemplars.offer(memory, stored, batch.targets, key, logits)
    }

  def task(self, variables: PyTree) -> jax.Array:
    """Returns the number of the current task, from 0 on."""
    return variables["record"]["now"]

  def _visible(self, variables, scores):
    """Returns scores (n, classes), the lowest number for classes unseen."""
    seen = (self.task(variables) + 1) * self.stream.per_task
    is_seen = jnp.arange(self.stream.classes) < seen
    return jnp.where(is_seen, scores, jnp.finfo(scores.dtype).min)

  def accuracies(
    self, variables: PyTree, test: data.ArrayDataset
  ) -> dict[str, jax.Array]:
    """Returns the accuracy on each task, (tasks,), by the two masks.

    "class": among all classes seen; "task": among those of the example's own
    task. For future tasks "class" is meaningless.
    """
    scores = self._scores(variables, test.inputs)
    number = test.targets // self.stream.per_task
    task_of_class = jnp.arange(self.stream.classes) // self.stream.per_task
    within = jnp.where(task_of_class == number[:, None], scores, -jnp.inf)
    weight = jax.nn.one_hot(number, self.stream.tasks)
    weight /= weight.sum(axis=0)
    by_mask = {"class": self._visible(variables, scores), "task": within}
    return {
      name: (chosen.argmax(axis=1) == test.targets) @ weight
      for name, chosen in by_mask.items()
    }

  def evaluate(self, variables: PyTree, data: PyTree) -> supervised.Metrics:
    """Scores the test examples of the tasks seen so far.

    Returns:
      "accuracy" and "task_accuracy", means over these tasks, and the record as
      tallies.
    """
    found = self.accuracies(variables, data["test"])
    seen = jnp.arange(self.stream.tasks) <= self.task(variables)
    mean = {
      k: jnp.where(seen, x, 0).sum() / seen.sum() for k, x in found.items()
    }
    tables = {name: variables["record"][name] for name in ("class", "task")}
    return {
      "accuracy": mean["class"],
      "task_accuracy": mean["task"],
      supervised.TALLIES: tables,
    }

  # There is no validation part: a stream is read once.
  validate = evaluate

  def end(
    self, variables: PyTree, data: Mapping[str, Any], key: jax.Array
  ) -> PyTree:
    """Returns the variables after the last update of a task."""
    task, record = self.task(variables), variables["record"]
    examples = self.stream.window(data["train"], task)
    variables = {**variables, **self._finish(variables, *examples, key)}
    rows = self.accuracies(variables, data["test"])
    record = record | {k: record[k].at[task].set(x) for k, x in rows.items()}
    return {**variables, "record": record}

  def begin(self, variables: PyTree, key: jax.Array) -> PyTree:
    """Returns the variables before the first update of the next task."""
    record = variables["record"] | {"now": self.task(variables) + 1}
    variables = {**variables, "record": record}
    return {**variables, **self._start(variables, key)}

  def _outputs(self, variables, inputs):
    """Returns the network's outputs."""
    return self.network.apply({"params": variables["params"]}, inputs)

  def _recall(self, variables, key):
    """Returns inputs of drawn exemplars, and the exemplars."""
    old = exemplars.recall(variables["memory"], key, self.arm.replay)
    return self.load(old.inputs), old

  def _parameters(self, key):
    """Returns the parameters."""
    return self.network.init(key, self.data["train"].inputs[:1])["params"]

  def _statistics(self, params):
    """Returns the initial statistics."""
    del params
    return {}

  def _objective(self, variables, batch, key):
    """Returns the loss of a batch, and its logits (n, classes)."""
    del key
    logits = self._outputs(variables, batch.inputs)
    return losses.cross_entropy(logits, batch.targets)[0], logits

  def _finish(self, variables, examples, inside, key):
    """Returns collections that the end of a task changes."""
    del variables, examples, inside, key
    return {}

  def _start(self, variables, key):
    """Returns collections that the beginning of a task changes."""
    del variables, key
    return {}

  def _scores(self, variables, inputs):
    """Returns a score of each class, (n, classes); the highest is predicted."""
    return self._outputs(variables, inputs)
