"""Writes the table of docs/mixers.md: what each mixer keeps, and its sizes."""

import math
import pathlib
import re

import jax

from jaxseq import mixers

PAGE = pathlib.Path(__file__).resolve().parents[1] / "docs" / "mixers.md"
_HEAD = (
  "| mixer | between elements | state, bytes | parameters |\n"
  "| --- | --- | --- | --- |\n"
)


def row(name: str) -> str:
  """Returns a mixer's line of the table, for d_model = 64 and its defaults."""
  module, config = mixers.get(name), mixers.make_config(name, d_model=64)
  params = jax.eval_shape(lambda: module.init(jax.random.key(0), config))
  state = jax.eval_shape(
    lambda params: mixers.fresh_state(config, params=params), params
  )
  size = sum(
    math.prod(leaf.shape) * leaf.dtype.itemsize
    for leaf in jax.tree.leaves(state)
  )
  count = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))
  return f"| `{name}` | {mixers.traits(name).keeps} | {size} | {count} |\n"


def main() -> None:
  """Writes the table of all mixers in the place of the one in the page."""
  table = _HEAD + "".join(map(row, mixers.names()))
  text = PAGE.read_text()
  PAGE.write_text(
    re.sub(re.escape(_HEAD) + r"(\|.*\n)*", lambda _: table, text)
  )


if __name__ == "__main__":
  main()
