"""Causal multi-head softmax attention over a window, with a KV cache as state.

  o_t = sum_j softmax_j(q_t . k_j / sqrt(d_head)) v_j,   t - window <= j <= t

over the elements j of t's own episode. Vaswani et al., "Attention is all you
need", arXiv:1706.03762; rotary positions: Su et al., "RoFormer",
arXiv:2104.09864; heads that share keys and values: Ainslie et al., "GQA",
arXiv:2305.13245; norms of queries and keys: Henry et al., "Query-key
normalization for Transformers", arXiv:2010.04245; a gate on the heads' outputs:
Qiu et al., "Gated attention for large language models", arXiv:2505.06708; a
forget gate: Lin et al., "Forgetting Transformer", arXiv:2503.02130; positions
by distance: Dai et al., "Transformer-XL", arXiv:1901.02860, whose memory of
hidden states is a window of keys and values here. Both give the same numbers;
but if parameters change between segments, as in training, these keys are the
old ones, and no gradient of theirs reaches W_k and W_v. A query can also search
for a part of the elements in reach: Lee et al., "HiP", arXiv:2406.09827.

Up to `window` + 1 elements this is plain causal attention. In longer sequences
the oldest are dropped: the state has a fixed size. With `bidirectional` an
element sees all others of its episode, as in BERT, and there is no state; with
the option `blocks` of `apply` it sees all of its block, and there is a state.
"""

import dataclasses
import functools
from typing import Literal

import jax
import jax.numpy as jnp

from jaxseq import recurrence
from jaxseq.mixers import contract
from jaxseq.mixers import passes
from jaxseq.mixers import positions
from jaxseq.mixers.keys_and_values import _block_keys
from jaxseq.mixers.keys_and_values import _forget
from jaxseq.mixers.keys_and_values import _heads
from jaxseq.mixers.keys_and_values import _relative
from jaxseq.mixers.keys_and_values import _tree_bias
from jaxseq.mixers.keys_and_values import _whole_blocks
from jaxseq.mixers.keys_and_values import block_float
from jaxseq.recurrence.attention import hip
from jaxseq.recurrence.attention import window

State = recurrence.WindowState
ShiftState = _forget.ShiftState
BlockFloat = block_float.BlockFloat

TRAITS = contract.Traits(
  keeps="keys and values of the last elements, 1024 by default",
  schemes=window.SCHEMES,
  block=contract.TRANSFORMER_BLOCK,
)


@dataclasses.dataclass(frozen=True)
class Config(contract.Options):
  """Options of attention.

  Attributes:
    heads: number of heads.
    kv_heads: number of heads of keys and values, a divisor of `heads`; `heads`
      if None. Neighboring heads share them.
    d_head: width of a head; d_model / heads, rounded up to an even number, if
      None.
    window: number of elements that an element sees beside itself. The state
      holds that many keys and values: 8 * window * kv_heads * d_head bytes in
      float32, half a megabyte at the default and d_model = 64.
    positions: "rotary"; "relative", by distance as in Transformer-XL, whose
      memory of past segments the window is; or "none" for no positions.
    rotary_base: the slowest rotary frequency is about 1 / rotary_base, and so
      is that of the waves of "relative" positions.
    rotary_fraction: share of a head's channels that are rotated, the first
      ones; the others have no position.
    qkv_bias: whether queries, keys, values and a gate have biases.
    output_bias: whether the output has one.
    qk_norm: an RMS norm of queries and of keys before the rotation: over each
      "head", with factors that heads share; over the whole "width" of all
      heads; over "each_head", with separate factors; or "none".
    eps: added to the mean square in these norms.
    scale: factor on the products of queries and keys; 1 / sqrt(d_head) if None.
    gate: factor on the heads' outputs, "none" (1), or "sigmoid" or "silu" of
      W_g x.
    output_norm: whether each head has an RMS norm before this gate, with
      separate factors.
    output_eps: added to the mean square in that norm.
    forget_gate: decay of all earlier elements, for each head and element:
      "none"; "full", with the logarithm logsigmoid(W_f x + b_f); "bias_only",
      the same without W_f; or "fixed", exp(-1 / T), which is not learned.
    decay_times: the shortest and the longest T of "fixed" heads; the others are
      between them at equal ratios. The initial ones for "bias_only", and for
      "full" if x is 0. For the latter None is the paper's: b_f = 0.
    key_shift: whether keys are mixed with those of the previous element, by a
      share of sigmoid(W_s x) for each head, before their norm.
    value_shift: the same for values.
    select: the elements in reach that a query of a head sees: "all", or those
      that "hip" finds, by a search for keys with large products with it, and
      near ones.
    hip_keys: number of keys that the search keeps, a multiple of `hip_block`.
      With at least as many as are in reach, this is attention to all.
    hip_block: number of neighboring keys that it keeps or drops together;
      counted from the first element of the episode.
    near: number of elements before a query that are always visible.
    sinks: first elements of an episode that are always visible, while in reach.
    representative: the keys of an interval that the search scores, those at its
      "center" or its "first".
    key_format: a `BlockFloat`, or a mapping of its fields, for keys that are
      rounded to it before any query sees them and stored in few bits; None for
      unrounded keys. Gradients ignore the rounding; stored keys have no
      gradient, so none reaches the keys of earlier calls.
    bidirectional: whether elements see all of their episode, later elements
      too, and `window` has no effect; there is no `step` then, and no state.
    tree_levels: levels of clusters of the elements, if heads have a bias by the
      distance of elements in the tree of clusters (see the option `clusters` of
      `apply`; Behrouz et al., arXiv:2411.15671); 0 for no bias. Only with
      `bidirectional`.
  """

  heads: int = 4
  kv_heads: int | None = None
  d_head: int | None = None
  window: int = 1024
  positions: Literal["rotary", "relative", "none"] = "rotary"
  rotary_base: float = 10000.0
  rotary_fraction: float = 1.0
  qkv_bias: bool = False
  output_bias: bool = False
  qk_norm: Literal["none", "head", "width", "each_head"] = "none"
  eps: float = 1e-6
  scale: float | None = None
  gate: Literal["none", "sigmoid", "silu"] = "none"
  output_norm: bool = False
  output_eps: float = 1e-6
  forget_gate: Literal["none", "full", "bias_only", "fixed"] = "none"
  decay_times: tuple[float, float] | None = None
  key_shift: bool = False
  value_shift: bool = False
  select: Literal["all", "hip"] = "all"
  hip_keys: int = 64
  hip_block: int = 2
  near: contract.FromZero = 32
  sinks: contract.FromZero = 0
  representative: Literal["center", "first"] = "center"
  key_format: block_float.BlockFloat | None = None
  bidirectional: bool = False
  tree_levels: contract.FromZero = 0

  def __post_init__(self):
    super().__post_init__()
    contract.divisor("kv_heads", self.groups, heads=self.heads)
    if self.rotary_fraction > 1:
      expected = "a number above 0 and at most 1"
      raise contract.error("rotary_fraction", self.rotary_fraction, expected)
    if self.positions == "relative" and self.d_model % 2:
      expected = "an even number with positions = 'relative'"
      raise contract.error("d_model", self.d_model, expected)
    whole = self.turned == self.head_width
    name = "d_head" if whole else "int(rotary_fraction * d_head)"
    positions.check_rotary(self, name, self.turned)
    contract.multiple("hip_keys", self.hip_keys, hip_block=self.hip_block)
    if self.select == "hip" and self.positions == "relative":
      expected = "'rotary' or 'none' with select = 'hip'"
      raise contract.error("positions", self.positions, expected)

    object.__setattr__(self, "key_format", _block_keys.parse(self))
    one_way = self.select != "all" or self.key_format or False
    if self.bidirectional and (one_way or self.positions == "relative"):
      expected = "False with select, key_format or 'relative' positions"
      raise contract.error("bidirectional", True, expected)
    if self.tree_levels and not self.bidirectional:
      expected = "0 without bidirectional"
      raise contract.error("tree_levels", self.tree_levels, expected)
    _forget.check(self)

  @property
  def groups(self) -> int:
    """Number of heads of keys and values."""
    return self.kv_heads or self.heads

  @property
  def head_width(self) -> int:
    """Width of a head."""
    return _heads.width(self)

  @property
  def search(self) -> hip.Hip | None:
    """Options of the search for keys; None without one."""
    if self.select == "all":
      return None
    options = self.hip_keys, self.hip_block, self.near, self.sinks
    return hip.Hip(*options, self.representative)

  @property
  def turned(self) -> int:
    """Channels of a head that rotary positions turn."""
    return int(self.rotary_fraction * self.head_width)


@contract.init
def init(key: jax.Array, config: Config) -> contract.Params:
  """Draws the parameters: LeCun-normal matrices, biases 0.

  Returns:
    A dict of float32 arrays:
      W_q: (d_model, heads * d_head).
      W_k, W_v: (d_model, kv_heads * d_head).
      W_o: (heads * d_head, d_model).
      W_g: (d_model, heads * d_head), if there is a gate.
      W_q_bias, W_k_bias, W_v_bias, W_g_bias: as many as the matrix has columns,
        if qkv_bias; W_o_bias in the same way, if output_bias.
      q_norm, k_norm: (d_head,), or as many as the columns of W_q and W_k, ones,
        if there is a qk_norm; o_norm: (heads * d_head,), ones, if output_norm.
      W_f: (d_model, heads), b_f: (heads,), with a forget_gate.
      W_k_shift, W_v_shift: (d_model, kv_heads), with shifts.
      W_r: (d_model, heads * d_head), content_bias, distance_bias: (heads,
        d_head), normal, if positions are "relative".
      tree_bias: (heads, tree_levels + 1), zeros, if there are such levels.
  """
  draw = contract.Draws(key, "q k v o")
  inner = config.heads * config.head_width
  shared = config.groups * config.head_width
  params = {
    "W_q": draw("q", config.d_model, inner),
    "W_k": draw("k", config.d_model, shared),
    "W_v": draw("v", config.d_model, shared),
    "W_o": draw("o", inner, config.d_model),
  }
  if config.qk_norm != "none":
    for name, width in (("q", inner), ("k", shared)):
      width = config.head_width if config.qk_norm == "head" else width
      params[f"{name}_norm"] = contract.ones(width)
  if config.gate != "none":
    # From a separate key: other parameters do not depend on the gate.
    lecun = jax.nn.initializers.lecun_normal()
    gate_key = jax.random.fold_in(key, 4)
    params["W_g"] = lecun(gate_key, (config.d_model, inner), jnp.float32)
  if config.positions == "relative":
    params |= _relative.init(jax.random.fold_in(key, 5), config)
  if config.output_norm:
    params["o_norm"] = contract.ones(inner)
  params |= _forget.init(jax.random.fold_in(key, 6), config)
  if config.tree_levels:
    params["tree_bias"] = contract.zeros(config.heads, config.tree_levels + 1)
  names = [
    f"W_{n}" for n in "qkvg" * config.qkv_bias + "o" * config.output_bias
  ]
  return params | contract.biases(params, *(n for n in names if n in params))


@contract.initial_state
def initial_state(config, batch_shape=(), dtype=jnp.float32):
  """Returns the state of a fresh sequence: no elements.

  Keys and values (*batch, window, kv_heads, d_head), and their number; with a
  `key_format` keys are mantissas and exponents, int8. With a forget gate there
  are fades (*batch, window, heads), and with shifts it is a `ShiftState`. The
  state is empty if the elements see all of their episode.
  """
  if config.key_format is not None:
    window = _block_keys.initial(config, batch_shape, dtype)
  else:
    count = 0 if config.bidirectional else config.window
    window = _heads.window(config, config.groups, count, batch_shape, dtype)
  return _forget.initial(config, window, dtype)


@contract.apply(Config, init, initial_state, fresh=False)
def apply(
  config,
  params,
  x,
  state=None,
  reset=None,
  *,
  axis=None,
  scheme="halo",
  mask=None,
  clusters=None,
  blocks=None,
):
  """Runs attention over a sequence; the work grows with time * window.

  Options:
    scheme: exchange between devices: "halo", in which each receives the
      `window` keys and values before its own; or, if all elements together are
      at most `window` + 1, a scheme of `recurrence.softmax_attention`.
    mask: (*batch, time) bool, False in the padding at the end of a row, which
      bidirectional attention leaves out; causal attention never sees it.
    clusters: (*batch, time, tree_levels) integers, the cluster of each element
      at each level, the smallest first.
    blocks: sizes of consecutive blocks: elements see all of their own block,
      later elements in it, too, and all elements before it (arXiv:2404.02905,
      whose blocks are scales); None for earlier elements only. All pairs of
      elements are in memory. Only without resets, `axis`, `mask`, "relative"
      positions and a search for keys.
  """
  attend = recurrence.window_attention
  if blocks is not None:
    sizes = _whole_blocks.check(config, blocks, x, reset, axis, mask)
    attend = functools.partial(_whole_blocks.attend, sizes=sizes)
  if config.bidirectional:
    contract.check_mask(mask, x)
    o = _both_ways(config, params, x, _with_ends(reset, mask), clusters)
    o = _heads.gated(config, params, x, o)
    state = initial_state(config, x.shape[:-2], contract.wide_dtype(x))
    return contract.project(params, "W_o", o), state
  options = {"reset": reset, "axis": axis, "scheme": scheme}
  o, state = _attended(config, params, x, state, attend, **options)
  return contract.project(params, "W_o", o), state


def weights(
  config: Config,
  params: contract.Params,
  x: jax.Array,
  mask: jax.Array | None = None,
  *,
  reset: jax.Array | None = None,
  clusters: jax.Array | None = None,
) -> jax.Array:
  """Returns the attention weights of the elements, from a fresh state.

  Computed as the attention outputs for one-hot values of the elements, so that
  it is valid with all options.

  Args:
    config: options.
    params: from `init`.
    x: (*batch, time, d_model), as in `apply`.
    mask: (*batch, time) bool, False in the padding at the end of a row, or
      None.
    reset: as in `apply`.
    clusters: as in `apply`.

  Returns:
    (*batch, heads, time, time): rows are queries and sum to 1; rows and columns
    of the padding are 0.
  """
  contract.check_mask(mask, x)
  time, width = x.shape[-2], config.head_width
  count = -(-time // width)
  each = jnp.eye(time, count * width, dtype=x.dtype)
  each = each.reshape(time, 1, count, width)

  def one(values):
    values = jnp.broadcast_to(values, (*x.shape[:-1], config.groups, width))
    if config.bidirectional:
      episodes = _with_ends(reset, mask)
      return _both_ways(config, params, x, episodes, clusters, values)
    return _one_way(config, params, x, None, values=values, reset=reset)[0]

  maps = jax.vmap(one, in_axes=2, out_axes=-2)(each)
  maps = maps.reshape(*maps.shape[:-2], -1)[..., :time]
  maps = jnp.moveaxis(maps, -2, -3)
  if mask is None:
    return maps
  pairs = mask[..., None, :, None] & mask[..., None, None, :]
  return jnp.where(pairs, maps, 0)


def _both_ways(config, params, x, reset, clusters, values=None):
  """Outputs of bidirectional heads, optionally for other values."""
  q, k, v = _heads.normed(config, params, _heads.project(params, x))
  q = _heads.scaled(config, q)
  turn = _heads.turning(config, config.turned)
  if turn is not None:
    q, k = (turn(z, jnp.arange(x.shape[-2])) for z in (q, k))
  v = v if values is None else values
  q, k, v = (jnp.moveaxis(z, -2, -3) for z in (q, k, v))
  if config.tree_levels:
    _tree_bias.check(config, clusters, x)
    o = _tree_bias.attend(q, k, v, _tree_bias.bias(params, clusters), reset)
  else:
    o = recurrence.softmax_attention(q, k, v, causal=False, reset=reset)
  return jnp.moveaxis(o, -3, -2)


def _with_ends(reset, mask):
  """Returns resets, with one at the first padding element."""
  if mask is None:
    return reset
  before = jnp.pad(mask, [(0, 0)] * (mask.ndim - 1) + [(1, 0)])[..., :-1]
  ends = before & ~mask
  return ends if reset is None else reset | ends


def _attended(config, params, x, state, attend, **options):
  """Returns the heads' outputs, concatenated, and the result of `attend`."""
  o, state = _one_way(config, params, x, state, attend, **options)
  return _heads.gated(config, params, x, o), state


def _one_way(
  config,
  params,
  x,
  state,
  attend=recurrence.window_attention,
  values=None,
  **options,
):
  """Returns heads (..., heads, d_head), perhaps of other values, and state."""
  projected, lasts = _heads.project(params, x), None
  if config.key_shift or config.value_shift:
    flags = (options.get(name) for name in ("reset", "axis"))
    projected, lasts = _forget.shift(params, x, projected, state, *flags)
    state = None if state is None else state.window
  q, k, v = _heads.normed(config, params, projected)
  v = v if values is None else values
  keys = None
  if config.key_format is not None:
    keys = _block_keys.Format(config, params)
    k, state = keys.rounded(k), keys.decoded(state, k.dtype)
  options["search"] = config.search
  options["decay"] = _forget.decays(config, params, x)
  if config.positions == "relative":
    q, p = _relative.queries(params, q)
    table = _relative.table(config, params, q.dtype)
    options["distances"] = _heads.scaled(config, p), table
  q = _heads.scaled(config, q)
  embed = _heads.turning(config, config.turned)
  o, state = attend(q, k, v, config.window, state, embed=embed, **options)
  state = contract.cast(state, contract.wide_dtype(x))
  if keys is not None:
    state = keys.encoded(state)
  if lasts is not None:
    state = ShiftState(state, *contract.cast(lasts, contract.wide_dtype(x)))
  return o, state


step = passes.step_by(Config, init, initial_state, apply)


def tree(
  config: Config,
  params: contract.Params,
  x: jax.Array,
  state: State,
  nodes: recurrence.Tree,
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
  """Consumes a tree of elements, x (*batch, nodes, d_model).

  Returns:
    y of x's shape, and the nodes' keys and values, for `commit`; NotImplemented
    with "relative" positions, a search for keys, keys in another format, a
    forget gate or shifts, which run level by level.
  """
  whole = config.select == "all" and config.key_format is None
  whole = whole and config.forget_gate == "none"
  whole = whole and not (config.key_shift or config.value_shift)
  if config.positions == "relative" or not whole:
    return NotImplemented

  def attend(q, k, v, window, init, *, embed, **unused):
    del unused  # They are not supported here.
    arguments = q, k, v, window, init, nodes
    o = recurrence.tree_window_attention(*arguments, embed=embed)
    return o, (k, v)

  o, residue = _attended(config, params, x, state, attend)
  return contract.project(params, "W_o", o), residue


def commit(
  config: Config,
  residue: tuple[jax.Array, jax.Array],
  state: State,
  nodes: recurrence.Tree,
  node: jax.Array,
) -> State:
  """Returns the state after one node (*batch,) of each row of a tree."""
  del config
  return recurrence.window_after(*residue, state, nodes, node)
