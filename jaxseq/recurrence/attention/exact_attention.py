"""Exact softmax attention of all elements, on one device or over several."""

import jax

from jaxseq import validate
from jaxseq.recurrence.attention import _schemes
from jaxseq.recurrence.attention._schemes import blocks
from jaxseq.recurrence.averages import _softmax_state

SCHEMES = tuple(_schemes.SCHEMES)


def softmax_attention(
  q: jax.Array,
  k: jax.Array,
  v: jax.Array,
  *,
  axis: str | None = None,
  scheme: str = "ring",
  causal: bool = True,
  reset: jax.Array | None = None,
  init: _softmax_state.SoftmaxState | None = None,
  order: str = "contiguous",
) -> jax.Array:
  """Lets each element attend to all elements that it may see.

  o_t = sum_s softmax_s(q_t . k_s / sqrt(d)) v_s (Vaswani et al., "Attention is
  all you need", arXiv:1706.03762, eq. 1), with running averages over blocks of
  keys: the complete weights of a query are never stored. With `axis`, time is
  split into equal chunks over W devices, for use inside `jax.shard_map`, and
  arrays are those of this device.

  Args:
    q: (*batch, heads, time, d) queries, of a floating dtype.
    k: (*batch, groups, time, d) keys; `groups` divides heads, and heads /
      groups neighboring heads share a key.
    v: (*batch, groups, time, e) values.
    axis: name of the mesh axis over which time is split, or None.
    scheme: what devices exchange:

      gather: keys and values, to every device, in one all_gather of W * groups
        * time * (d + e) elements, which stay in memory (LASP-2H, Sun et al.,
        arXiv:2502.07563, section 3.4). Few if heads share them.
      ring: keys and values go round, W - 1 ppermutes of groups * time * (d + e)
        elements, each of which can overlap with work on the block before (Liu
        et al., "Ring Attention", arXiv:2310.01889). The gradient lets them go
        round again: no device ever stores those of more than two.
      ring_self_attention: keys go round, then values; 2 (W - 1) ppermutes, and
        whole rows of scores in memory (Li et al., arXiv:2105.13120, section
        3.2).
      token_ring: queries go one way, and averages straight home the other, in
        W - 1 ppermutes each (Wang et al., "TokenRing", arXiv:2412.20501).
      ulysses: four all_to_alls, from a split of time to one of the heads and
        back (Jacobs et al., "DeepSpeed Ulysses", arXiv:2309.14509, section 3).
        W has to divide the heads; heads of keys and values that it does not
        divide are repeated first.
    causal: whether queries see no later element.
    reset: (*batch, time) bool; True on the first element of a segment. Elements
      see only their own segment. The flags are gathered on every device, in
      another collective.
    init: averages of each query over keys that are in no device's `k`, such as
      those of a cache: m, u (*batch, heads, time) and w (*batch, heads, time,
      e).
    order: "contiguous", or "zigzag" if the sequence was reordered by
      `to_zigzag` before the split: all devices have equal work then.

  Returns:
    (*batch, heads, time, e) in the dtype of q; zeros if a query sees no key.
    Computed in float32 or wider.

  Raises:
    ValueError: if shapes, dtypes or options do not fit the above.
  """
  run = _schemes.SCHEMES[validate.choice("scheme", scheme, SCHEMES)]
  problem = blocks.prepare(q, k, v, axis, causal, reset, init, order)
  if axis is not None:
    return run(problem, axis)
  state = blocks.accumulate(
    problem.nothing, problem.q, problem.k, problem.v, problem.mask, 0, 0
  )
  state = state._replace(m=jax.lax.stop_gradient(state.m))
  return blocks.finish(problem, state)
