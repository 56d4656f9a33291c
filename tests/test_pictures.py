"""Uploaded pictures: whatever is sent, what comes out is two small squares of pixels."""

import json
import re
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from accounts.avatars.pictures import SIZES, UnacceptablePicture, avatar_files
from tests import pictures
from tests.pictures import (
    BLUE,
    CORPUS,
    GREEN,
    HARMLESS,
    MARKERS,
    PALETTE,
    RED,
    chunk,
    exif,
    exif_segment,
    jpeg,
    piece,
    png,
    profile,
    profile_chunk,
    profile_segment,
    saved,
    webp,
    with_pieces,
    with_segments,
)

pytestmark = pytest.mark.no_service

ROOT = Path(__file__).resolve().parent.parent
ONE_OF_EACH = [png(), jpeg(), jpeg(progressive=True), webp("RGBA"), webp(lossless=True)]


def checked(files: dict[int, bytes]) -> dict[int, Image.Image]:
    """The pictures, after checking that there is nothing in the files but them."""
    assert tuple(files) == SIZES == (96, 192)
    for data in files.values():
        # RIFF, length, WEBP and then the only chunk: VP8, its length, the pixels.
        assert data[:4] + data[8:16] == b"RIFFWEBPVP8 "
        assert int.from_bytes(data[16:20], "little") + 20 in {len(data), len(data) - 1}
        assert len(data) <= 50_000
        assert not any(marker in data for marker in MARKERS)
    opened = {size: Image.open(BytesIO(data)) for size, data in files.items()}
    for size, picture in opened.items():
        assert (picture.format, picture.mode, picture.size) == ("WEBP", "RGB", (size, size))
        assert picture.n_frames == 1
        assert picture.info.keys() <= {"loop", "background"}
    return opened


def fate_of(data: bytes) -> str:
    """`harmless` after a check of the files, or the reason of the refusal."""
    try:
        checked(avatar_files(data))
    except UnacceptablePicture as refusal:
        cause, fate = refusal.__cause__, str(refusal.reason)
    else:
        cause, fate = None, HARMLESS
    assert not isinstance(cause, Warning), "warnings are errors here, and refuse nothing"
    return fate


def colour_of(data: bytes, across: float = 0.5, down: float = 0.5) -> str:
    """The nearest plain colour at that place of the larger file, 0 to 1 from its corner."""
    plain = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
    plain |= {"white": (255,) * 3, "black": (0,) * 3, "grey": (128,) * 3}
    picture = checked(avatar_files(data))[192]
    found = picture.getpixel((round(191 * across), round(191 * down)))
    return min(
        plain, key=lambda name: sum(abs(a - b) for a, b in zip(plain[name], found, strict=True))
    )


@pytest.mark.parametrize("picture", CORPUS, ids=str)
def test_every_picture_of_the_corpus_meets_its_fate(picture):
    assert fate_of(picture.make()) == picture.fate


def test_the_corpus_is_large_and_the_same_every_time():
    names = [picture.name for picture in CORPUS]
    assert len(set(names)) == len(names) >= 150
    assert Counter(picture.fate == HARMLESS for picture in CORPUS)[True] >= 50
    pictures.png.cache_clear()
    pictures.jpeg.cache_clear()
    pictures.webp.cache_clear()
    small = [picture for picture in CORPUS if "megapixels" not in picture.name]
    assert [picture.make() for picture in small] == [picture.make() for picture in small]


IN_A_PROCESS_OF_ITS_OWN = """
import json, pathlib, re
from concurrent.futures import ThreadPoolExecutor
from accounts.pictures import UnacceptablePicture, avatar_files
from tests.pictures import CORPUS, jpeg, png, webp

def peak():
    # Of this program alone: that of getrusage() begins with the one of the process before it.
    return int(re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1])

def fate(upload):
    try:
        return "harmless" if avatar_files(upload) else ""
    except UnacceptablePicture as refusal:
        return refusal.reason

uploads = pathlib.Path(UPLOADS)
warm_up = [fate(file) for file in (png(), jpeg(), jpeg(progressive=True), webp("RGBA"))]
before = peak()
with ThreadPoolExecutor(2) as threads:
    fates = list(threads.map(lambda number: fate((uploads / str(number)).read_bytes()), range(N)))
print(json.dumps({"fates": fates, "megabytes": (peak() - before) / 1024}))
"""


def test_the_whole_corpus_takes_less_than_100_mb_also_two_at_a_time(tmp_path):
    for number, picture in enumerate(CORPUS):
        (tmp_path / str(number)).write_bytes(picture.make())
    program = f"UPLOADS, N = {str(tmp_path)!r}, {len(CORPUS)}\n{IN_A_PROCESS_OF_ITS_OWN}"
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert run.stderr == "", "not even a warning"
    said = json.loads(run.stdout)
    assert said["fates"] == [picture.fate for picture in CORPUS]
    assert said["megabytes"] < 100


def test_two_threads_give_what_one_gives():
    uploads = [picture.make() for picture in CORPUS if picture.fate == HARMLESS][:30]
    with ThreadPoolExecutor(2) as threads:
        together = list(threads.map(avatar_files, uploads))
    assert together == [avatar_files(upload) for upload in uploads]


# Right way up, in the right colours


def quarters() -> Image.Image:
    """White, with red at the left top and blue at the right top."""
    picture = Image.new("RGB", (96, 96), "white")
    picture.paste("red", (0, 0, 48, 48))
    picture.paste("blue", (48, 0, 96, 48))
    return picture


CORNERS = {"left top": (0.1, 0.1), "right top": (0.9, 0.1)}
CORNERS |= {"left bottom": (0.1, 0.9), "right bottom": (0.9, 0.9)}


@pytest.mark.parametrize(
    ("orientation", "red", "blue"),
    [
        (1, "left top", "right top"),
        (2, "right top", "left top"),
        (3, "right bottom", "left bottom"),
        (4, "left bottom", "right bottom"),
        (5, "left top", "left bottom"),
        (6, "right top", "right bottom"),
        (7, "right bottom", "right top"),
        (8, "left bottom", "left top"),
    ],
)
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_picture_taken_sideways_stands_upright(kind, order, orientation, red, blue):
    upload = saved(quarters(), kind)
    mark = exif(orientation, order=order)
    if kind == "JPEG":
        upload = with_segments(exif_segment(mark), file=upload)
    elif kind == "PNG":
        upload = upload[:33] + chunk(b"eXIf", mark) + upload[33:]
    else:
        upload = pictures.riff(upload[12:], piece(b"EXIF", mark))
    seen = {corner: colour_of(upload, *place) for corner, place in CORNERS.items()}
    assert seen == dict.fromkeys(CORNERS, "white") | {red: "red", blue: "blue"}


def test_the_middle_is_kept_of_a_wide_or_a_tall_picture():
    wide = Image.new("RGB", (300, 100), "white")
    wide.paste("red", (100, 0, 200, 100))
    for picture in (wide, wide.transpose(Image.Transpose.ROTATE_90)):
        upload = saved(picture, "PNG")
        assert {colour_of(upload, *place) for place in CORNERS.values()} == {"red"}
    wide = wide.resize((3000, 1000))
    assert {colour_of(saved(wide, "JPEG"), *place) for place in CORNERS.values()} == {"red"}


def test_a_large_picture_is_shrunk_without_a_seam_or_a_shift():
    ramp = Image.linear_gradient("L").resize((1999, 1999)).convert("RGB")
    expected = Image.linear_gradient("L").resize((192, 192))
    shrunk = checked(avatar_files(saved(ramp, "PNG")))[192].convert("L")
    rows = [(shrunk.getpixel((96, row)), expected.getpixel((96, row))) for row in range(192)]
    assert max(abs(one - other) for one, other in rows) <= 3


RED_ROW = b"\xff\0\0"
RED_PALETTE = chunk(b"PLTE", b"\xff\0\0" + b"\0\xff\0")


@pytest.mark.parametrize(
    ("colour", "upload"),
    [
        ("red", png(pixel=RED_ROW)),
        ("red", png(depth=16, pixel=b"\xff\xff\0\0\0\0")),
        ("red", png(colour=3, before=RED_PALETTE)),
        ("green", png(colour=3, pixel=b"\1", before=RED_PALETTE)),
        ("red", jpeg("RGB", colour="red")),
        ("red", jpeg("RGB", colour="red", progressive=True)),
        ("red", jpeg("CMYK", colour=(0, 255, 255, 0))),
        ("red", jpeg("RGB", colour="red", keep_rgb=True)),
        ("red", webp("RGB", colour="red")),
        ("red", webp("RGB", colour="red", lossless=True)),
        ("red", pictures.animated(3, first="red")),
        ("white", png(depth=1, colour=0, pixel=b"\xff")),
        ("black", png(depth=1, colour=0)),
        ("grey", png(colour=0, pixel=b"\x80")),
        ("grey", png(depth=16, colour=0, pixel=b"\x80\0")),
        ("grey", jpeg("L", colour=128)),
    ],
)
def test_every_kind_of_colour_comes_out_as_it_was_meant(colour, upload):
    assert colour_of(upload) == colour


@pytest.mark.parametrize(
    "upload",
    [
        png(colour=6, pixel=b"\xff\0\0\0"),
        png(depth=16, colour=6, pixel=b"\xff\xff" + bytes(6)),
        png(colour=4, pixel=b"\0\0"),
        png(before=chunk(b"tRNS", bytes(6))),
        png(colour=0, before=chunk(b"tRNS", bytes(2))),
        png(colour=3, before=PALETTE + chunk(b"tRNS", b"\0")),
        png(colour=3, before=PALETTE + chunk(b"tRNS", b"\0\x80")),
        webp("RGBA", colour=(255, 0, 0, 0)),
        webp("RGBA", colour=(255, 0, 0, 0), lossless=True),
    ],
)
def test_what_is_transparent_is_white(upload):
    assert colour_of(upload) == "white"


def test_half_transparent_is_half_white():
    picture = checked(avatar_files(png(colour=6, pixel=b"\0\0\0\x80")))[192]
    assert abs(picture.getpixel((96, 96))[0] - 127) <= 2


def test_the_colours_of_a_phones_profile_come_out_in_srgb():
    """A profile that takes red for blue shows whether it is applied."""
    swapped, same = profile(BLUE, GREEN, RED), profile(RED, GREEN, BLUE)
    red = jpeg("RGB", colour="red")
    for icc, colour in ((swapped, "blue"), (same, "red")):
        packed = profile_chunk(pictures.deflated([icc]))
        assert colour_of(with_segments(profile_segment(icc), file=red)) == colour
        assert colour_of(png(pixel=RED_ROW, before=packed)) == colour
        web = webp("RGB", colour="red")[12:]
        assert colour_of(pictures.riff(piece(b"ICCP", icc), web)) == colour


def test_a_profile_too_long_to_be_a_phones_is_taken_for_srgb():
    icc = profile(BLUE, GREEN, RED, padding=1000)
    upload = with_segments(profile_segment(icc), file=jpeg("RGB", colour="red"))
    assert colour_of(upload) == "red"


# Whatever the bytes


@given(st.binary(max_size=400))
def test_arbitrary_bytes_are_a_picture_or_refused(data):
    fate_of(data)


@given(st.sampled_from([png()[:8], jpeg()[:4], webp()[:16]]), st.binary(max_size=400))
def test_arbitrary_bytes_behind_a_good_beginning(beginning, data):
    fate_of(beginning + data)


edits = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(max_size=4)), max_size=6)


@given(st.sampled_from(ONE_OF_EACH), edits, st.booleans())
def test_a_picture_changed_here_and_there_is_a_picture_or_refused(upload, edits, inserted):
    for place, new in edits:
        at = int(place * len(upload))
        upload = upload[:at] + new + upload[at if inserted else at + len(new) :]
    fate_of(upload)


png_kinds = [b"PLTE", b"tRNS", b"iCCP", b"eXIf", b"acTL", b"fcTL", b"fdAT", b"zTXt", b"IDAT"]
png_chunks = st.tuples(st.sampled_from(png_kinds), st.binary(max_size=60))


@given(
    st.tuples(st.integers(0, 5000), st.integers(0, 70), st.sampled_from([1, 2, 4, 8, 16, 3])),
    st.integers(0, 7),
    st.lists(png_chunks, max_size=5),
)
def test_chunks_of_a_png_in_any_order_with_any_content(shape, colour, chunks):
    body = b"".join(chunk(kind, content) for kind, content in chunks)
    head = pictures.header(*shape, colour)
    fate_of(pictures.PNG + head + body + png()[33:])


@given(st.lists(st.tuples(st.integers(0xC0, 0xFE), st.binary(max_size=60)), max_size=5))
def test_segments_of_a_jpeg_in_any_order_with_any_content(segments):
    fate_of(with_segments(*(pictures.segment(*each) for each in segments)))


@given(st.binary(max_size=60), st.binary(max_size=60), st.binary(max_size=60))
def test_chunks_of_a_webp_with_any_content(alpha, icc, mark):
    fate_of(with_pieces(piece(b"ICCP", icc), piece(b"ALPH", alpha), after=piece(b"EXIF", mark)))


@given(st.sampled_from("<>"), st.binary(max_size=80))
def test_any_exif_turns_a_picture_or_leaves_it(order, content):
    fate = fate_of(with_segments(exif_segment(exif(order=order)[:10] + content)))
    assert fate == HARMLESS


def test_a_refusal_says_its_reason():
    with pytest.raises(UnacceptablePicture, match=re.escape("not_a_picture")) as refused:
        avatar_files(b"")
    assert isinstance(refused.value, ValueError)
    assert refused.value.reason == "not_a_picture"
