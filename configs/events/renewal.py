r"""A renewal process: gaps of a gamma distribution with shape 3.

    python -m experiments.events --config=configs/events/renewal.py \
      --workdir=runs/renewal

The past tells nothing beyond the time of the last event. As in `hawkes.py`, the
process itself is the line to reach. `:tiny` learns nothing, and shows in
seconds whether everything works.
"""

import ml_collections

from configs.events import hawkes
from jaxseq import _validate

VARIANTS = ("full", "tiny")


def get_config(variant: str = "full") -> ml_collections.ConfigDict:
  _validate.choice("variant", variant, VARIANTS)
  config = hawkes.get_config("renewal" if variant == "full" else "tiny")
  config.data = "renewal"
  return config
