"""The command `jaxseq` as a module: `python -m jaxseq train classify ...`."""

from jaxseq.programs import command

if __name__ == "__main__":
  command.main()
