"""Mixture of experts: each element passes a few of many feed-forwards.

Shazeer et al., arXiv:1701.06538; with gated experts and no capacity limit, so
that no element is dropped, as in Mixtral (arXiv:2401.04088); with experts
shared by all elements, and sigmoid scores with a bias that only selects, as in
DeepSeek-V2 and V3 (arXiv:2405.04434, arXiv:2412.19437).
"""

from collections.abc import Callable
import dataclasses
from typing import Literal

from flax import linen
import jax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.nn import _expert_products
from jaxseq.nn import dense
from jaxseq.nn import feedforward


@dataclasses.dataclass(frozen=True)
class Routing:
  """Options of a mixture of experts.

  Attributes:
    experts: number of experts.
    active: number of experts that each element passes.
    score: how router logits become weights of the chosen experts: "softmax"
      over all experts, "softmax_top" over the chosen ones, or "sigmoid" of
      each.
    renormalize: whether the chosen experts' weights are divided by their sum.
    scale: factor on the weights.
    selection_bias: whether a parameter is added to the scores for choosing
      experts, and only for that; it gets no gradient.
    groups: number of groups of adjacent experts; only experts of the best
      groups are chosen. A group's score is the sum of its two best.
    active_groups: number of groups to choose experts from.
    shared_width: hidden width of a feed-forward that every element passes in
      addition; None for no such feed-forward.
    shared_gate: whether the sigmoid of one more logit multiplies its output.
    balance_weight: weight of `balance_loss` in the collection "losses", which
      the package's tasks add to their loss.
    kind: "swiglu", "geglu" or "relu2", a kind of `feedforward.FeedForward`;
      experts have no biases.
    bias: whether the shared feed-forward and the layers of `latent_width` have
      biases.
    latent_width: width of the experts' inputs and outputs, between two dense
      layers; the input's width if None.

  Raises:
    ValueError: a value is out of range.
  """

  experts: int = 8
  active: int = 2
  _: dataclasses.KW_ONLY
  score: Literal["softmax", "softmax_top", "sigmoid"] = "softmax"
  renormalize: bool = True
  scale: float = 1.0
  selection_bias: bool = False
  groups: int = 1
  active_groups: int = 1
  shared_width: int | None = None
  shared_gate: bool = False
  balance_weight: float = 0.0
  kind: Literal["swiglu", "geglu", "relu2"] = "swiglu"
  bias: bool = False
  latent_width: int | None = None

  def __post_init__(self):
    validate.literals(self)
    validate.fields(
      self,
      positive=("experts", "active", "groups", "active_groups"),
      optional=("shared_width", "latent_width"),
    )
    if self.experts % self.groups:
      expected = f"a divisor of experts = {self.experts}"
      raise validate.error("groups", self.groups, expected)
    validate.integer("active_groups", self.active_groups, 1, self.groups)
    most = self.experts // self.groups * self.active_groups
    validate.integer("active", self.active, 1, most)
    if self.active_groups < self.groups and self.experts == self.groups:
      expected = "at most half of the experts, to choose between groups"
      raise validate.error("groups", self.groups, expected)
    if self.shared_gate and self.shared_width is None:
      expected = "False without a shared_width"
      raise validate.error("shared_gate", True, expected)


def route(
  logits: jax.Array, routing: Routing, bias: jax.Array | None = None
) -> tuple[jax.Array, jax.Array]:
  """Chooses the experts of each element, and their weights.

  Args:
    logits: (..., experts), float32 or wider.
    routing: options.
    bias: (experts,), added to the scores for the choice only, or None.

  Returns:
    Numbers of the chosen experts (..., active), the best first, and their
    weights, of the same shape.
  """
  if routing.score == "sigmoid":
    scores = jax.nn.sigmoid(logits)
  else:
    scores = jax.nn.softmax(logits, axis=-1)
  merits = scores if bias is None else scores + jax.lax.stop_gradient(bias)
  if routing.active_groups < routing.groups:
    parts = merits.reshape(*merits.shape[:-1], routing.groups, -1)
    best = jnp.sum(jax.lax.top_k(parts, 2)[0], axis=-1)
    _, groups = jax.lax.top_k(best, routing.active_groups)
    open_ = jnp.any(groups[..., None] == jnp.arange(routing.groups), axis=-2)
    parts = jnp.where(open_[..., None], parts, -jnp.inf)
    merits = parts.reshape(merits.shape)
  _, chosen = jax.lax.top_k(merits, routing.active)
  weights = jnp.take_along_axis(scores, chosen, axis=-1)
  if routing.score == "softmax_top":
    picked = jnp.take_along_axis(logits, chosen, axis=-1)
    weights = jax.nn.softmax(picked, axis=-1)
  elif routing.renormalize:
    # Sigmoids may all be zero.
    total = jnp.sum(weights, axis=-1, keepdims=True)
    weights = weights / (total + jnp.finfo(weights.dtype).tiny)
  return chosen, routing.scale * weights


def balance_loss(
  logits: jax.Array, routing: Routing, mask: jax.Array | None = None
) -> jax.Array:
  """Returns the load-balancing loss, 1 if all experts are used equally.

  experts * sum_e f_e p_e, with f_e the share of choices that are expert e and
  p_e its mean probability (arXiv:2101.03961, equation 4).

  Args:
    logits: (..., experts), the router's.
    routing: options.
    mask: (...) bool, the elements that count; all do if None. If no element
      counts, the loss is 0.
  """
  chosen, _ = route(logits, routing)
  axes = tuple(range(logits.ndim - 1))
  used = jax.nn.one_hot(chosen, routing.experts, dtype=logits.dtype)
  mask_of_experts = None if mask is None else mask[..., None]
  each = None if mask is None else mask_of_experts[..., None]
  share = _mean(used, (*axes, logits.ndim - 1), each)
  mean = _mean(jax.nn.softmax(logits, axis=-1), axes, mask_of_experts)
  return routing.experts * jnp.sum(jax.lax.stop_gradient(share) * mean)


def _mean(x, axes, mask):
  """Returns the mean over the elements that count; 0 if there are none."""
  if mask is None:
    return jnp.mean(x, axis=axes)
  count = jnp.sum(jnp.broadcast_to(mask, x.shape), axis=axes, dtype=x.dtype)
  return jnp.sum(x, axis=axes, where=mask) / jnp.maximum(count, 1)


class Experts(linen.Module):
  """A mixture of gated feed-forwards.

  It has no forward-mode derivatives (`jax.jvp`) on CPUs, only gradients.

  Attributes:
    routing: options.
    width: hidden width of one expert.
    dtype: dtype of the activations; the router's logits are float32 or wider.
  """

  routing: Routing
  width: int
  dtype: jax.typing.DTypeLike = "float32"

  @linen.compact
  def __call__(
    self,
    x: jax.Array,
    train: bool = False,
    step: bool = False,
    mask: jax.Array | None = None,
  ) -> jax.Array:
    """Maps (..., n) to the same shape.

    Args:
      x: inputs.
      train: has no effect.
      step: has no effect.
      mask: (...) bool, the elements that count for `balance_loss`; all if None.
    """
    routing, n = self.routing, x.shape[-1]
    dtype = dense.activation_dtype(self.dtype, x)
    x = x.astype(dtype)
    logits = dense.Dense(
      routing.experts, use_bias=False, dtype=dtype, wide=True, name="router"
    )(x)
    bias = None
    if routing.selection_bias:
      zeros = linen.initializers.zeros_init()
      shape = (routing.experts,)
      bias = self.param("selection_bias", zeros, shape, jnp.float32)
    lecun = linen.initializers.lecun_normal(batch_axis=0)

    def weights(name, *shape):
      shape = routing.experts, *shape
      return self.param(name, lecun, shape, jnp.float32)

    def latent(width, name):
      return dense.Dense(width, use_bias=routing.bias, dtype=dtype, name=name)

    seen = x
    if routing.latent_width is not None:
      seen = latent(routing.latent_width, "latent_in")(x)
    inner = seen.shape[-1]
    gated = feedforward.KINDS[routing.kind].gated
    matrices = [
      weights(name, inner, self.width) for name in ("in", "gate")[: 1 + gated]
    ]
    matrices.append(weights("out", self.width, inner))
    chosen, shares = route(logits, routing, bias)
    if routing.balance_weight:
      add_loss(
        self,
        "balance",
        lambda: routing.balance_weight * balance_loss(logits, routing, mask),
      )
    flat = seen.reshape(-1, inner)
    y = _expert_products.mix(
      routing.kind,
      flat,
      chosen.reshape(flat.shape[0], -1),
      shares.reshape(flat.shape[0], -1),
      *matrices,
    )
    y = y.reshape(seen.shape)
    if routing.latent_width is not None:
      y = latent(n, "latent_out")(y)
    if routing.shared_width is not None:
      shared = feedforward.FeedForward(
        routing.kind,
        routing.shared_width,
        dtype=dtype,
        bias=routing.bias,
        name="shared",
      )(x)
      if routing.shared_gate:
        gate = dense.Dense(1, use_bias=False, dtype=dtype, name="shared_gate")(
          x
        )
        shared = linen.sigmoid(gate) * shared
      y = y + shared
    return y


def add_loss(
  module: linen.Module, name: str, compute: Callable[[], jax.Array]
) -> None:
  """Adds a loss to the module's collection "losses" if that is mutable.

  Args:
    module: the module, in its call.
    name: name of the loss within the module.
    compute: returns the loss, a scalar.
  """
  if module.is_mutable_collection("losses") and not module.is_initializing():
    module.sow("losses", name, compute(), jnp.add, lambda: jnp.zeros(()))
