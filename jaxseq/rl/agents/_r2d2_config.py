"""Configuration of R2D2."""

import dataclasses
from typing import Literal

from jaxseq import _validate
from jaxseq.rl.agents import common


@dataclasses.dataclass(frozen=True)
class Config(common.Config, common.Exploration):
  """Everything that a training run depends on, except its key.

  The environment must have a `Discrete` action space. Where a time limit is
  bootstrapped, seeing the last observation of an episode counts as a step.

  Attributes, beside those of `common.Config` and `common.Exploration`:
    dueling: whether values and advantages have a head each.
    sequence_length: steps in each environment between updates: one sequence.
    burn_in: steps before a sequence that renew its stored memory: 0 or a
      divisor of its length.
    replay_sequences: sequences that the replay holds.
    learning_starts: sequences that it has got before the first optimizer step.
    num_minibatches: optimizer steps in an update.
    batch_size: sequences in a minibatch.
    reward_scale: multiplies the rewards that are learned from. POPGym's add up
      to 1 at most over an episode, which is little for a single step.
    targets: "n_step", or "lambda" for Peng's Q(lambda).
    num_steps: n of the n-step targets.
    q_lambda: of Peng's Q(lambda).
    target_period: optimizer steps between two copies to the target network.
    priority_exponent: how much more often sequences with great errors are
      replayed; 0 draws all alike.
    importance_exponent: how much of that bias the loss takes back.
    priority_max_share: weight of a sequence's greatest error against the mean.
    rescale_values: whether the network's values are on the scale of
      `losses.td.rescale`, which fits rewards of any size.
  """

  dueling: bool = True
  sequence_length: int = 80
  burn_in: int = 40
  replay_sequences: int = 4096
  learning_starts: int = 512
  num_minibatches: int = 4
  batch_size: int = 64
  learning_rate: float = 1e-4
  max_grad_norm: float = 40.0
  adam_epsilon: float = 1e-3
  gamma: float = 0.997
  reward_scale: float = 1.0
  targets: Literal["n_step", "lambda"] = "n_step"
  num_steps: int = 5
  q_lambda: float = 0.8
  target_period: int = 400
  priority_exponent: float = 0.9
  importance_exponent: float = 0.6
  priority_max_share: float = 0.9
  rescale_values: bool = True

  def __post_init__(self):
    super().__post_init__()
    common.Exploration.__post_init__(self)
    _validate.fields(
      self,
      positive=(
        "sequence_length",
        "replay_sequences",
        "learning_starts",
        "num_minibatches",
        "batch_size",
        "num_steps",
        "target_period",
      ),
      above_zero=("reward_scale",),
      shares=(
        "q_lambda",
        "priority_max_share",
      ),
      not_negative=("burn_in", "priority_exponent", "importance_exponent"),
    )
    if self.burn_in and self.sequence_length % self.burn_in:
      expected = f"0 or a divisor of sequence_length = {self.sequence_length}"
      raise _validate.error("burn_in", self.burn_in, expected)
    held = self.replay_sequences
    if self.num_envs > held:
      added = f"{self.num_envs}: so many are added at once"
      expected = f"at least num_envs = {added}"
      raise _validate.error("replay_sequences", held, expected)
    if self.learning_starts > held:
      expected = f"at most replay_sequences = {held}"
      raise _validate.error("learning_starts", self.learning_starts, expected)
    least = self.steps_per_update * (self.first_update + 1)
    reason = f"({least}, by num_envs, sequence_length and learning_starts)"
    self._check_total_steps(least, f"that learns {reason}")

  @property
  def steps_per_update(self) -> int:
    """Environment steps between updates."""
    return self.num_envs * self.sequence_length

  @property
  def first_update(self) -> int:
    """Updates before the first one that learns."""
    return -(-self.learning_starts // self.num_envs) - 1

  @property
  def optimizer_steps(self) -> int:
    """Optimizer steps of the whole run."""
    return (self.num_updates - self.first_update) * self.num_minibatches
