r"""Next-byte prediction on documents of very different lengths, as planned.

    python -m experiments.documents --workdir=DIR \
      --config=configs/documents/python.py

Every update takes some whole documents. The planner (`jaxseq.planner`) chooses
which group of devices works on which of them; the loss and its gradient are
those of one document after the other, on any number of devices, a power of two,
of one process or several. Longer runs may be gone on with on other devices or
with another way of planning.

It ends with the bits per byte over all test documents, each read from a fresh
state, a table, `DIR/learning_curve.png` and `DIR/results.json`. The rows of
`DIR/ARM/metrics.jsonl` tell of every update its targets, its waves, its share
of padding, the plan's distance to its lower bound, and how many different
programs the run has needed so far. `--mode=evaluate` only scores the newest
checkpoints; `--mode=predict --data=new.txt --output=predictions.csv` gives the
probabilities of a text's bytes by the trained model,
`DIR/ARM/model.safetensors`.
"""

from jaxseq.programs import command
from jaxseq.tasks import lines

main, __getattr__ = command.program(
  "documents",
  lines.Line(
    "experiments.documents.document_arms",
    mesh=False,
    flags="jaxseq.training.devices.process_flags",
  ),
)
