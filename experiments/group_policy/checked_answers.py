"""Training on answers that a program checks, by group-based policy gradients.

A network is first trained on correct answers for some updates, and then on its
own: it samples a group of answers for each prompt, correct ones are rewarded,
and `group_policy` compares each with the others of its group. If the network is
pretrained, training can be limited to adapters.
"""

from collections.abc import Mapping
import dataclasses
import functools
from typing import Any
from typing import Literal
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.group_policy import digit_sums
from experiments.group_policy import group_policy
from jaxseq import generation
from jaxseq import nn
from jaxseq import validate
from jaxseq.adapt import initial_states
from jaxseq.interop import network_file
from jaxseq.programs import adapted_files
from jaxseq.tasks import adaptation
from jaxseq.tasks import base
from jaxseq.tasks import losses
from jaxseq.tasks import task as lines
from jaxseq.tasks.adaptation import named_rewards
from jaxseq.training import batching
from jaxseq.training import supervised
from jaxseq.training.comparison import arms
from jaxseq.training.comparison import experiment
from jaxseq.training.comparison import work as works
from jaxseq.training.devices import device_mesh
from jaxseq.types import PyTree

# Seed of the keys of evaluations, which no run uses.
_TEST_SEED = 0x5A11


@dataclasses.dataclass(frozen=True)
class ArmConfig(adaptation.MethodConfig):
  """Options of an arm's network, loss and training.

  Attributes:
    batch_size: prompts of an update.
    method: the trained variables; all but "full" need a base.
    group: number of answers per prompt.
    rollout_updates: number of updates on the same answers. From the second one
      on the ratios of `policy` differ from 1, and are clipped.
    policy: the loss of answers.
    scale: see `group_policy.advantages`.
    rewards: "checked", or as a control "shuffled": rewards of other answers,
      which carry no information.
    warm_updates: number of initial updates on correct answers.
  """

  _: dataclasses.KW_ONLY
  method: Literal["full", "lora", "states", "lora+states"] = "full"
  group: int = 8
  rollout_updates: int = 1
  policy: group_policy.Config = group_policy.Config()
  scale: group_policy.Scale = "group"
  rewards: Literal["checked", "shuffled"] = "checked"
  warm_updates: int = 0

  def __post_init__(self):
    super().__post_init__()
    validate.integer("group", self.group, 2)
    validate.integer("rollout_updates", self.rollout_updates, 1)
    validate.integer("warm_updates", self.warm_updates, 0)
    if self.adapter_dropout:
      expected = "0: answers are learned from as they were drawn"
      raise validate.error("adapter_dropout", self.adapter_dropout, expected)
    if self.policy.beta:
      expected = "0, as no reference network is kept"
      raise validate.error("policy.beta", self.policy.beta, expected)


class Batch(NamedTuple):
  """The prompts of an update.

  Attributes:
    prompts: (batch, time) int32.
    warm: (batch,) bool, whether to learn from correct answers.
    drawn: (batch,) bool, whether to sample new answers; if not, the update uses
      the prompts and answers of the previous update again.
  """

  prompts: jax.Array
  warm: jax.Array
  drawn: jax.Array


class Answered(NamedTuple):
  """Answers to train on; rows are prompts times answers per prompt.

  Attributes:
    prompts: (rows, time) int32.
    tokens: (rows, length) int32.
    mask: (rows, length) bool, False in the padding.
    log_probs: (rows, length), by the network that sampled them.
    advantages: (rows,).
    reward: (), the mean reward.
    flat_groups: (), the share of groups with equal rewards.
  """

  prompts: jax.Array
  tokens: jax.Array
  mask: jax.Array
  log_probs: jax.Array
  advantages: jax.Array
  reward: jax.Array
  flat_groups: jax.Array


class Problem:
  """Answers to prompts of `data.digit_sums`.

  Args:
    arm: options of the network, which does not pool, and the loss.
    sums: the prompts.
    draws: answers per prompt in evaluations.
    reward: reward of the answers; 1 for correct sums if None.

  Raises:
    ValueError: if the network pools.
  """

  data: PyTree = None
  # Answers, if several updates use them.
  carry: Answered | None = None
  part: arms.Part = "test"

  def __init__(
    self,
    arm: ArmConfig,
    sums: digit_sums.Sums,
    draws: int = 4,
    reward: named_rewards.Reward | None = None,
  ):
    base.check_pooling(arm.network, False, "every element has an output")
    vocab = digit_sums.VOCAB_SIZE
    self.arm, self.sums, self.draws = arm, sums, draws
    self.reward = reward
    self.network = nn.SequenceNetwork(arm.network, vocab, vocab)
    if arm.rollout_updates > 1:
      rows = arm.batch_size * arm.group
      prompts = np.zeros((rows, sums.every().shape[1]), np.int32)
      tokens = np.zeros((rows, sums.answer_length), np.int32)
      numbers = tokens.astype(np.float32)
      each = numbers[:, 0], *[np.zeros((), np.float32)] * 2
      self.carry = Answered(prompts, tokens, tokens > 0, numbers, *each)

  def init(self, key: jax.Array) -> dict[str, PyTree]:
    """Returns the initial variables of the network."""
    return self.network.init(key, self.sums.every()[:1])

  def sample(self, key: jax.Array, update: jax.Array, data: PyTree) -> Any:
    """Draws prompts, a `Batch`."""
    key, arm = jax.random.fold_in(key, update), self.arm
    later = update - arm.warm_updates
    drawn = (later < 0) | (later % arm.rollout_updates == 0)
    flags = [jnp.broadcast_to(x, (arm.batch_size,)) for x in (later < 0, drawn)]
    return Batch(self.sums.sample(key, arm.batch_size), *flags)

  def loss(
    self, variables: PyTree, batch: Any, carry: PyTree, key: jax.Array
  ) -> tuple[jax.Array, supervised.Loss]:
    """Returns the loss of the network's own answers, or of correct ones.

    Its metrics are "reward", a mean over answers, "flat_groups", the share of
    groups with equal rewards, "mismatch", the largest difference between the
    log-probabilities of the rollouts and those of training, which later updates
    on the same answers increase, and those of `group_policy.loss`.
    """
    arm, prompts = self.arm, batch.prompts
    right, scored = self.sums.answers(prompts)
    right = self._log_probs(variables, prompts, right, scored)
    warm = -right.sum() / scored.sum()

    fixed = jax.lax.stop_gradient(variables)
    if carry is None:
      answered = self._answered(fixed, prompts, key)
    else:
      # All seeds sample at the same updates.
      carry = answered = jax.lax.cond(
        batching.any_of_batch(batch.drawn[0]),
        lambda: self._answered(fixed, prompts, key),
        lambda: carry,
      )
    log_probs = self._log_probs(variables, *answered[:3])
    value, metrics = group_policy.loss(
      log_probs,
      answered.log_probs,
      answered.advantages,
      answered.mask,
      arm.policy,
    )
    distance = jnp.abs(log_probs - answered.log_probs)
    distance = jnp.where(answered.mask, distance, 0)
    metrics |= {
      "reward": answered.reward,
      "flat_groups": answered.flat_groups,
      "mismatch": jax.lax.stop_gradient(distance.max()),
    }
    value = jnp.where(batch.warm[0], warm, value)
    return value, supervised.Loss(metrics, {}, carry)

  def _answered(self, variables, prompts, key):
    """Samples answers, and compares those of each group."""
    arm = self.arm
    key_rows, key_shuffle = jax.random.split(key)
    prompts = jnp.repeat(prompts, arm.group, axis=0)
    rows = self.answer(variables, prompts, key_rows)
    reward = self.reward or self.sums.reward
    rewards = reward(prompts, rows.tokens, rows.mask)
    mean = rewards.mean()
    flat = group_policy.flat_groups(rewards, arm.group) / arm.batch_size
    if arm.rewards == "shuffled":
      rewards = jax.random.permutation(key_shuffle, rewards)
    gain = group_policy.advantages(rewards, arm.group, arm.scale)
    drawn = rows.tokens, rows.mask, rows.log_probs
    return Answered(prompts, *drawn, gain, mean, flat)

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
    """Returns log-probabilities of answers' tokens, 0 in the padding."""
    whole = jnp.concatenate([prompts, tokens], axis=1)
    logits, _ = self.network.apply(variables, whole[:, :-1])
    logits = logits[:, prompts.shape[1] - 1 :]
    return losses.token_log_probs(logits, tokens, mask)

  def evaluate(self, variables: PyTree, data: PyTree) -> supervised.Metrics:
    """Answers all prompts.

    Returns:
      "success", the share of correct answers among sampled ones, "greedy", the
      share among greedily decoded ones, and "test_reward", the mean `reward` of
      sampled ones, if there is a reward.
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
    result = {"success": success.mean(), "greedy": greedy.mean()}
    if self.reward is not None:
      rewards = self.reward(drawn, rows.tokens, rows.mask)
      result["test_reward"] = rewards.mean()
    return result

  # Training samples from all prompts: there is no validation part.
  def validate(self, variables: PyTree, data: PyTree) -> supervised.Metrics:
    """Returns the result of `evaluate`."""
    return self.evaluate(variables, data)


class AdaptedProblem(adaptation.Adapted, Problem):
  """Answers of a pretrained network.

  Args:
    arm: options of the adaptation, and the loss.
    sums: the prompts.
    draws: answers per prompt in evaluations.
    adapted: the pretrained network.
    reward: see `Problem`.
  """

  def __init__(
    self,
    arm: ArmConfig,
    sums: digit_sums.Sums,
    draws: int,
    adapted: adaptation.Base,
    reward: named_rewards.Reward | None = None,
  ):
    Problem.__init__(self, arm, sums, draws, reward)
    self.data = self.adapt(arm, adapted)

  def sample(self, key: jax.Array, update: jax.Array, data: PyTree) -> Any:
    """Draws prompts, and returns them with the network's variables."""
    return Problem.sample(self, key, update, data), data["base"]

  def loss(
    self, variables: PyTree, batch: Any, carry: PyTree, key: jax.Array
  ) -> tuple[jax.Array, supervised.Loss]:
    """Returns the loss of `Problem`."""
    batch, frozen = batch
    variables, key = self.training(variables, frozen, key)
    return Problem.loss(self, variables, batch, carry, key)

  def evaluate(self, variables: PyTree, data: PyTree) -> supervised.Metrics:
    """Returns the metrics of `Problem`."""
    return Problem.evaluate(self, self.served(variables, data), data)


@dataclasses.dataclass(frozen=True)
class Config(base.Comparison):
  """A comparison of networks that are trained to add numbers.

  Attributes:
    base: a `network.safetensors` of an earlier run of this program, which all
      arms continue from; "" for fresh networks.
    digits: number of digits of each number.
    draws: answers per prompt in evaluations.
    reward: "package.module:name" of a function that rewards answers instead of
      the check of sums, see `tasks.adaptation.named_rewards`.
    group: see `ArmConfig`, for all arms, also for the following ones.
    rollout_updates: see `ArmConfig`.
    policy: fields of `group_policy.Config`.
    warm_updates: see `ArmConfig`.
  """

  _: dataclasses.KW_ONLY
  base: str = ""
  digits: int = 1
  draws: int = 4
  reward: str = ""
  group: int = 8
  rollout_updates: int = 1
  policy: Mapping[str, Any] = arms.EMPTY
  warm_updates: int = 0

  def __post_init__(self):
    super().__post_init__()
    if self.base and self.network:
      expected = "none with a base, whose network it is"
      raise validate.error("network", dict(self.network), expected)
    if self.base and self.mesh != device_mesh.MeshConfig():
      expected = "none with a base: devices take seeds each"
      raise validate.error("mesh", self.mesh, expected)

  @property
  def subject(self) -> str:
    """Returns the task's name, for titles."""
    return f"sums of two numbers below {10**self.digits}"


class Source(NamedTuple):
  """Prompts, the network that all arms continue from, and a reward, if any."""

  sums: digit_sums.Sums
  adapted: adaptation.Base | None
  reward: named_rewards.Reward | None = None


def open_source(config: Config) -> Source:
  """Loads the network and the reward, which is tried on two correct answers.

  Raises:
    ValueError: if there is no such file or reward, the file has no network of
      bytes, or the reward does not return a finite number for each answer.
    OSError: if the file cannot be read.
  """
  sums, reward = digit_sums.Sums(config.digits), None
  if config.reward:
    reward = named_rewards.load(config.reward)
    prompts = sums.every()[:2]
    reward.score(prompts, *sums.answers(prompts))
  if not config.base:
    return Source(sums, None, reward)
  network, variables = network_file.load(config.base)
  size = getattr(network, "vocab_size", None)
  if size != digit_sums.VOCAB_SIZE:
    expected = f"one of {digit_sums.VOCAB_SIZE} tokens"
    raise validate.error("base", f"a network of {size}", expected)
  digest = initial_states.digest(variables)
  adapted = adaptation.Base(network, variables, digest=digest)
  return Source(sums, adapted, reward)


def _fit(arm, source, config):
  """Returns the arm with the network of the base."""
  del config
  if source.adapted is None:
    if arm.method != "full":
      raise validate.error("method", arm.method, "'full' without a base")
    return arm
  return adaptation.fit(arm, source.adapted)


def _problem(arm, source, config):
  """Returns the problem of an arm."""
  if source.adapted is None:
    return Problem(arm, source.sums, config.draws, source.reward)
  arguments = source.sums, config.draws, source.adapted, source.reward
  return AdaptedProblem(arm, *arguments)


def _of(task, source):
  """Returns the task, with a column for the user's reward if there is one."""
  if source.reward is None:
    return task
  columns = {"test_reward": "reward", **task.columns}
  return dataclasses.replace(task, metric="test_reward", columns=columns)


TASK = lines.Task(
  name="group_policy",
  arm=ArmConfig,
  problem=_problem,
  metric="success",
  better="higher",
  unit="answers",
  columns={"success": "right answers", "greedy": "right likeliest answers"},
  kind="",
  load=open_source,
  adapt=_of,
  fit=_fit,
  optimizer=adaptation.make_optimizer,
  examples=lambda arm, problem: arm.batch_size * arm.group,
)


def work(config: Config, program: experiment.Experiment) -> works.Work:
  """Returns the arms, and functions to load and save adapters of a base."""
  del program
  comparison = TASK.work(config)
  adapted = comparison.splits.adapted
  if adapted is None:
    return comparison

  def save(directory, name, variables, about):
    arm, place = comparison.arms[name].problem.arm, directory / name
    about = {**about, "base": config.base, "base_sha256": adapted.digest}
    arguments = config.base, arm, adapted, variables["params"], about
    served = adapted_files.write(place, *arguments)
    network_file.save(place / "network.safetensors", adapted.network, served)

  begin = functools.partial(
    adapted_files.begin, base=config.base, adapted=adapted
  )
  return dataclasses.replace(comparison, begin=begin, save=save)
