"""Expectations of a mixer's tests: `traits/NAME.toml`, where there is one.

A mixer without such a file is tested with the defaults below. That of a mixer
from outside the package lies beside its module, as `leaky.toml` beside
`leaky.py`.
"""

from collections.abc import Mapping
import dataclasses
import functools
import pathlib
import tomllib
from typing import Any

from jaxseq import mixers

_FOLDER = pathlib.Path(__file__).parent / "traits"


@dataclasses.dataclass(frozen=True)
class Checks:
  """Options that tests try, and bounds of what they measure.

  Attributes:
    path: the file; a failing test names it, with the field to declare there.
    cases: options beyond the defaults that change how the mixer computes; the
      contract tests run over each.
    like: a mixer that computes as this one does; quick tests of split time run
      it alone.
    collectives: what `apply` sends with time split over devices, kinds as
      "all_gather" with their number or "any"; tested only if given. That it
      does not grow with time is tested always.
    short_window: option `window` with which chunks of four elements hold all
      that a device must see; None where the mixer has no window.
    compiled_options: options with which it is compiled for accelerators.
    optional_parameters: names of parameters that are used with an option of
      `apply` alone, and have no gradient without it.
    finite_difference: step of finite differences.
    temporary: memory that the compiled `apply` may take on an accelerator
      beside its inputs, in multiples of these: by platform, "tpu" or "cuda",
      the forward pass and the gradient; with " without resets" where it then
      runs in another way. Twice that of the GRU if not given.
    bfloat16_error: what bfloat16 inputs may cost: the root mean square of the
      errors of y, and of those of all gradients together, over that of the
      numbers themselves.
    bfloat16_largest: the same of the largest error of y over the largest y.
    wide_products: why products of weights and activations are in float32.
    sharded_bfloat16: how far bfloat16 inputs may take "states", "outputs" and
      "gradients" from those without split time, of the largest value.
    sharded_model: how far split time may take float64 models.
  """

  path: pathlib.Path
  cases: tuple[Mapping[str, Any], ...] = ()
  like: str | None = None
  collectives: Mapping[str, int | str] | None = None
  short_window: int | None = None
  compiled_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  optional_parameters: tuple[str, ...] = ()
  finite_difference: float = 1e-5
  temporary: Mapping[str, tuple[float, float]] = dataclasses.field(
    default_factory=dict
  )
  bfloat16_error: tuple[float, float] = (0.01, 0.02)
  bfloat16_largest: float = 0.02
  wide_products: str | None = None
  sharded_bfloat16: Mapping[str, float] = dataclasses.field(
    default_factory=dict
  )
  sharded_model: float = 1e-12

  def remedy(self, field: str) -> str:
    """Returns what a failing test says of a bound."""
    return (
      f"got more than {getattr(self, field)}: mend the mixer, or declare "
      f"`{field}` with its reason in {self.path}"
    )


@functools.cache
def of(name: str) -> Checks:
  """Returns the expectations of a mixer."""
  path = _FOLDER / f"{name}.toml"
  if not path.exists():
    path = pathlib.Path(str(mixers.get(name).__file__)).with_suffix(".toml")
  if not path.exists():
    return Checks(_FOLDER / f"{name}.toml")
  return Checks(path, **_tuples(tomllib.loads(path.read_text())))


def _tuples(value: Any) -> Any:
  """The same with tuples for lists, as configurations have them."""
  if isinstance(value, dict):
    return {key: _tuples(item) for key, item in value.items()}
  return tuple(map(_tuples, value)) if isinstance(value, list) else value


def names() -> tuple[str, ...]:
  """Returns the names of all mixers whose time can be split over devices."""
  return tuple(n for n in mixers.names() if mixers.traits(n).splits_time)
