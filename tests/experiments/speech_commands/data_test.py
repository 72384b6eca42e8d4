"""Speech Commands, of a few recordings written here."""

import wave

import numpy as np
import pytest

from experiments.speech_commands import data as speech_commands
from jaxseq import data
from tests.data import memory


def write(path, values, rate=16000, channels=1):
  path.parent.mkdir(parents=True, exist_ok=True)
  with wave.open(str(path), "wb") as file:
    file.setnchannels(channels)
    file.setsampwidth(2)
    file.setframerate(rate)
    file.writeframes(np.asarray(values, "<i2").tobytes())


@pytest.fixture
def folder(tmp_path):
  for number, word in enumerate(("yes", "go", "no")):
    for take in range(3):
      # The first value tells the file; the second take is shorter.
      values = np.arange(16000 if take != 1 else 9000) % 100
      values[0] = 1000 * number + take
      write(tmp_path / word / f"{take}a_nohash_0.wav", values)
  write(tmp_path / "_background_noise_" / "noise.wav", np.zeros(50000))
  (tmp_path / "validation_list.txt").write_text(
    "go/1a_nohash_0.wav\nyes/1a_nohash_0.wav\n"
  )
  (tmp_path / "testing_list.txt").write_text("no/2a_nohash_0.wav\n")
  return tmp_path


def test_lists_divide_the_recordings(folder):
  splits = speech_commands.load(folder)
  assert splits.info.classes == ("go", "no", "yes")
  assert splits.train.inputs.shape == (6, 16000, 1)

  def files(part):
    first = np.rint(part.inputs[:, 0, 0] * 2**15).astype(int)
    names = ("yes", "go", "no")
    return [(names[value // 1000], value % 1000) for value in first]

  assert files(splits.valid) == [("go", 1), ("yes", 1)]
  assert files(splits.test) == [("no", 2)]
  assert len(set(files(splits.train))) == 6
  for part in splits[:3]:
    classes = [splits.info.classes[t] for t in part.targets]
    assert classes == [word for word, _ in files(part)]
  # A short recording ends in silence.
  assert splits.valid.inputs[0, 8999, 0] * 2**15 == 99
  assert not splits.valid.inputs[0, 9000:].any()


def test_half_the_rate_is_every_second_value(folder):
  whole = speech_commands.load(folder)
  half = speech_commands.load(folder, rate=8000)
  assert half.train.inputs.shape == (6, 8000, 1)
  np.testing.assert_array_equal(half.train.inputs, whole.train.inputs[:, ::2])


def test_some_words_only(folder):
  with pytest.raises(ValueError, match="no recordings for the part test"):
    speech_commands.load(folder, words=("yes", "go"))
  splits = speech_commands.load(folder, words=("yes", "no", "go"))
  assert splits.test.targets.tolist() == [1]
  with pytest.raises(data.MissingData, match="up has no wav files"):
    speech_commands.load(folder, words=speech_commands.TEN)


def test_what_is_wrong_is_said(folder):
  with pytest.raises(
    ValueError, match="rate: got 4000, expected 16000 or 8000"
  ):
    speech_commands.load(folder, rate=4000)
  path = folder / "no" / "0a_nohash_0.wav"
  write(path, np.zeros(10), channels=2, rate=8000)
  with pytest.raises(
    ValueError,
    match="0a_nohash_0.wav: got 2, 16 and 8000, expected .* 16000 Hz",
  ):
    speech_commands.load(folder)
  good = (folder / "no" / "1a_nohash_0.wav").read_bytes()
  longer = good[:40] + (2**31 - 1).to_bytes(4, "little") + good[44:]
  for bad in (b"RIFF", longer.replace(b"data", b"LIST"), good[:30], b""):
    path.write_bytes(bad)
    with pytest.raises(ValueError, match="0a_nohash_0.wav is no wav file"):
      speech_commands.load(folder)
  # What is there is read, whatever the header says.
  path.write_bytes(longer)
  with memory.at_most(2):
    assert len(speech_commands._read_wav(path)) == 9000
  path.unlink()
  path.symlink_to("/etc/hostname")
  with pytest.raises(ValueError, match="expected a file of the set in"):
    speech_commands.load(folder)
  (folder / "testing_list.txt").unlink()
  with pytest.raises(data.MissingData, match="testing_list.txt is not a file"):
    speech_commands.load(folder)
