"""Arms of a comparison on events: the network and its head."""

import dataclasses
from typing import Any
from typing import Literal

from jaxseq import nn
from jaxseq import validate
from jaxseq.tasks import base
from jaxseq.tasks.events import rate_models
from jaxseq.tasks.events.rate_models import decays

# The module's name in configs that were saved.
SAVED_AS = "event_arms"

# Heads that are complete models, without a network.
MODELS = ("nhp", "attnhp", "s2p2")
Head = Literal["density", "intensity", "gompertz", "nhp", "attnhp", "s2p2"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
  """Options of arms that a comparison can also set for all of them.

  Attributes:
    head: predictive distribution. "density": a mixture for the gap, and the
      probabilities of the mark; "intensity": an intensity per mark, of units
      that decay from event to event; "gompertz": intensities that rise or fall
      exponentially, all at the same rate, as in RMTPP; or a model of
      `rate_models`, which replaces the network and uses only its width and
      number of layers.
    points: random points per gap to integrate intensities in training.
    nodes: quadrature nodes to integrate intensities in evaluations.
    components: number of components of the mixture.
    mark_width: hidden width between the state, the gap and the marks.
    mark_sees_gap: whether the probabilities of the mark depend on the gap
      before it, as in a Hawkes process; otherwise gap and mark are independent,
      given the events before.
    time_frequencies: number of sine and cosine pairs that encode the time of
      the last event; their periods are 2, 1, 1/2, ... horizons.
    from_shares: whether the initial predictions are the training frequencies of
      gaps and marks, see `event_start`; only for "density".
  """

  head: Head = "density"
  points: int = 10
  nodes: int = 200
  components: int = 16
  mark_width: int = 32
  mark_sees_gap: bool = True
  time_frequencies: int = 0
  from_shares: bool = False


@dataclasses.dataclass(frozen=True)
class ArmConfig(Options, base.ArmConfig):
  """Options of an arm's network and training, with `Options`.

  Attributes:
    head_options: fields of the Config of a model of `rate_models`.
  """

  _: dataclasses.KW_ONLY
  head_options: nn.stack.Options = ()

  def __post_init__(self):
    super().__post_init__()
    validate.at_least(self, components=1, mark_width=1, time_frequencies=0)
    validate.at_least(self, points=1, nodes=1)
    options = tuple(sorted(dict(self.head_options).items()))
    object.__setattr__(self, "head_options", options)
    if self.from_shares and self.head != "density":
      expected = f"False with head {self.head!r}: 'density' alone begins so"
      raise validate.error("from_shares", True, expected)
    if self.head in MODELS:
      self.model(1)
    elif options:
      expected = f"none, as the head is none of {', '.join(MODELS)}"
      raise validate.error("head_options", self.head_options, expected)
    else:
      self.network.stack.refuse(
        "network.stack", bidirectional="the next event is predicted"
      )

  @property
  def ssm_parameters(self) -> tuple[str, ...]:
    """Names of the network's parameters; empty if a model replaces it."""
    return () if self.head in MODELS else super().ssm_parameters

  def model(self, num_marks: int) -> tuple[Any, decays.Config]:
    """Returns the module of `rate_models` of the head, and its Config.

    Raises:
      ValueError: if an option is unknown, or a value is wrong.
    """
    module, stack = getattr(rate_models, self.head), self.network.stack
    names = {field.name for field in dataclasses.fields(module.Config)}
    fields = {"num_marks": num_marks, "d_model": stack.d_model}
    if "num_layers" in names:
      fields["num_layers"] = stack.num_layers
    for name, _ in self.head_options:
      validate.choice("head_options", name, sorted(names - set(fields)))
    return module, module.Config(**fields, **dict(self.head_options))
