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
  "parallel": (),
  "bidirectional": False,
  "layers": (),
  "norm": "rms",
  "prenorm": True,
  "norm_output": False,
  "gtrxl_norm": False,
  "activation": "none",
  "residual": True,
  "feedforward": "none",
}
_NETWORK = {
  "pooling": "none",
  "head_widths": (),
  "embedding_scale": 1.0,
  "embedding_norm": False,
  "logit_scale": 1.0,
  "logit_cap": None,
}
_SILU = ("silu", "swish")


def network(
  entries: _entries.Entries, stack: Mapping[str, Any], **options: Any
) -> nn.NetworkConfig:
  """Makes the network of a decoder."""
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
  """Checks that a network is one of `network` with `mixer` alone."""
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
  """Returns the places of what is around the layers."""
  return {
    "embed/embedding": _placement.same(embedding),
    "stack/final_norm/scale": _placement.same(norm),
    "head/mlp/dense_0/kernel": _placement.linear("lm_head.weight"),
  }


def norms(
  ours: str, theirs: str, mixer: str, feedforward: str
) -> dict[str, _placement.Place]:
  """Returns the places of the two norms of a layer, by their names there."""
  return {
    f"{ours}/norm/scale": _placement.same(f"{theirs}.{mixer}.weight"),
    f"{ours}/feedforward_norm/scale": _placement.same(
      f"{theirs}.{feedforward}.weight"
    ),
  }


def renamed(
  ours: str,
  theirs: str,
  table: Mapping[str, tuple[str, Callable[[str], _placement.Place]]],
) -> dict[str, _placement.Place]:
  """Returns the places of the parameters of a module."""
  return {
    f"{ours}/{parameter}": layout(f"{theirs}.{name}")
    for parameter, (name, layout) in table.items()
  }


def check_silu(entries: _entries.Entries, name: str = "hidden_act") -> None:
  """Checks that an activation is silu."""
  entries.choice(name, _SILU, "silu")


def attention_options(
  entries: _entries.Entries,
  heads: int,
  kv_heads: int | None = None,
  window: int | None = None,
) -> dict[str, Any]:
  """Returns options of mixer "attention" by the usual entries."""
  heads = entries.count("num_attention_heads", heads)
  width = entries.count("head_dim", None)
  if width is None:
    width = entries.count("hidden_size") // heads
  if entries.contents.get("num_key_value_heads", kv_heads) is None:
    kv_heads = heads
  else:
    kv_heads = entries.count("num_key_value_heads", kv_heads)
  return {
    "heads": heads,
    "kv_heads": kv_heads,
    "d_head": width,
    "window": entries.context if window is None else window,
    "positions": "none",
  }


def rotary_options(
  entries: _entries.Entries, fraction: float = 1.0
) -> dict[str, Any]:
  """Returns options of rotary positions; `fraction` where none is said."""
  base, fraction = entries.rotary(fraction)
  return {
    "positions": "rotary",
    "rotary_base": base,
    "rotary_fraction": fraction,
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


# The usual names of a gated feed-forward's layers, by those here: the one with
# the activation, the gate that meets it, the one behind.
GATED = {"in": "gate_proj", "gate": "up_proj", "out": "down_proj"}


def gated(ours: str, theirs: str) -> dict[str, _placement.Place]:
  """Returns the places of a gated feed-forward with the usual names."""
  return dense(ours, theirs, GATED)


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


def experts(
  ours: str, theirs: str, number: int, names: Mapping[str, str]
) -> dict[str, _placement.Place]:
  """Returns the places of experts whose tensors are those of single layers."""
  return {
    f"{ours}/{here}": _placement.stacked(
      [_placement.linear(f"{theirs}.{i}.{there}.weight") for i in range(number)]
    )
    for here, there in names.items()
  }
