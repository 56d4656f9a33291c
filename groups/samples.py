"""Made-up scores, to show what a board would look like before there are any."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from .models import Board, Group, Membership
from .standings import COLUMNS

STEPS = 20


def sampled_rows(group: Group, board: Board, now: datetime) -> Iterator[tuple[Any, ...]]:
    """Yield COLUMNS of those who are in the group, and SCORE_COLUMNS within the board's bounds.

    They differ by one step from member to member, but for the second and the third, who share one:
    so the first ten show how the board treats equal scores.
    """
    low = 0 if board.min_value is None else board.min_value
    high = low + 9_000 if board.max_value is None else max(board.max_value, low)
    step = max(1, (high - low) // STEPS)

    def score(level: int) -> int:
        if board.order == Board.Order.ASC:
            return min(low + level * step, high)
        return max(high - level * step, low)

    rows = Membership.objects.current(now).filter(group=group).values_list(*COLUMNS)
    for place, row in enumerate(rows):
        # In the period before, neighbours had each other's place: some have moved.
        yield (*row, score(place - (place > 1)), now, score(place ^ 1), now)
