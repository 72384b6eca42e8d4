import base64
import json
import struct
import types

import numpy as np
import pytest

from jaxseq.data import _text_pieces
from jaxseq.data import _tokenizer_bounds
from jaxseq.data import sources
from jaxseq.data import text_tokens
from tests import limited


class _Tokenizer:
  """What of a tokenizer of the package tokenizers is asked for."""

  def __init__(self, vocab, decoder, added=()):
    self._vocab = vocab
    self._added = dict(added)
    self.decoder = None
    if decoder is not None:
      state = json.dumps(decoder).encode()
      self.decoder = types.SimpleNamespace(__getstate__=lambda: state)

  def get_added_tokens_decoder(self):
    return self._added

  def get_vocab(self):
    return self._vocab


_ADDED = {
  0: types.SimpleNamespace(content="<s>", special=True),
  1: types.SimpleNamespace(content="é ", special=False),
}


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
  with pytest.raises(ValueError, match="bytes of its tokens are unknown"):
    text_tokens.token_bytes(_Tokenizer({}, decoder), 1)


def _bpe(**changes):
  """The model of a tokenizer's file."""
  vocab = {"a": 0, "b": 1, "!": 2}
  return {"type": "BPE", "vocab": vocab, "merges": [], **changes}


def _added(count, first=3):
  flags = ("single_word", "lstrip", "rstrip", "normalized")
  token = {**dict.fromkeys(flags, False), "special": True}
  return [{**token, "id": first + i, "content": f"<{i}>"} for i in range(count)]


def _table(size):
  """A table of SentencePiece that says so of its size."""
  return base64.b64encode(struct.pack("<I", size)).decode()


_TOO_MUCH = {
  "the number of a token: got 1000000000": {"model": _bpe(vocab={"a": 10**9})},
  "the number of a token: got 4294967295": {
    "added_tokens": _added(1, 2**32 - 1)
  },
  "the number of a token: got 4194304": {
    "post_processor": {"type": "RobertaProcessing", "sep": ["a", 2**22]}
  },
  "added_tokens: got 80001, expected at most 80000": {
    "added_tokens": _added(80_001)
  },
  "normalizer: got a table of 0 bytes that says it has 4294967292": {
    "normalizer": {
      "type": "Precompiled",
      "precompiled_charsmap": _table(2**32 - 4),
    }
  },
  "max_input_chars_per_word: got 1000000": {
    "model": {
      **_bpe(type="WordPiece", unk_token="!"),
      "max_input_chars_per_word": 10**6,
    }
  },
  "characters of a token: got 2000, expected an integer of at most 1024": {
    "model": {"type": "Unigram", "vocab": [["a" * 2000, -1.0]]}
  },
}


@pytest.mark.parametrize("sentence", _TOO_MUCH)
def test_files_that_ask_for_too_much_are_refused(sentence):
  with pytest.raises(ValueError, match=f"tokenizer: {sentence}"):
    _tokenizer_bounds.checked(_file(**_TOO_MUCH[sentence]), "tokenizer")


def test_a_tokenizer_of_more_tokens_than_its_model_is_refused():
  fields = {"kind": "text", "vocab_size": 3, "tokenizer": _file()}
  assert sources.from_json(fields).vocab_size == 3
  for vocab_size, changes in ((2, {}), (3, {"added_tokens": _added(1)})):
    more = fields | {"vocab_size": vocab_size, "tokenizer": _file(**changes)}
    expected = f"at most {vocab_size}, as the model has"
    with pytest.raises(
      ValueError, match=f"tokens: got .*, expected {expected}"
    ):
      sources.from_json(more)


def test_what_may_end_the_interpreter_is_tried_in_a_child():
  pytest.importorskip("tokenizers")
  files = [_file(**changes) for changes in _TOO_MUCH.values()]
  # No command could hold 80,000 tokens.
  files = [content for content in files if len(content) < 10**5]
  assert len(files) == len(_TOO_MUCH) - 1
  code = f"""
    from jaxseq.data import text_tokens
    for content in {files!r}:
      try:
        made = text_tokens.read_tokenizer(content)
        text_tokens.token_bytes(made, 256)
        text_tokens.encode(b"aaa", made, "a text")
      except ValueError:
        print("refused")
    """
  assert limited.run(code) == "refused\n" * len(files)


_BYTES = {
  "type": "ByteLevel",
  "add_prefix_space": False,
  "trim_offsets": True,
  "use_regex": False,
}


def test_nothing_is_printed_where_numbers_are_left_out(capfd):
  pytest.importorskip("tokenizers")
  vocab = {"a": 0, "!": 4_000_000}
  content = _file(model=_bpe(vocab=vocab), decoder=_BYTES)
  made = text_tokens.read_tokenizer(content)
  assert text_tokens.token_bytes(made, 3) == [b"a", b"", b""]
  assert text_tokens.described(made) == text_tokens.described(
    text_tokens.read_tokenizer(content)
  )
  assert text_tokens.described(made) != text_tokens.described(
    text_tokens.read_tokenizer(_file())
  )
  assert capfd.readouterr().out == ""


def _divided(name):
  """Pre-tokenizers, and whether a text may be cut for them."""
  if name.isdigit():
    pattern = sorted(_text_pieces._PATTERNS)[int(name)]
    split = {**_SPLIT, "pattern": {"Regex": pattern}}
    parts = [{"type": "Digits", "individual_digits": True}, split, _BYTES]
    return {"type": "Sequence", "pretokenizers": parts}
  metaspace = {"type": "Metaspace", "replacement": "▁"}
  return {
    "gpt2": {**_BYTES, "add_prefix_space": True, "use_regex": True},
    "bert": {"type": "BertPreTokenizer"},
    "first": {**metaspace, "prepend_scheme": "first", "split": True},
    "always": {**metaspace, "prepend_scheme": "always", "split": True},
    "whole": {**metaspace, "prepend_scheme": "always", "split": False},
    "quoted": {**_SPLIT, "pattern": {"Regex": '"[^"]*"'}},
    "none": None,
  }[name]


@pytest.mark.parametrize(
  "name",
  [
    *("0", "1", "2", "3", "gpt2", "bert", "first", "always"),
    *("whole", "quoted", "none"),
  ],
)
def test_long_texts_have_the_tokens_of_the_whole(name, monkeypatch):
  library = pytest.importorskip("tokenizers")
  generator = np.random.default_rng(0)
  alphabet = list("abcXYZ  \n\t.,!'\"19é漢 ▁") + ["'ll", " the ", "<|x|>"]
  texts = ["".join(generator.choice(alphabet, 3000)) for _ in range(8)]
  normalizer = {"type": "NFC"} if name.isdigit() else None
  content = _file(pre_tokenizer=_divided(name), normalizer=normalizer)
  made = library.Tokenizer.from_str(content)
  trainer = library.trainers.BpeTrainer(vocab_size=400, show_progress=False)
  made.train_from_iterator(texts[:4], trainer)
  made.add_special_tokens(["<|x|>"])
  monkeypatch.setattr(_text_pieces, "_SIZE", 50)
  cut = name not in ("whole", "quoted", "none")
  for text in texts:
    assert (len(list(_text_pieces.of(made, text))) > 5) == cut
    ids = made.encode(text, add_special_tokens=False).ids
    assert text_tokens.token_ids(made, text) == ids
    encoded = text_tokens.encode(text.encode(), made, "a text")
    assert (encoded.dtype, encoded.tolist()) == (np.int32, ids)
  # Tokens that may reach across a cut, or take what is behind it.
  for word, flag in (("b a", {}), ("c", {"rstrip": True})):
    other = library.Tokenizer.from_str(made.to_str())
    other.add_tokens([library.AddedToken(word, **flag)])
    assert len(list(_text_pieces.of(other, texts[0]))) == 1


@pytest.mark.slow
def test_a_text_of_many_tokens_takes_little_memory():
  pytest.importorskip("tokenizers")
  code = f"""
    from jaxseq.data import text_tokens
    made = text_tokens.read_tokenizer({_file(pre_tokenizer=_divided("bert"))!r})
    text = b"a b! " * 4_000_000
    print(len(text_tokens.encode(text, made, "a text")))
    """
  printed = limited.run(code, seconds=200, memory=3 * 2**30)
  assert printed == "12000000\n"
