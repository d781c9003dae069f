"""Folders of images as people have them: of mixed sizes, kinds and formats, in folders of folders."""

import io
import re
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from lowerbound import DataError, read, stream
from lowerbound.data.readers.images import ImageSizeError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (3, 5, 4), np.uint8)
COLOR = RNG.integers(0, 256, (3, 5, 4, 3), np.uint8)


def put(path, image, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path, **options)
    return path


def smooth(width, height, turned=False):
    """A picture without noise: red to the right, green downwards."""
    red, green = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    image = Image.fromarray(np.stack([red, green, np.full_like(red, 90)], -1).astype(np.uint8))
    return image.transpose(Image.Transpose.ROTATE_90) if turned else image


def test_images_of_several_sizes_need_a_size(tmp_path):
    for i, size in enumerate([(40, 50), (40, 50), (30, 50), (90, 90)]):
        put(tmp_path / "faces" / f"{i}.png", np.zeros(size[::-1], np.uint8))
    with pytest.raises(ImageSizeError) as error:
        read(tmp_path / "faces")
    words = ("of 3 sizes", "faces/2.png is 30 × 50", "faces/0.png is 40 × 50", "resize=40 (--resize 40)")
    assert all(word in str(error.value) for word in words)
    assert error.value.resize == 40
    assert read(tmp_path / "faces", resize=40).X.shape == (4, 40, 40)
    assert read(tmp_path / "faces", resize="24x16").X.shape == (4, 16, 24)


@pytest.mark.parametrize("size", [(200, 60), (60, 200), (640, 480)])
@pytest.mark.parametrize("ending", ["png", "jpg", "bmp"])
def test_a_crop_is_the_center_and_none_is_the_whole(tmp_path, size, ending):
    put(tmp_path / f"a.{ending}", smooth(*size), **({"quality": 95, "subsampling": 0} if ending == "jpg" else {}))
    cut = read(tmp_path, resize=32).X[0].astype(float)
    whole = read(tmp_path, resize=32, crop="none").X[0].astype(float)
    width, height = size
    side = min(size)
    for channel, axis, length in ((0, 1, width), (1, 0, height)):
        part = side / length
        places = 255 * (0.5 + part * ((np.arange(32) + 0.5) / 32 - 0.5))
        np.testing.assert_allclose(cut[..., channel].mean(1 - axis), places, atol=4)
        np.testing.assert_allclose(whole[..., channel].mean(1 - axis), 255 * (np.arange(32) + 0.5) / 32, atol=4)


def test_what_is_asked_for_has_a_meaning(tmp_path):
    put(tmp_path / "faces" / "a.png", GREY[0])
    np.save(tmp_path / "a.npy", GREY)
    for options, words in (
        ({"resize": 0}, "resize=0 is no size"),
        ({"resize": "64x"}, "is no size"),
        ({"resize": "64×48"}, "width and height"),
        ({"crop": "center"}, "say resize=64"),
        ({"resize": 4, "crop": "left"}, "crop='left' is not known: say 'center' or 'none'"),
        ({"mode": "grey"}, "mode='grey' is not known: say 'gray' or 'rgb'"),
        ({"resize": 2000}, "1,048,576 at most"),
    ):
        with pytest.raises(DataError, match=re.escape(words)):
            read(tmp_path / "faces", **options)
    with pytest.raises(DataError, match="it says how a folder of images is read"):
        read(tmp_path / "a.npy", resize=4)


def test_gray_or_color_as_asked(tmp_path):
    put(tmp_path / "a.png", GREY[0])
    put(tmp_path / "b.png", COLOR[1])
    assert read(tmp_path).notes == ("1 image in gray, read in color as the others are",)
    gray = read(tmp_path, mode="gray")
    assert gray.notes == ("1 image in color, read in gray",)
    np.testing.assert_array_equal(gray.X, [GREY[0], np.asarray(Image.fromarray(COLOR[1]).convert("L"))])
    (tmp_path / "b.png").unlink()
    assert read(tmp_path, mode="rgb").X.shape == (1, 5, 4, 3)


def test_transparent_pixels_are_put_on_white(tmp_path):
    clear = np.concatenate([COLOR[0], np.full((5, 4, 1), 255, np.uint8)], -1)
    clear[0, 0, 3], clear[1, 1, 3] = 0, 128
    put(tmp_path / "a.png", clear)
    dataset = read(tmp_path)
    expected = COLOR[0].copy()
    expected[0, 0] = 255
    expected[1, 1] = np.rint(255 + 128 / 255 * (COLOR[0, 1, 1].astype(float) - 255))
    np.testing.assert_allclose(dataset.X[0], expected.astype(float), atol=1)
    assert dataset.notes == ("1 image with an alpha channel, put on white",)
    put(tmp_path / "a.png", Image.fromarray(np.dstack([GREY[0], np.zeros_like(GREY[0])]), "LA"))
    np.testing.assert_array_equal(read(tmp_path).X, np.full((1, 5, 4), 255))
    put(tmp_path / "a.png", Image.fromarray(GREY[0] % 2 * 9, "P"), transparency=0)


def test_sixteen_bits_become_eight(tmp_path):
    deep = np.arange(20, dtype=np.uint16).reshape(5, 4) * 3400
    put(tmp_path / "a.png", deep)
    put(tmp_path / "b.tif", deep)
    dataset = read(tmp_path)
    np.testing.assert_array_equal(dataset.X, np.stack([deep >> 8] * 2))
    assert dataset.notes == ("2 images with 16 bits a channel, read with the upper 8",)
    (tmp_path / "b.tif").unlink()
    (tmp_path / "a.png").write_bytes(png_of_16_bits(COLOR[0]))
    dataset = read(tmp_path)
    np.testing.assert_array_equal(dataset.X[0], COLOR[0])
    assert dataset.notes == ("1 image with 16 bits a channel, read with the upper 8",)


def chunk(kind, data):
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


def png_of_16_bits(image):
    """An image in color, its bytes the upper ones."""
    height, width, _ = image.shape
    rows = b"".join(b"\0" + (row.astype(">u2") * 257).tobytes() for row in image)
    size = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    body = chunk(b"IHDR", size + b"\x10\x02\0\0\0") + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def test_floats_have_no_known_range(tmp_path):
    put(tmp_path / "a.tif", np.linspace(0, 1, 20, dtype=np.float32).reshape(5, 4))
    with pytest.raises(DataError, match=r"a\.tif has pixels of the kind F; save it as grey or RGB with 8 or 16 bits"):
        read(tmp_path)


def test_every_format(tmp_path):
    for ending in ("bmp", "gif", "png", "ppm", "tif", "tiff", "webp"):
        image = Image.fromarray(COLOR[0])
        put(tmp_path / f"a.{ending}", image, **({"lossless": True} if ending == "webp" else {}))
    X = read(tmp_path).X
    assert X.shape == (7, 5, 4, 3)
    for row in X:
        np.testing.assert_array_equal(row, COLOR[0])
    put(tmp_path / "a.heic", COLOR[0], format="PNG")
    with pytest.raises(DataError, match=r"a\.heic is an image that can't be read; convert it to JPEG"):
        read(tmp_path)


def test_cmyk_becomes_rgb(tmp_path):
    put(tmp_path / "a.jpg", smooth(64, 64).convert("CMYK"), quality=95)
    dataset = read(tmp_path)
    assert dataset.notes == ("1 image in CMYK, turned into RGB without a color profile",)
    np.testing.assert_allclose(dataset.X[0].astype(float), np.asarray(smooth(64, 64), float), atol=12)


@pytest.mark.parametrize("ending", ["gif", "webp", "png", "tif"])
def test_the_first_frame_is_read(tmp_path, ending):
    frames = [Image.fromarray(np.kron(part, np.ones((4, 4), np.uint8))) for part in GREY]
    options = {"lossless": True} if ending == "webp" else {}
    put(tmp_path / f"a.{ending}", frames[0], save_all=True, append_images=frames[1:], **options)
    dataset = read(tmp_path, mode="gray")
    np.testing.assert_array_equal(dataset.X[0], np.asarray(frames[0]))
    assert "1 image with several frames, of which the first is read" in dataset.notes


@pytest.mark.parametrize("held", range(1, 9))
@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "tif"])
@pytest.mark.parametrize("how", [{}, {"resize": "24x16"}])
def test_images_of_every_format_are_turned_upright(tmp_path, held, ending, how):
    exif = Image.Exif()
    exif[0x0112] = held
    put(tmp_path / f"a.{ending}", smooth(64, 40), exif=exif, **({"lossless": True} if ending == "webp" else {}))
    with Image.open(tmp_path / f"a.{ending}") as image:
        upright = ImageOps.exif_transpose(image).convert("RGB")
    expected = np.asarray(upright, float)
    if how:
        expected = np.asarray(ImageOps.fit(upright, (24, 16), Image.Resampling.BICUBIC), float)
    np.testing.assert_allclose(read(tmp_path, **how).X[0].astype(float), expected, atol=5 if how else 0)


def test_the_orientation_of_a_png_may_follow_its_pixels(tmp_path):
    file, exif = io.BytesIO(), Image.Exif()
    smooth(64, 40).save(file, "PNG")
    exif[0x0112] = 6
    body, end = file.getvalue()[:-12], file.getvalue()[-12:]
    (tmp_path / "a.png").write_bytes(body + chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")) + end)
    expected = np.asarray(smooth(64, 40).transpose(Image.Transpose.ROTATE_270))
    np.testing.assert_array_equal(read(tmp_path).X[0], expected)


def test_labels_are_the_paths_of_folders(tmp_path):
    for name in ("train/cat/1.png", "train/dog/0.png", "test/cat/0.png", "all/0.png"):
        put(tmp_path / name, GREY[0])
    dataset = read(tmp_path)
    assert dataset.labels.tolist() == ["all", "test/cat", "train/cat", "train/dog"]
    images = stream(tmp_path)
    assert images.names == ["all/0.png", "test/cat/0.png", "train/cat/1.png", "train/dog/0.png"]
    assert next(images.blocks(2)).labels.tolist() == ["all", "test/cat"]
    put(tmp_path / "0.png", GREY[0])
    with pytest.raises(DataError, match="in the folder itself and in subfolders"):
        read(tmp_path)


def test_a_folder_that_holds_itself_is_refused(tmp_path):
    put(tmp_path / "faces" / "a" / "0.png", GREY[0])
    (tmp_path / "faces" / "a" / "again").symlink_to(tmp_path / "faces")
    with pytest.raises(DataError, match="a/again is a link to a folder that holds it"):
        read(tmp_path / "faces")


def test_streamed_images_are_the_same(tmp_path):
    for i in range(3):
        put(tmp_path / f"{i}.jpg", smooth(90 + 9 * i, 70))
    images = stream(tmp_path, resize=16, mode="gray")
    np.testing.assert_array_equal(next(iter(images)), read(tmp_path, resize=16, mode="gray").X)
    put(tmp_path / "3.png", GREY[0])
    (tmp_path / "3.png").write_bytes((tmp_path / "3.png").read_bytes()[:-20])
    with pytest.raises(DataError, match=r"3\.png .*damaged"):
        next(iter(stream(tmp_path, resize=16, mode="gray")))


def test_large_images_are_decoded_one_at_a_time(tmp_path):
    for name in "abc":
        put(tmp_path / f"{name}.png", Image.new("RGB", (2048, 2048), (9, 90, 200)))
    with pytest.raises(ImageSizeError, match=r"rows of 2048 × 2048 pixels, and a model takes 1,048,576 at most"):
        read(tmp_path)
    tracemalloc.start()
    read(tmp_path, resize=64)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20  # Pillow's own memory is not traced; no array of all pixels is made
