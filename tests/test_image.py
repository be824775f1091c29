"""Reading and writing images: what people, cameras and attackers hand in."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import threading
import time
import warnings
import zipfile
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from visavis.errors import ImageError, ImageTooLarge, InputError, StorageError
from visavis.image import load_image, resize, save_image


def photo(h: int = 48, w: int = 64) -> np.ndarray:
    """A smooth color picture whose four corners differ, so that no turn or flip looks like another."""
    y, x = np.mgrid[0:h, 0:w].astype(np.float32)
    r, g, b = (
        255 * x / max(w - 1, 1),
        255 * y / max(h - 1, 1),
        255 * (1 - x / max(w, 1)) * (1 - y / max(h, 1)),
    )
    return np.stack([r, g, b], axis=2).astype(np.uint8)


def encoded(array: np.ndarray | Pillow.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture = array if isinstance(array, Pillow.Image) else Pillow.fromarray(array)
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def png(width: int, height: int, depth: int, color: int, rows: bytes) -> bytes:
    """A PNG written chunk by chunk, independent of Pillow's writer."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def one_line(error: pytest.ExceptionInfo[BaseException], *words: str) -> None:
    text = str(error.value)
    assert "\n" not in text
    assert len(text) < 400
    for word in words:
        assert word in text, f"{word!r} not in {text!r}"


# -- formats --------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_formats_come_back_exactly(kind: str) -> None:
    image = load_image(encoded(photo(), kind))
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    np.testing.assert_array_equal(image, photo())


@pytest.mark.parametrize(("kind", "options"), [("WEBP", {"lossless": True}), ("JPEG2000", {"irreversible": False})])
def test_other_formats(kind: str, options: dict[str, object]) -> None:
    np.testing.assert_array_equal(load_image(encoded(photo(), kind, **options)), photo())


@pytest.mark.skipif("AVIF" not in Pillow.registered_extensions().values(), reason="this Pillow reads no AVIF")
def test_avif() -> None:
    assert np.abs(load_image(encoded(photo(), "AVIF", quality=95)).astype(int) - photo()).mean() < 4


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"quality": 30}])
def test_jpeg_is_what_pillow_decodes(options: dict[str, object]) -> None:
    data = encoded(photo(243, 317), "JPEG", **options)
    expected = np.asarray(Pillow.open(io.BytesIO(data)))
    assert np.abs(load_image(data).astype(int) - expected).max() <= 2  # equal where both carry one libjpeg


def test_jpeg_with_bytes_after_its_end() -> None:
    data = encoded(photo(), "JPEG")
    np.testing.assert_allclose(load_image(data + b"\0" * 100), load_image(data), atol=2)


def test_multi_picture_jpeg_gives_the_first() -> None:
    first, second = Pillow.fromarray(photo()), Pillow.fromarray(photo()[::-1].copy())
    data = encoded(first, "MPO", save_all=True, append_images=[second])
    assert np.abs(load_image(data).astype(int) - photo()).mean() < 6


def test_order_flips_arrays_but_not_encoded_images() -> None:
    np.testing.assert_array_equal(load_image(photo(), order="bgr"), photo()[..., ::-1])
    data = encoded(photo(), "PNG")
    np.testing.assert_array_equal(load_image(data, order="bgr"), load_image(data))
    jpeg = encoded(photo(), "JPEG")
    np.testing.assert_array_equal(load_image(jpeg, order="bgr"), load_image(jpeg))


@pytest.mark.parametrize(("h", "w"), [(1, 1), (1, 20000), (20000, 1), (2, 3)])
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_odd_shapes(h: int, w: int, kind: str) -> None:
    assert load_image(encoded(photo(h, w), kind)).shape == (h, w, 3)


def test_cmyk_jpeg_with_and_without_adobe_marker() -> None:
    inks = photo() // 2
    cmyk = Pillow.merge(
        "CMYK",
        [Pillow.fromarray(np.ascontiguousarray(inks[..., i])) for i in range(3)] + [Pillow.new("L", (64, 48), 60)],
    )
    plain = encoded(cmyk, "JPEG", quality=100)  # Pillow writes the Adobe marker and inverted ink
    at = plain.index(b"\xff\xee")
    assert plain[at + 4 : at + 9] == b"Adobe"
    bare = plain[:at] + plain[at + 16 :]
    ink, key = inks.astype(int), 60
    expected = (255 - ink) * (255 - key) // 255
    for data in (plain, bare):  # CMYK in a JPEG is inverted in practice, marked or not
        assert np.abs(load_image(data).astype(int) - expected).max() <= 6


def test_sixteen_bit_gray_png() -> None:
    values = np.array([[0, 255, 256, 32768, 65280, 65535]], ">u2")
    image = load_image(png(6, 1, 16, 0, b"\0" + values.tobytes()))
    assert image[0, :, 0].tolist() == [0, 0, 1, 128, 255, 255]
    assert (image == image[..., :1]).all()


@pytest.mark.parametrize(("color", "channels"), [(2, 3), (6, 4)])
def test_sixteen_bit_color_png(color: int, channels: int) -> None:
    pixel = np.array([65535, 32768, 256, 65535][:channels], ">u2")
    assert load_image(png(1, 1, 16, color, b"\0" + pixel.tobytes()))[0, 0].tolist() == [255, 128, 1]


def test_sixteen_bit_gray_tiff() -> None:
    image = load_image(encoded(Pillow.fromarray(np.full((4, 5), 40000, np.uint16)), "TIFF"))
    assert (image == 40000 >> 8).all()


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_thirty_two_bit_pixels_are_refused(dtype: type) -> None:
    with pytest.raises(ImageError) as error:
        load_image(encoded(Pillow.fromarray(np.ones((4, 4), dtype)), "TIFF"))
    one_line(error, "32-bit", "8 bits")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_gray(kind: str) -> None:
    image = load_image(encoded(Pillow.new("L", (9, 7), 77), kind))
    assert image.shape == (7, 9, 3)
    assert np.abs(image.astype(int) - 77).max() <= 1


def test_one_bit() -> None:
    assert load_image(encoded(Pillow.new("1", (3, 2), 1), "PNG")).min() == 255
    assert load_image(encoded(Pillow.new("1", (3, 2), 0), "TIFF")).max() == 0


def test_transparency_lies_on_white() -> None:
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[0, :, 3] = 0, 128, 255  # black: clear, half, full
    expected = [255, 127, 0]
    for kind, options in (("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True, "exact": True})):
        got = load_image(encoded(rgba, kind, **options))[0, :, 0].astype(int)
        assert np.abs(got - expected).max() <= 1, kind
    gray = Pillow.merge("LA", [Pillow.fromarray(rgba[..., i].copy()) for i in (0, 3)])
    assert np.abs(load_image(encoded(gray, "PNG"))[0, :, 0].astype(int) - expected).max() <= 1


def test_palette_with_and_without_transparency() -> None:
    picture = Pillow.new("P", (2, 1))
    picture.putpalette([10, 20, 30, 200, 100, 50])
    picture.putpixel((1, 0), 1)
    assert load_image(encoded(picture, "PNG"))[0].tolist() == [[10, 20, 30], [200, 100, 50]]
    assert load_image(encoded(picture, "PNG", transparency=0))[0].tolist() == [
        [255, 255, 255],
        [200, 100, 50],
    ]
    partly = load_image(encoded(picture, "PNG", transparency=b"\x80\xff"))[0].astype(int)
    assert np.abs(partly - [[132, 137, 142], [200, 100, 50]]).max() <= 1
    assert load_image(encoded(picture, "GIF"))[0].tolist() == [[10, 20, 30], [200, 100, 50]]


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_animation_gives_its_first_frame(kind: str) -> None:
    frames = [Pillow.new("RGB", (20, 10), color) for color in ("red", "lime", "blue")]
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=100)
    image = load_image(data)
    assert image.shape == (10, 20, 3)
    assert np.abs(image.astype(int) - [255, 0, 0]).max() < 12


# -- orientation --------------------------------------------------

# Independent of the code: how EXIF 2.32 says row 0 and column 0 of the stored picture lie in the upright one.
STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: np.rot90(a, 2),
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: np.rot90(a.transpose(1, 0, 2), 2),
    8: lambda a: np.rot90(a, -1),
}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation: int, kind: str) -> None:
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    stored = Pillow.fromarray(np.ascontiguousarray(STORED[orientation](photo())))
    options = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}.get(kind, {})
    image = load_image(encoded(stored, kind, exif=exif, **options))
    assert image.flags.c_contiguous
    assert image.shape == photo().shape
    assert np.abs(image.astype(int) - photo()).max() <= 3
    gray = load_image(encoded(stored.convert("L"), kind, exif=exif, **options))  # decoded by Pillow in any case
    assert gray.shape == photo().shape


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"]
)
def test_damaged_exif_costs_nothing(exif: bytes) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow says "corrupt EXIF data"
        assert load_image(encoded(photo(), "JPEG", exif=exif)).shape == photo().shape


@pytest.mark.parametrize("orientation", [0, 9, 255])
def test_unknown_orientation_is_upright(orientation: int) -> None:
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(load_image(encoded(photo(), "PNG", exif=exif)), photo())


# -- limits --------------------------------------------------


def bomb(kind: str, side: int = 30_000) -> bytes:
    if kind == "PNG":
        packer = zlib.compressobj(9)
        row = b"\0" * (side // 8 + 2)
        body = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
        whole = png(side, side, 1, 0, b"")
        at = whole.index(b"IDAT") - 4
        chunk = struct.pack(">I", len(body)) + b"IDAT" + body + struct.pack(">I", zlib.crc32(b"IDAT" + body))
        return whole[:at] + chunk + whole[-12:]
    if kind == "GIF":
        return (
            b"GIF89a"
            + struct.pack("<HHBBB", side, side, 0, 0, 0)
            + b","
            + struct.pack("<HHHHB", 0, 0, side, side, 0)
            + b"\x02\x02\x4c\x01\x00;"
        )
    if kind == "BMP":
        return b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, side, side, 1, 24, 0, 0, 0, 0, 0, 0)
    if kind == "JPEG":
        small = bytearray(encoded(photo(), "JPEG"))
        at = small.index(b"\xff\xc0")
        small[at + 5 : at + 9] = struct.pack(">HH", side, side)
        return bytes(small)
    if kind == "PPM":
        return b"P6 %d %d 255\n" % (side, side)
    raise AssertionError(kind)


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "JPEG", "PPM"])
def test_bomb_is_refused_before_decoding(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "bomb.img"
    file.write_bytes(bomb(kind))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ImageTooLarge) as error:
            load_image(file)
    one_line(error, "bomb.img", "30000x30000", "max_pixels")


def test_bomb_costs_no_memory(tmp_path: Path) -> None:
    """In a process that may have only 1 GiB of address space beyond what the libraries take."""
    (tmp_path / "bomb.png").write_bytes(bomb("PNG"))
    code = """
import resource, sys
from visavis.errors import ImageTooLarge
from visavis.image import load_image
import numpy as np
load_image(np.zeros((2, 2), np.uint8))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    load_image(sys.argv[1])
except ImageTooLarge:
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, str(tmp_path / "bomb.png")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) < 60, "megabytes grown while refusing"
    assert done.stderr == ""


def test_limits_leave_pillow_as_it_was() -> None:
    before = (Pillow.MAX_IMAGE_PIXELS, list(warnings.filters))
    with pytest.raises(ImageTooLarge):
        load_image(bomb("PNG"))
    load_image(encoded(photo(), "TIFF"))
    assert (Pillow.MAX_IMAGE_PIXELS, list(warnings.filters)) == before


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG", "GIF", "WEBP"])
def test_pillows_own_bomb_warning_stays_inside(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(photo(), kind)
    monkeypatch.setattr(Pillow, "MAX_IMAGE_PIXELS", 48 * 64 - 1)  # it warns above this, and refuses above twice that
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_image(data).shape == (48, 64, 3)


def test_max_pixels() -> None:
    data = encoded(photo(10, 10), "PNG")
    assert load_image(data, max_pixels=100).shape == (10, 10, 3)
    with pytest.raises(ImageTooLarge):
        load_image(data, max_pixels=99)
    with pytest.raises(ImageTooLarge):
        load_image(photo(10, 10), max_pixels=99)
    with pytest.raises(InputError, match="max_pixels"):
        load_image(data, max_pixels=0)
    with pytest.raises(InputError, match="order"):
        load_image(data, order="gbr")  # type: ignore[arg-type]


def test_a_side_beyond_all_reason() -> None:
    with pytest.raises(ImageTooLarge) as error:
        load_image(png(70_000, 1, 8, 0, b"\0" * 70_001))
    one_line(error, "70000x1", "65535")


def test_encoded_bytes_are_limited(tmp_path: Path) -> None:
    file = tmp_path / "huge.jpg"
    with file.open("wb") as out:
        out.write(encoded(photo(), "JPEG"))
        out.truncate(600 * 2**20)  # sparse: takes no room on the disk
    with pytest.raises(ImageTooLarge) as error:
        load_image(file)
    one_line(error, "huge.jpg", "bytes")


# -- broken files --------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"hello, I am text\n" * 9, b"GIF89a", b"RIFF\0\0\0\0WEBP"],
)
def test_no_image_in_it(data: bytes, tmp_path: Path) -> None:
    file = tmp_path / "letter.jpg"
    file.write_bytes(data)
    for source in (file, str(file), data):
        with pytest.raises(ImageError) as error:
            load_image(source)
        one_line(error, "letter.jpg" if source is not data else f"{len(data)} bytes")
        assert "hello" not in str(error.value)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000"])
def test_truncated_is_an_error_or_the_whole_picture(kind: str) -> None:
    """Wherever it is cut, never a picture whose missing part is gray."""
    noisy = np.random.default_rng(1).integers(0, 256, (40, 52, 3), np.uint8)
    data = encoded(noisy, kind)
    whole = load_image(data)
    refused = 0
    for cut in {*range(0, len(data), max(1, len(data) // 60)), *range(len(data) - 24, len(data))}:
        try:
            image = load_image(data[:cut])
        except ImageError:
            refused += 1
        else:
            np.testing.assert_array_equal(image, whole, err_msg=f"cut at {cut} of {len(data)}")
    assert refused >= 60


def test_truncated_large_jpeg_and_png_name_the_file(tmp_path: Path) -> None:
    for kind, suffix in (("JPEG", "jpg"), ("PNG", "png")):
        file = tmp_path / f"half.{suffix}"
        data = encoded(photo(600, 800), kind)
        file.write_bytes(data[: len(data) // 2])
        with pytest.raises(ImageError) as error:
            load_image(file)
        one_line(error, f"half.{suffix}", "truncated", "again")


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_flipped_bytes_never_crash(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM"]))
    body = bytearray(encoded(photo(20, 24), kind))
    for _ in range(data.draw(st.integers(1, 6))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image = load_image(bytes(body), max_pixels=10_000_000)
        except ImageError:
            pass
        else:
            assert image.dtype == np.uint8
            assert image.ndim == 3
            assert image.shape[2] == 3


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_random_bytes_never_crash(data: bytes) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for head in (
            b"",
            b"\xff\xd8\xff",
            b"\x89PNG\r\n\x1a\n",
            b"GIF89a",
            b"BM",
            b"II*\0",
            b"P6 ",
            b"RIFFxxxxWEBP",
        ):
            with pytest.raises(ImageError):
                load_image(head + data, max_pixels=100_000)


def test_heic_says_what_to_do() -> None:
    try:
        import pillow_heif  # noqa: F401
    except ImportError:
        with pytest.raises(ImageError) as error:
            load_image(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 100)
        one_line(error, "HEIC", "JPEG", "pillow-heif")
    else:
        with pytest.raises(ImageError, match="truncated or damaged"):
            load_image(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 100)


def test_avif_says_what_to_do() -> None:
    Pillow.init()
    data = b"\0\0\0\x18ftypavif\0\0\0\0mif1avif" + b"\0" * 100
    with pytest.raises(ImageError, match="damaged" if "AVIF" in Pillow.OPEN else "pillow 11.3"):
        load_image(data)


def test_postscript_is_never_run() -> None:
    with pytest.raises(ImageError, match="not an image"):
        load_image(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n")


# -- paths --------------------------------------------------


@pytest.mark.parametrize("name", ["two words.png", "人脸 照片.png", "naïve 'quote\".png", "-dash.png", "UPPER.PNG"])
def test_awkward_names(name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_bytes(encoded(photo(), "PNG"))
    np.testing.assert_array_equal(load_image(file), photo())
    np.testing.assert_array_equal(load_image(str(file)), photo())
    file.write_bytes(b"")
    with pytest.raises(ImageError) as error:
        load_image(file)
    one_line(error, "empty")


def test_a_chinese_name_is_readable_in_the_error(tmp_path: Path) -> None:
    with pytest.raises(ImageError) as error:
        load_image(tmp_path / "不存在.jpg")
    one_line(error, "不存在.jpg", "does not exist")


def test_control_characters_in_a_name_stay_out_of_the_terminal() -> None:
    with pytest.raises(ImageError) as error:
        load_image("evil\x1b[2J\n.jpg")
    one_line(error)
    assert "\x1b" not in str(error.value)


@pytest.mark.skipif(sys.platform != "linux", reason="file names that are not text exist on Linux")
def test_a_name_that_is_not_text(tmp_path: Path) -> None:
    raw = os.fsencode(tmp_path) + b"/\xff\xfe.png"
    Path(os.fsdecode(raw)).write_bytes(encoded(photo(), "PNG"))
    np.testing.assert_array_equal(load_image(os.fsdecode(raw)), photo())
    Path(os.fsdecode(raw)).write_bytes(b"")
    with pytest.raises(ImageError) as error:
        load_image(os.fsdecode(raw))
    str(error.value).encode()


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ImageError) as error:
        load_image(tmp_path)
    one_line(error, "folder")


@pytest.mark.parametrize("path", ["a\0b.jpg", "x" * 5000, "/etc/hostname/x.jpg", ""])
def test_paths_that_can_not_be(path: str) -> None:
    with pytest.raises(ImageError) as error:
        load_image(path)
    one_line(error)


@pytest.mark.parametrize(
    "url", ["https://example.org/a.jpg?token=1", "http://x/y.png", "s3://bucket/a", "file:///a.jpg"]
)
def test_a_web_address_is_not_fetched(url: str) -> None:
    with pytest.raises(ImageError) as error:
        load_image(url)
    one_line(error, url, "download")


def test_a_data_address_is_not_repeated() -> None:
    with pytest.raises(ImageError) as error:
        load_image("data:image/png;base64,SECRETFACE" + "A" * 100_000)
    one_line(error)
    assert "SECRET" not in str(error.value)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs POSIX users")
def test_permission_denied(tmp_path: Path) -> None:
    file = tmp_path / "secret.png"
    file.write_bytes(encoded(photo(), "PNG"))
    file.chmod(0)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        with pytest.raises(ImageError) as error:
            load_image(file)
    finally:
        if root:
            os.seteuid(0)
        file.chmod(0o600)
    one_line(error, "secret.png", "ermission denied")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs POSIX pipes")
def test_pipes_and_devices_never_hang(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.jpg"
    os.mkfifo(pipe)
    for source in (pipe, "/dev/zero", "/dev/stdin", "/dev/null"):
        if source == "/dev/stdin" and Path(source).is_file():
            continue
        with pytest.raises(ImageError) as error:
            load_image(source)
        one_line(error, "device, pipe or socket")


def test_threads_share_it(tmp_path: Path) -> None:
    file = tmp_path / "a.jpg"
    save_image(file, photo(200, 300), quality=95)
    expected, wrong = load_image(file), []

    def work() -> None:
        wrong.extend(i for i in range(20) if not np.array_equal(load_image(file), expected))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# -- arrays --------------------------------------------------


def test_a_good_array_is_not_copied() -> None:
    image = photo()
    assert load_image(image) is image or np.shares_memory(load_image(image), image)


@pytest.mark.parametrize(
    "view",
    [
        lambda a: a[::-1],
        lambda a: a[:, ::-1],
        lambda a: a[::2, 1::3],
        lambda a: a.transpose(1, 0, 2),
        np.asfortranarray,
    ],
)
@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_any_strides(view, order: str) -> None:
    array = view(photo())
    image = load_image(array, order=order)
    assert image.flags.c_contiguous
    np.testing.assert_array_equal(image, array if order == "rgb" else array[..., ::-1])


def test_read_only_arrays() -> None:
    image = photo()
    image.flags.writeable = False
    np.testing.assert_array_equal(load_image(image, order="bgr"), image[..., ::-1])


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1)])
def test_gray_arrays(shape: tuple[int, ...]) -> None:
    image = load_image(np.full(shape, 9, np.uint8))
    assert image.shape == (5, 7, 3)
    assert (image == 9).all()


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.full((4, 4, 3), np.nan), ("float64", "uint8")),
        (np.zeros((4, 4, 3), np.float32), ("float32", "255")),
        (np.zeros((4, 4, 3), bool), ("bool",)),
        (np.zeros((4, 4, 3), np.int32), ("int32", "astype")),
        (np.zeros((4, 4, 3), object), ("object",)),
        (np.zeros((4, 4, 4), np.uint8), ("(4, 4, 4)", "[..., :3]")),
        (np.zeros((4, 4, 2), np.uint8), ("(4, 4, 2)",)),
        (np.zeros((3, 9, 9), np.uint8), ("(3, 9, 9)", "(h, w, 3)")),
        (np.zeros((1, 4, 4, 3), np.uint8), ("(1, 4, 4, 3)",)),
        (np.zeros(12, np.uint8), ("(12,)",)),
        (np.zeros((), np.uint8), ("()",)),
        (np.zeros((0, 4, 3), np.uint8), ("empty", "(0, 4, 3)")),
        (np.zeros((4, 0), np.uint8), ("empty",)),
    ],
)
def test_unfit_arrays(array: np.ndarray, words: tuple[str, ...]) -> None:
    with pytest.raises(InputError) as error:
        load_image(array)
    one_line(error, *words)


@pytest.mark.parametrize("source", [None, 3, [[1, 2]], Pillow.new("RGB", (3, 3)), {}])
def test_unfit_types(source: object) -> None:
    with pytest.raises(InputError) as error:
        load_image(source)  # type: ignore[arg-type]
    one_line(error, type(source).__name__)


# -- writing --------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".TIFF", ".PNG"])
def test_saved_without_loss(suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"图 {suffix}"
    save_image(file, photo())
    np.testing.assert_array_equal(load_image(file), photo())
    assert [p.name for p in tmp_path.iterdir()] == [file.name]


@pytest.mark.parametrize("suffix", [".jpg", ".JPEG", ".webp"])
def test_saved_with_little_loss(suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"a{suffix}"
    save_image(file, photo(), quality=95)
    assert np.abs(load_image(file).astype(int) - photo()).mean() < 4
    small = tmp_path / f"b{suffix}"
    save_image(small, photo(), quality=10)
    assert small.stat().st_size < file.stat().st_size


def test_saved_files_have_the_users_permissions(tmp_path: Path) -> None:
    save_image(tmp_path / "a.png", photo())
    (tmp_path / "plain").write_bytes(b"")
    assert (tmp_path / "a.png").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize(
    ("name", "image", "quality", "word"),
    [
        ("a.xyz", photo(), 90, ".png"),
        ("a", photo(), 90, ".png"),
        ("a.jpg", photo(), 0, "quality"),
        ("a.jpg", photo().astype(np.float32), 90, "uint8"),
        ("a.jpg", np.zeros((1, 70_000, 3), np.uint8), 90, ".png"),
        ("a.webp", np.zeros((1, 20_000, 3), np.uint8), 90, ".png"),
    ],
)
def test_what_can_not_be_saved(name: str, image: np.ndarray, quality: int, word: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        save_image(tmp_path / name, image, quality=quality)
    one_line(error, word)
    assert list(tmp_path.iterdir()) == []


def test_saving_into_nowhere(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    for path in (tmp_path / "missing" / "a.png", tmp_path / "file" / "a.png", tmp_path / "folder.png"):
        with pytest.raises(StorageError) as error:
            save_image(path, photo())
        one_line(error, path.name)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder.png"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_failed_save_keeps_the_old_file(tmp_path: Path) -> None:
    """A limit on file size stands in for the full disk: the kernel refuses the write half-way."""
    file = tmp_path / "a.png"
    save_image(file, photo())
    code = """
import resource, signal, sys
import numpy as np
from visavis.errors import StorageError
from visavis.image import save_image
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
try:
    save_image(sys.argv[1], np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8))
except StorageError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=True)
    assert "file too large" in done.stdout
    np.testing.assert_array_equal(load_image(file), photo())
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs POSIX users")
def test_saving_into_a_read_only_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        with pytest.raises(StorageError) as error:
            save_image(tmp_path / "a.png", photo())
    finally:
        if root:
            os.seteuid(0)
        tmp_path.chmod(0o755)
    one_line(error, "ermission denied")


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    """A second process writes the same name again and again while this one reads it."""
    file = tmp_path / "live.png"
    save_image(file, photo())
    code = """
import sys
import numpy as np
from visavis.image import save_image
for i in range(60):
    save_image(sys.argv[1], np.full((300, 300, 3), i, np.uint8))
"""
    with subprocess.Popen([sys.executable, "-c", code, str(file)]) as writer:
        while writer.poll() is None:
            assert load_image(file).shape in {(48, 64, 3), (300, 300, 3)}
            time.sleep(0.002)
    assert writer.returncode == 0
    assert load_image(file).max() == 59


# -- sizes --------------------------------------------------


def test_resize_averages_when_it_shrinks() -> None:
    checks = np.zeros((64, 64, 3), np.uint8)
    checks[::2, ::2] = 255
    checks[1::2, 1::2] = 255
    assert np.abs(resize(checks, 16, 16).astype(int) - 128).max() <= 1
    np.testing.assert_allclose(resize(photo(), 32, 24), cv2.resize(photo(), (32, 24), interpolation=cv2.INTER_AREA))
    assert resize(photo(), 640, 480).shape == (480, 640, 3)
    assert resize(photo(), 64, 48) is not None
    with pytest.raises(InputError):
        resize(photo(), 0, 5)


# -- real photographs --------------------------------------------------


def test_real_photos_decode_as_in_pillow(lfw: zipfile.ZipFile, lfw_names: list[str]) -> None:
    for name in lfw_names[::35]:
        data = lfw.read(name)
        expected = np.asarray(Pillow.open(io.BytesIO(data)).convert("RGB"))
        assert np.abs(load_image(data).astype(int) - expected).max() <= 2
