r"""State tracking by recurrences with matrix states, and its extrapolation.

    python -m experiments.synthetic --workdir=runs/matrix_states \
      --config=configs/synthetic/matrix_states.py

The words of `state_tracking.py` in S_3, for one layer of DeltaNet with
transitions of eigenvalues in (0, 1) and in (-1, 1), with two to four such
writes per element (DeltaProduct), Gated DeltaNet, RWKV-7, mLSTM and Mamba-3,
and for an LSTM. A reflection, such as a permutation of two elements, has the
eigenvalue -1 (arXiv:2411.12537), and n writes are a product of n of them
(arXiv:2502.10297): permutations of three elements need two. The delta rules
have no convolution, so each transition depends on one element.

    --config=configs/synthetic/matrix_states.py:A5

has the words in A_5, permutations of five elements, which are also the
rotations of an icosahedron, each a product of two reflections. `:tiny` only
checks in seconds that everything works.
"""

from configs import blocks
from configs import variants
from configs.synthetic import state_tracking
from experiments.synthetic import task as synthetic
from jaxseq.training import configuration


def _on(group: str, heads: int, width: int) -> synthetic.Config:
  """Returns the comparison on the words of a group."""
  gated = {"heads": heads, "d_conv": 1}
  reflections = {**gated, "negative_eigenvalues": True}
  delta = {**reflections, "decay": "none"}
  arms = {
    "delta_0_1": ("gated_deltanet", {**gated, "decay": "none"}),
    "delta_0_2": ("gated_deltanet", delta),
    "product_2": ("gated_deltanet", {**delta, "writes": 2}),
    "product_3": ("gated_deltanet", {**delta, "writes": 3}),
    "product_4": ("gated_deltanet", {**delta, "writes": 4}),
    "gated": ("gated_deltanet", reflections),
    "rwkv7": ("rwkv7", {"head_size": 16}),
    "mlstm": ("mlstm", {"heads": heads}),
    "mamba3": ("mamba3", {}),
    "lstm": ("lstm", {}),
  }
  return configuration.updated(
    state_tracking.GROUPS[group],
    network={"stack": {"d_model": width, "num_layers": 1}},
    num_updates=1200,
    optimizer={"learning_rate": 4e-3, "warmup_steps": 100},
    test_options=state_tracking.of_lengths(32, 64, 128, 256),
    arms={
      arm: blocks.arm(mixer, mixer_options=options)
      for arm, (mixer, options) in arms.items()
    },
  )


SMALL = blocks.bare("gated_deltanet", mixer_options={"writes": 2})
get_config = variants.Variants(
  S3=_on("S3", heads=2, width=32),
  A5=_on("A5", heads=4, width=64),
  tiny=configuration.updated(state_tracking.TINY, arms=SMALL),
)
