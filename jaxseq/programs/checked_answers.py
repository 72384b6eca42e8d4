"""Learning from answers that a program checks, by policy gradients of groups.

A network first learns from right answers for some updates, and then from its
own: each prompt gets a group of them, those that are right are rewarded, and
`tasks.group_policy` compares each with the others of its group.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any
from typing import Literal
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq import _validate
from jaxseq import generation
from jaxseq import nn
from jaxseq._types import PyTree
from jaxseq.data import digit_sums
from jaxseq.tasks import base
from jaxseq.tasks import group_policy
from jaxseq.tasks import losses
from jaxseq.tasks import task as lines
from jaxseq.training import supervised
from jaxseq.training.comparison import arms

# Of the keys of evaluations, which no run uses.
_TEST_SEED = 0x5A11


@dataclasses.dataclass(frozen=True)
class ArmConfig(base.ArmConfig):
  """The network, the loss and the training of one arm.

  Attributes:
    batch_size: prompts of an update.
    group: answers to each.
    policy: the loss of answers.
    scale: see `group_policy.advantages`.
    rewards: "checked": of right answers; "shuffled": those of other answers,
      which tell nothing, for comparison.
    warm_updates: the first updates, which learn from right answers.
  """

  _: dataclasses.KW_ONLY
  group: int = 8
  policy: group_policy.Config = group_policy.Config()
  scale: group_policy.Scale = "group"
  rewards: Literal["checked", "shuffled"] = "checked"
  warm_updates: int = 0

  def __post_init__(self):
    super().__post_init__()
    _validate.integer("group", self.group, 2)
    _validate.integer("warm_updates", self.warm_updates, 0)
    if self.policy.beta:
      expected = "0, as no reference network is kept"
      raise _validate.error("policy.beta", self.policy.beta, expected)


class Batch(NamedTuple):
  """Prompts of an update.

  Attributes:
    prompts: (batch, time) int32.
    warm: (batch,) bool, whether right answers are learnt.
  """

  prompts: jax.Array
  warm: jax.Array


class Problem:
  """Answers to prompts of `data.digit_sums`.

  Args:
    arm: the network, which does not pool, and the loss.
    sums: the prompts.
    draws: answers to each prompt in evaluations.

  Raises:
    ValueError: if the network pools.
  """

  data: None = None
  carry: None = None
  part: arms.Part = "test"

  def __init__(self, arm: ArmConfig, sums: digit_sums.Sums, draws: int = 4):
    base.check_pooling(arm.network, False, "every element has an output")
    vocab = digit_sums.VOCAB_SIZE
    self.arm, self.sums, self.draws = arm, sums, draws
    self.network = nn.SequenceNetwork(arm.network, vocab, vocab)

  def init(self, key: jax.Array) -> dict[str, PyTree]:
    """Returns the variables of the network."""
    return self.network.init(key, self.sums.every()[:1])

  def sample(self, key: jax.Array, update: jax.Array, data: None) -> Batch:
    """Draws prompts."""
    key, count = jax.random.fold_in(key, update), self.arm.batch_size
    warm = jnp.broadcast_to(update < self.arm.warm_updates, (count,))
    return Batch(self.sums.sample(key, count), warm)

  def loss(
    self, variables: PyTree, batch: Batch, carry: PyTree, key: jax.Array
  ) -> tuple[jax.Array, supervised.Loss]:
    """Returns the loss of the network's own answers, or of right ones.

    Its metrics are "reward", a mean over answers, "flat_groups", the share of
    groups that teach nothing, "mismatch", the largest difference between the
    log-probabilities of the rollouts and those of training, and those of
    `group_policy.loss`.
    """
    arm, prompts = self.arm, batch.prompts
    key_rows, key_shuffle = jax.random.split(key)
    right, scored = self.sums.answers(prompts)
    right = self._log_probs(variables, prompts, right, scored)
    warm = -right.sum() / scored.sum()

    prompts = jnp.repeat(prompts, arm.group, axis=0)
    rows = self.answer(jax.lax.stop_gradient(variables), prompts, key_rows)
    rewards = self.sums.reward(prompts, rows.tokens, rows.mask)
    mean = rewards.mean()
    flat = group_policy.flat_groups(rewards, arm.group) / arm.batch_size
    if arm.rewards == "shuffled":
      rewards = jax.random.permutation(key_shuffle, rewards)
    log_probs = self._log_probs(variables, prompts, rows.tokens, rows.mask)
    value, metrics = group_policy.loss(
      log_probs,
      rows.log_probs,
      group_policy.advantages(rewards, arm.group, arm.scale),
      rows.mask,
      arm.policy,
    )
    distance = jnp.where(rows.mask, jnp.abs(log_probs - rows.log_probs), 0)
    metrics |= {
      "reward": mean,
      "flat_groups": flat,
      "mismatch": jax.lax.stop_gradient(distance.max()),
    }
    value = jnp.where(batch.warm[0], warm, value)
    return value, supervised.Loss(metrics, {}, carry)

  def answer(
    self, variables: PyTree, prompts: jax.Array, key: jax.Array
  ) -> generation.Rollouts:
    """Draws an answer to each prompt."""
    return generation.rollouts(
      self.network,
      variables,
      prompts,
      self.sums.answer_length,
      key,
      stop=digit_sums.END,
    )

  def _log_probs(self, variables, prompts, tokens, mask):
    """Log-probabilities of answers' tokens, 0 where the mask has none."""
    whole = jnp.concatenate([prompts, tokens], axis=1)
    logits, _ = self.network.apply(variables, whole[:, :-1])
    logits = logits[:, prompts.shape[1] - 1 :]
    return losses.token_log_probs(logits, tokens, mask)

  def evaluate(self, variables: PyTree, data: None) -> supervised.Metrics:
    """Answers all prompts.

    Returns:
      "success", the share of right answers among those that are drawn, and
      "greedy", among the likeliest ones.
    """
    prompts = self.sums.every()
    drawn = jnp.repeat(prompts, self.draws, axis=0)
    rows = self.answer(variables, drawn, jax.random.key(_TEST_SEED))
    likeliest, _ = generation.generate(
      self.network,
      variables,
      prompts,
      self.sums.answer_length,
      jax.random.key(_TEST_SEED),
      temperature=0,
    )
    right, mask = self.sums.answers(prompts)
    greedy = jnp.all((likeliest == right) | ~mask, axis=1)
    success = self.sums.reward(drawn, rows.tokens, rows.mask)
    return {"success": success.mean(), "greedy": greedy.mean()}

  # Every prompt may come again in training: there is no validation part.
  validate = evaluate


@dataclasses.dataclass(frozen=True)
class Config(base.Comparison):
  """A comparison of networks that learn to add numbers.

  Attributes:
    digits: of each number.
    draws: answers to each prompt in evaluations.
    group: as in `ArmConfig`, of all arms, like those that follow.
    policy: fields of `group_policy.Config`.
    warm_updates: see `ArmConfig`.
  """

  _: dataclasses.KW_ONLY
  digits: int = 1
  draws: int = 4
  group: int = 8
  policy: Mapping[str, Any] = arms.EMPTY
  warm_updates: int = 0

  @property
  def subject(self) -> str:
    """The skill, for titles."""
    return f"sums of two numbers below {10**self.digits}"


TASK = lines.Task(
  name="group_policy",
  arm=ArmConfig,
  problem=lambda arm, source, config: Problem(arm, source, config.draws),
  metric="success",
  better="higher",
  unit="answers",
  columns={"success": "right answers", "greedy": "right likeliest answers"},
  kind="",
  load=lambda config: digit_sums.Sums(config.digits),
  splits=lambda splits, arms: None,
  examples=lambda arm, problem: arm.batch_size * arm.group,
)
