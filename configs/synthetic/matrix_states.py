r"""State tracking by recurrences with matrix states, and who extrapolates.

    python -m experiments.synthetic --workdir=runs/matrix_states \
      --config=configs/synthetic/matrix_states.py

The words of `state_tracking.py` in S_3, for one layer of DeltaNet with
transitions of eigenvalues in (0, 1) and in (-1, 1), with two to four such
writes to an element (DeltaProduct), Gated DeltaNet, RWKV-7, mLSTM and Mamba-3,
beside an LSTM. A reflection, which a permutation of two elements is, has the
eigenvalue -1 (arXiv:2411.12537), and n writes make a product of n of them
(arXiv:2502.10297): permutations of three elements need two. The delta rules
have no convolution: an element's transition is its own.

    --config=configs/synthetic/matrix_states.py:A5

has the words in A_5, permutations of five elements, which are also the
rotations of an icosahedron, products of two reflections each. `:tiny` learns
nothing, and shows in seconds whether everything works.
"""

import ml_collections

from configs import blocks
from configs.synthetic import state_tracking
from jaxseq import _validate

VARIANTS = ("S3", "A5", "tiny")


def get_config(variant: str = "S3") -> ml_collections.ConfigDict:
  _validate.choice("variant", variant, VARIANTS)
  config = state_tracking.get_config(variant)
  if variant == "tiny":
    config.arms = blocks.bare("gated_deltanet", mixer_options={"writes": 2})
    return config
  config.network.stack.update(d_model=32, num_layers=1)
  config.update(num_updates=1200, updates_per_chunk=200)
  config.optimizer.update(learning_rate=4e-3, warmup_steps=100)
  config.test_options["256"] = {"min_length": 256, "max_length": 256}
  heads = 2
  if variant == "A5":
    heads = 4
    config.network.stack.d_model = 64
  gated = {"heads": heads, "d_conv": 1}
  delta = {**gated, "decay": "none"}
  reflections = {**delta, "negative_eigenvalues": True}
  arms = {
    "delta_0_1": ("gated_deltanet", delta),
    "delta_0_2": ("gated_deltanet", reflections),
    "product_2": ("gated_deltanet", {**reflections, "writes": 2}),
    "product_3": ("gated_deltanet", {**reflections, "writes": 3}),
    "product_4": ("gated_deltanet", {**reflections, "writes": 4}),
    "gated": ("gated_deltanet", {**gated, "negative_eigenvalues": True}),
    "rwkv7": ("rwkv7", {"head_size": 16}),
    "mlstm": ("mlstm", {"heads": heads}),
    "mamba3": ("mamba3", {}),
    "lstm": ("lstm", {}),
  }
  config.arms = {
    arm: blocks.arms(mixer)[mixer] for arm, (mixer, _) in arms.items()
  }
  for arm, (_, options) in arms.items():
    config.arms[arm].network.stack.mixer_options = options
  return config
