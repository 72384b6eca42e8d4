"""The command `python -m experiments.continual`."""

from experiments import continual
from jaxseq.training import app

__doc__ = continual.__doc__

if __name__ == "__main__":
  app.run_main(continual.main)
