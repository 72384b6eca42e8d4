r"""Tokens on disk in Megatron's format, for files larger than memory.

    jaxseq tokenize --data=texts.jsonl --tokenizer=t.json --output=corpus.bin
    python -m experiments.language_model --workdir=runs/corpus \
      --config=configs/language_model/token_file.py \
      --config.data_options.path=corpus.bin \
      --config.data_options.tokenizer=t.json

An update reads `batch_size` rows of `length` tokens: windows over all documents
in a random order, which changes in each epoch, or with

    --config.data_options.documents

whole documents, as many as fit into a row. Each begins with fresh states. All
seeds read the same rows. A resumed run continues with the same rows, on any
number of processes, and rejects another file. The only arm is `mamba`; `:tiny`
only checks in seconds whether the file can be used; its only arm is `gru`.
"""

from configs import supervised
from configs import variants
from configs.language_model import kjv
from jaxseq.programs import own_data
from jaxseq.training import configuration

FULL = configuration.updated(
  kjv.STDLIB,
  data="token_file",
  data_options=own_data.of_loader("token_file", path="data.bin"),
  num_updates=1000,
  batch_size=8,
  length=128,
  jump_every=None,
  test_streams=1,
)
get_config = variants.Variants(
  full=FULL, tiny=supervised.tiny(FULL, length=16, valid_tokens=256)
)
