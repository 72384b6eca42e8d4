"""Arrays and recurrences of mixers for `benchmarks.beside_fla`.

Each function of a mixer takes "ours", for the operation that the mixer calls,
or "steps", for one element after the other, and the arrays of `draw` as x. It
returns outputs (1, time, heads, width), HGRN's (1, time, channels).
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import beside_fla
from jaxseq import recurrence
from jaxseq.mixers.matrix_states import jrt
from jaxseq.mixers.matrix_states import mesa as mesa_mixer

HEADS, FEATURES, QUERIES = 2, 16, 16
_FORMS = {"ours": recurrence, "steps": recurrence.reference}


def draw(elements: int, width: int = beside_fla.WIDTH, seed: int = 0):
  """Returns float32 arrays of all mixers, (1, elements, heads, ...), by name.

  NSA's are `many` queries, of `QUERIES` heads, with one head of keys; Based's
  the first `FEATURES` channels of queries and keys.
  """
  rng = np.random.default_rng(seed)

  def normal(*shape, heads=HEADS):
    return rng.normal(size=(1, elements, heads, *shape))

  def sigmoid(x):
    return 1 / (1 + np.exp(-x))

  def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)

  q, k, v = (normal(width) for _ in range(3))
  decay, beta = np.log(sigmoid(normal(width) + 2)), sigmoid(normal())
  constant = np.log1p(-(2.0 ** (-5 - np.arange(HEADS))))
  levels, key = math.ceil(math.log2(elements)) + 1, unit(normal(width))
  arrays = {"q": q, "k": k, "v": v, "unit": key, "read": 0.7 * key}
  arrays |= {"beta": beta, "rate": 2 * beta, "g": np.log(sigmoid(normal() + 2))}
  arrays |= {"decay": decay, "new": -np.expm1(decay), "w": unit(normal(width))}
  arrays |= {"many": normal(width, heads=QUERIES)}
  arrays |= {"k1": k[:, :, :1], "v1": v[:, :, :1]}
  arrays |= {"thin_q": q[..., :FEATURES], "thin_k": k[..., :FEATURES]}
  arrays |= {"flat_v": v.reshape(1, elements, -1)}
  arrays |= {"flat_decay": decay.reshape(1, elements, -1)}
  arrays |= {"constant": np.broadcast_to(constant, (1, elements, HEADS))}
  arrays |= {"scales": sigmoid(normal(levels))}
  arrays |= {"bonus": rng.normal(size=(HEADS, width))}
  arrays |= {"ridge": 1 + rng.random((HEADS, width))}
  for name in ("erase", "write"):
    arrays[name] = sigmoid(normal(width))
  for name in ("to_means", "to_chosen"):
    arrays[name] = sigmoid(normal(heads=QUERIES))
  return {name: x.astype(np.float32) for name, x in arrays.items()}


def _one_by_one(step, elements, state):
  """Outputs of a step over elements (batch, time, ...)."""

  def body(state, x):
    o, state = step(*x, state)
    return state, o

  elements = [jnp.moveaxis(x, 1, 0) for x in elements]
  _, o = jax.lax.scan(body, state, elements)
  return jnp.moveaxis(o, 0, 1)


def _of_one(scan, elements, state):
  """`_one_by_one` of a function of sequences, called with one element."""

  def step(*arguments):
    *x, state = arguments
    o, state = scan(*(z[:, None] for z in x), state)
    return o[:, 0], state

  return _one_by_one(step, elements, state)


def fox(form, x):
  batch, window, groups, width = x.k.shape

  def attend(q, k, v, g, state=None):
    return recurrence.window_attention(q, k, v, window, state, decay=g)

  elements = x.q, x.k, x.v, x.g
  if form == "ours":
    return attend(*elements)[0]
  keys = jnp.zeros((batch, window, groups, width))
  fades = jnp.zeros((batch, window, groups))
  state = recurrence.FadingWindowState(keys, keys, jnp.zeros(batch), fades)
  return _of_one(attend, elements, state)


def path_attention(form, x):
  batch, window, groups, width = x.k.shape
  state = recurrence.path_initial(
    (batch,), window, groups, groups, (width, width)
  )
  elements = x.q, x.k, x.v, x.w, x.rate, x.g
  if form == "ours":
    return recurrence.path_scan(*elements, state)[0]
  return _of_one(recurrence.path_scan, elements, state)


def nsa(form, x):
  batch, time, groups, width = x.k1.shape
  block = beside_fla.BLOCK
  sizes = recurrence.NativeSparse(block, beside_fla.SELECTED, 0, time)
  # The third gate is that of the window, which has no elements.
  gates = x.to_means, x.to_chosen, jnp.zeros_like(x.to_means)
  elements = x.many, x.k1, x.v1, jnp.stack(gates, axis=-1)
  if form == "ours":
    return recurrence.native_sparse_attention(*elements, sizes)[0]
  state = recurrence.native_sparse_initial(
    sizes, (batch,), groups, (width, width)
  )

  def step(q, k, v, gates, state):
    return recurrence.native_sparse_step(q, k, v, gates, sizes, state)

  return _one_by_one(step, elements, state)


def log_linear(form, x):
  arrays = x.q, x.k, x.v, x.g[..., None], x.scales
  if form == "ours":
    arrays = (jnp.moveaxis(z, 2, 1) for z in arrays)
    return jnp.moveaxis(recurrence.log_linear_scan(*arrays)[0], 1, 2)
  batch, _, heads, width = x.q.shape
  levels = x.scales.shape[-1]
  state = recurrence.log_linear_initial((batch, heads), levels, width, width)
  return _one_by_one(recurrence.log_linear_step, arrays, state)


def retention(form, x):
  q = x.q * x.q.shape[-1] ** -0.5
  scan = _FORMS[form].outer_scan_heads
  return scan(q, x.k, x.v, x.constant[..., None])[0]


def rwkv6(form, x):
  scan = _FORMS[form].outer_scan_heads
  o, _ = scan(x.q, x.k, x.v, x.decay, inclusive=False)
  return o + jnp.sum(x.q * x.bonus * x.k, axis=-1, keepdims=True) * x.v


def gsa(form, x):
  scan, s = _FORMS[form].outer_scan_heads, x.new
  slots = *s.shape[:2], s.shape[2] * s.shape[3], 1
  # As in the mixer: slots are heads, which share queries and keys.
  scores, _ = scan(x.q, x.k, s.reshape(slots), x.decay.reshape(slots))
  shares = jax.nn.softmax(scores.reshape(s.shape))
  return scan(shares, s, x.v, x.decay)[0]


def based(form, x):
  q, k = (jrt.taylor_features(z) for z in (x.thin_q, x.thin_k))
  v = jnp.concatenate([x.v, jnp.ones_like(x.v[..., :1])], axis=-1)
  o, _ = _FORMS[form].outer_scan_heads(q, k, v)
  return o[..., :-1] / (o[..., -1:] + 1e-6)


def hgrn(form, x):
  return _FORMS[form].linear_scan(jnp.exp(x.flat_decay), x.flat_v)[0]


def comba(form, x):
  beta = x.beta[..., None]
  q = x.q * x.q.shape[-1] ** -0.5
  elements = q, x.unit, beta * x.v, beta * x.read, -x.unit
  elements = (jnp.moveaxis(z, 2, 1) for z in (*elements, x.g[..., None]))
  return jnp.moveaxis(_FORMS[form].dplr_scan(*elements)[0], 1, 2)


def gdn2(form, x):
  q = x.q * x.q.shape[-1] ** -0.5
  elements = q, x.unit, x.write * x.v, x.erase * x.unit, x.decay
  if form == "ours":
    return recurrence.delta_scan_heads(*elements)[0]
  elements = (jnp.moveaxis(z, 2, 1) for z in elements)
  return jnp.moveaxis(recurrence.reference.delta_scan(*elements)[0], 1, 2)


def mesa(form, x, method="solve"):
  config = mesa_mixer.Config(beside_fla.WIDTH, method=method)
  batch, _, heads, width = x.k.shape
  zeros = jnp.zeros((batch, heads, width, width))
  weighted = x.beta[..., None] * x.unit
  elements = x.q, weighted, x.unit, x.v, x.g[..., None]
  if form == "ours":
    scanned = mesa_mixer._scan(
      config, *elements, x.ridge, zeros, zeros, reset=None
    )
    return scanned[0]

  def step(*arguments):
    *element, (H, G) = arguments
    o, H, G = mesa_mixer._step(config, *element, x.ridge, H, G)
    return o, (H, G)

  return _one_by_one(step, elements, (zeros, zeros))


mesa_cg = functools.partial(mesa, method="cg")
