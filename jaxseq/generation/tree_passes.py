"""One pass of a network over a tree of tokens, and the states after its nodes.

Every node's state is computed from its parent's, so that a recurrent network
reads drafts as one with a cache does. There are three ways, with the same
results to rounding:

- "levels": `step` level by level, the states of parents gathered. Any network
  can; the weights are read once for every level. It is the reference.
- "paths": every path from the root to a leaf is a row of one `apply` from the
  carried states, and the accepted tokens are read once more.
- "nodes": one `apply` of the network over all nodes, in which only the mixers
  know of the tree: those with a `tree` of their own read all nodes at once, and
  the others go level by level. Networks of this package can.
"""

import dataclasses
import functools
from typing import Any
from typing import NamedTuple

from flax import linen
import jax
from jax import lax
import jax.numpy as jnp

from jaxseq import mixers
from jaxseq import nn
from jaxseq import validate
from jaxseq.generation import _row_states
from jaxseq.nn import dense
from jaxseq.nn import mixer
from jaxseq.recurrence import tree as trees
from jaxseq.types import PyTree
from jaxseq.types import TokenNetwork

SCHEMES = ("auto", "nodes", "paths", "levels")


class Read(NamedTuple):
  """A tree that was read.

  Attributes:
    logits: (rows, nodes, vocab), for the tokens after the nodes.
    ids: (rows, nodes) the tokens.
    states: states before the tree, with a leading axis of rows.
    pending: values from which the states after the nodes are computed.
  """

  logits: jax.Array
  ids: jax.Array
  states: PyTree
  pending: PyTree


def choose_scheme(network: TokenNetwork, scheme: str) -> str:
  """Returns the scheme that "auto" stands for, or checks the given one.

  Raises:
    ValueError: if the scheme is unknown, or the network does not support it.
  """
  validate.choice("scheme", scheme, SCHEMES)
  ours = isinstance(network, nn.SequenceNetwork)
  if scheme == "nodes" and not ours:
    expected = "'paths' or 'levels' for networks other than a SequenceNetwork"
    raise validate.error("scheme", scheme, expected)
  if scheme == "auto":
    return "nodes" if ours else "levels"
  return scheme


def read(
  network: TokenNetwork,
  variables: PyTree,
  ids: jax.Array,
  states: PyTree,
  tree: trees.Tree,
  scheme: str = "auto",
) -> Read:
  """Reads a tree of tokens.

  Args:
    network: a `SequenceNetwork` of tokens that does not pool, or an object with
      the same `apply`.
    variables: of the network.
    ids: (rows, nodes) tokens.
    states: states before the tree, leaves (rows, ...).
    tree: the tree.
    scheme: one of `SCHEMES`; "auto" is "nodes" if the network supports it.

  Returns:
    The argument of `commit`.

  Raises:
    ValueError: if the scheme is unknown, or the network does not support it.
  """
  scheme = choose_scheme(network, scheme)
  pending = None
  if scheme == "levels":

    def step(states, tokens):
      arguments = variables, tokens, states
      logits, states = network.apply(*arguments, method="step")
      return states, logits

    logits, pending = trees.tree_fold(step, states, ids, tree)
  elif scheme == "paths":
    rows = trees.to_paths(ids, tree)
    before = trees.for_paths(states, tree)
    logits, _ = network.apply(variables, rows, before)
    logits = trees.from_paths(logits, tree)
  else:
    with linen.intercept_methods(functools.partial(_intercept, tree)):
      logits, pending = network.apply(variables, ids, states)
  return Read(logits, ids, states, pending)


def commit(
  network: TokenNetwork,
  variables: PyTree,
  result: Read,
  nodes: jax.Array,
  count: jax.Array,
  tree: trees.Tree,
  scheme: str = "auto",
) -> PyTree:
  """Returns the states after the accepted nodes.

  Args:
    network: as in `read`.
    variables: as in `read`.
    result: from `read`.
    nodes: (rows, depth) the accepted nodes, from the root on.
    count: (rows,) number of accepted nodes; if it is 0, the states do not
      change.
    tree: as in `read`.
    scheme: as in `read`.

  Returns:
    States, leaves (rows, ...).
  """
  scheme = choose_scheme(network, scheme)
  if scheme == "paths":
    tokens = jnp.take_along_axis(result.ids, nodes, axis=1)
    states = result.states
    for size in range(1, nodes.shape[1] + 1):
      wanted = count == size

      def reread(states, size=size, wanted=wanted):
        arguments = variables, tokens[:, :size], result.states
        return _row_states.where(wanted, network.apply(*arguments)[1], states)

      states = lax.cond(jnp.any(wanted), reread, lambda old: old, states)
    return states
  last = jnp.maximum(count - 1, 0)
  node = jnp.take_along_axis(nodes, last[:, None], axis=1)[:, 0]
  if scheme == "levels":
    states = trees.after_node(result.pending, node)
  else:
    stack = network.config.stack
    scanned = stack.scan_layers and stack.num_layers > 0

    def one(pending, old):
      after = functools.partial(_after, node=node)
      if scanned:
        after = jax.vmap(after, in_axes=1, out_axes=1)
      return after(pending, old)

    states = jax.tree.map(
      one, result.pending, result.states, is_leaf=_is_pending
    )
  return _row_states.where(count > 0, states, result.states)


@functools.partial(
  jax.tree_util.register_dataclass,
  data_fields=["residue"],
  meta_fields=["config", "tree"],
)
@dataclasses.dataclass(frozen=True)
class _Pending:
  """Parts from which a mixer's states after the nodes are computed."""

  # States after all nodes; or, with a tree, the result of the mixer's `tree`.
  residue: PyTree
  config: Any
  tree: trees.Tree | None


def _is_pending(leaf):
  return isinstance(leaf, _Pending)


def _after(pending, state, node):
  """Returns a mixer's state after one node of each row."""
  if pending.tree is None:
    return trees.after_node(pending.residue, node)
  module = mixers.module_of(pending.config)
  arguments = pending.residue, state, pending.tree, node
  return module.commit(pending.config, *arguments)


def _intercept(tree, following, arguments, keywords, context):
  """Replaces time by the tree when a mixer is called."""
  bound, called = context.module, context.method_name
  if not isinstance(bound, mixer.SequenceMixer):
    return following(*arguments, **keywords)
  if called != "__call__":
    return following(*arguments, **keywords)
  x, state, *_ = arguments
  shared = arguments[4] if len(arguments) > 4 else None
  module = mixer.functions_of(bound.config, state)
  if hasattr(module, "tree"):
    x = x.astype(dense.activation_dtype(bound.dtype, x))
    params = bound.variables["params"]
    result = module.tree(bound.config, params, x, state, tree, **keywords)
    if result is not NotImplemented:
      y, residue = result
      return y, _Pending(residue, bound.config, tree)

  def step(state, element):
    x, shared = element
    y, state, *shared = bound.step(x, state, None, shared, **keywords)
    return state, (y, *shared)

  (y, *above), after = trees.tree_fold(step, state, (x, shared), tree)
  return y, _Pending(after, bound.config, None), *above
