r"""The command `jaxseq tokenize`: converts texts to a token file.

jaxseq tokenize --data=texts.jsonl --tokenizer=tokenizer.json \
      --output=corpus.bin
"""

from collections.abc import Sequence

from absl import flags

from jaxseq.training import errors

flags.disclaim_key_flags()


def define() -> None:
  """Defines the flags."""
  flags.DEFINE_string(
    "data",
    None,
    "a file, a folder or a pattern of texts, each a document; of files that "
    "end in .jsonl each line is one",
  )
  flags.DEFINE_string(
    "output", None, "the file to write: NAME.bin, and NAME.idx"
  )
  flags.DEFINE_string(
    "tokenizer", None, "a tokenizer.json; bytes are the tokens without it"
  )
  flags.DEFINE_string("pattern", "**/*", "which files of a folder")
  flags.DEFINE_string("field", "text", "of a line, that has its text")


def main(argv: Sequence[str]) -> None:
  """Writes the token file of the flags, and prints a summary.

  Raises:
    UserError: if a flag is missing, or a text is not as expected.
  """
  if argv[1:]:
    raise errors.UserError(f"unexpected argument {argv[1]!r}")
  # A slow import that the flags do not need.
  from jaxseq.data import token_text

  values = flags.FLAGS
  for name in ("data", "output"):
    if not values[name].value:
      raise errors.UserError(f"--{name}=FILE is missing")
  with errors.setup():
    file = token_text.write(
      values.output,
      values.data,
      tokenizer=values.tokenizer,
      pattern=values.pattern,
      field=values.field,
    )
  print(
    f"{len(file):,} documents, {len(file.tokens):,} tokens of "
    f"{file.tokens.dtype.name}, digest {file.digest()}"
  )
