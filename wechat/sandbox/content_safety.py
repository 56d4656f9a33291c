"""The verdicts of the fake WeChat on words and pictures, so that a test can choose one.

Text with 违规 or "forbidden" in it is risky, text with 存疑 or "doubtful" in it is for review.
A picture that is mostly red is risky, one that is mostly yellow is for review. All else passes.
"""

import io
from collections.abc import Mapping
from typing import Any

from PIL import Image

from wechat.client import Suggestion

RISKY_WORDS = ("违规", "forbidden")
DOUBTFUL_WORDS = ("存疑", "doubtful")
BRIGHT, DARK = 180, 90

MAX_PIXELS = 12_000_000

# 100 is WeChat's 正常, 20006 违法犯罪, 21000 其他.
LABELS: Mapping[Suggestion, int] = {
    Suggestion.PASS: 100,
    Suggestion.REVIEW: 21000,
    Suggestion.RISKY: 20006,
}


def judge_text(text: str) -> Suggestion:
    """Return the verdict on a text; upper and lower case count the same."""
    folded = text.casefold()
    if any(word in folded for word in RISKY_WORDS):
        return Suggestion.RISKY
    return Suggestion.REVIEW if any(word in folded for word in DOUBTFUL_WORDS) else Suggestion.PASS


def judge_picture(data: bytes) -> Suggestion:
    """Return the verdict on an image file, by its mean colour.

    Raises ValueError for what is not an image, or has more than MAX_PIXELS.
    """
    red, green, blue = _mean_colour(data)
    if red <= BRIGHT or blue >= DARK:
        return Suggestion.PASS
    if green < DARK:
        return Suggestion.RISKY
    return Suggestion.REVIEW if green > BRIGHT else Suggestion.PASS


def _mean_colour(data: bytes) -> tuple[int, int, int]:
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError("too many pixels")
            pixel = image.convert("RGB").resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))
    except Exception as error:
        # On a broken file a decoder may raise any exception.
        raise ValueError("not a picture") from error
    assert isinstance(pixel, tuple)  # noqa: S101  # of RGB
    return pixel[0], pixel[1], pixel[2]


def findings(suggestion: Suggestion, *, pushed: bool = False) -> dict[str, Any]:
    """Return `{"detail", "result"}` as WeChat documents them; in a push the label is a string."""
    number = LABELS[suggestion]
    result = {"suggest": suggestion.value, "label": str(number) if pushed else number}
    finding = {"strategy": "content_model", "errcode": 0, **result, "prob": 90}
    return {"detail": [finding], "result": result}
