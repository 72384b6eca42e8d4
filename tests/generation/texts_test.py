import types

import jax
import numpy as np
import pytest

from jaxseq import generation
from jaxseq.generation import texts
from tests.generation import networks


def _words():
  """A tokenizer of bytes that joins some of them."""
  tokenizers = pytest.importorskip("tokenizers", reason="an extra is needed")
  alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
  made = tokenizers.Tokenizer(tokenizers.models.BPE())
  made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(
    add_prefix_space=False
  )
  made.decoder = tokenizers.decoders.ByteLevel()
  trainer = tokenizers.trainers.BpeTrainer(
    vocab_size=300, initial_alphabet=alphabet, show_progress=False
  )
  made.train_from_iterator(["the end of the beginning", "ënd thé"], trainer)
  return made


CODECS = {
  "bytes": texts.Codec,
  "tokenizer": lambda: texts.Codec(_words(), start=None),
}


def _streamed(codec, text, stop=()):
  stream = texts.TextStream(codec, stop)
  tokens = codec.encode(text)[codec.start is not None :]
  parts = [stream.push(token) for token in tokens]
  return [*parts, stream.finish()], stream.stopped


@pytest.mark.parametrize("kind", CODECS)
@pytest.mark.parametrize("text", ["the end", "thé ënd €\n\U0001f600!", ""])
def test_a_text_comes_back_as_it_was(kind, text):
  codec = CODECS[kind]()
  tokens = codec.encode(text)
  assert codec.decode(tokens[codec.start is not None :]) == text
  parts, stopped = _streamed(codec, text)
  assert "".join(parts) == text
  assert not stopped
  # No half characters are handed out.
  assert "\ufffd" not in "".join(parts)


@pytest.mark.parametrize("kind", CODECS)
@pytest.mark.parametrize(
  ("text", "stop", "expected"),
  [
    ("in the beginning", ["begin"], "in the "),
    ("in the beginning", ["the", "in"], ""),
    ("a bc abcd", ["abd", "abcd"], "a bc "),
    ("abc", ["abc", "b"], "a"),
    ("a€b", ["€"], "a"),
    ("aab", ["ab"], "a"),
    ("abab", ["abc"], "abab"),
  ],
)
def test_the_first_stop_text_ends_a_row(kind, text, stop, expected):
  parts, stopped = _streamed(CODECS[kind](), text, stop)
  assert "".join(parts) == expected
  assert stopped == (expected != text)


def test_what_may_be_a_stop_text_waits():
  parts, _ = _streamed(texts.Codec(), "say stop, stoop", ["stoop"])
  say = ["", "sa", "y", " "]
  assert parts == [*say, "", "", "", "stop", ",", " ", *[""] * 5, ""]


def test_bytes_that_are_no_text_are_replaced():
  stream = texts.TextStream(texts.Codec())
  parts = [stream.push(token) for token in (97, 0xE2, 0x82, 98, 0xE2)]
  assert parts == ["a", "", "", "\ufffdb", ""]
  assert stream.finish() == "\ufffd"


def test_a_codec_s_tokens():
  np.testing.assert_array_equal(texts.Codec().encode("ab"), [0, 97, 98])
  with pytest.raises(ValueError, match="expected texts that are not empty"):
    texts.TextStream(texts.Codec(), ["a", ""])
  assert texts.printable("a\n\x1b[0m") == "a\n\\x1b[0m"


@pytest.mark.parametrize(
  ("call", "message"),
  [
    (lambda codec: codec.encode(5), "text: got 'int', expected str"),
    (lambda codec: codec.encode("a\ud800"), "text: got .* characters of UTF-8"),
    (lambda codec: codec.decode([300]), "token: got 300, expected an integer"),
  ],
)
def test_what_is_no_text(call, message):
  with pytest.raises(ValueError, match=message):
    call(texts.Codec())


class _Doubles:
  """A tokenizer of one token for each byte, above those of bytes."""

  def encode(self, text, add_special_tokens):
    del add_special_tokens
    return types.SimpleNamespace(ids=[300 + byte for byte in text.encode()])

  def decode(self, tokens):
    return "".join(f"<{token}>" for token in tokens)


def test_a_text_goes_on_in_the_tokens_of_a_codec():
  network, variables = networks.make("gru", vocab_size=600)
  arguments = network, variables, "ab", 3, jax.random.key(0)
  codec = texts.Codec(_Doubles())
  tokens, _ = generation.generate(
    network, variables, codec.encode("ab"), 3, jax.random.key(0)
  )
  found = texts.continue_text(*arguments, codec=codec)
  assert found == "ab" + "".join(f"<{token}>" for token in tokens.tolist())


class _Spaces:
  """A tokenizer of bytes whose texts begin with a space that is not written."""

  def encode(self, text, add_special_tokens):
    del add_special_tokens
    return types.SimpleNamespace(ids=list(f" {text}".encode() if text else b""))

  def decode(self, tokens):
    return bytes(tokens).decode(errors="replace").removeprefix(" ")


@pytest.mark.parametrize(
  ("prompt", "expected"),
  # Of the longest the last tokens begin within a character.
  [("go", " on"), ("", "on"), ("\u20ac\u20ac\u20acx", " on")],
)
def test_the_space_behind_a_prompt_is_written(prompt, expected):
  codec = texts.Codec(_Spaces())
  before, tokens = codec.encode(prompt), list(b" on")
  assert codec.decode(tokens, before) == expected
  stream = texts.TextStream(codec, (), before)
  parts = [*map(stream.push, tokens), stream.finish()]
  assert "".join(parts) == expected


def test_a_continuation_begins_with_its_space():
  network, variables = networks.make("gru", vocab_size=256)
  codec = texts.Codec(_Spaces())
  pattern = generation.automaton.compile_pattern(b" [a-z]*")
  arguments = network, variables, ["go", ""], 3
  options = {"codec": codec, "constraint": pattern}
  behind, alone = generation.complete(*arguments, **options)
  assert behind[0].text.startswith(" ")
  assert alone[0].text.isalpha()
  text = texts.continue_text(
    network, variables, "go", 3, jax.random.key(0), **options
  )
  assert text == f"go{behind[0].text}"
