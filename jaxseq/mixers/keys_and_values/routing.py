"""Routing attention: heads that attend within clusters of elements.

  c_t = argmax_c mu_c . LayerNorm(q_t)
  o_t = sum_j softmax_j(q_t . k_j / sqrt(d_head)) v_j

over the last `window` elements j of t's cluster in its episode, including t;
`local_heads` of the heads attend to the last `window` elements of all instead.
Roy, Saffar, Vaswani and Grangier, "Efficient content-based sparse attention
with Routing Transformers", arXiv:2003.05997, whose clusters select their best
elements of a whole sequence, so that later ones replace earlier ones: here
clusters take their elements in order.

Outputs give the centroids no gradient. `auxiliary_loss` does, for training
without additional code; running means can replace it, as published:

    counts, sums = routing.statistics(config, params, x)
    averages, centroids = routing.running_means(averages, counts, sums)
    params = params | {"centroids": centroids}
"""

import dataclasses
import math
from typing import Annotated
from typing import Literal
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq import _serialization
from jaxseq import recurrence
from jaxseq.mixers import contract
from jaxseq.mixers import head_parts
from jaxseq.mixers import positions
from jaxseq.mixers.keys_and_values import _centroids
from jaxseq.mixers.keys_and_values import _heads

Averages = _centroids.Averages
initial_averages = _centroids.initial_averages
running_means = _centroids.running_means

TRAITS = contract.Traits(
  keeps="keys and values of the last 32 elements, and of the last 32 of each "
  "of 6 clusters",
  block=contract.TRANSFORMER_BLOCK,
)


@dataclasses.dataclass(frozen=True)
class Config(contract.Options):
  """Options of routing attention.

  Attributes:
    heads: number of heads.
    d_head: width of a head; d_model / heads, rounded up to an even number, if
      None.
    window: number of elements that an element sees, including itself: of its
      cluster, or of all in local heads.
    clusters: number of clusters of a head; the root of `window`, rounded, if
      None.
    local_heads: number of heads, the first ones, that attend to near elements;
      half of all, rounded down, if None.
    positions: of local heads, "rotary" or "none"; the others have none.
    rotary_base: the slowest rotary frequency is about 1 / rotary_base.
    commitment: weight, in `auxiliary_loss`, of the queries' term, which moves
      them to their centroids, relative to that of the centroids, which is 1.
  """

  heads: int = 4
  d_head: int | None = None
  window: Annotated[int, 2] = 32
  clusters: int | None = None
  local_heads: contract.FromZero | None = None
  positions: Literal["rotary", "none"] = "rotary"
  rotary_base: float = 10000.0
  commitment: contract.NotNegative = 1e-4

  def __post_init__(self):
    super().__post_init__()
    if self.near >= self.heads:
      expected = f"fewer than heads = {self.heads}: attention is without"
      raise contract.error("local_heads", self.local_heads, expected)
    positions.check_rotary(self, "d_head", self.head_width)

  @property
  def head_width(self) -> int:
    """Width of a head."""
    return _heads.width(self)

  @property
  def near(self) -> int:
    """Number of local heads."""
    return self.heads // 2 if self.local_heads is None else self.local_heads

  @property
  def count(self) -> int:
    """Number of clusters of a head."""
    return self.clusters or round(math.sqrt(self.window))


@_serialization.exported("jaxseq.mixers.routing.State")
class State(NamedTuple):
  """State of routing attention.

  Attributes:
    local: the last elements, of local heads; None without local heads.
    routed: the last elements of each cluster, of the other heads.
  """

  local: recurrence.WindowState | None
  routed: recurrence.ClusterState


@contract.init
def init(key: jax.Array, config: Config) -> contract.Params:
  """Draws the parameters: LeCun-normal matrices, centroids of length 1.

  Returns:
    A dict of float32 arrays:
      W_q, W_k, W_v: (d_model, heads * d_head), local heads first.
      W_o: (heads * d_head, d_model).
      centroids: (heads - local_heads, clusters, d_head).
  """
  draw = contract.Draws(key, "W_q W_k W_v W_o centroids")
  inner = config.heads * config.head_width
  params = {name: draw(name, config.d_model, inner) for name in _PROJECTIONS}
  params["W_o"] = draw("W_o", inner, config.d_model)
  shape = (config.heads - config.near, config.count, config.head_width)
  centroids = jax.random.normal(draw.keys["centroids"], shape, jnp.float32)
  return params | {"centroids": _centroids.unit(centroids)}


_PROJECTIONS = ("W_q", "W_k", "W_v")


@contract.initial_state
def initial_state(config, batch_shape=(), dtype=jnp.float32):
  """Returns the state of a fresh sequence: no elements."""
  near, width, local = config.near, config.head_width, None
  if near:
    local = _heads.window(config, near, config.window - 1, batch_shape, dtype)
  sizes = config.heads - near, config.count, config.window, width
  return State(local, recurrence.cluster_initial(batch_shape, *sizes, dtype))


@contract.apply(Config, init, initial_state)
def apply(config, params, x, state=None, reset=None, *, axis=None):
  """Runs over a sequence; the work grows with time * window."""
  q, k, v = _projected(config, params, x)
  outputs, local = _local(config, (q, k, v), state.local, reset, axis)
  q, k, v = (z[..., config.near :, :] for z in (q, k, v))
  o, routed = recurrence.cluster_attention(
    *(q, k, v, clusters(params, q)), state.routed, reset=reset, axis=axis
  )
  return _output(params, x, [*outputs, o], State(local, routed))


@contract.step(Config, init, initial_state)
def step(config, params, x, state, reset=None):
  """Runs over one element, which reads one cluster of each head."""
  q, k, v = _projected(config, params, x)
  elements = [z[..., None, :, :] for z in (q, k, v)]
  flags = None if reset is None else reset[..., None]
  outputs, local = _local(config, elements, state.local, flags, None)
  q, k, v = (z[..., config.near :, :] for z in (q, k, v))
  o, routed = recurrence.cluster_step(
    *(q, k, v, clusters(params, q)), state.routed, reset=reset
  )
  outputs = [z[..., 0, :, :] for z in outputs]
  return _output(params, x, [*outputs, o], State(local, routed))


def _normed(q):
  """Normalizes queries without factors: to the length sqrt(d)."""
  return head_parts.standardized(q, 1e-6)


def clusters(params: contract.Params, q: jax.Array) -> jax.Array:
  """Returns the cluster of each query; among equals, the lower number.

  Args:
    params: with centroids (heads, clusters, d_head), of any length.
    q: (..., heads, d_head).

  Returns:
    (..., heads) int32.
  """
  q = lax.stop_gradient(contract.pointwise(_normed, q))
  mu = lax.stop_gradient(_centroids.unit(params["centroids"])).astype(q.dtype)
  scores = jnp.einsum(
    "...hd,hcd->...hc", q, mu, preferred_element_type=contract.wide_dtype(q)
  )
  return jnp.argmax(scores, axis=-1).astype(jnp.int32)


def statistics(
  config: Config, params: contract.Params, x: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Returns the statistics of a batch for running means.

  Args:
    config: options.
    params: from `init`.
    x: (..., d_model), the layer's inputs.

  Returns:
    The number of queries in each cluster (heads, clusters), and the sum of
    their layer norms (heads, clusters, d_head), without gradient.
  """
  q = lax.stop_gradient(_queries(config, params, x))
  number = clusters(params, q)
  q = contract.cast(_normed(q), contract.wide_dtype(x))
  member = jax.nn.one_hot(number, config.count, dtype=q.dtype)
  member = member.reshape(-1, *member.shape[-2:])
  q = q.reshape(-1, *q.shape[-2:])
  return jnp.sum(member, axis=0), jnp.einsum("nhc,nhd->hcd", member, q)


def auxiliary_loss(
  config: Config,
  params: contract.Params,
  x: jax.Array,
  mask: jax.Array | None = None,
) -> jax.Array:
  """Returns the auxiliary loss of one layer.

  The mean square distance of queries, layer-normed and of length 1, from the
  centroids of their clusters, with a gradient for the centroids, and
  `commitment` times the same, with a gradient for the queries.
  `nn.SequenceMixer` adds it to the collection "losses" if that is mutable.

  Args:
    config: options.
    params: from `init`.
    x: (..., d_model), the layer's inputs.
    mask: (...) bool, False for padding, which does not count; or None.

  Returns:
    A scalar, float32 or wider.
  """
  q = _queries(config, params, x)
  number = clusters(params, q)
  wide = contract.wide_dtype(x)
  q = _centroids.unit(_normed(q.astype(wide)))
  mu = _centroids.unit(params["centroids"].astype(wide))
  heads = jnp.arange(mu.shape[0])
  nearest = mu[heads, number]

  def mean(square):
    if mask is None:
      return jnp.mean(square)
    axes = tuple(range(square.ndim - 1))
    return jnp.mean(contract.masked_mean(square, mask[..., None], axes))

  of_centroids = mean((lax.stop_gradient(q) - nearest) ** 2)
  of_queries = mean((q - lax.stop_gradient(nearest)) ** 2)
  return of_centroids + config.commitment * of_queries


def _projected(config, params, x):
  """Queries, keys and values (..., heads, d_head)."""
  projected = (contract.project(params, name, x) for name in _PROJECTIONS)
  return [head_parts.split(y, config.heads) for y in projected]


def _queries(config, params, x):
  """Queries of the heads with clusters."""
  q = head_parts.split(contract.project(params, "W_q", x), config.heads)
  return q[..., config.near :, :]


def _local(config, elements, state, reset, axis):
  """A list of the local heads' outputs, if there are any, and their state."""
  if not config.near:
    return [], state
  o, state = recurrence.window_attention(
    *(z[..., : config.near, :] for z in elements),
    config.window - 1,
    state,
    reset=reset,
    embed=_heads.turning(config),
    axis=axis,
  )
  return [o], state


def _output(params, x, outputs, state):
  o = jnp.concatenate(outputs, axis=-2)
  state = contract.cast(state, contract.wide_dtype(x))
  y = contract.project(params, "W_o", o.reshape(*x.shape[:-1], -1))
  return y, state
