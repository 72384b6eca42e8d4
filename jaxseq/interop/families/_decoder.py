"""Parts that families share: the network around the layers, and its tensors."""

from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

from jaxseq import _validate
from jaxseq import nn
from jaxseq.interop import _entries
from jaxseq.interop import _placement

# Every family's network, where its own options do not differ.
_STACK = {
  "hybrid": (),
  "norm": "rms",
  "prenorm": True,
  "gtrxl_norm": False,
  "activation": "none",
  "residual": True,
  "feedforward": "none",
}
_NETWORK = {"pooling": "none", "head_widths": ()}


def network(
  entries: _entries.Entries, stack: Mapping[str, Any], **options: Any
) -> nn.NetworkConfig:
  """Makes the network of a decoder.

  It has RMS norms in front of what its layers consist of and a read-out without
  bias.

  Args:
    entries: of config.json, for messages.
    stack: options of the stack.
    **options: options of the network.

  Returns:
    The options.

  Raises:
    ValueError: if they are those of no network.
  """
  try:
    return nn.NetworkConfig(
      nn.StackConfig(**_STACK | dict(stack)),
      **{"head_bias": False, **_NETWORK, **options},
    )
  except ValueError as error:
    raise ValueError(
      f"{entries.where} does not make a network: {error}"
    ) from error


def check_saved(config: nn.NetworkConfig) -> None:
  """Checks that a network is one of `network` with `mixer` alone.

  Raises:
    ValueError: naming the option that differs.
  """
  needed = dict(_NETWORK)
  if not config.tie:
    needed["head_bias"] = False
  for part, wanted in ((config, needed), (config.stack, _STACK)):
    for name, value in wanted.items():
      if getattr(part, name) != value:
        raise _validate.error(
          name, getattr(part, name), f"{value!r} to be saved in this format"
        )
  if not config.stack.ends_in_norm:
    expected = "True to be saved in this format"
    raise _validate.error("final_norm", False, expected)


def frame(embedding: str, norm: str) -> dict[str, _placement.Place]:
  """Returns the places of what is around the layers.

  Args:
    embedding: name of the tensor with a row for each token.
    norm: name of the last norm's.
  """
  return {
    "embed/embedding": _placement.same(embedding),
    "stack/final_norm/scale": _placement.same(norm),
    "head/mlp/dense_0/kernel": _placement.linear("lm_head.weight"),
  }


def renamed(
  ours: str,
  theirs: str,
  table: Mapping[str, tuple[str, Callable[[str], _placement.Place]]],
) -> dict[str, _placement.Place]:
  """Returns the places of the parameters of a module.

  Args:
    ours: path of the module here.
    theirs: name of the module there.
    table: by the parameters' own names, those of the tensors and how they are
      laid out.
  """
  return {
    f"{ours}/{parameter}": layout(f"{theirs}.{name}")
    for parameter, (name, layout) in table.items()
  }


def attention(ours: str, theirs: str) -> dict[str, _placement.Place]:
  """Returns the places of mixer "attention": `q_proj` and its like."""
  projections = {f"W_{x}": f"{x}_proj" for x in ("q", "k", "v", "o")}
  return renamed(
    ours,
    theirs,
    {
      **{k: (f"{v}.weight", _placement.linear) for k, v in projections.items()},
      **{
        f"{k}_bias": (f"{v}.bias", _placement.same)
        for k, v in projections.items()
      },
    },
  )


def gated(
  ours: str,
  theirs: str,
  names: tuple[str, str, str] = ("gate_proj", "up_proj", "down_proj"),
) -> dict[str, _placement.Place]:
  """Returns the places of a gated feed-forward, "swiglu" or "geglu".

  Args:
    ours: path of the module here.
    theirs: name of the module there.
    names: of the layers: the one with the activation, the gate that meets it,
      the one behind.
  """
  return dense(ours, theirs, dict(zip(("in", "gate", "out"), names)))


def dense(
  ours: str, theirs: str, names: Mapping[str, str]
) -> dict[str, _placement.Place]:
  """Returns the places of dense layers, by their names here and there."""
  kernels = {
    f"{here}/kernel": (f"{there}.weight", _placement.linear)
    for here, there in names.items()
  }
  biases = {
    f"{here}/bias": (f"{there}.bias", _placement.same)
    for here, there in names.items()
  }
  return renamed(ours, theirs, kernels | biases)
