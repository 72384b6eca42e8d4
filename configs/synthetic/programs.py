r"""Programs for sequences of bytes: the language of the KoLMogorov Test.

    python -m experiments.synthetic --config=configs/synthetic/programs.py \
      --workdir=runs/programs

A network reads a sequence, and writes a program that outputs it
(arXiv:2503.13992). Programs have one or two initial sequences and no updates;
they are decoded under the grammar, and right if their output is the sequence.
The compression by these programs is compared with that by gzip, and by the
sampled programs. Both arms take seven minutes of a core.

    --config=configs/synthetic/programs.py:full

has up to five sequences with updates, as in the paper. `:tiny` only checks in
seconds that everything works.
"""

from configs import blocks
from configs import variants
from configs.synthetic import _shared
from jaxseq.training import configuration

SIMPLE = _shared.base(
  "programs",
  {"bases": 2, "max_sequence": 50, "max_program": 40, "programs": 40_000},
  optimizer={"learning_rate": 3e-3},
  num_updates=1200,
  num_seeds=1,
  updates_per_chunk=100,
  chunks_per_evaluation=6,
  batch_size=64,
  arms=blocks.arms("attention", "gru"),
  test_options={"test": {"part": "test"}},
  further_metric="solved",
)
SMALL = {"bases": 1, "max_sequence": 25, "max_program": 20, "programs": 200}
TINY = _shared.tiny(SIMPLE, SMALL, {"part": "test"})
get_config = variants.Variants(
  simple=SIMPLE,
  full=configuration.updated(
    SIMPLE,
    num_updates=20_000,
    task_options={
      "bases": 5,
      "updates": True,
      "max_sequence": 200,
      "max_program": 160,
      "programs": 100_000,
    },
  ),
  tiny=TINY,
)
