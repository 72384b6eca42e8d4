"""A disentangling auto-encoder as a supervised problem, and its optimiser."""

import dataclasses
from typing import Any

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
import optax

from jaxseq import data as data_lib
from jaxseq.dts import adaptation as adaptation_lib
from jaxseq.dts import aggressive as aggressive_lib
from jaxseq.dts import density_ratio
from jaxseq.dts import evaluation
from jaxseq.dts import forecasts
from jaxseq.dts import methods
from jaxseq.dts import model as model_lib
from jaxseq.dts import objective as objective_lib
from jaxseq.tasks import base
from jaxseq.training import optimizers
from jaxseq.training import recipes
from jaxseq.training import supervised

# The information is looked at on so many windows while the encoder is ahead.
_WATCHED = 512
_DISCRIMINATOR = optimizers.Group("discriminator", r"(^|/)discriminator/")


@dataclasses.dataclass(frozen=True)
class ArmConfig:
  """How one arm is built and trained.

  Attributes:
    model: of the arm.
    objective: what is minimised beside -log p(x|z).
    optimizer: of model and classifiers.
    batch_size: windows per update.
    adaptation: classifiers on the segments, see `adaptation`; None for none.
    aggressive: whether the encoder is trained ahead of the decoder, as far as
      validation windows say, or training windows without any; see `aggressive`.
    elbo_weight: factor on -log p(x|z) and the regulariser, beside the
      classifiers; 0 trains these alone.
    discriminator_learning_rate: of FactorVAE's discriminator.
    evaluated: at most so many test windows are evaluated; the exact mixture has
      as many components.
    prefix_rate: share of the windows of which the encoder sees the first half
      alone in training, which forecasts need: see `forecasts`. q(z) then is
      that of windows seen so or so.
  """

  model: model_lib.ModelConfig = model_lib.ModelConfig()
  objective: objective_lib.Config = objective_lib.Config()
  optimizer: recipes.Recipe = recipes.Recipe(
    schedule="constant", max_grad_norm=5.0
  )
  batch_size: int = 128
  adaptation: adaptation_lib.Config | None = None
  aggressive: bool = False
  elbo_weight: float = 1.0
  discriminator_learning_rate: float = 1e-4
  evaluated: int = 4096
  prefix_rate: float = 0.0

  def __post_init__(self):
    for name in ("batch_size", "evaluated"):
      if getattr(self, name) < 2:
        raise ValueError(f"{name}: got {getattr(self, name)}, expected >= 2.")
    if not self.elbo_weight >= 0:
      raise ValueError(f"elbo_weight: got {self.elbo_weight}, expected >= 0.")
    if not 0 <= self.prefix_rate <= 1:
      raise ValueError(f"prefix_rate: got {self.prefix_rate}, expected 0 to 1.")
    if self.adaptation is not None:
      expected = (self.adaptation.class_size, self.adaptation.domain_size)
      if self.model.segments != expected:
        raise ValueError(
          f"model.segments: got {self.model.segments}, expected {expected}, "
          "the sizes of adaptation's segments."
        )


def make_model(arm: ArmConfig, splits: data_lib.Splits) -> model_lib.VAE:
  """Returns the model of an arm for the windows of a set."""
  length, channels = splits.train.inputs.shape[1:]
  return model_lib.VAE(arm.model, length, channels)


def stack_of(arm: ArmConfig) -> ArmConfig | None:
  """Returns what arms share that can be trained side by side as one program.

  That are arms whose objectives differ in weights alone. None for an arm that
  cannot have its weights traced.
  """
  left = methods.without_weights(arm.objective)
  return None if left is None else dataclasses.replace(arm, objective=left)


def make_problem(
  arm: ArmConfig,
  splits: data_lib.Splits,
  num_updates: int,
  traced_weights: bool = False,
) -> supervised.Problem:
  """Returns the problem of learning to encode the windows of a set.

  Args:
    arm: the arm.
    splits: windows of one length, which may be padded at their end. With
      `adaptation`, the extras tell class and domain, see there.
    num_updates: of the whole run; schedules need it.
    traced_weights: whether the weights of the objective's terms are in the
      carry, so that the problem is the same for all arms of a `stack_of`.

  Returns:
    A problem whose variables hold "model" and, where they are needed, "heads"
    and "discriminator" under "params", and whose evaluation is that of
    `evaluation.evaluate` on the test windows.

  Raises:
    ValueError: batches are larger than the training set, or an option does not
      fit the data.
  """
  size = splits.train.inputs.shape[0]
  if arm.batch_size > size:
    raise ValueError(
      f"batch_size: got {arm.batch_size}, expected at most {size}, the number "
      "of training windows."
    )
  vae = make_model(arm, splits)
  bound = _Bound(arm, vae, size)
  windows = splits.train
  first = base.take((windows.inputs, windows.lengths), np.arange(1))
  heads = None
  if arm.adaptation is not None:
    heads = adaptation_lib.make_heads(arm.adaptation, splits)

  def init(key):
    keys = jax.random.split(key, 3)
    params = {"model": vae.init(keys[0], *first)["params"]}
    code = jnp.zeros((1, arm.model.latent))
    if heads is not None:
      params["heads"] = heads.init(keys[1], code)["params"]
    if arm.objective.method == "factor_vae":
      discriminator = density_ratio.Discriminator()
      params["discriminator"] = discriminator.init(keys[2], code)["params"]
    return {"params": params}

  def sample(key, update, data):
    index = supervised.draw(key, update, size, arm.batch_size)
    return base.take(data["train"], index)

  def loss(variables, batch, carry, key):
    names = ("z", "dropout", "prior", "permute", "prefix")
    keys = dict(zip(names, jax.random.split(key, len(names))))
    params = variables["params"]
    progress = carry["update"] / num_updates
    if arm.aggressive:
      params = aggressive_lib.freeze_decoder(params, carry["aggressive"])
    model_params = {"params": params["model"]}
    seen = batch.inputs
    if arm.prefix_rate:
      rows = jax.random.bernoulli(
        keys["prefix"], arm.prefix_rate, (arm.batch_size,)
      )
      seen = forecasts.first_half(seen, rows)
    mu, logvar = vae.apply(
      model_params,
      seen,
      batch.lengths,
      True,
      method="encode",
      rngs={"dropout": keys["dropout"]},
    )
    value, metrics = 0.0, {}
    if arm.elbo_weight:
      value, metrics = bound(
        params, batch, mu, logvar, keys, progress, carry.get("weights")
      )
    if heads is not None:
      supervision, more = adaptation_lib.loss(
        arm.adaptation, heads, params["heads"], mu, batch, progress
      )
      value, metrics = value + supervision, metrics | more
    carry = {**carry, "update": carry["update"] + 1}
    if arm.aggressive:
      carry["aggressive"] = aggressive_lib.advance(
        carry["aggressive"], vae, lax.stop_gradient(model_params), watched
      )
    metrics = {f"train_{name}": x for name, x in metrics.items()}
    return value, supervised.Loss(metrics, {}, carry)

  def evaluate(variables, data):
    params = variables["params"]
    model = {"params": params["model"]}
    metrics = evaluation.evaluate(vae, model, data["test"], arm.evaluated)
    if heads is not None:

      def means(part):
        return evaluation.encode(vae, model, part.inputs, part.lengths)[0]

      held_out = {k: x for k, x in data.items() if k in ("valid", "test") and x}
      metrics |= adaptation_lib.evaluate(
        heads, params["heads"], means, held_out
      )
    return metrics

  arrays = base.host(
    {"train": splits.train, "valid": splits.valid, "test": splits.test}
  )
  held_out = arrays["train"] if splits.valid is None else arrays["valid"]
  watched = base.take(held_out, jnp.arange(min(len(held_out.inputs), _WATCHED)))
  carry = {"update": jnp.zeros((), jnp.int32)}
  if traced_weights:
    carry["weights"] = jax.tree.map(jnp.float32, methods.weights(arm.objective))
  if arm.aggressive:
    carry["aggressive"] = aggressive_lib.initial()
  return supervised.FunctionProblem(init, sample, loss, evaluate, arrays, carry)


def make_optimizer(
  arm: ArmConfig, num_updates: int
) -> optax.GradientTransformation:
  """Returns the optimiser of an arm for a run of `num_updates`.

  The norm of the gradient is clipped over model and classifiers together. The
  discriminator has an Adam of its own (Kim & Mnih, arXiv:1802.05983).
  """
  encoder, decoder = arm.model.encoder, arm.model.decoder
  if arm.aggressive:
    main = aggressive_lib.hold_frozen(
      _adam(arm, num_updates, encoder), _adam(arm, num_updates, decoder)
    )
  else:
    main = _adam(arm, num_updates, encoder, decoder)
  if arm.optimizer.max_grad_norm is not None:
    clip = optax.clip_by_global_norm(arm.optimizer.max_grad_norm)
    main = optax.chain(clip, main)
  if arm.objective.method != "factor_vae":
    return main
  adversary = optax.adam(arm.discriminator_learning_rate, b1=0.5, b2=0.9)
  if arm.aggressive:
    adversary = aggressive_lib.still_without_gradient(adversary)
  return optax.partition(
    {"rest": main, _DISCRIMINATOR.name: adversary},
    lambda tree: optimizers.path_labels(tree, (_DISCRIMINATOR,), no_decay=None),
  )


def _adam(arm, num_updates, *parts):
  """Returns the optimiser of some parts of the model, without clipping."""
  names = set()
  for part in parts:
    if part.kind == "mixer":
      names |= set(part.stack.ssm_parameters)
  recipe = dataclasses.replace(arm.optimizer, max_grad_norm=None)
  return optimizers.make_optimizer(
    recipes.make(recipe, tuple(sorted(names)), num_updates)
  )


@dataclasses.dataclass(frozen=True)
class _Bound:
  """-log p(x|z) and the regulariser of an arm.

  Attributes:
    arm: the arm.
    vae: its model.
    size: number of training windows.
  """

  arm: ArmConfig
  vae: model_lib.VAE
  size: int

  def __call__(self, params, batch, mu, logvar, keys, progress, weight):
    """Returns both for a batch, weighted, and their metrics."""
    arm = self.arm
    z = model_lib.sample(keys["z"], mu, logvar)
    nll = self.vae.apply(
      {"params": params["model"]},
      batch.inputs,
      z,
      batch.lengths,
      True,
      method="nll",
      rngs={"dropout": keys["dropout"]},
    ).mean()
    loss, tc = 0.0, None
    if arm.objective.method == "factor_vae":
      tc, loss = _density_ratio(params["discriminator"], keys["permute"], z)
    value, metrics = objective_lib.regularizer(
      arm.objective,
      mu,
      logvar,
      z,
      size=self.size,
      progress=progress,
      key=keys["prior"],
      groups=arm.model.ranges() or None,
      tc=tc,
      weight=weight,
    )
    return arm.elbo_weight * (nll + value) + loss, {"nll": nll, **metrics}


def _density_ratio(
  params: Any, key: jax.Array, z: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Returns the total correlation for the model, and the other's own loss."""

  def logits(params, z):
    return density_ratio.Discriminator().apply({"params": params}, z)

  fixed = lax.stop_gradient(params)
  tc = density_ratio.total_correlation(logits(fixed, z))
  true = lax.stop_gradient(z)
  permuted = density_ratio.permute(key, true)
  loss = density_ratio.discriminator_loss(
    logits(params, true), logits(params, permuted)
  )
  return tc, loss
