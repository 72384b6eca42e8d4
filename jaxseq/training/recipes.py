"""The parameter groups with which state space models were published.

Each function takes the two learning rates of a paper and returns an
`optimizers.Config`; further options go through unchanged:

    config = recipes.s5("BfastandCdecay", ssm_learning_rate=1e-3, factor=3,
                        weight_decay=0.04, schedule="cosine", total_steps=8000)
"""

import dataclasses
from typing import Any
from typing import Literal

from jaxseq import validate
from jaxseq.training import optimizers

# The names of the parameters that S5's code calls "ssm", by recipe.
_LAMBDA = ("Lambda_re", "Lambda_im")
# Parameters that a mixer has to have for a recipe.
_KNOWN_BY = {"s4": {"log_step"}, "s5": {*_LAMBDA, "log_step"}}
_S5_SSM = {
  "standard": (*_LAMBDA, "log_step", "B"),
  "BandCdecay": (*_LAMBDA, "log_step"),
  "BfastandCdecay": (*_LAMBDA, "log_step"),
  "noBCdecay": (*_LAMBDA, "log_step", "B", "C", "C1", "C2", "D"),
}

S5Recipe = Literal["standard", "BandCdecay", "BfastandCdecay", "noBCdecay"]


def s5(
  recipe: S5Recipe,
  *,
  ssm_learning_rate: float,
  factor: float,
  weight_decay: float,
  dt_global: bool = False,
  **options: Any,
) -> optimizers.Config:
  """Returns the groups of S5 (Smith et al., arXiv:2208.04933, and its code).

  Group "ssm" has its own learning rate and no decay; everything else has the
  global learning rate and decay. That includes biases and the parameters of
  norms, which the paper's code meant to spare and does not.

  Args:
    recipe: "standard": Lambda, B and log_step are in "ssm". "BandCdecay": B has
      the ssm learning rate and decay. "BfastandCdecay": B is trained like
      everything else. "noBCdecay": B, C and D are in "ssm".
    ssm_learning_rate: peak, of the group "ssm".
    factor: global learning rate / ssm learning rate.
    weight_decay: of everything outside of "ssm".
    dt_global: trains log_step like everything else, with decay.
    **options: further fields of `optimizers.Config`.

  Raises:
    ValueError: there is no such recipe.
  """
  ssm = _S5_SSM[validate.choice("recipe", recipe, _S5_SSM)]
  if dt_global:
    ssm = tuple(name for name in ssm if name != "log_step")
  groups = [_group("ssm", ssm, ssm_learning_rate, weight_decay=0.0)]
  if recipe == "BandCdecay":
    groups.append(_group("ssm_decay", ("B",), ssm_learning_rate))
  return optimizers.Config(
    learning_rate=factor * ssm_learning_rate,
    weight_decay=weight_decay,
    groups=tuple(groups),
    no_decay=None,
    **options,
  )


def s4(
  *,
  learning_rate: float,
  ssm_learning_rate: float,
  weight_decay: float,
  dt_global: bool = False,
  slow_c: bool = False,
  ssm: tuple[str, ...] = ("Lambda_re", "Lambda_im", "P", "B"),
  dt: tuple[str, ...] = ("log_step",),
  **options: Any,
) -> optimizers.Config:
  """Returns the groups of S4 and S4D (configs of the authors' repository).

  dt, A, P and B have their own learning rate and no decay; biases and the
  parameters of norms have no decay; D, C and linear weights have decay.

  Args:
    learning_rate: peak, of everything outside of the groups.
    ssm_learning_rate: peak, of dt, A, P and B.
    weight_decay: of C, D and linear weights.
    dt_global: dt has the global learning rate, and still no decay (ListOps,
      Text, Retrieval).
    slow_c: C has the ssm learning rate, and still decay (Image, Pathfinder,
      Path-X).
    ssm: names of the parameters of A, P and B in the mixer; all must exist
      that the mixer has, others are ignored.
    dt: names of the parameters of dt.
    **options: further fields of `optimizers.Config`.
  """
  dt_rate = None if dt_global else ssm_learning_rate
  groups = [
    _group("ssm", ssm, ssm_learning_rate, weight_decay=0.0),
    _group("dt", dt, dt_rate, weight_decay=0.0),
  ]
  if slow_c:
    groups.append(_group("C", ("C",), ssm_learning_rate))
  return optimizers.Config(
    learning_rate=learning_rate,
    weight_decay=weight_decay,
    groups=tuple(groups),
    **options,
  )


def slow_ssm(
  parameters: tuple[str, ...], multiplier: float, **options: Any
) -> optimizers.Config:
  """Returns one group for a mixer's own parameters.

  Args:
    parameters: their names, `ssm_parameters` of the mixer's traits.
    multiplier: their learning rate / the global one; they have no decay.
    **options: further fields of `optimizers.Config`.
  """
  group = _group("ssm", parameters, multiplier=multiplier, weight_decay=0.0)
  return optimizers.Config(groups=(group,), **options)


def _group(name, parameters, learning_rate=None, **options):
  """Returns the group of the parameters that have these names."""
  pattern = optimizers.leaf_names(*parameters)
  return optimizers.Group(name, pattern, learning_rate, **options)


@dataclasses.dataclass(frozen=True)
class Recipe(optimizers.AdamW):
  """The training of a network around some mixer.

  Attributes:
    name: "plain": everything alike. "ssm": the mixer's own parameters (its
      `ssm_parameters`) have `ssm_learning_rate` and no weight decay. "s4",
      "s5": the groups of these functions.
    schedule, max_grad_norm: see `optimizers.AdamW`, as for the fields that are
      not named here.
    ssm_learning_rate: peak for the mixer's own parameters; the global one if
      None.
    s5_groups: which of the groups of `s5`.
    dt_global: dt has the global learning rate ("s4" and "s5").
    slow_c: C has the ssm learning rate ("s4").
  """

  name: Literal["plain", "ssm", "s4", "s5"] = "ssm"
  schedule: Literal["constant", "linear", "cosine"] = "cosine"
  max_grad_norm: float | None = 1.0
  ssm_learning_rate: float | None = None
  s5_groups: S5Recipe = "standard"
  dt_global: bool = False
  slow_c: bool = False


def make(
  recipe: Recipe, ssm_parameters: tuple[str, ...], total_steps: int
) -> optimizers.Config:
  """Returns the optimizer's configuration for a recipe.

  Args:
    recipe: the recipe.
    ssm_parameters: names of the mixer's own parameters; with none, or those of
      a mixer that has not S4's or S5's, everything is trained alike.
    total_steps: optimizer steps of the whole run.
  """
  options: dict[str, Any] = {"total_steps": total_steps} | {
    field.name: getattr(recipe, field.name)
    for field in dataclasses.fields(optimizers.AdamW)
  }
  rate, slow = recipe.learning_rate, recipe.ssm_learning_rate
  slow = rate if slow is None else slow
  needed = _KNOWN_BY.get(recipe.name, set())
  if recipe.name == "plain" or not ssm_parameters or needed - {*ssm_parameters}:
    return optimizers.Config(**options)
  if recipe.name == "s5":
    del options["learning_rate"]
    return s5(
      recipe.s5_groups,
      ssm_learning_rate=slow,
      factor=rate / slow,
      dt_global=recipe.dt_global,
      **options,
    )
  if recipe.name == "s4":
    dt = ("log_step",)
    return s4(
      ssm_learning_rate=slow,
      dt_global=recipe.dt_global,
      slow_c=recipe.slow_c,
      ssm=tuple(name for name in ssm_parameters if name not in dt),
      dt=dt,
      **options,
    )
  return slow_ssm(ssm_parameters, slow / rate, **options)
