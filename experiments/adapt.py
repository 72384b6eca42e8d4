r"""Adaptation of trained networks to texts, chats or preferences.

    python -m experiments.adapt --config=configs/adapt/texts.py \
      --config.base=runs/kjv/mamba --workdir=DIR
    python -m experiments.adapt --config=... --workdir=DIR --mode=evaluate

The base is a model written by `experiments.language_model` or this program, or
a directory of a pretrained model that `interop.huggingface` can read. Every arm
of the config adapts it by another method (training all weights, low-rank
adapters of some, or initial states), with all seeds as one program, and resumes
where an earlier run stopped. The adapted weights are printed and written to
`DIR/results.json`; the run ends with a table and `DIR/learning_curve.png`.
`DIR/ARM/adapter` contains the adapters in the format of the PEFT library, and
`DIR/ARM/model.safetensors` the adapted network if its base was trained here;
`DIR/ARM/states.safetensors` contains tuned states, which `experiments.serve`
can load with the model. `DIR/ARM/pretrained` is a fully trained pretrained
model in the format of the transformers library. Checkpoints contain only
trainable variables; `DIR/base.json` contains the path and the digest of the
base, and a run resumes only with the same base.
"""

from jaxseq.programs import command
from jaxseq.training import app

main, __getattr__ = command.program("adapt")


if __name__ == "__main__":
  app.run_main(main)
