"""Turn an uploaded picture into square WebP files with nothing in them but pixels.

The work is done by redraw.py, in a process of its own: what a picture may take of memory and time
is limited by the system, and a codec that crashes ends no other request.
"""

import subprocess
import sys
from pathlib import Path
from typing import Final, Literal

from core.database import hand_back_connection
from core.gates import Gate

Reason = Literal["too_large", "not_a_picture", "too_many_pixels"]

TYPES: Final = ("image/jpeg", "image/png", "image/webp")
SIZES: Final = (96, 192)
MAX_BYTES: Final = 2 * 1024 * 1024
FORM_OVERHEAD: Final = 16 * 1024  # what a multipart form adds to the picture in it

_PROGRAM: Final = Path(__file__).with_name("redraw.py")
_BEGINNINGS: Final = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF")
_ANSWERS: Final[dict[bytes, Reason]] = {
    b"not_a_picture": "not_a_picture",
    b"too_many_pixels": "too_many_pixels",
}

# The program ends itself after 3 seconds of processor time: this is for a machine with none left.
_TIMEOUT: Final = 20

# One picture at a time in a process, so that their memory does not add up; a few wait, since most
# take a tenth of a second. All the others are refused, or pictures would hold every thread.
_gate = Gate(lambda: 1, patience=10, waiting=4)


class UnacceptablePicture(ValueError):
    """A refused picture.

    ``reason`` is ``"too_large"`` (more than MAX_BYTES), ``"not_a_picture"`` (no JPEG, PNG or WebP,
    or a broken one) or ``"too_many_pixels"`` (or one that takes too much memory or time to read).
    """

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason: Reason = reason


def avatar_files(data: bytes) -> dict[int, bytes]:
    """Return square WebP files by their side in pixels (SIZES), cut from the picture's middle.

    Orientation is applied, transparency becomes white, colours become sRGB, and the first frame is
    taken of an animation. Raise UnacceptablePicture for anything that cannot be used, and Crowded
    where too many are being read.
    """
    if len(data) > MAX_BYTES:
        raise UnacceptablePicture("too_large")
    if not data.startswith(_BEGINNINGS):  # known without a process
        raise UnacceptablePicture("not_a_picture")
    command = [_python(), "-P", "-W", "ignore", str(_PROGRAM), *map(str, SIZES)]
    hand_back_connection()
    with _gate.place():
        try:
            run = subprocess.run(  # noqa: S603  # of our own program
                command, input=data, stdout=subprocess.PIPE, timeout=_TIMEOUT
            )
        except subprocess.TimeoutExpired as error:
            raise UnacceptablePicture("too_many_pixels") from error
    if run.returncode < 0:  # ended by the system, for its time or for a crash
        raise UnacceptablePicture("too_many_pixels")
    run.check_returncode()
    if run.stdout in _ANSWERS:
        raise UnacceptablePicture(_ANSWERS[run.stdout])
    return dict(zip(SIZES, _files(run.stdout), strict=True))


def _python() -> str:
    """Return the interpreter's path. In uWSGI, ``sys.executable`` is the server instead."""
    if Path(sys.executable).name.startswith("python"):
        return sys.executable
    return f"{sys.prefix}/bin/python{sys.version_info.major}.{sys.version_info.minor}"


def _files(answer: bytes) -> list[bytes]:
    """Split files that follow each other: a WebP begins with RIFF and the length of the rest."""
    files = []
    while answer:
        length = 8 + int.from_bytes(answer[4:8], "little")
        files.append(answer[:length])
        answer = answer[length:]
    return files
