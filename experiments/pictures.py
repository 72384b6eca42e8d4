r"""Pictures: codes of them, likelihoods, new ones.

    python -m experiments.pictures --config=configs/pictures/digits.py \
      --workdir=DIR
    python -m experiments.pictures --config=... --workdir=DIR --mode=generate

A run trains a codec, or what writes pixels or the codes of a codec. It ends
with a table, beside what counting gives, `DIR/learning_curve.png`,
`DIR/results.json`, and of each arm `DIR/ARM/model.safetensors` and a picture:
`scales.png` or `samples.png`, by the first seed.
"""

from jaxseq.programs import command
from jaxseq.training import app

main, __getattr__ = command.program("pictures")


if __name__ == "__main__":
  app.run_main(main)
