"""Test that every upload becomes two small squares of pixels or is refused."""

import json
import subprocess
import sys
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from types import NoneType
from typing import NamedTuple
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from accounts.avatars import pictures as module
from accounts.avatars import redraw
from accounts.avatars.pictures import SIZES, UnacceptablePicture, avatar_files
from tests import pictures
from tests.pictures import (
    ACCEPTED,
    BLUE,
    CORPUS,
    GREEN,
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
    with_segments,
)

pytestmark = [pytest.mark.no_service, pytest.mark.xdist_group("pictures")]

ROOT = Path(__file__).resolve().parent.parent
ONE_OF_EACH = [png(), jpeg(), jpeg(progressive=True), webp("RGBA"), webp(lossless=True)]


def checked(files: dict[int, bytes]) -> dict[int, Image.Image]:
    """Return the pictures, after checking that the files hold nothing else."""
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


def redrawn(data: bytes) -> dict[int, bytes] | str:
    """Return the files or the reason, from the same code without the process and its limits."""
    with mock.patch.object(redraw, "limit"), warnings.catch_warnings(action="ignore"):
        answer = redraw.answer(data, list(SIZES))
    if answer.startswith(b"RIFF"):
        return dict(zip(SIZES, module._files(answer), strict=True))
    return answer.decode()


def outcome_of(data: bytes) -> str:
    """Return `accepted` after a check of the files, or the reason of the refusal."""
    answer = redrawn(data)
    if isinstance(answer, dict):
        checked(answer)
        return ACCEPTED
    assert answer in {"not_a_picture", "too_many_pixels"}
    return answer


def colour_of(data: bytes, across: float = 0.5, down: float = 0.5) -> str:
    """Return the nearest plain colour at that place of the larger file, 0 to 1 from its corner."""
    plain = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
    plain |= {"white": (255,) * 3, "black": (0,) * 3, "grey": (128,) * 3}
    found = large(data).getpixel((round(191 * across), round(191 * down)))
    return min(
        plain, key=lambda name: sum(abs(a - b) for a, b in zip(plain[name], found, strict=True))
    )


def large(data: bytes) -> Image.Image:
    answer = redrawn(data)
    assert isinstance(answer, dict), answer
    return checked(answer)[192]


# The corpus, through the process

WITH_A_SMALL_SERVER = """
import json, pathlib, re, resource
from concurrent.futures import ThreadPoolExecutor
from accounts.avatars.pictures import UnacceptablePicture, avatar_files

def peak():
    # Of this program alone: that of getrusage() begins with the one of the process before it.
    return int(re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1])

def outcome(number):
    upload = (folder / str(number)).read_bytes()
    try:
        for size, data in avatar_files(upload).items():
            (folder / f"{number}-{size}").write_bytes(data)
        return "accepted"
    except UnacceptablePicture as refusal:
        return refusal.reason

folder = pathlib.Path(FOLDER)
before = peak()
with ThreadPoolExecutor(2) as threads:
    outcomes = list(threads.map(outcome, range(COUNT)))
print(json.dumps({
    "outcomes": outcomes,
    "server": (peak() - before) / 1024,
    "process": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
}))
"""


class Run(NamedTuple):
    """What became of the corpus, and megabytes: the server's growth, the largest process."""

    outcomes: list[str]
    server: float
    process: float
    files: dict[str, dict[int, bytes]]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    """Run the corpus through avatar_files, two at a time, in a server of its own."""
    folder = tmp_path_factory.mktemp("uploads")
    for number, upload in enumerate(CORPUS):
        (folder / str(number)).write_bytes(upload.make())
    program = f"FOLDER, COUNT = {str(folder)!r}, {len(CORPUS)}\n{WITH_A_SMALL_SERVER}"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.stderr == "", "not even a warning"
    files = {
        upload.name: {size: (folder / f"{number}-{size}").read_bytes() for size in SIZES}
        for number, upload in enumerate(CORPUS)
        if (folder / f"{number}-192").exists()
    }
    return Run(**json.loads(done.stdout), files=files)


@pytest.mark.parametrize("number", range(len(CORPUS)), ids=[upload.name for upload in CORPUS])
def test_each_upload_of_the_corpus_has_its_outcome(run, number):
    upload = CORPUS[number]
    assert run.outcomes[number] == upload.outcome
    assert (upload.name in run.files) == (upload.outcome == ACCEPTED)
    if upload.outcome == ACCEPTED:
        checked(run.files[upload.name])


def test_the_corpus_takes_little_memory_of_the_server_and_below_100_mb_of_the_process(run):
    assert run.server < 20
    assert run.process < 100


def test_the_corpus_is_large_and_the_same_every_time():
    names = [upload.name for upload in CORPUS]
    assert len(set(names)) == len(names) >= 150
    assert Counter(upload.outcome == ACCEPTED for upload in CORPUS)[True] >= 50
    pictures.png.cache_clear()
    pictures.jpeg.cache_clear()
    pictures.webp.cache_clear()
    small = [upload for upload in CORPUS if "megapixels" not in upload.name]
    assert [upload.make() for upload in small] == [upload.make() for upload in small]


def test_two_threads_give_the_same_as_one():
    with ThreadPoolExecutor(2) as threads:
        together = list(threads.map(avatar_files, ONE_OF_EACH))
    assert together == [redrawn(upload) for upload in ONE_OF_EACH]


# The process


def program(monkeypatch, tmp_path, lines: str) -> None:
    """Have avatar_files start a program that knows the real one as ``redraw``."""
    path = tmp_path / "program.py"
    path.write_text(
        f"import sys\nsys.path.append({str(ROOT)!r})\nfrom accounts.avatars import redraw\n{lines}"
    )
    monkeypatch.setattr(module, "_PROGRAM", path)


def refusal_of(data: bytes, cause: type = NoneType) -> str:
    with pytest.raises(UnacceptablePicture) as refused:
        avatar_files(data)
    assert isinstance(refused.value.__cause__, cause)
    return refused.value.reason


def test_a_crash_is_a_refusal(monkeypatch, tmp_path):
    program(
        monkeypatch, tmp_path, "import os\nredraw.limit(redraw.resource.RLIMIT_CORE, 0)\nos.abort()"
    )
    assert refusal_of(png()) == "too_many_pixels"


def test_a_picture_that_takes_too_much_processor_time_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "_TIMEOUT", 120)
    lines = "redraw.MAX_SECONDS = 1\ndef answer(*_):\n    while True: pass\n"
    program(monkeypatch, tmp_path, lines + "redraw.answer = answer\nredraw.main()")
    assert refusal_of(png()) == "too_many_pixels"


def test_a_picture_that_takes_too_long_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "_TIMEOUT", 0.5)
    program(monkeypatch, tmp_path, "import time\ntime.sleep(60)")
    assert refusal_of(png(), subprocess.TimeoutExpired) == "too_many_pixels"


def test_a_picture_that_takes_too_much_memory_is_refused(monkeypatch, tmp_path):
    lines = "redraw.reduced = lambda *_: bytearray(redraw.MAX_MEMORY)\nredraw.main()"
    program(monkeypatch, tmp_path, lines)
    assert refusal_of(png()) == "too_many_pixels"


@pytest.mark.parametrize("lines", ["import nothing_of_the_kind", "redraw.sys.exit(0)"])
def test_a_broken_program_is_not_reported_as_a_bad_picture(monkeypatch, tmp_path, capfd, lines):
    program(monkeypatch, tmp_path, lines)
    with pytest.raises((subprocess.CalledProcessError, ValueError)) as failed:
        avatar_files(png())
    assert not isinstance(failed.value, UnacceptablePicture)
    assert ("ModuleNotFoundError" in capfd.readouterr().err) == ("import" in lines)


def test_the_interpreter_is_found_in_a_server_that_is_not_python(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/usr/bin/uwsgi")
    assert checked(avatar_files(png()))


def test_the_program_does_not_import_django():
    lines = (
        "import sys, accounts.avatars.redraw; "
        "print([name for name in sys.modules if 'django' in name])"
    )
    done = subprocess.run([sys.executable, "-c", lines], cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_an_obvious_non_picture_starts_no_process(monkeypatch):
    monkeypatch.setattr(subprocess, "run", mock.Mock(side_effect=AssertionError))
    assert refusal_of(b"") == refusal_of(b"GIF89a") == "not_a_picture"


# Right way up, in the right colours


def quarters() -> Image.Image:
    """Paint a picture white, with red at the left top and blue at the right top."""
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
def test_a_picture_taken_sideways_is_turned_upright(kind, order, orientation, red, blue):
    upload = saved(quarters(), kind)
    mark = exif(orientation, order=order)
    if kind == "JPEG":
        upload = with_segments(exif_segment(mark), file=upload)
    elif kind == "PNG":
        upload = upload[:33] + chunk(b"eXIf", mark) + upload[33:]
    else:
        upload = pictures.riff(pictures.extended(96, 96, 0x08), upload[12:], piece(b"EXIF", mark))
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
    shrunk = large(saved(ramp, "PNG")).convert("L")
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
def test_every_kind_of_colour_is_kept(colour, upload):
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
def test_transparent_pixels_become_white(upload):
    assert colour_of(upload) == "white"


def test_half_transparent_pixels_become_half_white():
    picture = large(png(colour=6, pixel=b"\0\0\0\x80"))
    assert abs(picture.getpixel((96, 96))[0] - 127) <= 2


def test_the_colours_of_a_phones_profile_come_out_in_srgb():
    """Use a profile that takes red for blue, which shows whether it is applied."""
    swapped, same = profile(BLUE, GREEN, RED), profile(RED, GREEN, BLUE)
    red = jpeg("RGB", colour="red")
    for icc, colour in ((swapped, "blue"), (same, "red")):
        packed = profile_chunk(pictures.deflated([icc]))
        assert colour_of(with_segments(profile_segment(icc), file=red)) == colour
        assert colour_of(png(pixel=RED_ROW, before=packed)) == colour
        web = [pictures.extended(64, 64, 0x20), piece(b"ICCP", icc), webp(colour="red")[12:]]
        assert colour_of(pictures.riff(*web)) == colour


def test_a_profile_longer_than_a_phones_is_ignored():
    icc = profile(BLUE, GREEN, RED, padding=1000)
    upload = with_segments(profile_segment(icc), file=jpeg("RGB", colour="red"))
    assert colour_of(upload) == "red"


# Any bytes


@given(st.sampled_from([png()[:8], jpeg()[:4], webp()[:16]]), st.binary(max_size=400))
def test_a_good_beginning_with_arbitrary_bytes_is_a_picture_or_refused(beginning, data):
    outcome_of(beginning + data)


edits = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(max_size=4)), max_size=6)


@given(st.sampled_from(ONE_OF_EACH), edits, st.booleans())
def test_a_picture_changed_here_and_there_is_a_picture_or_refused(upload, edits, inserted):
    for place, new in edits:
        at = int(place * len(upload))
        upload = upload[:at] + new + upload[at if inserted else at + len(new) :]
    outcome_of(upload)


@settings(deadline=None)  # Pillow imports its reader of Exif at the first one
@given(st.sampled_from("<>"), st.binary(max_size=80))
def test_any_exif_rotates_a_picture_or_changes_nothing(order, content):
    outcome = outcome_of(with_segments(exif_segment(exif(order=order)[:10] + content)))
    assert outcome == ACCEPTED


def test_a_refusal_says_its_reason():
    refusal = UnacceptablePicture("not_a_picture")
    assert isinstance(refusal, ValueError)
    assert (refusal.reason, str(refusal)) == ("not_a_picture", "not_a_picture")
