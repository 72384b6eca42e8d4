r"""Picture models: codes, likelihoods and sampling of new pictures.

    python -m experiments.pictures --config=configs/pictures/digits.py \
      --workdir=DIR
    python -m experiments.pictures --config=... --workdir=DIR --mode=generate

A run trains a codec, or models of pixels or of a codec's codes. It ends with a
table that includes counting baselines, `DIR/learning_curve.png`,
`DIR/results.json`, and for each arm `DIR/ARM/model.safetensors` and a picture:
`scales.png` or `samples.png`, of the first seed.
"""

from jaxseq.programs import command
from jaxseq.training import app

main, __getattr__ = command.program("pictures")


if __name__ == "__main__":
  app.run_main(main)
