r"""Next-byte prediction on your own text, or on a folder of texts.

    python -m experiments.language_model --workdir=runs/notes \
      --config=configs/language_model/text.py \
      --config.data_options.path=notes.txt

All files of a folder are read, or those of a pattern; in their order the last
10 % of the text are for validation and testing. With `documents` whole files
are assigned to the parts, and the network's state is reset in each. Bytes are
modeled, or the tokens of a tokenizers file
(`pip install 'jaxseq[tokenizers]'`):

    --config.data_options.path=notes --config.data_options.pattern="**/*.md" \
    --config.data_options.documents --config.data_options.tokenizer=t.json

The only arm is `mamba`, the name for `--arms` and `--arm`. `:tiny` only checks
in seconds whether the text can be used; its only arm is `gru`.
"""

from configs import supervised
from configs import variants
from configs.language_model import kjv
from jaxseq.programs import own_data
from jaxseq.training import configuration

FULL = configuration.updated(
  kjv.STDLIB,
  data="text_files",
  data_options=own_data.text(),
  num_updates=1000,
  batch_size=8,
  length=128,
  test_streams=1,
)
get_config = variants.Variants(
  full=FULL, tiny=supervised.tiny(FULL, length=16, valid_tokens=256)
)
