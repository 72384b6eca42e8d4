"""Arms that are trained on data to learn in context.

Two ways to train one network on tasks of one kind, so that it improves from
trial to trial at an unseen task without updates of its weights: `distillation`
of learning histories, and `decision_pretraining` on an expert's labels. Both
are evaluated by trials at held-out tasks.
"""

import dataclasses
from typing import Any
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from experiments.in_context import learning_histories
from jaxseq import validate
from jaxseq.rl import envs
from jaxseq.rl import meta_suites
from jaxseq.rl.envs import protocol
from jaxseq.tasks import base
from jaxseq.training import configuration
from jaxseq.training import supervised
from jaxseq.training.comparison import arms
from jaxseq.types import PyTree

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class ArmConfig(base.ArmConfig):
  """The network and the training of one arm.

  Attributes, in addition to those of `base.ArmConfig`:
    method: "distillation" trains on histories, "pretraining" on labels.
    shuffled: whether to shuffle the episodes of each history, as a
      control of distillation.
    keep_memory: whether distillation keeps its memory between episodes.
  """

  _: dataclasses.KW_ONLY
  method: Literal["distillation", "pretraining"] = "distillation"
  shuffled: bool = False
  keep_memory: bool = True

  def __post_init__(self):
    super().__post_init__()
    base.check_pooling(self.network, False, "every action is predicted")
    self.network.stack.refuse(
      "network.stack",
      batch_norm="acting sees one step at a time",
      bidirectional="acting sees no future",
    )


@dataclasses.dataclass(frozen=True)
class Config(base.Comparison):
  """A comparison of networks that are trained on data to learn in context.

  Attributes:
    env_id: the environment, which draws its task in `reset`.
    env_options: its options in training.
    held_out: options that differ in evaluation, for tasks that are not trained
      on.
    learner: fields of the distilled `learning_histories.Learner`.
    window: successive episodes of a history that a network sees at once; whole
      histories if 0.
    context: transitions of a task for each label of pretraining.
    num_trials: episodes per task in an evaluation.
    shown: the trials whose returns are columns of the table.
    evaluation_tasks: tasks per seed in an evaluation.
  """

  _: dataclasses.KW_ONLY
  env_id: str
  env_options: arms.Fields = arms.EMPTY
  held_out: arms.Fields = arms.EMPTY
  learner: arms.Fields = arms.EMPTY
  window: int = 0
  context: int = 100
  num_trials: int = 20
  shown: tuple[int, ...] = (1, 5)
  evaluation_tasks: int = 64

  def __post_init__(self):
    super().__post_init__()
    validate.fields(
      self, positive=("context", "num_trials", "evaluation_tasks")
    )
    learner = self.make_learner()
    validate.integer("window", self.window, 0, learner.episodes)
    for trial in self.shown:
      validate.integer("shown", trial, 1, self.num_trials)

  @property
  def subject(self) -> str:
    """Returns the environment's name, for titles."""
    return self.env_id

  def make_learner(self) -> learning_histories.Learner:
    """Returns the learner that is distilled.

    Raises:
      UserError: (a ValueError) if a field is unknown or has a wrong value.
    """
    return configuration.from_config_dict(
      learning_histories.Learner, self.learner, name="config.learner"
    )

  def make_env(self, held_out: bool = False) -> protocol.Env:
    """Returns the training environment, or that of held-out tasks.

    Raises:
      ValueError: if the environment or an option is unknown.
    """
    return envs.make(self.env_id, **dict(self._options(held_out)))[0]

  def _options(self, held_out: bool) -> tuple[tuple[str, Any], ...]:
    options = {**self.env_options, **(self.held_out if held_out else {})}
    return tuple(options.items())

  def trials(
    self, keep_memory: bool = True, held_out: bool = False
  ) -> dict[str, Any]:
    """Returns the options of "Trials", see `meta_suites.trials`."""
    return {
      "game": self.env_id,
      "options": self._options(held_out),
      "num_trials": self.num_trials,
      "keep_memory": keep_memory,
    }


def measures(config: Config, trials: Array | np.ndarray) -> PyTree:
  """Returns metrics from the mean returns (num_trials,) of the trials.

  They are "return" of the last trial, and "return_N" of the shown trials.
  """
  metrics = {"return": trials[config.num_trials - 1]}
  return metrics | {f"return_{n}": trials[n - 1] for n in config.shown}


class Problem:
  """Base of both problems: subclasses define `network`, `play` and the rest.

  Args:
    config: the comparison.
    arm: one of its arms.
  """

  carry: None = None
  part: arms.Part = ""
  network: Any

  def __init__(self, config: Config, arm: ArmConfig):
    self.config, self.arm = config, arm

  def play(self, variables: PyTree, key: Array) -> Array:
    """Plays held-out tasks; returns the returns (tasks, num_trials)."""
    raise NotImplementedError

  def evaluate(self, variables: PyTree, data: PyTree) -> supervised.Metrics:
    """Returns evaluation metrics, with the curve over all trials."""
    del data
    # The same tasks for all arms and seeds.
    played = self.play(variables, jax.random.key(self.config.seed))
    trials = jnp.mean(played, axis=0)
    return measures(self.config, trials) | {supervised.TALLIES: trials}

  validate = evaluate


def make_trials(config: Config, arm: ArmConfig) -> meta_suites.meta.Trials:
  """Returns the `Trials` environment for which an arm is trained."""
  return meta_suites.trials(**config.trials(arm.keep_memory))
