"""Weights of `dense` that are not arrays."""

from typing import Any
from typing import NoReturn


class Misplaced(AttributeError, TypeError, ValueError):
  """A weight that is no array is used elsewhere than in `dense`."""


class Weight:
  """A weight (n, m) that only `dense` and `dense_heads` can use.

  A subclass is a dataclass that is registered as a pytree, so that `jit`,
  `vmap`, `scan` and `grad` see its arrays. Its first leaf has the shape of the
  weight. Any use except as a weight of these functions is an error.

      @functools.partial(
        jax.tree_util.register_dataclass,
        data_fields=("q", "scale"),
        meta_fields=("path",),
      )
      @dataclasses.dataclass(frozen=True)
      class Int8(recurrence.Weight): ...

  Attributes:
    path: path of the parameter in the variables, for messages.
  """

  path: str = "the weight"

  @property
  def shape(self) -> tuple[int, ...]:
    """Shape of the weight, (n, m) with any leading axes."""
    raise NotImplementedError

  @property
  def ndim(self) -> int:
    """Number of axes of the weight."""
    return len(self.shape)

  @property
  def dtype(self) -> Any:
    """Dtype of the weight."""
    raise NotImplementedError

  def apply(self, x: Any, wide: bool = False) -> Any:
    """Returns the product of x (..., n) and the weight, see `dense`.

    Args:
      x: (..., n).
      wide: whether products of narrow x are float32.
    """
    raise NotImplementedError

  def take(self, indices: Any) -> Any:
    """Returns rows (..., m) by number, like an embedding of tokens (...)."""
    return self.elsewhere()[indices]

  def attend(self, x: Any, wide: bool = False) -> Any:
    """Returns the products of x (..., m) and all rows, (..., n).

    Args:
      x: (..., m).
      wide: whether products of narrow x are float32.
    """
    return x @ self.elsewhere().T

  def pick(self, indices: Any) -> Any:
    """Returns some of a stack of weights, such as experts, by their numbers."""
    return self.elsewhere()[indices]

  def array(self) -> Any:
    """Returns the weight as an array; raises `Misplaced` here."""
    return self._refuse()

  def elsewhere(self) -> Any:
    """Returns the array for any other use; raises `Misplaced` here."""
    return self._refuse()

  def _refuse(self) -> NoReturn:
    raise Misplaced(
      f"{self.path}: got a {type(self).__name__}, expected an array: this "
      "parameter is not only the weight of a product by recurrence.dense."
    )

  def __getattr__(self, name: str) -> Any:
    if name.startswith("_"):
      raise AttributeError(name)
    return getattr(self.elsewhere(), name)

  def __jax_array__(self) -> Any:
    """Returns the array, for functions of JAX that ask for one."""
    return self.elsewhere()

  def __array__(self, *args: Any, **options: Any) -> Any:
    """Returns the array, for NumPy."""
    return self.elsewhere().__array__(*args, **options)


def _operator(name):
  def operate(self, *args):
    return getattr(self.elsewhere(), name)(*args)

  operate.__name__ = name
  return operate


for _name in ("add", "sub", "mul", "matmul", "truediv", "pow"):
  for _side in ("", "r"):
    setattr(Weight, f"__{_side}{_name}__", _operator(f"__{_side}{_name}__"))
for _name in ("getitem", "neg", "len", "iter", "abs"):
  setattr(Weight, f"__{_name}__", _operator(f"__{_name}__"))
