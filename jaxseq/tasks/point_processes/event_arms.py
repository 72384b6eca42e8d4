"""Arms of a comparison on events: the network, and what it predicts with."""

import dataclasses
from typing import Any
from typing import Literal

from jaxseq import _validate
from jaxseq import nn
from jaxseq.nn import intensities
from jaxseq.nn.intensities import decays
from jaxseq.tasks import base

# Heads that are networks of their own.
MODELS = ("nhp", "attnhp", "s2p2")
Head = Literal["density", "intensity", "gompertz", "nhp", "attnhp", "s2p2"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
  """The options of arms that a comparison may have for all of them.

  Attributes:
    head: what is predicted with. "density": a mixture for the gap, and the
      probabilities of the mark; "intensity": an intensity for each mark, of
      units that decay from event to event; "gompertz": intensities that rise or
      fall exponentially, all alike, as RMTPP's; or a model of
      `nn.intensities`, which takes the place of the network and of this only
      the width and the number of layers.
    points: random points of a gap at which intensities are integrated in
      training.
    nodes: of the quadrature of intensities in evaluations.
    components: of the mixture.
    mark_width: hidden width between state and gap, and the marks.
    mark_sees_gap: whether the probabilities of the mark depend on the gap that
      led to it, as they do in a Hawkes process; otherwise gap and mark are
      independent, given the events before.
    time_frequencies: pairs of a sine and a cosine that tell the time of the
      last event; their periods are 2, 1, 1/2, ... horizons.
    from_shares: whether training begins with gaps and marks as often as they
      came in training, see `event_start`; of "density" alone.
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
  """The network and the training of one arm, with `Options`.

  Attributes:
    head_options: fields of the Config of a model of `nn.intensities`.
  """

  _: dataclasses.KW_ONLY
  head_options: nn.stack.Options = ()

  def __post_init__(self):
    super().__post_init__()
    _validate.at_least(self, components=1, mark_width=1, time_frequencies=0)
    _validate.at_least(self, points=1, nodes=1)
    options = tuple(sorted(dict(self.head_options).items()))
    object.__setattr__(self, "head_options", options)
    if self.from_shares and self.head != "density":
      expected = f"False with head {self.head!r}: 'density' alone begins so"
      raise _validate.error("from_shares", True, expected)
    if self.head in MODELS:
      self.model(1)
    elif options:
      expected = f"none, as the head is none of {', '.join(MODELS)}"
      raise _validate.error("head_options", self.head_options, expected)
    else:
      self.network.stack.refuse(
        "network.stack", bidirectional="the next event is what is predicted"
      )

  @property
  def ssm_parameters(self) -> tuple[str, ...]:
    """Names of the network's; a model in its place has none of them."""
    return () if self.head in MODELS else super().ssm_parameters

  def model(self, num_marks: int) -> tuple[Any, decays.Config]:
    """Returns the module of `nn.intensities` that is the head, and its Config.

    Raises:
      ValueError: if it has no such option, or a value is wrong.
    """
    module, stack = getattr(intensities, self.head), self.network.stack
    names = {field.name for field in dataclasses.fields(module.Config)}
    fields = {"num_marks": num_marks, "d_model": stack.d_model}
    if "num_layers" in names:
      fields["num_layers"] = stack.num_layers
    for name, _ in self.head_options:
      _validate.choice("head_options", name, sorted(names - set(fields)))
    return module, module.Config(**fields, **dict(self.head_options))
