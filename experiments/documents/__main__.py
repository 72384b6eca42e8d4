"""The command `python -m experiments.documents`."""

from experiments import documents
from jaxseq.training import app

__doc__ = documents.__doc__

if __name__ == "__main__":
  app.run_main(documents.main)
