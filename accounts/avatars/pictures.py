"""From a picture that somebody uploads to square WebP files with nothing in them but pixels.

Before Pillow sees a file, everything but its size and its pixels is left out: EXIF, XMP, comments,
text, animation, trailers. So none of that is decompressed, parsed or passed on, and what a file
asks of the decoder (pixels, scans) is known beforehand. Orientation and a short colour profile
are read here and applied.

Sources: PNG (W3C, third edition), JPEG (ITU-T T.81), WebP container (RFC 9649), Exif 2.32 (CIPA
DC-008) for the orientation.
"""

import re
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from struct import Struct, pack
from threading import Lock
from typing import Final, Literal, NamedTuple

from PIL import Image, ImageCms

Reason = Literal["too_large", "not_a_picture", "too_many_pixels"]

TYPES: Final = ("image/jpeg", "image/png", "image/webp")
SIZES: Final = (96, 192)

MAX_BYTES: Final = 2 * 1024 * 1024
MAX_SIDE: Final = 4096
MAX_PIXELS: Final = 12_000_000

# Bytes that decoding may take: enough for a JPEG or PNG of 12 megapixels, for a lossy WebP of
# 4.7; for a lossless WebP see _tables().
MAX_MEMORY: Final = 76_000_000

# Chunks or segments. Each scan of a JPEG is a pass over all of its pixels; encoders make ten.
MAX_PARTS: Final = 16_384
MAX_SCANS: Final = 32

# Holds the profiles of phones and cameras (Display P3, Adobe RGB), which are a matrix and a
# curve. Longer ones may hold programs and tables, and are taken for sRGB.
MAX_PROFILE: Final = 1024

_SIDE: Final = max(SIZES)
_BAND: Final = 8

_ORIENTATION: Final = 0x0112
_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# One picture at a time in a process, so that their memory does not add up, and each in a thread
# of its own: of what a thread has freed, the allocator keeps up to 60 MB for as long as it lives.
_one_at_a_time = Lock()


class UnacceptablePicture(ValueError):
    """A picture refused.

    ``reason`` is ``"too_large"`` (more than MAX_BYTES), ``"not_a_picture"`` (no JPEG, PNG or WebP,
    or a broken one) or ``"too_many_pixels"`` (or such as would take too much memory to decode).
    """

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason: Reason = reason


class _Stripped(NamedTuple):
    """A file of which only the pixels are left, and what it said about them."""

    kind: Literal["JPEG", "PNG", "WEBP"]
    size: tuple[int, int]
    memory: int  # bytes it takes to decode, at most
    file: bytes
    exif: bytes
    profile: bytes


def avatar_files(data: bytes) -> dict[int, bytes]:
    """Return square WebP files by their side in pixels (SIZES), cut from the picture's middle.

    ``data`` is a JPEG, PNG or WebP of at most MAX_BYTES, MAX_SIDE and MAX_PIXELS. Orientation is
    applied, transparency becomes white, colours become sRGB, and of an animation the first frame
    is taken. Raises UnacceptablePicture, and nothing else, for whatever cannot be used.
    """
    if len(data) > MAX_BYTES:
        raise UnacceptablePicture("too_large")
    with _one_at_a_time, ThreadPoolExecutor(1) as thread:
        return thread.submit(_files, data).result()


def _files(data: bytes) -> dict[int, bytes]:
    try:
        picture = _square(_stripped(data))
        return {size: _webp_of(picture, size) for size in SIZES}
    except UnacceptablePicture:
        raise
    except Exception as error:  # Pillow and its codecs have no exception in common
        raise UnacceptablePicture("not_a_picture") from error


def _stripped(data: bytes) -> _Stripped:
    """Raises UnacceptablePicture, or nearly any exception for a file that is broken."""
    for magic, strip in _STRIP.items():
        if magic.match(data):
            stripped = strip(data)
            _check(stripped)
            return stripped
    raise ValueError("unknown format")


def _check(stripped: _Stripped) -> None:
    width, height = stripped.size
    if not width or not height:
        raise ValueError("no pixels")
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS or stripped.memory > MAX_MEMORY:
        raise UnacceptablePicture("too_many_pixels")


# From pixels to the files


def _square(stripped: _Stripped) -> Image.Image:
    """Return the middle of the picture as RGB, upright, with sides of _SIDE pixels."""
    with Image.open(BytesIO(stripped.file), formats=[stripped.kind]) as picture:
        if picture.size != stripped.size:
            raise ValueError("another size than the header's")
        picture.draft(None, (_SIDE, _SIDE))
        picture.load()
        square = _reduced(picture)
    square = _in_srgb(square, stripped.profile)
    turn = _TURNS.get(_orientation(stripped.exif))
    return square if turn is None else square.transpose(turn)


def _reduced(picture: Image.Image) -> Image.Image:
    """Cut, flatten and shrink in bands: a second copy of all pixels would double the memory."""
    side = min(picture.size)
    left, top = ((length - side) // 2 for length in picture.size)
    factor = max(1, side // (2 * _SIDE))
    reduced = Image.new("RGB", (-(-side // factor),) * 2)
    for row in range(0, side, _BAND * factor):
        below = min(row + _BAND * factor, side)
        band = _flat(picture.crop((left, top + row, left + side, top + below)))
        reduced.paste(band.reduce(factor), (0, row // factor))
    exact = (0, 0, side / factor, side / factor)
    return reduced.resize((_SIDE, _SIDE), Image.Resampling.LANCZOS, exact)


def _flat(picture: Image.Image) -> Image.Image:
    """Return the picture as RGB, on white where it is transparent."""
    if picture.mode == "I;16":  # which convert() clips; the high bytes are the 8-bit picture
        picture = Image.frombytes("L", picture.size, picture.tobytes()[1::2])
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    white = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(white, picture.convert("RGBA")).convert("RGB")


def _in_srgb(picture: Image.Image, profile: bytes) -> Image.Image:
    """Return the picture's colours in sRGB; unchanged where the profile is of no use."""
    if not 0 < len(profile) <= MAX_PROFILE:
        return picture
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        target = ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(picture, source, target, outputMode="RGB") or picture
    except (ImageCms.PyCMSError, OSError):
        return picture


def _webp_of(picture: Image.Image, size: int) -> bytes:
    out = BytesIO()
    resized = picture.resize((size, size), Image.Resampling.LANCZOS)
    resized.save(out, "WEBP", quality=80, method=4)
    return out.getvalue()


def _orientation(exif: bytes) -> int:
    """Return Exif's orientation, 1-8, or 0 where there is none to be read."""
    order: Literal["little", "big"] = "little" if exif[:2] == b"II" else "big"
    start = int.from_bytes(exif[4:8], order)
    count = int.from_bytes(exif[start : start + 2], order)
    for at in range(start + 2, min(start + 2 + 12 * count, len(exif)), 12):
        if int.from_bytes(exif[at : at + 2], order) == _ORIENTATION:
            return int.from_bytes(exif[at + 8 : at + 10], order)
    return 0


# The formats, without what is not pixels


def _exactly(data: bytes, length: int) -> bytes:
    if len(data) != length:
        raise ValueError("truncated")
    return data


_PNG: Final = b"\x89PNG\r\n\x1a\n"
_PNG_SIZE: Final = Struct(">II")
_PNG_KEPT: Final[tuple[bytes, ...]] = (b"IHDR", b"PLTE", b"tRNS")


def _strip_png(data: bytes) -> _Stripped:
    """Keep header, palette and the still picture; every checksum up to the end must be right."""
    kept: dict[bytes, bytes] = {}
    pixels, exif, profile = [], b"", b""
    for kind, content in _png_chunks(data):
        if kind in _PNG_KEPT:
            kept[kind] = content
        elif kind == b"IDAT":
            pixels.append(content)
        elif kind == b"eXIf":
            exif = content
        elif kind == b"iCCP":
            profile = _inflated(content.partition(b"\0")[2][1:])
    width, height = _PNG_SIZE.unpack_from(kept[b"IHDR"])
    chunks = {kind: kept[kind] for kind in _PNG_KEPT if kind in kept}
    chunks |= {b"IDAT": b"".join(pixels), b"IEND": b""}
    file = _PNG + b"".join(_png_chunk(kind, content) for kind, content in chunks.items())
    return _Stripped("PNG", (width, height), 4 * width * height, file, exif, profile)


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield kind and content up to IEND. Raises ValueError."""
    at = len(_PNG)
    for _ in range(MAX_PARTS):
        length = int.from_bytes(data[at : at + 4])
        chunk = _exactly(data[at + 4 : at + 8 + length], 4 + length)
        at += 8 + length
        if zlib.crc32(chunk) != int.from_bytes(_exactly(data[at : at + 4], 4)):
            raise ValueError("wrong checksum")
        if chunk == b"IEND":
            return
        at += 4
        yield chunk[:4], chunk[4:]
    raise ValueError("too many chunks")


def _png_chunk(kind: bytes, content: bytes) -> bytes:
    return pack(">I", len(content)) + kind + content + pack(">I", zlib.crc32(kind + content))


def _inflated(data: bytes) -> bytes:
    """Return the profile or, of a longer one, a byte too many; nothing where it is broken."""
    try:
        return zlib.decompressobj().decompress(data, MAX_PROFILE + 1)
    except zlib.error:
        return b""


_SOI: Final = b"\xff\xd8"
_EOI: Final = 0xD9
_SOS: Final = 0xDA
_FRAMES: Final = (0xC0, 0xC1, 0xC2)  # baseline, extended, progressive; none arithmetic
_JPEG_KEPT: Final = (*_FRAMES, 0xC4, 0xDB, 0xDD, _SOS)  # with DHT, DQT, DRI
_JPEG_SIZE: Final = Struct(">xHHB")

# What tells how colours are coded: the fixed part of JFIF's and Adobe's segments.
_COLOUR: Final = {0xE0: (b"JFIF\0", 14), 0xEE: (b"Adobe", 12)}

_EXIF: Final = b"Exif\0\0"
_WHOLE_PROFILE: Final = b"ICC_PROFILE\0\x01\x01"

_MARKER: Final = re.compile(rb"\xff+([\x01-\xfe])")
# Within coded pixels, FF may also be followed by a stuffed zero or be a restart (D0-D7).
_AFTER_PIXELS: Final = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")


def _strip_jpeg(data: bytes) -> _Stripped:
    """Keep the frame, its tables and scans, and what tells how its colours are coded."""
    kept, frames, scans, exif, profile = [_SOI], [], 0, b"", b""
    for marker, content, pixels in _jpeg_segments(data):
        scans += marker == _SOS
        if marker in _FRAMES:
            frames.append(content)
        if marker in _JPEG_KEPT:
            kept.append(_jpeg_segment(marker, content) + pixels)
        elif marker in _COLOUR and content.startswith(_COLOUR[marker][0]):
            kept.append(_jpeg_segment(marker, content[: _COLOUR[marker][1]]))
        elif marker == 0xE1 and content.startswith(_EXIF):
            exif = content.removeprefix(_EXIF)
        elif marker == 0xE2 and content.startswith(_WHOLE_PROFILE):
            profile = content.removeprefix(_WHOLE_PROFILE)
    [frame] = frames
    if scans > MAX_SCANS:
        raise ValueError("too many scans")
    height, width, components = _JPEG_SIZE.unpack_from(frame)
    file = b"".join(kept) + bytes([0xFF, _EOI])
    # With several scans, all coefficients are held until the last, at 2 bytes each.
    memory = 2 * components * width * height
    return _Stripped("JPEG", (width, height), memory, file, exif, profile)


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield marker, content and the coded pixels that follow, up to EOI. Raises ValueError."""
    at = len(_SOI)
    for _ in range(MAX_PARTS):
        found = _MARKER.match(data, at)
        if found is None:
            raise ValueError("no marker")
        marker, at = found[1][0], found.end()
        if marker == _EOI:
            return
        length = int.from_bytes(data[at : at + 2])
        content = _exactly(data[at + 2 : at + length], length - 2)
        at += length
        end = _end_of_pixels(data, at) if marker == _SOS else at
        yield marker, content, data[at:end]
        at = end
    raise ValueError("too many segments")


def _end_of_pixels(data: bytes, start: int) -> int:
    following = _AFTER_PIXELS.search(data, start)
    return following.start() if following else len(data)


def _jpeg_segment(marker: int, content: bytes) -> bytes:
    return pack(">BBH", 0xFF, marker, len(content) + 2) + content


_WEBP_HEAD: Final = 12
_ANMF_HEAD: Final = 16
_HAS_ALPHA: Final = 0x10
_WEBP_KEPT: Final[tuple[bytes, ...]] = (b"ALPH", b"VP8 ", b"VP8L")


def _strip_webp(data: bytes) -> _Stripped:
    """Keep the first frame as a still picture."""
    length = 8 + int.from_bytes(data[4:8], "little")
    chunks = _webp_chunks(_exactly(data[:length], length)[_WEBP_HEAD:])
    frame = _webp_chunks(chunks[b"ANMF"][_ANMF_HEAD:]) if b"ANMF" in chunks else chunks
    kept = {kind: frame[kind] for kind in _WEBP_KEPT if kind in frame}
    width, height = _webp_size(kept)
    if b"ALPH" in kept:
        sides = b"".join((side - 1).to_bytes(3, "little") for side in (width, height))
        kept = {b"VP8X": pack("<I", _HAS_ALPHA) + sides, **kept}
    body = b"".join(_webp_chunk(kind, content) for kind, content in kept.items())
    file = _webp_chunk(b"RIFF", b"WEBP" + body)
    # libwebp holds the canvas twice, Pillow the frame's bytes and then its pixels.
    memory = 16 * width * height + _tables(width * height, kept)
    exif = chunks.get(b"EXIF", b"").removeprefix(_EXIF)
    return _Stripped("WEBP", (width, height), memory, file, exif, chunks.get(b"ICCP", b""))


def _webp_chunks(data: bytes) -> dict[bytes, bytes]:
    """Return the first chunk of each kind. Raises ValueError."""
    chunks: dict[bytes, bytes] = {}
    at = 0
    for _ in range(MAX_PARTS):
        if at >= len(data):
            return chunks
        length = int.from_bytes(_exactly(data[at + 4 : at + 8], 4), "little")
        content = _exactly(data[at + 8 : at + 8 + length], length)
        chunks.setdefault(data[at : at + 4], content)
        at += 8 + length + length % 2
    raise ValueError("too many chunks")


def _webp_chunk(kind: bytes, content: bytes) -> bytes:
    return kind + pack("<I", len(content)) + content + bytes(len(content) % 2)


def _webp_size(frame: dict[bytes, bytes]) -> tuple[int, int]:
    """Return width and height as the coded pixels have them. Raises ValueError or KeyError."""
    if b"VP8 " in frame:
        sides = int.from_bytes(_exactly(frame[b"VP8 "][6:10], 4), "little")
        return sides & 0x3FFF, sides >> 16 & 0x3FFF
    sides = int.from_bytes(_exactly(frame[b"VP8L"][1:5], 4), "little")
    return (sides & 0x3FFF) + 1, (sides >> 14 & 0x3FFF) + 1


def _tables(pixels: int, frame: dict[bytes, bytes]) -> int:
    """Return how many bytes the tables of lossless data (VP8L, and alpha) can take.

    A set of five prefix codes takes 20 bits in the file and 5.7 kB in libwebp, and may hold for
    as little as 4 × 4 pixels: 300 kB of file could ask for 360 MB. Long codes add up to 190 bytes
    of table a byte.
    """
    length = len(frame.get(b"VP8L", b"")) + len(frame.get(b"ALPH", b""))
    return 5_700 * min(pixels // 16, length * 8 // 20) + 190 * length


# By how a file begins.
_STRIP: Final[dict[re.Pattern[bytes], Callable[[bytes], _Stripped]]] = {
    re.compile(re.escape(_PNG)): _strip_png,
    re.compile(_SOI + b"\xff"): _strip_jpeg,
    re.compile(b"RIFF....WEBP", re.DOTALL): _strip_webp,
}
