"""A disentangling auto-encoder as a supervised problem, and its optimizer."""

from collections.abc import Hashable
import dataclasses

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
import optax

from jaxseq import data
from jaxseq import validate
from jaxseq.dts import _aggressive_training
from jaxseq.dts import _density_ratio
from jaxseq.dts import _forecasts
from jaxseq.dts import autoencoder
from jaxseq.dts import domain_adaptation
from jaxseq.dts import evaluation
from jaxseq.dts import methods
from jaxseq.dts import regularization
from jaxseq.tasks import base
from jaxseq.training import flat_parameters
from jaxseq.training import optimizers
from jaxseq.training import recipes
from jaxseq.training import supervised
from jaxseq.types import PyTree

# The information is looked at on so many windows while the encoder is ahead.
_WATCHED = 512
_DISCRIMINATOR = optimizers.Group("discriminator", r"(^|/)discriminator/")


@dataclasses.dataclass(frozen=True)
class ArmConfig:
  """Model, objective and training of one arm.

  Attributes:
    model: of the arm.
    objective: regularizer beside -log p(x|z).
    optimizer: of model and classifiers.
    batch_size: windows per update.
    adaptation: classifiers on the segments, see `domain_adaptation`, if any.
    aggressive: whether the encoder is trained ahead of the decoder, as far as
      validation windows say, or training windows without any; see
      `_aggressive_training`.
    elbo_weight: factor on -log p(x|z) and the regularizer, beside the
      classifiers; 0 trains these alone.
    discriminator_learning_rate: of FactorVAE's discriminator.
    evaluated: at most so many test windows are evaluated; the exact mixture has
      as many components.
    prefix_rate: share of the training windows whose first half alone the
      encoder sees, which forecasts need. q(z) is then over both kinds.
  """

  model: autoencoder.ModelConfig = autoencoder.ModelConfig()
  objective: methods.Config = methods.Config()
  optimizer: recipes.Recipe = recipes.Recipe(
    schedule="constant", max_grad_norm=5.0
  )
  batch_size: int = 128
  adaptation: domain_adaptation.Config | None = None
  aggressive: bool = False
  elbo_weight: float = 1.0
  discriminator_learning_rate: float = 1e-4
  evaluated: int = 4096
  prefix_rate: float = 0.0

  def __post_init__(self):
    for name in ("batch_size", "evaluated"):
      validate.integer(name, getattr(self, name), 2)
    validate.fields(
      self, not_negative=("elbo_weight",), shares=("prefix_rate",)
    )
    if self.adaptation is not None:
      sizes = (self.adaptation.class_size, self.adaptation.domain_size)
      if self.model.segments != sizes:
        expected = f"{sizes}, the sizes of adaptation's segments"
        raise validate.error("model.segments", self.model.segments, expected)


def make_model(arm: ArmConfig, splits: data.Splits) -> autoencoder.VAE:
  """Returns the model of an arm for the windows of a set."""
  length, channels = splits.train.inputs.shape[1:]
  return autoencoder.VAE(arm.model, length, channels)


def models(variables: PyTree) -> list[PyTree]:
  """Returns the model's variables of each seed, from those of all seeds."""
  stacked = {"params": variables["params"]["model"]}
  count = len(jax.tree.leaves(stacked)[0])
  return [jax.tree.map(lambda x, i=i: x[i], stacked) for i in range(count)]


def stack_of(arm: ArmConfig) -> ArmConfig | None:
  """Returns what arms share that can be trained side by side as one program.

  These are arms whose objectives differ in weights alone. None for an arm that
  cannot have its weights traced.
  """
  left = methods.without_weights(arm.objective)
  return None if left is None else dataclasses.replace(arm, objective=left)


class Problem(base.ArrayProblem):
  """Learning to encode the windows of a set.

  Its variables hold "model" and, where they are needed, "heads" and
  "discriminator" under "params"; it is measured by `evaluation.evaluate`, on
  validation windows in training and on the test windows in the end.

  Attributes:
    arm: the arm.
    network: its model.
    heads: classifiers of the segments, or None.
    size: number of training windows.
    num_updates: of the whole run.
    data: windows by part: "train", "test" and perhaps "valid".
    carry: counters, and the weights if they are traced.
  """

  def __init__(
    self,
    arm: ArmConfig,
    splits: data.Splits,
    num_updates: int,
    traced_weights: bool = False,
  ):
    """Makes the problem.

    Args:
      arm: the arm.
      splits: windows of one length, which may be padded at their end. With
        `adaptation`, the extras tell class and domain, see there.
      num_updates: of the whole run; schedules need it.
      traced_weights: whether the weights of the objective's terms are in the
        carry, so that the problem is the same for all arms of a `stack_of`.

    Raises:
      ValueError: batches are larger than the training set, or an option does
        not fit the data.
    """
    arrays = base.host(
      {"train": splits.train, "valid": splits.valid, "test": splits.test}
    )
    network = make_model(arm, splits)
    super().__init__(arm, network, arrays, len(splits.train.inputs))
    self.heads: domain_adaptation.Heads | None = None
    self.validated = "neg_elbo"
    if arm.adaptation is not None:
      self.validated = "test_accuracy"
      self.heads = domain_adaptation.make_heads(arm.adaptation, splits)
    self.num_updates = num_updates
    windows = splits.train.inputs, splits.train.lengths
    self._first = base.take(windows, np.arange(1))
    # These say whether the encoder is ahead of the decoder.
    held_out = arrays["valid"] or arrays["train"]
    count = len(held_out.inputs)
    watched = min(count, _WATCHED)
    # From all of them, as they may be sorted.
    self._watched = base.take(held_out, np.arange(watched) * count // watched)
    self.carry = {"update": jnp.zeros((), jnp.int32)}
    if traced_weights:
      weights = methods.weights(arm.objective)
      self.carry["weights"] = jax.tree.map(jnp.float32, weights)
    if arm.aggressive:
      self.carry["aggressive"] = _aggressive_training.initial()

  def program_key(self) -> Hashable | None:
    """Returns what the programs depend on beside the windows' shapes."""
    if self.arm.aggressive or "weights" in self.carry:
      return None
    fields = self.arm, self.network, self.heads, self.size, self.num_updates
    return (*fields, self.part, self.validated)

  def init(self, key: jax.Array) -> dict[str, PyTree]:
    """Returns the variables of model, classifiers and discriminator."""
    key_model, key_heads, key_discriminator = jax.random.split(key, 3)
    params = {"model": self.network.init(key_model, *self._first)["params"]}
    code = jnp.zeros((1, self.arm.model.latent))
    if self.heads is not None:
      params["heads"] = self.heads.init(key_heads, code)["params"]
    if self.arm.objective.has_discriminator:
      weights = _density_ratio.Discriminator().init(key_discriminator, code)
      params["discriminator"] = weights["params"]
    return {"params": params}

  def loss(
    self, variables: PyTree, batch: PyTree, carry: PyTree, key: jax.Array
  ) -> tuple[jax.Array, supervised.Loss]:
    """Returns the negative elbo and the classifiers' losses, weighted."""
    arm, params = self.arm, variables["params"]
    names = ("z", "dropout", "prior", "permute", "prefix")
    keys = dict(zip(names, jax.random.split(key, len(names))))
    progress = carry["update"] / self.num_updates
    if arm.aggressive:
      params = _aggressive_training.freeze_decoder(params, carry["aggressive"])
    mu, logvar = self._encode(params, batch, keys)
    value, metrics = 0.0, {}
    if arm.elbo_weight:
      value, metrics = self._negative_elbo(
        params, batch, mu, logvar, keys, progress, carry.get("weights")
      )
    if self.heads is not None:
      supervision, more = domain_adaptation.loss(
        arm.adaptation, self.heads, params["heads"], mu, batch, progress
      )
      value, metrics = value + supervision, metrics | more
    carry = {**carry, "update": carry["update"] + 1}
    if arm.aggressive:
      carry["aggressive"] = _aggressive_training.advance(
        carry["aggressive"],
        self.network,
        lax.stop_gradient({"params": params["model"]}),
        self._watched,
      )
    metrics = {f"train_{name}": x for name, x in metrics.items()}
    return value, supervised.Loss(metrics, {}, carry)

  def measure(self, variables: PyTree, examples: PyTree) -> supervised.Metrics:
    """Returns metrics of the windows of a part, and of their labels."""
    params = variables["params"]
    model = {"params": params["model"]}
    metrics = evaluation.evaluate(
      self.network, model, examples, self.arm.evaluated
    )
    if self.heads is None:
      return metrics

    def means(part):
      return evaluation.encode(self.network, model, part)[0]

    return metrics | domain_adaptation.evaluate(
      self.heads, params["heads"], means, {"test": examples}
    )

  def _encode(self, params, batch, keys):
    """Returns mean and log-variance, of some windows by their first half."""
    seen, rate = batch.inputs, self.arm.prefix_rate
    if rate:
      rows = jax.random.bernoulli(keys["prefix"], rate, (self.arm.batch_size,))
      seen = _forecasts.first_half(seen, rows)
    return self._apply(params, keys, "encode", seen, batch.lengths)

  def _apply(self, params, keys, method, *inputs):
    """Runs a method of the model in training."""
    return self.network.apply(
      {"params": params["model"]},
      *inputs,
      True,
      method=method,
      rngs={"dropout": keys["dropout"]},
    )

  def _negative_elbo(self, params, batch, mu, logvar, keys, progress, weight):
    """Returns -log p(x|z) and the regularizer, weighted, and their metrics."""
    arm = self.arm
    z = autoencoder.sample(keys["z"], mu, logvar)
    seen = batch.inputs, z, batch.lengths
    nll = self._apply(params, keys, "nll", *seen).mean()
    loss, tc = 0.0, None
    if arm.objective.has_discriminator:
      tc, loss = _density_ratio.tc_and_loss(
        params["discriminator"], keys["permute"], z
      )
    value, metrics = regularization.regularizer(
      arm.objective,
      regularization.Codes(mu, logvar, z),
      size=self.size,
      progress=progress,
      key=keys["prior"],
      groups=arm.model.ranges() or None,
      tc=tc,
      weight=weight,
    )
    return arm.elbo_weight * (nll + value) + loss, {"nll": nll, **metrics}


def make_optimizer(
  arm: ArmConfig, num_updates: int
) -> optax.GradientTransformation:
  """Returns the optimizer of an arm for a run of `num_updates`.

  The norm of the gradient is clipped over model and classifiers together. The
  discriminator has an Adam of its own (Kim & Mnih, arXiv:1802.05983).
  """
  encoder, decoder = arm.model.encoder, arm.model.decoder
  if arm.aggressive:
    main = _aggressive_training.hold_frozen(
      _adam(arm, num_updates, encoder), _adam(arm, num_updates, decoder)
    )
  else:
    main = _adam(arm, num_updates, encoder, decoder)
  if arm.optimizer.max_grad_norm is not None:
    clip = optax.clip_by_global_norm(arm.optimizer.max_grad_norm)
    main = optax.chain(clip, main)
  main = flat_parameters.Elementwise(*main)
  if not arm.objective.has_discriminator:
    return main
  adversary = optax.adam(arm.discriminator_learning_rate, b1=0.5, b2=0.9)
  if arm.aggressive:
    adversary = _aggressive_training.still_without_gradient(adversary)
  optimizer = optax.partition(
    {"rest": main, _DISCRIMINATOR.name: adversary},
    lambda tree: optimizers.path_labels(tree, (_DISCRIMINATOR,), no_decay=None),
  )
  return flat_parameters.Elementwise(*optimizer)


def _adam(arm, num_updates, *parts):
  """Returns the optimizer of some parts of the model, without clipping."""
  mixers = [part.stack for part in parts if part.is_mixer]
  names = {name for stack in mixers for name in stack.ssm_parameters}
  recipe = dataclasses.replace(arm.optimizer, max_grad_norm=None)
  return optimizers.make_optimizer(
    recipes.make(recipe, tuple(sorted(names)), num_updates)
  )
