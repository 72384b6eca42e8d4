"""The command `python -m experiments.pointing`."""

from experiments import pointing
from jaxseq.training import app

__doc__ = pointing.__doc__

if __name__ == "__main__":
  app.run_main(pointing.main)
