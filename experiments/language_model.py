r"""Next-byte prediction on a text, with any mixer; generation of text.

    python -m experiments.language_model --workdir=DIR \
      --config=configs/language_model/kjv.py
    python -m experiments.language_model --config=... --workdir=DIR \
      --mode=generate --prompt="In the beginning" --length=400 --temperature=0.8
    python -m experiments.language_model --workdir=DIR \
      --mode=predict --arm=NAME --data=new.txt --output=predictions.csv

The first command trains every arm of the config (one mixer each) and resumes
where an earlier run stopped. It ends with the bits per byte over the whole test
text, read with carried states, a table, `DIR/learning_curve.png`,
`DIR/results.json`, and a sample and the trained model of each arm,
`DIR/ARM/model.safetensors`. The second command continues a prompt with the
newest checkpoints, the third writes the probability of each byte of a file;
`--mode=evaluate` only scores the checkpoints. With `dynamic` in the config the
text is also scored while the network is trained on the scored text, like an
adaptive compressor.
"""

from jaxseq.programs import command
from jaxseq.training import app

main, __getattr__ = command.program("language_model")


if __name__ == "__main__":
  app.run_main(main)
