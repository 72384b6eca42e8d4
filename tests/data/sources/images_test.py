"""Pictures of one's own."""

import json
import zlib

import numpy as np
import pytest

from jaxseq import data

Image = pytest.importorskip("PIL.Image")
HALF = {"test_fraction": 0.5, "valid_fraction": 0}


def write(folder, name, value, size=(3, 2), mode="L"):
  path = folder / name
  path.parent.mkdir(parents=True, exist_ok=True)
  shape = (*size, 3) if mode == "RGB" else size
  Image.fromarray(np.full(shape, value, np.uint8)).save(path)
  return path


def leaves(folder, **options):
  for number in range(4):
    for value, kind in ((0, "elm"), (255, "oak")):
      write(folder, f"{kind}/{number}.png", value, **options)


def test_folders_are_classes(tmp_path):
  leaves(tmp_path)
  splits = data.load("image_folders", path=tmp_path, **HALF)
  assert splits.info.classes == ("elm", "oak")
  assert splits.info.image_size == (3, 2)
  assert splits.train.inputs.shape == (4, 3, 2)
  for part in (splits.train, splits.test):
    assert (part.inputs == part.targets[:, None, None]).all()
  fields = json.loads(json.dumps(splits.info.preparation.to_json()))
  prepared = data.sources.from_json(fields)
  found = prepared.read(tmp_path)
  assert found.labeled
  assert found.ids[:2] == ("elm/0.png", "elm/1.png")
  assert found.dataset.targets.tolist() == [0] * 4 + [1] * 4
  # A file of another size and kind is scaled as those of training.
  one = write(tmp_path / "new", "one.jpg", 255, size=(30, 20), mode="RGB")
  found = prepared.read(one)
  assert found.dataset.inputs.tolist() == [[[1, 1]] * 3]
  assert found.dataset.targets.tolist() == [-1]


def test_pictures_of_unknown_classes_have_no_target(tmp_path, caplog):
  leaves(tmp_path / "old")
  splits = data.load("image_folders", path=tmp_path / "old", **HALF)
  for kind in ("ash", "elm"):
    write(tmp_path / f"new/{kind}", "0.png", 0)
  write(tmp_path / "new", "beside.png", 0)
  found = splits.info.preparation.read(tmp_path / "new")
  assert found.labeled
  assert dict(zip(found.ids, found.dataset.targets.tolist())) == {
    "ash/0.png": -1,
    "elm/0.png": 0,
    "beside.png": -1,
  }
  assert "the target of 2 of 3 series is unknown" in caplog.text


def test_folders_of_parts_color_and_pixels(tmp_path):
  for part in ("train", "test"):
    leaves(tmp_path / part, mode="RGB")
  splits = data.load("image_folders", path=tmp_path, color=True)
  assert splits.valid is None
  assert splits.train.inputs.shape == (8, 3, 6)
  options = {"order": "pixel", "color": True, "height": 2}
  splits = data.load("image_folders", path=tmp_path, **options)
  assert splits.test.inputs.shape == (8, 4, 3)


def test_pictures_of_16_bits_are_not_cut_off(tmp_path):
  leaves(tmp_path, size=(2, 2))
  pixels = np.array([[0, 255], [256, 65535]], np.uint16)
  Image.fromarray(pixels).save(tmp_path / "oak" / "4.png")
  prepared = data.load("image_folders", path=tmp_path, **HALF).info.preparation
  found = prepared.read(tmp_path / "oak" / "4.png").dataset.inputs[0]
  np.testing.assert_allclose(found * 255, [[0, 0], [1, 255]], rtol=1e-6)
  Image.fromarray(np.float32([[0, 1]])).save(tmp_path / "a.tif")
  with pytest.raises(ValueError, match="a.tif is .* range that is unknown, F"):
    prepared.read(tmp_path / "a.tif")


def test_what_is_wrong_is_refused_with_its_file(tmp_path):
  with pytest.raises(data.MissingData, match="none holds no pictures"):
    data.load("image_folders", path=tmp_path / "none")
  leaves(tmp_path / "a")
  write(tmp_path / "a", "oak/5.png", 1, size=(4, 4))
  with pytest.raises(
    ValueError, match="5.png: got 4 x 4 pixels, expected 3 x 2"
  ):
    data.load("image_folders", path=tmp_path / "a")
  (tmp_path / "a" / "oak" / "5.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
  with pytest.raises(ValueError, match="5.png is no picture, or damaged"):
    data.load("image_folders", path=tmp_path / "a")
  leaves(tmp_path / "b")
  write(tmp_path / "b", "alone.png", 1)
  with pytest.raises(ValueError, match="alone.png: got a picture beside"):
    data.load("image_folders", path=tmp_path / "b", **HALF)


def test_a_picture_that_says_it_is_enormous_is_refused(tmp_path):
  leaves(tmp_path)
  path = tmp_path / "elm/1.png"
  content = bytearray(path.read_bytes())
  # Width and height of the header, whose checksum pillow looks at first.
  content[16:24] = (30_000).to_bytes(4, "big") * 2
  content[29:33] = zlib.crc32(bytes(content[12:29])).to_bytes(4, "big")
  path.write_bytes(content)
  with pytest.raises(ValueError, match="1.png is no picture, or damaged"):
    data.load("image_folders", path=tmp_path)
  with pytest.raises(ValueError, match="height and width: got .* pixels"):
    data.load("image_folders", path=tmp_path, height=30_000, width=30_000)


def picture_source(size=(3, 2), **options):
  fields = {"image_size": size, "reader": "image_folders", **options}
  return data.sources.ImageSource(**fields)


@pytest.mark.parametrize("ending", ["jpg", "png", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_are_turned_upright(tmp_path, ending, orientation):
  # A bright corner, which lossy formats keep.
  upright = np.zeros((24, 16), np.uint8)
  upright[:8, :8] = 255
  ways = {
    1: lambda x: x,
    2: np.fliplr,
    3: lambda x: x[::-1, ::-1],
    4: np.flipud,
    5: np.transpose,
    6: lambda x: np.rot90(x, 1),
    7: lambda x: x[::-1, ::-1].T,
    8: lambda x: np.rot90(x, -1),
  }
  stored = Image.fromarray(np.ascontiguousarray(ways[orientation](upright)))
  exif = Image.Exif()
  exif[0x0112] = orientation
  path = tmp_path / f"a.{ending}"
  stored.convert("RGB").save(path, exif=exif, quality=95)
  found = picture_source((24, 16)).read(path).dataset.inputs[0]
  np.testing.assert_allclose(found, upright / 255, atol=0.1)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_is_white(tmp_path, caplog, mode):
  pixels = np.zeros((3, 2, 4), np.uint8)
  pixels[0, :, 3] = 255
  path = tmp_path / "a.png"
  image = Image.fromarray(pixels)
  if mode == "P":
    image = image.convert("RGBA").quantize(2)
  image.convert(mode).save(path)
  found = picture_source().read(path).dataset.inputs[0]
  assert found.tolist() == [[0, 0], [1, 1], [1, 1]]
  assert "a.png: the picture is transparent in part (1 of 1 are)" in caplog.text
  caplog.clear()
  pixels[..., 3] = 255
  Image.fromarray(pixels).convert("LA").save(path)
  assert not picture_source().read(path).dataset.inputs.any()
  assert not caplog.text


def test_a_photograph_whose_exif_is_damaged_is_read_as_it_lies(tmp_path):
  path = tmp_path / "a.jpg"
  Image.fromarray(np.full((3, 2), 255, np.uint8)).save(path, exif=b"Exif\0\0no")
  assert picture_source().read(path).dataset.inputs.min() > 0.9
