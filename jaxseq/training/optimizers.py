"""Optimizers with parameter groups that are chosen by parameter path.

State space models train some of their parameters with a learning rate of
their own and without weight decay. A group is a regular expression on the path
of a parameter, such as "params/layers_0/mixer/Lambda_re". One Adam runs per
group, through `optax.partition`; the gradient norm is clipped over all groups
together.
"""

import dataclasses
import re
from typing import Any
from typing import Literal

import jax
import jax.numpy as jnp
import optax

from jaxseq import validate
from jaxseq.training import flat_parameters
from jaxseq.types import PyTree
from jaxseq.types import T

# Parameters that nothing should pull towards zero: biases and norm scales.
NO_DECAY = r"(^|/)(b|b_\w+|bias|bias_\w+|\w+_bias|scale)$"

# Metric: how many steps were left out because of numbers that are not finite.
SKIPPED = "skipped"

_REST = "rest"
_REST_NO_DECAY = "rest_no_decay"


@dataclasses.dataclass(frozen=True)
class Group:
  """Parameters that are trained alike.

  Attributes:
    name: the group's name.
    pattern: regular expression that is searched for in a parameter's path,
      which is joined with "/". See `leaf_names`.
    learning_rate: peak learning rate; None takes that of the config.
    multiplier: factor on the learning rate.
    weight_decay: decoupled weight decay; None takes that of the config.
  """

  name: str
  pattern: str
  learning_rate: float | None = None
  multiplier: float = 1.0
  weight_decay: float | None = None


@dataclasses.dataclass(frozen=True)
class AdamW:
  """The options of an Adam or AdamW with a schedule, with groups or without.

  Attributes:
    learning_rate: peak learning rate.
    weight_decay: decoupled weight decay, times the learning rate (AdamW).
    schedule: how the learning rates of all groups go on after the warm-up:
      "constant", or down to `final_fraction` of the peak along a straight line
      ("linear") or half a cosine ("cosine").
    warmup_steps: optimizer steps in which they rise from 0 to the peak.
    final_fraction: of the peak, at the end.
    b1: decay of the first moment.
    b2: decay of the second moment.
    max_grad_norm: gradients are scaled down to this global norm; None does not
      clip.
  """

  learning_rate: float = 1e-3
  weight_decay: float = 0.0
  schedule: Literal["constant", "linear", "cosine"] = "constant"
  warmup_steps: int = 0
  final_fraction: float = 0.0
  b1: float = 0.9
  b2: float = 0.999
  max_grad_norm: float | None = None


@dataclasses.dataclass(frozen=True)
class Config(AdamW):
  """An Adam or AdamW with groups and a schedule.

  Attributes:
    total_steps: optimizer steps of the whole run, warm-up included; not needed
      for "constant".
    eps: added to the square root of the second moment.
    groups: the first one whose pattern is found in a path has the parameter.
      What no group has is trained with the config's own values.
    no_decay: pattern of the parameters outside of groups that have no weight
      decay; None exempts none.
  """

  total_steps: int | None = None
  eps: float = 1e-8
  groups: tuple[Group, ...] = ()
  no_decay: str | None = NO_DECAY

  def __post_init__(self):
    validate.literals(self)
    validate.fields(self, not_negative=("warmup_steps",))
    if self.schedule != "constant" and (
      self.total_steps is None or self.total_steps <= self.warmup_steps
    ):
      raise validate.error(
        "total_steps",
        self.total_steps,
        f"more than warmup_steps={self.warmup_steps} for a {self.schedule} "
        "schedule",
      )
    names = [group.name for group in self.groups]
    taken = {_REST, _REST_NO_DECAY} & set(names)
    if taken or len(set(names)) < len(names):
      raise validate.error(
        "groups",
        names,
        f"names of their own, other than {_REST!r} and {_REST_NO_DECAY!r}",
      )
    for pattern in [group.pattern for group in self.groups] + [self.no_decay]:
      validate.expression("pattern", pattern or "")


def leaf_names(*names: str) -> str:
  """Returns a pattern for parameters with one of these names, anywhere."""
  return r"(^|/)(" + "|".join(re.escape(name) for name in names) + r")$"


def path_labels(
  params: PyTree, groups: tuple[Group, ...], no_decay: str | None = NO_DECAY
) -> Any:
  """Returns a tree like `params` with the name of each parameter's group.

  Groups are in order of precedence. Parameters outside of them get the label
  "rest_no_decay" where the pattern `no_decay` is found in their path, and
  "rest" elsewhere.

  Raises:
    ValueError: no parameter's path matches the pattern of a group.
  """
  paths, treedef = _paths(params)
  for group in groups:
    if not any(re.search(group.pattern, path) for path in paths):
      raise ValueError(
        f"group {group.name!r}: no parameter matches {group.pattern!r}; the "
        f"parameters are {', '.join(paths) or 'none'}"
      )

  def label(path: str) -> str:
    for group in groups:
      if re.search(group.pattern, path):
        return group.name
    if no_decay is not None and re.search(no_decay, path):
      return _REST_NO_DECAY
    return _REST

  return jax.tree.unflatten(treedef, [label(path) for path in paths])


def make_schedule(config: Config) -> optax.Schedule:
  """Returns the factor on all learning rates, by optimizer step."""
  if config.schedule == "constant":
    after = optax.constant_schedule(1.0)
  else:
    steps = config.total_steps - config.warmup_steps
    if config.schedule == "linear":
      after = optax.linear_schedule(1.0, config.final_fraction, steps)
    else:
      after = optax.cosine_decay_schedule(1.0, steps, config.final_fraction)
  if not config.warmup_steps:
    return after
  warmup = optax.linear_schedule(0.0, 1.0, config.warmup_steps)
  return optax.join_schedules([warmup, after], [config.warmup_steps])


def make_optimizer(config: Config) -> flat_parameters.Elementwise:
  """Returns the optimizer; its `init` raises if a group is empty."""
  factor = make_schedule(config)

  def adam(peak: float, decay: float) -> optax.GradientTransformation:
    # Step size and decay share the schedule, as in AdamW.
    return optax.chain(
      optax.scale_by_adam(config.b1, config.b2, config.eps),
      optax.add_decayed_weights(decay) if decay else optax.identity(),
      optax.scale_by_learning_rate(lambda step: peak * factor(step)),
    )

  transforms = {
    name: adam(peak, decay) for name, (peak, decay) in _settings(config).items()
  }
  optimizer = optax.partition(
    transforms, lambda p: path_labels(p, config.groups, config.no_decay)
  )
  if config.max_grad_norm is not None:
    clip = optax.clip_by_global_norm(config.max_grad_norm)
    optimizer = optax.chain(clip, optimizer)
  return flat_parameters.Elementwise(*optimizer)


def step(
  optimizer: optax.GradientTransformation,
  gradients: PyTree,
  opt_state: PyTree,
  params: PyTree,
  *,
  skip_nonfinite: bool = False,
) -> tuple[Any, Any, dict[str, jax.Array]]:
  """Makes one step of an optimizer.

  With `skip_nonfinite` a step leaves all as it is if a gradient, or a parameter
  after it, would not be finite.

  Returns:
    The parameters and the state after the step; and metrics, with
    `skip_nonfinite` the int32 `SKIPPED`, 1 if the step was left out.
  """
  updates, after = optimizer.update(gradients, opt_state, params)
  new = optax.apply_updates(params, updates)
  if not skip_nonfinite:
    return new, after, {}
  leaves = [*jax.tree.leaves(gradients), *jax.tree.leaves(new)]
  checks = [jnp.isfinite(leaf).all() for leaf in leaves]
  whole = jnp.stack(checks).all()
  new = keep_if(whole, new, params)
  after = keep_if(whole, after, opt_state)
  return new, after, {SKIPPED: jnp.where(whole, 0, 1)}


def keep_if(condition: jax.Array, new: T, old: T) -> T:
  """Returns one of two pytrees of the same structure."""
  return jax.tree.map(lambda a, b: jnp.where(condition, a, b), new, old)


def over_steps(metrics: dict[str, Any]) -> dict[str, Any]:
  """Returns the means of metrics over steps (n,), and the sum of `SKIPPED`."""
  means = jax.tree.map(lambda x: x.mean(axis=0), metrics)
  if SKIPPED in metrics:
    means[SKIPPED] = metrics[SKIPPED].sum(axis=0)
  return means


def _paths(params: PyTree) -> tuple[list[str], object]:
  pairs, treedef = jax.tree_util.tree_flatten_with_path(params)
  keystr = jax.tree_util.keystr
  return [keystr(p, simple=True, separator="/") for p, _ in pairs], treedef


def _settings(config: Config) -> dict[str, tuple[float, float]]:
  """Returns the peak learning rate and the weight decay of each label."""
  out = {}
  for group in config.groups:
    peak, decay = group.learning_rate, group.weight_decay
    peak = config.learning_rate if peak is None else peak
    decay = config.weight_decay if decay is None else decay
    out[group.name] = (peak * group.multiplier, decay)
  out[_REST] = (config.learning_rate, config.weight_decay)
  out[_REST_NO_DECAY] = (config.learning_rate, 0.0)
  return out
