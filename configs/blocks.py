"""The block that each mixer's paper puts around it."""

from jaxseq import mixers


def arms(*names: str) -> dict[str, dict]:
  """Returns one arm for each mixer, in the block that it declares."""
  return {
    name: {"network": {"stack": {"mixer": name, **mixers.traits(name).block}}}
    for name in names
  }
