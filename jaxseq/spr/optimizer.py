"""Optimizer of SPR and its variants: Adam, with gradients clipped in groups.

SPR clips the gradient of the encoder and the head by their common norm, that
of the transition model by its own, and that of the predictor not at all. A
memory goes with encoder and head, between which it stands.
"""

import dataclasses

import jax
import jax.numpy as jnp
import optax

from jaxseq import validate

Array = jax.Array
Params = dict[str, dict]

# Parts of the parameters that are clipped together.
GROUPS = (("encoder", "memory", "head"), ("transition",))

# Added to norms, as in PyTorch.
_NORM_EPSILON = 1e-6


@dataclasses.dataclass(frozen=True)
class Config:
  """Options of the optimizer; the defaults are those of SPR's code.

  Attributes:
    learning_rate: of all parameters.
    b1: decay of the first moment.
    b2: decay of the second moment.
    epsilon: added to the root of the second moment.
    weight_decay: decoupled weight decay, times the learning rate (AdamW); not
      of vectors (biases).
    max_grad_norm: of each group; None does not clip.
  """

  learning_rate: float = 1e-4
  b1: float = 0.9
  b2: float = 0.999
  epsilon: float = 1.5e-4
  weight_decay: float = 0.0
  max_grad_norm: float | None = 10.0

  def __post_init__(self):
    validate.fields(
      self,
      above_zero=("learning_rate", "epsilon"),
      not_negative=("weight_decay",),
    )
    if self.max_grad_norm is not None:
      validate.above_zero("max_grad_norm", self.max_grad_norm)


def make(config: Config) -> optax.GradientTransformation:
  """Returns the optimizer, without the clipping."""
  steps = [optax.scale_by_adam(config.b1, config.b2, config.epsilon)]
  if config.weight_decay:
    steps.append(
      optax.add_decayed_weights(
        config.weight_decay,
        mask=lambda params: jax.tree.map(lambda p: p.ndim > 1, params),
      )
    )
  return optax.chain(*steps, optax.scale_by_learning_rate(config.learning_rate))


def clip(
  grads: Params, max_norm: float | None
) -> tuple[Params, tuple[Array, ...]]:
  """Scales the gradients of each group down to a norm; None leaves them.

  Also returns the norms that each of GROUPS had before, 0 where there is no
  such part.
  """
  grads, norms = dict(grads), []
  for group in GROUPS:
    parts = {name: grads[name] for name in group if name in grads}
    squares = [jnp.square(leaf).sum() for leaf in jax.tree.leaves(parts)]
    norm = jnp.sqrt(sum(squares, jnp.float32(0)))
    norms.append(norm)
    if max_norm is not None:
      scale = jnp.minimum(1, max_norm / (norm + _NORM_EPSILON))
      grads.update(jax.tree.map(lambda g, s=scale: g * s, parts))
  return grads, tuple(norms)
