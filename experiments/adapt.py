r"""Trained networks adapted to texts, chats or preferences.

    python -m experiments.adapt --config=configs/adapt/texts.py \
      --config.base=runs/kjv/mamba --workdir=DIR
    python -m experiments.adapt --config=... --workdir=DIR --mode=evaluate

The base is a model that `experiments.language_model` or this program wrote, or
a directory of a pretrained model, as `interop.huggingface` reads it. Every arm
of the config adapts it in a way of its own (all weights, adapters of low rank
beside some, or the states that sequences begin with), all seeds as one program,
and resumes where an earlier run stopped. Which weights are hit is printed, and
kept in `DIR/results.json`; it ends with a table and `DIR/learning_curve.png`.
`DIR/ARM/adapter` has the adapters as the PEFT library writes them, and
`DIR/ARM/model.safetensors` the adapted network, where its base is of here;
`DIR/ARM/states.safetensors` has tuned states, which `experiments.serve` takes
beside that. `DIR/ARM/pretrained` is a pretrained base all of whose weights were
trained, as the transformers library reads it. Checkpoints hold what is trained;
`DIR/base.json` has the path and the digest of the base, and a run goes on with
no other.
"""

from jaxseq.programs import command
from jaxseq.training import app

main, __getattr__ = command.program("adapt")


if __name__ == "__main__":
  app.run_main(main)
