"""Redraw a picture as square WebP files: a program that pictures.py starts for each upload.

Read the picture from standard input. Write the files, one after the other, or the reason why the
picture is refused, to standard output. The arguments are the sides of the files in pixels.

Pillow and its codecs work on whatever is sent, so this process limits itself before it lets them:
a picture that asks for more memory or time is refused, and a codec that crashes takes nothing else
with it. Import Pillow only, since the start is part of every upload.
"""

import os
import resource
import sys
from contextlib import suppress
from io import BytesIO
from typing import Final

# The plugins are imported by name, or Pillow would import all seventy to find the one for WebP.
from PIL import (  # noqa: F401
    Image,
    ImageCms,
    ImageFile,
    ImageOps,
    JpegImagePlugin,
    PngImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

# Decoding takes 4 bytes a pixel, 6 for a JPEG in several scans, 16 for a WebP. What phones call 12
# megapixels has up to 4096 × 3072.
MAX_PIXELS: Final = {"JPEG": 4096 * 3072, "PNG": 4096 * 3072, "WEBP": 4_750_000}
MAX_SIDE: Final = 4096

# Bytes. Before its size is known a WebP reserves two canvases, which it does not touch yet.
MAX_RESERVED: Final = 1_000_000_000
MAX_MEMORY: Final = 100_000_000

# Of processor time. The slowest acceptable picture takes about half of one.
MAX_SECONDS: Final = 3

# Each scan of a JPEG is a pass over all of its pixels; encoders make ten. They are counted wherever
# they seem to be: 2 MiB of a film behind a picture hold some 30 by chance.
MAX_SCANS: Final = 100
SCAN: Final = b"\xff\xda"

# Holds the profiles of phones and cameras (Display P3, Adobe RGB), which are a matrix and a
# curve. Longer ones may hold programs and tables, and are taken for sRGB.
MAX_PROFILE: Final = 1024

# Pillow unpacks each profile that a PNG has before it tells the size: 2 MiB hold 1,800 of 1 MB.
MAX_PROFILES: Final = 10
PROFILE_CHUNK: Final = b"iCCP"

PNG: Final = b"\x89PNG"
JPEG_END: Final = b"\xff\xd9"

ORIENTATION: Final = 0x0112
BAND: Final = 8


class TooManyPixels(Exception):
    """A picture that would take too much memory or time."""


def main() -> None:
    limit(resource.RLIMIT_CORE, 0)
    limit(resource.RLIMIT_CPU, MAX_SECONDS)
    limit(resource.RLIMIT_DATA, MAX_RESERVED)
    # Not on the one core to which the server's process may keep, which goes on meanwhile.
    with suppress(AttributeError, OSError):  # elsewhere than on Linux, or where it is forbidden
        os.sched_setaffinity(0, range(os.cpu_count() or 1))
    sizes = [int(size) for size in sys.argv[1:]]
    sys.stdout.buffer.write(answer(sys.stdin.buffer.read(), sizes))


def limit(what: int, most: int) -> None:
    resource.setrlimit(what, (most, most))


def answer(data: bytes, sizes: list[int]) -> bytes:
    """Return the files of these sizes, or the reason why there are none."""
    try:
        picture = square(data, max(sizes)) or repaired(data, max(sizes))
        return b"".join(webp_of(picture, size) for size in sizes)
    except (TooManyPixels, Image.DecompressionBombError, MemoryError):
        return b"too_many_pixels"
    except Exception:  # Pillow and its codecs have no exception in common
        return b"not_a_picture"


def square(data: bytes, side: int) -> Image.Image | None:
    """Return the middle of the picture, or None if the file is damaged."""
    try:
        return middle_of(data, side)
    except UnidentifiedImageError:
        if data.startswith(PNG):
            return None  # perhaps for a broken chunk
        raise
    except (OSError, SyntaxError):
        return None


def repaired(data: bytes, side: int) -> Image.Image:
    """Return the middle of a damaged picture, drawn as far as it goes, as browsers draw it.

    Its end is missing, or a chunk is broken that holds none of the pixels. Where nothing can be
    drawn all of it has one colour, and is refused.
    """
    ImageFile.LOAD_TRUNCATED_IMAGES = data.startswith(PNG)
    try:
        picture = middle_of(data + JPEG_END, side)
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = False
    if picture.getcolors(1):
        raise OSError
    return picture


def middle_of(data: bytes, side: int) -> Image.Image:
    """Return the middle of the picture in sRGB, upright, with sides of ``side`` pixels."""
    if data.count(PROFILE_CHUNK) > MAX_PROFILES:
        raise TooManyPixels
    with Image.open(BytesIO(data), formats=list(MAX_PIXELS)) as picture:
        kind, (width, height) = str(picture.format), picture.size
        if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS[kind]:
            raise TooManyPixels
        if kind == "JPEG" and data.count(SCAN) > MAX_SCANS:
            raise TooManyPixels
        limit(resource.RLIMIT_DATA, MAX_MEMORY)
        picture.draft(None, (side, side))
        picture.load()
        orientation = picture.getexif().get(ORIENTATION)
        middle = in_srgb(reduced(picture, side), picture.info.get("icc_profile"))
    if orientation in range(1, 9):
        middle.getexif()[ORIENTATION] = orientation
    return ImageOps.exif_transpose(middle)


def reduced(picture: Image.Image, side: int) -> Image.Image:
    """Cut, flatten and shrink in bands: a second copy of all pixels would double the memory."""
    length = min(picture.size)
    left, top = ((each - length) // 2 for each in picture.size)
    factor = max(1, length // (2 * side))
    middle = Image.new("RGB", (-(-length // factor),) * 2)
    for row in range(0, length, BAND * factor):
        below = min(row + BAND * factor, length)
        band = flat(picture.crop((left, top + row, left + length, top + below)))
        middle.paste(band.reduce(factor), (0, row // factor))
    exact = (0, 0, length / factor, length / factor)
    return middle.resize((side, side), Image.Resampling.LANCZOS, exact)


def flat(picture: Image.Image) -> Image.Image:
    """Return the picture as RGB, on white where it is transparent."""
    if picture.mode == "I;16":  # which convert() clips; the high bytes are the 8-bit picture
        picture = Image.frombytes("L", picture.size, picture.tobytes()[1::2])
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    white = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(white, picture.convert("RGBA")).convert("RGB")


def in_srgb(picture: Image.Image, profile: bytes | None) -> Image.Image:
    """Return the picture's colours in sRGB; unchanged where the profile is of no use."""
    if not profile or len(profile) > MAX_PROFILE:
        return picture
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        target = ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(picture, source, target, outputMode="RGB") or picture
    except (ImageCms.PyCMSError, OSError):
        return picture


def webp_of(picture: Image.Image, size: int) -> bytes:
    file = BytesIO()
    resized = picture.resize((size, size), Image.Resampling.LANCZOS)
    resized.save(file, "WEBP", quality=80, method=4)
    return file.getvalue()


if __name__ == "__main__":
    main()
