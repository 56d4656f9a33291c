"""Scores on pages: in full where they fit, else rounded, in the units of the reader's language."""

from types import SimpleNamespace
from typing import Any

import pytest
from django.utils.translation import override

from groups.models import MAX_SCORE, Board
from groups.rows import compact

pytestmark = pytest.mark.no_service


@pytest.mark.parametrize(
    ("score", "decimals", "chinese", "english"),
    [
        (None, 0, "", ""),
        (9_999_999, 0, "", ""),
        (-999_999, 0, "", ""),
        (12_345_678, 0, "1,235万", "12.3M"),
        (-12_345_678, 0, "-1,235万", "-12.3M"),
        (1_234_567_890, 0, "12.3亿", "1.2B"),
        (MAX_SCORE, 0, "9,007万亿", "9,007T"),
        (-MAX_SCORE, 2, "-90.1万亿", "-90.1T"),
        (123_456_789, 2, "123.5万", "1.2M"),
        (123_456_789, 6, "", ""),
    ],
)
def test_a_score_too_long_for_its_row_is_rounded(
    score: int | None, decimals: int, chinese: str, english: str
) -> None:
    board = Board(decimals=decimals)
    text = None if score is None else board.score_text(score)
    standing: Any = SimpleNamespace(score=score, score_text=text)
    for language, expected in (("zh-hans", chinese), ("en", english)):
        with override(language):
            assert compact(standing, board.decimals) == expected
