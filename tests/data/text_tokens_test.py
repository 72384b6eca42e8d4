import json

import pytest

from jaxseq.data import _tokenizer_bounds
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


def _file(**changes):
  """The content of a tokenizer's file."""
  described = {
    "version": "1.0",
    "truncation": None,
    "padding": None,
    "added_tokens": [],
    "normalizer": None,
    "pre_tokenizer": None,
    "post_processor": None,
    "decoder": None,
    "model": {
      "type": "BPE",
      "vocab": {"a": 0, "b": 1, "!": 2},
      "merges": [],
    },
  }
  return json.dumps({**described, **changes})


_TEN = {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 10}
_SPLIT = {"type": "Split", "behavior": "Isolated", "invert": False}


def test_padding_and_truncation_of_a_file_are_dropped():
  pytest.importorskip("tokenizers")
  padding = {
    "strategy": {"Fixed": 10**10},
    "direction": "Right",
    "pad_to_multiple_of": None,
    "pad_id": 0,
    "pad_type_id": 0,
    "pad_token": "a",
  }
  truncation = {
    "direction": "Right",
    "max_length": 2,
    "strategy": "LongestFirst",
    "stride": 5,
  }
  made = text_tokens.read_tokenizer(
    _file(padding=padding, truncation=truncation)
  )
  assert text_tokens.token_ids(made, "abab") == [0, 1, 0, 1]


def test_texts_that_a_normalizer_makes_far_longer_are_refused():
  pytest.importorskip("tokenizers")
  nested = {"type": "Sequence", "normalizers": [_TEN] * 9}
  made = text_tokens.read_tokenizer(_file(normalizer=nested))
  assert text_tokens.token_ids(made, "bb") == [1, 1]
  with pytest.raises(ValueError, match="note: text after .* normalizer: got"):
    text_tokens.token_ids(made, "a", "note")
  # Long texts are measured, as factors alone would refuse them.
  spaces = {"type": "Replace", "pattern": {"Regex": " +"}, "content": "b" * 99}
  made = text_tokens.read_tokenizer(_file(normalizer=spaces))
  assert len(text_tokens.token_ids(made, "ab" * 40_000)) == 80_000
  with pytest.raises(ValueError, match="expected at most 4194304"):
    text_tokens.token_ids(made, " b" * 50_000)


@pytest.mark.parametrize("field", ["pre_tokenizer", "decoder"])
def test_parts_that_write_many_bytes_for_one_are_refused(field):
  pytest.importorskip("tokenizers")
  each = {"ByteLevel": 5, "Replace": 3}
  word = {"pre_tokenizer": "ByteLevel", "decoder": "Replace"}[field]
  part = {"type": word, **(_TEN if word == "Replace" else {})}
  name = {"pre_tokenizer": "pretokenizers", "decoder": "decoders"}[field]
  whole = {"type": "Sequence", name: [part] * each[word]}
  with pytest.raises(ValueError, match=f"tokenizer: {field}: got .* for one"):
    text_tokens.read_tokenizer(_file(**{field: whole}))


def test_a_panic_of_the_library_is_one_sentence(capfd):
  pytest.importorskip("tokenizers")
  slow = {**_SPLIT, "pattern": {"Regex": "a*a*a*a*a*a*a*$"}}
  made = text_tokens.read_tokenizer(_file(pre_tokenizer=slow))
  with pytest.raises(ValueError, match="note: the tokenizer fails .*retry"):
    text_tokens.token_ids(made, "a" * 200 + "!", "note")
  del capfd  # The library writes a trace of its own.


@pytest.mark.parametrize(
  ("pattern", "repeated"),
  [
    (r"(a+)+$", True),
    (r"((?:ab*)c){2,}", True),
    (r"(a{3,})*", True),
    (r"(\d{20})+", True),
    (r"'s|'t| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+", False),
    (r"(?i:'s|'ll)|[^\r\n\p{L}]?[\p{Lu}\p{M}]*[\p{Ll}]+(?i:'s|'t)?", False),
    (r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+", False),
    (r"(\r?\n)+|[^(\s|[.,!?])]+|(ab){2}|\(+a+\)+|a{x", False),
  ],
)
def test_patterns_that_repeat_repetitions_are_refused(pattern, repeated):
  assert _tokenizer_bounds.repeats_repetitions(pattern) == repeated
  if not repeated:
    return
  pytest.importorskip("tokenizers")
  part = {**_SPLIT, "pattern": {"Regex": pattern}}
  with pytest.raises(ValueError, match="none in which what repeats"):
    text_tokens.read_tokenizer(_file(pre_tokenizer=part))


def test_decoders_of_another_form_get_one_sentence():
  decoder = {"type": "Replace", "pattern": {"Regex": "x"}, "content": " "}
  with pytest.raises(ValueError, match="bytes of its tokens cannot be told"):
    text_tokens.token_bytes(_Tokenizer({}, decoder), 1)
