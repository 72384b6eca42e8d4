"""Training the encoder ahead of the decoder.

He et al., "Lagging Inference Networks and Posterior Collapse in Variational
Autoencoders", arXiv:1901.05534: at first the encoder gets many updates for each
of the decoder, so that q(z|x) does not lag behind the true posterior. Here an
inner loop ends when the mutual information on fixed windows has stopped rising,
looked at every 10 updates, or after 100 updates; then all parameters get one
update together. When the information has not risen over 5 such rounds, ordinary
training follows until the end. The paper looks at the loss within a round and
at the information once an epoch; the patience is ours.

All of it is a state of a few numbers: updates are alike in cost and number, so
that runs with and without it have the same budget.
"""

from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp
import optax

from jaxseq.dts import autoencoder
from jaxseq.dts import estimators
from jaxseq.training import optimizers
from jaxseq.types import PyTree

CHECK_EVERY, MAX_INNER, PATIENCE = 10, 100, 5

_ENCODER = optimizers.Group("encoder", r"(^|/)encoder(/|$)")


class State(NamedTuple):
  """State of the rounds; all ().

  Attributes:
    inner: updates of the encoder alone in this round, int32.
    frozen: whether the next update is of the encoder alone.
    last: information at the last look in this round, nats.
    best: highest information at the end of a round.
    stale: rounds since then, int32.
  """

  inner: jax.Array
  frozen: jax.Array
  last: jax.Array
  best: jax.Array
  stale: jax.Array


def initial() -> State:
  """Returns the state before the first update."""
  return State(
    inner=jnp.zeros((), jnp.int32),
    frozen=jnp.ones((), bool),
    last=jnp.full((), -jnp.inf),
    best=jnp.full((), -jnp.inf),
    stale=jnp.zeros((), jnp.int32),
  )


def freeze_decoder(params: PyTree, state: State) -> PyTree:
  """Stops all gradients but the encoder's in an update of the encoder alone."""
  labels = optimizers.path_labels(params, (_ENCODER,), no_decay=None)

  def freeze(label, x):
    if label == _ENCODER.name:
      return x
    return jnp.where(state.frozen, lax.stop_gradient(x), x)

  return jax.tree.map(freeze, labels, params)


def advance(
  state: State, vae: autoencoder.VAE, variables: PyTree, watched: PyTree
) -> State:
  """Returns the state after an update, by the information on some windows."""

  def information():
    mu, logvar = vae.apply(
      variables, watched.inputs, watched.lengths, method="encode"
    )
    z = autoencoder.sample(jax.random.key(0), mu, logvar)
    return estimators.mi_agg(z, mu, logvar)

  inner = state.inner + 1
  look = state.frozen & (inner % CHECK_EVERY == 0)
  value = lax.cond(look, information, lambda: state.last)
  risen = value > state.last
  ends = state.frozen & look & (~risen | (inner >= MAX_INNER))
  better = value > state.best
  stale = jnp.where(ends, jnp.where(better, 0, state.stale + 1), state.stale)
  # The update after the end of a round is everybody's; the next round follows,
  # if there is one.
  again = ~state.frozen & (stale < PATIENCE)
  return State(
    inner=jnp.where(ends | ~state.frozen, 0, inner),
    frozen=jnp.where(state.frozen, ~ends, again),
    last=jnp.where(ends, -jnp.inf, value),
    best=jnp.where(ends & better, value, state.best),
    stale=stale,
  )


def still_without_gradient(
  optimizer: optax.GradientTransformation,
) -> optax.GradientTransformation:
  """Makes an optimizer that does nothing where no parameter has a gradient."""
  # Momentum would move the decoder in updates of the encoder alone.

  def update(updates, state, params=None):
    moves = jnp.array(False)
    for leaf in jax.tree.leaves(updates):
      moves |= jnp.any(leaf != 0)
    new, after = optimizer.update(updates, state, params)
    new = jax.tree.map(lambda x: jnp.where(moves, x, 0), new)
    return new, jax.tree.map(lambda a, b: jnp.where(moves, a, b), after, state)

  return optax.GradientTransformation(optimizer.init, update)


def hold_frozen(
  encoder: optax.GradientTransformation, rest: optax.GradientTransformation
) -> optax.GradientTransformation:
  """Makes an optimizer that leaves alone what has no gradient at all."""
  return optax.partition(
    {_ENCODER.name: encoder, "rest": still_without_gradient(rest)},
    lambda tree: optimizers.path_labels(tree, (_ENCODER,), no_decay=None),
  )
