r"""Disentangled codes of time series, by any method and with any backbone.

    python -m experiments.dts --config=configs/dts/quick.py --workdir=DIR
    python -m experiments.dts --config=... --workdir=DIR --mode=evaluate
    python -m experiments.dts --workdir=DIR --mode=predict \
      --arm=NAME --data=new.csv --output=codes.csv

The first command trains every arm of the config (a method, or a backbone), all
seeds as one program, which arms that differ in the objective's weights alone
share, and resumes where an earlier run stopped. It ends with a
table, `DIR/results.json` and the trained model of each arm,
`DIR/ARM/model.safetensors`; with the pictures `learning_curve.png`,
`information.png` (mutual information, total correlation and dimension-wise KL
over training) and, for each arm, `ARM/kl.png` (KL of each coordinate over
training) and `ARM/traversal.png` (what the decoder makes of a code in which one
coordinate moves). Where windows have known factors, a table of all metrics of
disentanglement follows, which `metrics.png` draws, and
`ARM/information_map.png` shows what each coordinate knows of each factor. Where
there are two domains, a table and `ARM/probes.json` say what each segment of
the code knows, and `ARM/swap.png` shows windows that are
decoded from the first segment of one and the second of another, of different
classes and domains. Traversals and swaps need windows of more than one time:
nothing is drawn of statistics, which are a single one.

With `config.downstream` the table shows what the codes are good for as well,
beside baselines without a model: "classify", "forecast" (`ARM/forecasts.png`)
and "anomaly" (`ARM/anomaly.png`), see `jaxseq.dts.downstream`. The second
command evaluates the newest checkpoints, also with more metrics than before:
`--config.trees=100` adds those that learn, such as DCI. The first command with
that option on a run that is complete writes them to its files, too. The third
command encodes the windows of a file.
"""

from jaxseq.programs import command
from jaxseq.training import app

main, __getattr__ = command.program("dts")


if __name__ == "__main__":
  app.run_main(main)
