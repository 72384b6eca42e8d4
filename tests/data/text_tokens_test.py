import json

import pytest

from jaxseq.data import text_tokens


class _Tokenizer:
  """What of a tokenizer of the package tokenizers is asked for."""

  def __init__(self, vocab, decoder, added=()):
    self._vocab = vocab
    self._described = {"decoder": decoder, "added_tokens": list(added)}

  def to_str(self):
    return json.dumps(self._described)

  def get_vocab(self):
    return self._vocab


_ADDED = [
  {"id": 0, "content": "<s>", "special": True},
  {"id": 1, "content": "é ", "special": False},
]


def test_tokens_of_bytes():
  vocab = {"<s>": 0, "é ": 1, "Ġthe": 2, "Ċ": 3, "Ã": 4, "ð": 5, "~Ń": 6}
  made = _Tokenizer(vocab, {"type": "ByteLevel"}, _ADDED)
  assert text_tokens.token_bytes(made, 9) == [
    *(b"", "é ".encode(), b" the", b"\n", b"\xc3", b"\xf0", b"~\xad"),
    *(b"", b""),
  ]


@pytest.mark.parametrize(
  "decoder",
  [
    {"type": "Metaspace", "replacement": "▁"},
    {
      "type": "Sequence",
      "decoders": [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
      ],
    },
  ],
)
def test_tokens_of_pieces(decoder):
  vocab = {"<s>": 0, "é ": 1, "▁the": 2, "<0xC3>": 3, "ü": 4}
  made = _Tokenizer(vocab, decoder, _ADDED)
  falls = b"\xc3" if decoder["type"] == "Sequence" else b"<0xC3>"
  words = [b"", "é ".encode(), b" the", falls, "ü".encode()]
  assert text_tokens.token_bytes(made, 5) == words


@pytest.mark.parametrize(
  ("decoder", "name"),
  [(None, "None"), ({"type": "WordPiece", "prefix": "##"}, "WordPiece")],
)
def test_other_tokenizers_are_refused(decoder, name):
  with pytest.raises(ValueError, match=f"tokenizer: got 'the decoder {name}'"):
    text_tokens.token_bytes(_Tokenizer({}, decoder), 1)


@pytest.mark.parametrize("kind", ["bytes", "pieces"])
def test_the_bytes_are_those_of_texts(kind):
  library = pytest.importorskip("tokenizers")
  made = library.Tokenizer(library.models.BPE(byte_fallback=kind == "pieces"))
  if kind == "bytes":
    made.pre_tokenizer = library.pre_tokenizers.ByteLevel(False)
    made.decoder = library.decoders.ByteLevel()
    alphabet = library.pre_tokenizers.ByteLevel.alphabet()
  else:
    made.pre_tokenizer = library.pre_tokenizers.Metaspace()
    made.decoder = library.decoders.Sequence(
      [
        library.decoders.Replace("▁", " "),
        library.decoders.ByteFallback(),
        library.decoders.Fuse(),
      ]
    )
    alphabet = [f"<0x{byte:02X}>" for byte in range(256)]
  trainer = library.trainers.BpeTrainer(
    vocab_size=330, initial_alphabet=alphabet, show_progress=False
  )
  text = "the naïve café — and the rest of the words, über all"
  made.train_from_iterator([text] * 3, trainer)
  numbers = made.encode(text).ids
  found = text_tokens.token_bytes(made, made.get_vocab_size())
  joined = b"".join(found[number] for number in numbers)
  assert joined.decode().strip() == text
