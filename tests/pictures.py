"""Build what people upload as their picture: pictures, broken pictures, and attacks.

`CORPUS` lists each by name with its outcome: `accepted`, or the reason why it is refused. The bytes
are built by `make()`, the same every time.
"""

import random
import struct
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, partial
from io import BytesIO
from typing import Any

from PIL import Image

# None of these may be found in what comes out.
SCRIPT = b"<script>alert(document.cookie)</script>"
PHP = b"<?php system($_GET['c']); ?>"
GPS_PLACE = b"31.2304N 121.4737E"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg">' + SCRIPT + b"</svg>"
ZIP_HEAD = b"PK\x03\x04"
MARKERS = (b"script", b"<?php", GPS_PLACE, b"<svg", ZIP_HEAD, b"Exif", b"EXIF", b"XMP", b"ICCP")

MIB = 1024 * 1024

ACCEPTED = "accepted"
TOO_LARGE, NOT_A_PICTURE, TOO_MANY_PIXELS = "too_large", "not_a_picture", "too_many_pixels"


@dataclass(frozen=True)
class Upload:
    """One upload: what it is, what becomes of it, and the name of its file."""

    name: str
    outcome: str
    make: Callable[[], bytes]
    filename: str = "avatar.png"

    def __str__(self) -> str:
        return self.name


# PNG

PNG = b"\x89PNG\r\n\x1a\n"
BANDS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type: grey, RGB, palette, with alpha


def chunk(kind: bytes, content: bytes = b"") -> bytes:
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )


def header(width: int, height: int, depth: int = 8, colour: int = 2, interlaced: int = 0) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced))


def deflated(pieces: Iterable[bytes]) -> bytes:
    """Compress piece by piece: gigabytes of zeros need no gigabytes here."""
    packer = zlib.compressobj(9)
    return b"".join(map(packer.compress, pieces)) + packer.flush()


@cache
def png(
    width: int = 64,
    height: int = 64,
    depth: int = 8,
    colour: int = 2,
    *,
    pixel: bytes = b"",
    before: bytes = b"",
    after: bytes = b"",
    row_filter: int = 0,
) -> bytes:
    """Return a PNG of one pixel value, with chunks before or after the coded pixels."""
    length = (width * depth * BANDS[colour] + 7) // 8
    row = bytes([row_filter]) + (pixel * width or bytes(length))[:length]
    pixels = deflated(row for _ in range(height))
    parts = (header(width, height, depth, colour), before, chunk(b"IDAT", pixels), after)
    return PNG + b"".join(parts) + chunk(b"IEND")


@cache
def bomb(size: int = 128 * MIB) -> bytes:
    """Return zeros, compressed to a thousandth of their size."""
    return deflated(bytes(MIB) for _ in range(size // MIB))


def frame_control(number: int, side: int = 64) -> bytes:
    return chunk(b"fcTL", struct.pack(">IIIIIHHBB", number, side, side, 0, 0, 1, 10, 0, 0))


def apng(frames: int) -> bytes:
    pixels = deflated([bytes(64 * 193)])
    later = b"".join(
        frame_control(2 * number - 1) + chunk(b"fdAT", struct.pack(">I", 2 * number) + pixels)
        for number in range(1, frames)
    )
    control = chunk(b"acTL", struct.pack(">II", frames, 0)) + frame_control(0)
    return png(before=control, after=later)


def interlaced(width: int, height: int) -> bytes:
    pixels = deflated(bytes(MIB) for _ in range(width * height * 4 // MIB + 1))
    return PNG + header(width, height, interlaced=1) + chunk(b"IDAT", pixels) + chunk(b"IEND")


def noisy_png(size: int) -> bytes:
    """Return a PNG of exactly ``size`` bytes, most of them in a chunk that means nothing."""
    lonely = png(before=chunk(b"noIs"))
    noise = random.Random(size).randbytes(size - len(lonely))
    return png(before=chunk(b"noIs", noise))


# JPEG


def segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


@cache
def jpeg(mode: str = "RGB", size: tuple[int, int] = (64, 64), colour: Any = 0, **how: Any) -> bytes:
    return saved(Image.new(mode, size, colour), "JPEG", **how)


def saved(picture: Image.Image, kind: str, **how: Any) -> bytes:
    out = BytesIO()
    picture.save(out, kind, **how)
    return out.getvalue()


def with_segments(*segments: bytes, file: bytes = b"") -> bytes:
    """Return a JPEG with these right after its start."""
    file = file or jpeg()
    return file[:2] + b"".join(segments) + file[2:]


def declaring(width: int, height: int) -> bytes:
    """Return a JPEG of 64 × 64 whose frame says it is as large as this."""
    file, at = bytearray(jpeg()), jpeg().index(b"\xff\xc0")
    file[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(file)


def with_frame(marker: int) -> bytes:
    """Return a JPEG whose frame claims another way of coding."""
    return jpeg().replace(b"\xff\xc0", bytes([0xFF, marker]), 1)


def scans(count: int, size: tuple[int, int]) -> bytes:
    """Return a progressive JPEG with ``count`` scans, each a pass over all its pixels."""
    file = jpeg(size=size, progressive=True, subsampling=0)
    last = file[file.rindex(b"\xff\xda") : -2]
    return file[:-2] + last * (count - file.count(b"\xff\xda")) + file[-2:]


def exif(orientation: int = 1, extra: bytes = b"", order: str = ">") -> bytes:
    """Return a TIFF header and one directory: orientation and, as description, ``extra``."""
    magic = b"MM\0*" if order == ">" else b"II*\0"
    orientation_entry = struct.pack(order + "HHIHH", 0x0112, 3, 1, orientation, 0)
    description = struct.pack(order + "HHII", 0x010E, 2, len(extra), 38)
    directory = struct.pack(order + "H", 2) + description + orientation_entry + bytes(4)
    return magic + struct.pack(order + "I", 8) + directory + extra


def exif_segment(content: bytes) -> bytes:
    return segment(0xE1, b"Exif\0\0" + content)


def mpo() -> bytes:
    """Return two pictures in one file; the index of the first is broken."""
    index = b"MPF\0MM\0*" + struct.pack(">IHHHI4s", 8, 1, 0xB001, 4, 1, b"\0\0\0\2")
    return with_segments(segment(0xE2, index)) + jpeg()


# WebP


def riff(*chunks: bytes) -> bytes:
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def piece(kind: bytes, content: bytes) -> bytes:
    return kind + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


@cache
def webp(mode: str = "RGB", size: tuple[int, int] = (64, 64), colour: Any = 0, **how: Any) -> bytes:
    return saved(Image.new(mode, size, colour), "WEBP", **how)


def extended(width: int, height: int, flags: int) -> bytes:
    sides = b"".join((side - 1).to_bytes(3, "little") for side in (width, height))
    return piece(b"VP8X", struct.pack("<I", flags) + sides)


def with_pieces(*before: bytes, after: bytes = b"", flags: int = 0x2C) -> bytes:
    """Return a WebP with ICC, EXIF and XMP announced, and these around its pixels."""
    return riff(extended(64, 64, flags), *before, webp()[12:], after)


def animated(frames: int, canvas: int = 64, first: Any = 0) -> bytes:
    """Return a WebP whose first frame is of that colour, and all others black."""
    head = bytes(6) + (63).to_bytes(3, "little") * 2 + (100).to_bytes(3, "little") + b"\0"
    return riff(
        extended(canvas, canvas, 0x02),
        piece(b"ANIM", bytes(6)),
        piece(b"ANMF", head + webp(colour=first)[12:]),
        piece(b"ANMF", head + webp()[12:]) * (frames - 1),
    )


def lossy_declaring(width: int, height: int) -> bytes:
    file = bytearray(webp())
    file[26:30] = struct.pack("<HH", width, height)
    return bytes(file)


def lossless_declaring(width: int, height: int) -> bytes:
    file = bytearray(webp(lossless=True))
    file[21:25] = struct.pack("<I", width - 1 | height - 1 << 14)
    return bytes(file)


class Bits:
    """Bits packed from the lowest up, as in WebP's lossless format."""

    def __init__(self) -> None:
        self.value, self.count, self.done = 0, 0, bytearray()

    def put(self, value: int, count: int) -> None:
        self.value |= value << self.count
        self.count += count
        while self.count >= 8:
            self.done.append(self.value & 0xFF)
            self.value >>= 8
            self.count -= 8

    def put_all(self, *pairs: tuple[int, int]) -> None:
        for value, count in pairs:
            self.put(value, count)

    def finished(self) -> bytes:
        self.put(0, 7)
        return bytes(self.done) + bytes(4)


# A prefix code with the one symbol 0, which then takes no bits at all.
ONLY_ZERO = ((1, 1), (0, 1), (0, 1), (0, 1))


def put_bytes_code(bits: Bits, alphabet: int) -> None:
    """Write a prefix code for 0-255 in 8 bits each and for no other symbol."""
    bits.put_all((0, 1), (12 - 4, 4))
    for symbol in (17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8):
        bits.put({8: 1, 18: 2, 0: 2}.get(symbol, 0), 3)
    bits.put(0, 1)
    bits.put_all(*[(0, 1)] * 256, *[(0b01, 2)] * (alphabet - 256))


@cache
def many_codes(width: int, height: int) -> bytes:
    """Return a lossless WebP (RFC 9649, section 3.7) with prefix codes for each 4 × 4 pixels.

    The pixels themselves take no bits. Of 1024² it is 300 kB, and libwebp makes 360 MB of tables.
    """
    blocks = (width // 4) * (height // 4)
    bits = Bits()
    bits.put_all((0x2F, 8), (width - 1, 14), (height - 1, 14), (0, 4))  # no alpha, version 0
    bits.put_all((0, 1), (0, 1), (1, 1), (0, 3))  # no transform, no cache, a code map of 4 × 4
    bits.put(0, 1)
    put_bytes_code(bits, 256 + 24)
    put_bytes_code(bits, 256)
    bits.put_all(*ONLY_ZERO * 3)
    for number in range(blocks):
        for byte in (number & 0xFF, number >> 8):
            bits.put(int(f"{byte:08b}"[::-1], 2), 8)
    bits.put_all(*ONLY_ZERO * 5 * blocks)
    return riff(piece(b"VP8L", bits.finished()))


# Colour profiles (ICC.1)

RED, GREEN, BLUE = (0.4360, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141)


def fixed(*numbers: float) -> bytes:
    return b"".join(struct.pack(">i", round(number * 65536)) for number in numbers)


def profile(*primaries: tuple[float, float, float], padding: int = 0) -> bytes:
    """Return a display's profile of a matrix and gamma 2.2.

    With BLUE, GREEN, RED as its primaries it swaps red and blue.
    """
    curve = b"curv" + bytes(4) + struct.pack(">IHxx", 1, round(2.2 * 256))
    text = b"text" + bytes(4) + b"none\0" + bytes(padding)
    contents = {b"wtpt": b"XYZ " + bytes(4) + fixed(0.9642, 1.0, 0.8249), b"cprt": text}
    contents |= {b"desc": b"desc" + bytes(4) + struct.pack(">I", 1) + bytes(79)}
    for letter, primary in zip(b"rgb", primaries, strict=True):
        contents[bytes([letter]) + b"XYZ"] = b"XYZ " + bytes(4) + fixed(*primary)
        contents[bytes([letter]) + b"TRC"] = curve
    table, body = struct.pack(">I", len(contents)), b""
    for tag, content in contents.items():
        at = 128 + 4 + 12 * len(contents) + len(body)
        table += tag + struct.pack(">II", at, len(content))
        body += content + bytes(-len(content) % 4)
    size = struct.pack(">I", 128 + len(table) + len(body))
    head = size + bytes(4) + b"\2\x10\0\0mntrRGB XYZ " + bytes(12) + b"acsp" + bytes(28)
    return (head + fixed(0.9642, 1.0, 0.8249)).ljust(128, b"\0") + table + body


def profile_segment(content: bytes) -> bytes:
    return segment(0xE2, b"ICC_PROFILE\0\1\1" + content)


def profile_chunk(content: bytes) -> bytes:
    return chunk(b"iCCP", b"name\0\0" + content)


# The corpus

PALETTE = chunk(b"PLTE", bytes(range(256)) * 3)
XMP = b"<x:xmpmeta>" + SCRIPT + b"</x:xmpmeta>"
GPS = exif(extra=GPS_PLACE)
BROKEN_EXIF = exif()[:-20] + random.Random(1).randbytes(400)
ENDLESS_EXIF = b"MM\0*\0\0\0\x08\xff\xff" + struct.pack(">HHII", 0x011A, 5, 0xFFFFFFFF, 0) * 40


@cache
def scene(kind: str, **how: Any) -> bytes:
    """Return a picture of noise, which has no part of one colour."""
    noise = Image.frombytes("RGB", (96, 96), random.Random(5).randbytes(96 * 96 * 3))
    return saved(noise, kind, **how)


def broken_checksum(kind: bytes, content: bytes) -> bytes:
    """Return a PNG with a chunk before its pixels whose checksum is wrong."""
    file, wrong = scene("PNG"), chunk(kind, content)[:-4] + b"\0\1\2\3"
    return file[:33] + wrong + file[33:]


def not_pictures() -> dict[str, bytes]:
    noise = random.Random(2)
    plain = Image.new("RGB", (64, 64))
    return {
        "nothing": b"",
        "one byte": b"\xff",
        "random bytes": noise.randbytes(50_000),
        "text": "头像".encode() * 100,
        "SVG with a script": SVG,
        "SVG after an XML head": b'<?xml version="1.0"?>' + SVG,
        "HTML": b"<!doctype html>" + SCRIPT,
        "PHP": PHP,
        "JSON": b'{"avatar": "https://example.com/a.png"}',
        "PDF": b"%PDF-1.7\n1 0 obj<</OpenAction<</S/JavaScript/JS(app.alert(1))>>>>endobj\n%%EOF",
        "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%id) (w) file\n",
        "PSD header": b"8BPS\0\1" + bytes(6) + b"\0\3" + struct.pack(">IIHH", 64, 64, 8, 3),
        "GIF": saved(plain, "GIF"),
        "GIF that is JavaScript": b"GIF89a/*" + bytes(20) + b"*/=1;alert(1)",
        "BMP": saved(plain, "BMP"),
        "TIFF": saved(plain, "TIFF"),
        "ICO": saved(plain, "ICO"),
        "JPEG 2000": saved(plain, "JPEG2000"),
        "AVIF head": b"\0\0\0\x20ftypavif" + bytes(20),
        "ZIP": ZIP_HEAD + bytes(60),
        "PNG behind HTML": SCRIPT + png(),
    }


def broken_pngs() -> dict[str, bytes]:
    pixels = chunk(b"IDAT", deflated([bytes(64 * 193)]))
    end = chunk(b"IEND")
    return {
        "PNG of 0 × 0": PNG + header(0, 0) + pixels + end,
        "PNG of 0 × 64": PNG + header(0, 64) + pixels + end,
        "PNG with a wrong checksum": png()[:40] + b"\0" + png()[41:],
        "PNG without header": PNG + pixels + end,
        "PNG without pixels": PNG + header(64, 64) + end,
        "PNG with a short header": PNG + chunk(b"IHDR", b"\0\0\0\x40\0\0") + pixels + end,
        "PNG of depth 3": PNG + header(64, 64, 3) + pixels + end,
        "PNG whose pixels are not deflated": PNG + header(64, 64) + chunk(b"IDAT", SCRIPT) + end,
        "PNG with a chunk of 4 GB": PNG + header(64, 64) + b"\xff\xff\xff\xffIDAT" + bytes(90),
        "PNG with 150,000 chunks": PNG + header(64, 64) + chunk(b"IDAT") * 150_000 + end,
        "PNG by Apple": PNG + chunk(b"CgBI", b"\x50\0\x20\x02") + png()[8:40],
        "PNG whose palette is too long": png(colour=3, before=chunk(b"PLTE", bytes(3 * 300))),
    }


def broken_jpegs() -> dict[str, bytes]:
    file = jpeg()
    frame = file[file.index(b"\xff\xc0") : file.index(b"\xff\xc4")]
    return {
        "JPEG of 0 × 0": declaring(0, 0),
        "JPEG whose height comes later": declaring(64, 0),
        "JPEG of 12 bits": file.replace(frame, frame[:4] + b"\x0c" + frame[5:]),
        "JPEG of two frames": file.replace(frame, frame + frame),
        "JPEG without frame": file.replace(frame, b""),
        "JPEG without tables": b"\xff\xd8" + frame + file[file.index(b"\xff\xda") :],
        "JPEG, lossless": with_frame(0xC3),
        "JPEG, arithmetic and progressive": with_frame(0xCA),
        "JPEG of fill bytes": b"\xff\xd8" + b"\xff" * MIB,
    }


def broken_webps() -> dict[str, bytes]:
    noise = random.Random(3).randbytes(900)
    return {
        "WebP of 0 × 0": lossy_declaring(0, 0),
        "WebP that is longer than it is": b"RIFF\xff\xff\xff\x7f" + webp()[8:],
        "WebP without chunks": riff(),
        "WebP that only announces": riff(extended(64, 64, 0)),
        "WebP with nothing but alpha": riff(extended(64, 64, 0x10), piece(b"ALPH", bytes(9))),
        "WebP with broken alpha": riff(piece(b"ALPH", b"\1" + SCRIPT), webp()[12:]),
        "WebP whose frame is empty": riff(extended(64, 64, 2), piece(b"ANMF", bytes(16))),
        "WebP with 150,000 chunks": riff(piece(b"junk", b"") * 150_000, webp()[12:]),
        "WebP of noise": riff(piece(b"VP8L", webp(lossless=True)[20:25] + noise)),
        "WAV": b"RIFF" + struct.pack("<I", 40) + b"WAVEfmt " + bytes(32),
    }


def truncated() -> dict[str, bytes]:
    """Return a file of each format, cut at three places: drawn as far as they go by browsers."""
    noise = Image.frombytes("RGB", (64, 64), random.Random(4).randbytes(64 * 64 * 3))
    files = {kind: saved(noise, kind) for kind in ("PNG", "JPEG", "WEBP")}
    files |= {"progressive JPEG": saved(noise, "JPEG", progressive=True)}
    files |= {"lossless WEBP": saved(noise, "WEBP", lossless=True)}
    return {
        f"{kind}, {part} of 4 parts": file[: len(file) * part // 4]
        for kind, file in files.items()
        for part in (1, 2, 3)
    }


UNREADABLE: dict[str, Callable[[], bytes]] = {
    "PNG with a zTXt bomb": lambda: png(before=chunk(b"zTXt", b"Comment\0\0" + bomb())),
    "PNG with an iTXt bomb": lambda: png(
        before=chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + bomb())
    ),
    "PNG with a late zTXt bomb": lambda: png(after=chunk(b"zTXt", b"Comment\0\0" + bomb())),
    "PNG with an iCCP bomb": lambda: png(before=profile_chunk(bomb())),
    "PNG with an iCCP of one byte": partial(png, before=chunk(b"iCCP", b"n")),
    "PNG with broken animation": partial(png, before=chunk(b"acTL", b"\0"), after=chunk(b"fcTL")),
    "WebP with 65,536 sets of codes": partial(many_codes, 1024, 1024),
    "WebP with codes in its alpha": lambda: riff(
        piece(b"ALPH", b"\1" + many_codes(1024, 1024)[25:]), webp(size=(1024, 1024))[12:]
    ),
}

TOO_MANY: dict[str, Callable[[], bytes]] = {
    "PNG of 13000² in 20 kB": partial(png, 13_000, 13_000, 1, 0),
    "PNG of 4097 × 1": partial(png, 4097, 1),
    "PNG of 1 × 4097": partial(png, 1, 4097),
    "PNG of 16 megapixels": partial(png, 4096, 4096, 1, 0),
    "PNG of a row more than 4096 × 3072": partial(png, 4096, 3073, 1, 0),
    "PNG that declares 2³¹": lambda: PNG + header(2**31 - 1, 2**31 - 1) + png()[33:],
    "PNG that declares what Pillow warns of": lambda: PNG + header(10_000, 10_000) + png()[33:],
    "JPEG that declares 65535²": partial(declaring, 65_535, 65_535),
    "JPEG that declares what Pillow warns of": partial(declaring, 10_000, 10_000),
    "JPEG that declares 4097 × 1": partial(declaring, 4097, 1),
    "JPEG of 300 scans": partial(scans, 300, (64, 64)),
    "JPEG of 300 scans and 12 megapixels": partial(scans, 300, (4096, 3072)),
    "PNG with 1,800 profiles of 1 MB": lambda: png(
        before=profile_chunk(deflated([bytes(1_000_000)])) * 1800
    ),
    "WebP, lossy, that declares 8192²": partial(lossy_declaring, 8192, 8192),
    "WebP, lossy, that declares 16383²": partial(lossy_declaring, 16_383, 16_383),
    "WebP, lossless, that declares 16384²": partial(lossless_declaring, 16_384, 16_384),
    "WebP of two frames on a canvas of 16384²": partial(animated, 2, 16_384),
    "WebP of 12 megapixels": partial(webp, size=(4096, 3072), method=0),
}

# Within the limits, at them, or with something in the file that must not come out.
ACCEPTABLE: dict[str, Callable[[], bytes]] = {
    "PNG": png,
    "PNG of one pixel": partial(png, 1, 1),
    "PNG of 12 megapixels": partial(png, 4096, 3072),
    "PNG of 12 megapixels in 16-bit RGBA": partial(png, 4096, 3072, 16, 6, row_filter=4),
    "PNG of 12 megapixels, interlaced": partial(interlaced, 4096, 3072),
    "PNG of 12 megapixels with a palette and alpha": partial(
        png, 4096, 3072, 8, 3, before=PALETTE + chunk(b"tRNS", bytes(256))
    ),
    "PNG of 12 megapixels with a transparent colour": partial(
        png, 4096, 3072, before=chunk(b"tRNS", bytes(6))
    ),
    "PNG of 4096 × 1": partial(png, 4096, 1),
    "PNG of 1 × 4096": partial(png, 1, 4096),
    "PNG of 2 MiB": partial(noisy_png, 2 * MIB),
    "PNG of 1 bit": partial(png, depth=1, colour=0),
    "PNG in 16-bit grey": partial(png, depth=16, colour=0),
    "PNG in 16-bit grey with a transparent one": partial(
        png, depth=16, colour=0, before=chunk(b"tRNS", b"\0\0")
    ),
    "PNG, interlaced": partial(interlaced, 64, 64),
    "PNG without end": lambda: png()[:-12],
    "PNG with a palette and transparency": partial(
        png, colour=3, before=PALETTE + chunk(b"tRNS", bytes(9))
    ),
    "PNG without the palette it needs": partial(png, colour=3),
    "PNG with too few pixels": lambda: PNG + header(64, 128) + png()[33:],
    "PNG whose pixels go on for 128 MiB": lambda: (
        PNG + header(64, 64) + chunk(b"IDAT", bomb()) + chunk(b"IEND")
    ),
    "PNG with a broken iCCP": partial(png, before=profile_chunk(SCRIPT)),
    "PNG with script as text": partial(png, before=chunk(b"tEXt", b"Comment\0" + SCRIPT)),
    "PNG with PHP as text": partial(png, before=chunk(b"tEXt", b"Comment\0" + PHP)),
    "PNG with XMP": partial(png, before=chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)),
    "PNG with a place": partial(png, before=chunk(b"eXIf", GPS)),
    "PNG with broken Exif": partial(png, before=chunk(b"eXIf", BROKEN_EXIF)),
    "PNG with chunks of its own": partial(png, before=chunk(b"prVt", SVG), after=chunk(b"zzZz")),
    "PNG with JavaScript behind it": lambda: png() + SCRIPT,
    "PNG with a ZIP behind it": lambda: png() + ZIP_HEAD + bytes(90),
    "PNG that counts its frames twice": partial(
        png, before=chunk(b"acTL", struct.pack(">II", 2, 0)) * 2
    ),
    "APNG of 2,000 frames": partial(apng, 2000),
    "JPEG": jpeg,
    "JPEG of 12 megapixels": partial(jpeg, size=(4096, 3072)),
    "JPEG of 12 megapixels, upright": partial(jpeg, size=(3072, 4096)),
    "JPEG of 12 megapixels on its side": lambda: with_segments(
        exif_segment(exif(6)), file=jpeg(size=(4032, 3024))
    ),
    "JPEG of 12 megapixels, progressive": partial(
        jpeg, size=(4096, 3072), progressive=True, subsampling=0
    ),
    "JPEG of 12 megapixels in 32 scans": partial(scans, 32, (4096, 3072)),
    "JPEG of 4096 × 1": partial(jpeg, size=(4096, 1)),
    "JPEG of 1 × 4096": partial(jpeg, size=(1, 4096)),
    "JPEG in grey": partial(jpeg, "L"),
    "JPEG in CMYK": partial(jpeg, "CMYK"),
    "JPEG in CMYK without Adobe's mark": lambda: jpeg("CMYK").replace(b"Adobe", b"Other"),
    "JPEG in CMYK of 12 megapixels": partial(jpeg, "CMYK", (4096, 3072)),
    "JPEG, arithmetic": partial(with_frame, 0xC9),
    "JPEG with a segment of 0 bytes": lambda: with_segments(b"\xff\xe5\0\0"),
    "JPEG with 400,000 comments": lambda: with_segments(segment(0xFE, b"") * 400_000),
    "JPEG, progressive": partial(jpeg, progressive=True),
    "JPEG on its side": lambda: with_segments(exif_segment(exif(6))),
    "JPEG with a place": lambda: with_segments(exif_segment(GPS)),
    "JPEG with broken Exif": lambda: with_segments(exif_segment(BROKEN_EXIF)),
    "JPEG with endless Exif": lambda: with_segments(exif_segment(ENDLESS_EXIF)),
    "JPEG turned by 9": lambda: with_segments(exif_segment(exif(9))),
    "JPEG with XMP": lambda: with_segments(segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP)),
    "JPEG with script as comment": lambda: with_segments(segment(0xFE, SCRIPT)),
    "JPEG with PHP as comment": lambda: with_segments(segment(0xFE, PHP)),
    "JPEG with HTML in its thumbnail": lambda: with_segments(
        segment(0xE0, b"JFXX\0" + SCRIPT), segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\1\1" + SVG)
    ),
    "JPEG with a nonsensical profile": lambda: with_segments(profile_segment(SCRIPT)),
    "JPEG with a profile of 60 kB": lambda: with_segments(
        profile_segment(profile(BLUE, GREEN, RED, padding=60_000))
    ),
    "JPEG with Photoshop's block": lambda: with_segments(
        segment(0xED, b"Photoshop 3.0\x008BIM\x03\xed\0\0\xff\xff\xff\xff" + SCRIPT)
    ),
    "JPEG with a ZIP behind it": lambda: jpeg() + ZIP_HEAD + bytes(90),
    "JPEG with a second one": mpo,
    "JPEG without end": lambda: scene("JPEG")[:-2],
    "JPEG without its last kilobyte": lambda: scene("JPEG")[:-1024],
    "JPEG without end, progressive": lambda: scene("JPEG", progressive=True)[:-2],
    "JPEG with noise behind it": lambda: scene("JPEG") + random.Random(6).randbytes(900),
    "JPEG with zeros behind it": lambda: scene("JPEG") + bytes(MIB),
    "PNG without its last kilobyte": lambda: scene("PNG")[:-1024],
    "PNG with a broken text": lambda: broken_checksum(b"tEXt", b"Comment\0x"),
    "PNG with a broken time": lambda: broken_checksum(b"tIME", bytes(7)),
    "PNG with a broken resolution": lambda: broken_checksum(b"pHYs", bytes(9)),
    "PNG with a broken place": lambda: broken_checksum(b"eXIf", GPS),
    "WebP": webp,
    "WebP of 4.7 megapixels": partial(webp, size=(2350, 2000), method=0),
    "WebP, lossless": partial(webp, "RGBA", lossless=True),
    "WebP, lossless, of 4 megapixels": partial(webp, "RGBA", (2048, 2048), lossless=True, method=0),
    "WebP with alpha": partial(webp, "RGBA"),
    "WebP of 4096 × 1": partial(webp, size=(4096, 1)),
    "WebP with a place": lambda: with_pieces(after=piece(b"EXIF", GPS)),
    "WebP with broken Exif": lambda: with_pieces(after=piece(b"EXIF", BROKEN_EXIF)),
    "WebP with XMP": lambda: with_pieces(after=piece(b"XMP ", XMP)),
    "WebP with a nonsensical profile": lambda: with_pieces(piece(b"ICCP", SCRIPT)),
    "WebP with chunks of its own": lambda: with_pieces(piece(b"PHP!", PHP)),
    "WebP with script behind it": lambda: webp() + SCRIPT,
    "WebP of 8,000 frames": partial(animated, 8000),
}


CUT = truncated()


def outcome_of_a_cut(name: str) -> str:
    """Return what becomes of a cut file: libwebp reads whole ones only."""
    return NOT_A_PICTURE if "WEBP" in name or name in CUT_IN_A_TABLE else ACCEPTED


CUT_IN_A_TABLE = {"progressive JPEG, 3 of 4 parts"}  # of codes: the scan after it cannot be read


def built() -> dict[str, bytes]:
    return not_pictures() | broken_pngs() | broken_jpegs() | broken_webps()


CORPUS = [
    Upload("2 MiB and a byte", TOO_LARGE, partial(noisy_png, 2 * MIB + 1)),
    Upload("3 MiB of nothing", TOO_LARGE, partial(bytes, 3 * MIB)),
    Upload("PNG named as PHP", ACCEPTED, png, "avatar.php"),
    Upload("JPEG named as PNG", ACCEPTED, jpeg, "avatar.png"),
    Upload("PNG with a path in its name", ACCEPTED, png, "../../settings.py"),
    Upload("HTML named as JPEG", NOT_A_PICTURE, partial(bytes, SCRIPT), "avatar.jpg"),
    *(Upload(name, NOT_A_PICTURE, partial(bytes, data)) for name, data in built().items()),
    *(Upload(name, NOT_A_PICTURE, make) for name, make in UNREADABLE.items()),
    *(Upload(name, outcome_of_a_cut(name), partial(bytes, data)) for name, data in CUT.items()),
    *(Upload(name, TOO_MANY_PIXELS, make) for name, make in TOO_MANY.items()),
    *(Upload(name, ACCEPTED, make) for name, make in ACCEPTABLE.items()),
]
