"""The recurrent Q-network: encoder, sequence model, values of all actions.

It has the interface of the actor-critic: its policy is epsilon-greedy, and its
value that of the best action. So it can replace an actor-critic as a player.
"""

from typing import NamedTuple

from flax import linen
import jax
import jax.numpy as jnp

from jaxseq import nn
from jaxseq.nn import distributions
from jaxseq.rl import networks
from jaxseq.rl.losses import exploration
from jaxseq.rl.losses import histogram
from jaxseq.rl.losses import td

Array = jax.Array

# The collection of variables that are not parameters: (), "epsilon".
EXPLORATION = "exploration"

# Gain of the last layers: initially all values are near 0.
_OUT_GAIN = 0.01


class EpsilonGreedy(NamedTuple):
  """The best action, or with probability epsilon a uniformly drawn one.

  Attributes:
    values: (..., n) action values, -inf for forbidden actions.
    epsilon: probability of a uniform draw, of a shape that broadcasts to (...).
    mask: (..., n) bool, the actions that are allowed; all if None.
    logits: (..., n, bins), logits of the histograms whose means are the values
      of allowed actions; None if values are predicted as numbers.
  """

  values: Array
  epsilon: Array
  mask: Array | None = None
  logits: Array | None = None

  def masked(self, mask: Array) -> "EpsilonGreedy":
    """Returns the policy over the actions that a mask (..., n) allows.

    If it allows no action, all are allowed.
    """
    values = distributions.allowed(mask, self.values)
    return self._replace(values=values, mask=~jnp.isneginf(values))

  def sample(self, key: Array) -> Array:
    """Draws actions: (...) int32."""
    return exploration.epsilon_greedy(key, self.values, self.epsilon, self.mask)

  def mode(self) -> Array:
    """Returns the best actions: (...) int32."""
    return exploration.greedy(self.values)

  def log_prob(self, action: Array) -> Array:
    """Returns the log-probabilities of actions (...): (...)."""
    n = self.values.shape[-1]
    if self.mask is not None:
      n = self.mask.sum(axis=-1)
    chance = self.epsilon / n
    best = (1 - self.epsilon) + chance
    log_prob = jnp.log(jnp.where(action == self.mode(), best, chance))
    if self.mask is None:
      return log_prob
    allowed = td.take_action(self.mask, action)
    return jnp.where(allowed, log_prob, -jnp.inf)


class QNetwork(networks.Recurrent):
  """Action values on top of an encoder and a memory.

  `variables["exploration"]["epsilon"]`, a () number, is the probability of
  exploring; 0 if it is missing.

  The hidden widths are `head_widths` of `config`; `actions` must be one choice.

  Attributes:
    dueling: whether the values are those of a state plus the advantages of
      the actions over their mean (Wang et al., arXiv:1511.06581, equation 9).
    support: bins of a histogram of each value, whose logits are predicted
      instead of the value; None for values as numbers.
  """

  dueling: bool = True
  support: histogram.Support | None = None

  @linen.nowrap
  def heads(self, x: Array) -> tuple[EpsilonGreedy, Array]:
    """Returns the policy, which holds all action values, and the best ones."""
    (n,) = self.actions.sizes
    options = {
      "widths": self.config.head_widths,
      "out_gain": _OUT_GAIN,
      "dtype": self.config.stack.dtype,
    }
    # One number, or the logits of one histogram, for each action.
    size = 1 if self.support is None else self.support.bins
    head = nn.CategoricalHead(num_actions=n * size, **options, name="advantage")
    outputs = head(x).logits.reshape(*x.shape[:-1], n, size)
    if self.dueling:
      head = nn.CategoricalHead(num_actions=size, **options, name="value")
      outputs = td.dueling(head(x).logits[..., None, :], outputs, axis=-2)
    values, logits = outputs[..., 0], None
    if self.support is not None:
      values, logits = histogram.mean(self.support, outputs), outputs
    epsilon = self.get_variable(EXPLORATION, "epsilon", jnp.float32(0))
    return EpsilonGreedy(values, epsilon, logits=logits), _best(values)

  @linen.nowrap
  def masked(
    self, policy: EpsilonGreedy, value: Array, mask: Array
  ) -> tuple[EpsilonGreedy, Array]:
    """Restricts the policy to allowed actions; the value is their largest."""
    policy = policy.masked(mask)
    return policy, _best(policy.values)


def _best(values: Array) -> Array:
  """Returns the largest of the values (..., n), with a gradient for one."""
  # The gradient of `max` divides by the number of maxima. If a compiler rounds
  # values differently in two places, that number is 0.
  return td.take_action(values, values.argmax(axis=-1))
