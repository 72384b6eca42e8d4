"""The command `python -m experiments.synthetic`."""

from experiments import synthetic
from jaxseq.training import app

__doc__ = synthetic.__doc__

if __name__ == "__main__":
  app.run_main(synthetic.main)
