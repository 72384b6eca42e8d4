r"""Next-byte prediction on documents of very different lengths, with plans.

    python -m experiments.documents --workdir=DIR \
      --config=configs/documents/python.py

Every update reads several whole documents. The planner (`jaxseq.planner`)
assigns them to groups of devices; the loss and its gradient equal those of
reading the documents one by one, on any power of two of devices, of one process
or several. Runs may be continued on other devices or with another planning
method.

It ends with the bits per byte over all test documents, each read from a fresh
state, a table, `DIR/learning_curve.png` and `DIR/results.json`. The rows of
`DIR/ARM/metrics.jsonl` report for every update its targets, its waves, its
share of padding, the plan's distance to its lower bound, and the number of
different programs of the run so far. `--mode=evaluate` only scores the newest
checkpoints; `--mode=predict --data=new.txt --output=predictions.csv` writes the
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
