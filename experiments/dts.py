r"""Disentangled codes of time series, by any method and with any backbone.

    python -m experiments.dts --config=configs/dts/quick.py --workdir=DIR
    python -m experiments.dts --config=... --workdir=DIR --mode=evaluate
    python -m experiments.dts --workdir=DIR --mode=predict \
      --arm=NAME --data=new.csv --output=codes.csv

The first command trains every arm of the config (a method, or a backbone), with
all seeds as one program, shared by arms that differ only in the objective's
weights, and resumes where an earlier run stopped. It ends with a table,
`DIR/results.json` and the trained model of each arm,
`DIR/ARM/model.safetensors`; with the pictures `learning_curve.png`,
`information.png` (mutual information, total correlation and dimension-wise KL
over training) and, for each arm, `ARM/kl.png` (KL of each coordinate over
training) and `ARM/traversal.png` (windows decoded from codes in which one
coordinate varies). If windows have known factors, a table of all
disentanglement metrics follows, which `metrics.png` draws, and
`ARM/information_map.png` shows the information of each coordinate about each
factor. If there are two domains, a table and `ARM/probes.json` report the
information in each segment of the code, and `ARM/swap.png` shows windows
decoded from the first segment of one window and the second segment of another,
of different classes and domains. Traversals and swaps need windows of more than
one time step: they are not drawn for statistics, which have one.

With `config.downstream` the table also shows scores of the codes on downstream
tasks, and baselines without a model: "classify", "forecast"
(`ARM/forecasts.png`) and "anomaly" (`ARM/anomaly.png`), see
`jaxseq.dts.downstream`. The second command evaluates the newest checkpoints,
also with additional metrics: `--config.trees=100` adds fitted ones, such as
DCI. The first command with that option on a complete run writes them to its
files, too. The third command encodes the windows of a file.
"""

from jaxseq.programs import command
from jaxseq.training import app

main, __getattr__ = command.program("dts")


if __name__ == "__main__":
  app.run_main(main)
