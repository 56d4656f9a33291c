"""What happens in a world of tests/test_ranking_model.py, chosen at random.

A step is the name of a method of `World` there, with its arguments: plain values, so that a list of
steps can be printed, shortened and taken again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count, product
from random import Random
from typing import Any

from tests.cast import DOUBTFUL, RISKY
from tests.ranking_oracle import LARGEST, WINDOWS

STEPS_A_WORLD = 200
PEOPLE, GROUPS, BOARDS = 7, 3, 9
DAY, MINUTE = 86_400, 60

POLICIES, ORDERS, SCOPES = ("best", "latest", "sum"), ("desc", "asc"), ("app", "group")
KINDS = list(product(POLICIES, ORDERS, SCOPES, ("competition", "dense", "ordinal")))

STARTS = (
    # A little before a day, a week, a month or a year ends in Shanghai, and in the middle of one.
    datetime(2026, 12, 30, 15, 30, tzinfo=UTC),
    datetime(2026, 11, 29, 15, 59, tzinfo=UTC),
    datetime(2027, 1, 3, 14, 0, tzinfo=UTC),
    datetime(2028, 2, 28, 15, 45, tzinfo=UTC),
    datetime(2027, 5, 31, 10, 0, tzinfo=UTC),
    datetime(2027, 6, 16, 4, 0, tzinfo=UTC),
    # Everyone enters just as a month begins, and as a day, a week and a month do.
    datetime(2027, 3, 31, 15, 59, 59, tzinfo=UTC),
    datetime(2027, 2, 28, 15, 59, 59, tzinfo=UTC),
    datetime(2027, 12, 31, 15, 59, 59, tzinfo=UTC),
)
NAMES = ("小明", "李雷", "韩梅梅", "Lucy", "Tom", "Zoë", DOUBTFUL, f"{DOUBTFUL}二", RISKY)
NO_PERIODS = ("2026-13", "2027-W54", "soon", "2027-02-29", " day", "DAY")
TRUTHS = (True, False)

Step = tuple[str, dict[str, Any]]


@dataclass(frozen=True)
class Plan:
    """How a world begins; moments of boards are in hours from its start."""

    serial: int
    start: datetime
    proof_days: int
    boards: list[dict[str, Any]]
    default: int | None


class Dice(Random):
    """What to choose from, and which words the arguments of a step have."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.serial = count()

    def happens(self, chance: float) -> bool:
        return self.random() < chance

    def someone(self, **more: Any) -> dict[str, Any]:
        return {"person": self.randrange(PEOPLE), **more}

    def group(self) -> int:
        """Draw a group; more happens in the first."""
        return self.choices(range(GROUPS), (5, 3, 2))[0]

    def somewhere(self, **more: Any) -> dict[str, Any]:
        """Draw someone and a group; mostly one who is in it, as `World.take` finds them."""
        more = {"group": self.group(), "in_it": self.happens(0.85), **more}
        return self.someone(**more)

    def board(self) -> int | None:
        """Draw the number of a board; None for the one that counts days, -1 for one that is not
        there.
        """
        if self.happens(0.03):
            return -1
        return None if self.happens(0.1) else self.randrange(BOARDS)

    def period(self, *numbers: int) -> Any:
        """Draw nothing, a text that is no period, or a window and which of its periods: how many
        from now, or None for the window's name. A number stands for one of the windows that the
        board counts.
        """
        if self.happens(0.04):
            return self.choice(NO_PERIODS)
        if self.happens(0.08):
            return self.choice(WINDOWS), self.choice([None, 0, -1])
        if self.happens(0.2):
            return None
        return self.randrange(4), self.choice(numbers or (None, None, 0, -1, -1, -2, 1))

    def ranking(self, **more: Any) -> dict[str, Any]:
        drawn = {"language": self.randrange(2), "board": self.board(), "period": self.period()}
        return self.somewhere(**{**drawn, **more})

    def score(self) -> dict[str, Any]:
        """Draw a score; many are equal, few too large for a second one to be added."""
        large = self.choice([LARGEST, -LARGEST, LARGEST // 2 + 1])
        value = large if self.happens(0.05) else self.randint(*self.choice([(-3, 6), (1, 3)]))
        once = f"once-{next(self.serial)}"
        return self.somewhere(
            board=self.board(),
            value=value,
            fits=self.happens(0.95),  # the group is named where the board has one for each
            key=f"again-{self.randrange(4)}" if self.happens(0.25) else once,
        )

    def scores(self, *numbers: int) -> dict[str, Any]:
        return {"rows": [self.score() for _ in range(self.choice(numbers))]}

    def ended(self, board: int | None) -> dict[str, Any]:
        """Draw the end of a period of a board, with scores before it."""
        return self.somewhere(
            rows=[self.score() | {"board": board} for _ in range(12)],
            board=board,
            language=self.randrange(2),
            nth=self.randrange(4),
            seconds=self.choice([0, 59.5, 60, 60]),
            places=self.choice([1, 2, 3]),
        )


def draw_plan(dice: Dice, serial: int, kinds: list[tuple[str, ...]]) -> Plan:
    boards = []
    for number, (policy, order, scope, style) in enumerate(kinds):
        windows = [each for each in WINDOWS if dice.happens(0.7)] or ["day"]
        low, high = dice.choice([(None, None), (None, None), (-2, 5), (0, None), (None, 4)])
        boards.append(
            {
                "key": f"board-{number}",
                "policy": policy,
                "order": order,
                "scope": scope,
                "style": style,
                "windows": tuple(windows),
                "default_window": dice.choice(windows),
                "low": low,
                "high": high,
                "writer": "client" if dice.happens(0.8) else "server",
                "active": dice.choice([(None, None)] * 5 + [(None, 60), (30, None), (2, 200)]),
                "decimals": dice.choice([0, 0, 1, 3]),
                "title": (f"榜{number}", f"Board {number}"),
                "unit": dice.choice([("", ""), ("步", "steps")]),
                "of_every_app": dice.happens(0.15),
                "is_shadowing": dice.happens(0.15),
            }
        )
    default = dice.randrange(BOARDS) if dice.happens(0.5) else None
    return Plan(serial, dice.choice(STARTS), dice.choice([7, 30, 30]), boards, default)


def draw_steps(dice: Dice, number: int) -> list[Step]:
    """Draw steps: first everyone enters, has scores and looks, and mostly once more on the next
    day; then anything happens.
    """
    steps: list[Step] = [("wait", {"seconds": 1})]
    for person in dice.sample(range(PEOPLE), PEOPLE - 1):
        groups = [group for group, chance in enumerate((0.9, 0.8, 0.4)) if dice.happens(chance)]
        steps += [
            ("enter", {"people": [person], "group": group, "how": "card"}) for group in groups
        ]
        if dice.happens(0.5):
            steps.append(("wait", {"seconds": 0.5}))
        if dice.happens(0.8):
            steps.append(("rename", {"person": person, "name": NAMES[person % 6]}))
    steps.append(("batch", dice.scores(200)))
    for board in (None, *range(BOARDS)):
        steps.append(("look", dice.ranking(other=dice.randrange(PEOPLE), board=board)))
    if dice.happens(0.6):
        steps.append(("wait_for_end", {"window": "day", "seconds": 30 * MINUTE}))
        steps.append(("batch", dice.scores(200)))
    names, weights = list(CHOICES), [weight for weight, _draw in CHOICES.values()]
    while len(steps) < number:
        [name] = dice.choices(names, weights)
        steps.append((name, CHOICES[name][1](dice)))
    return steps


# How often each step is chosen, and with what.
CHOICES: dict[str, tuple[float, Callable[[Dice], dict[str, Any]]]] = {
    # Members
    "enter": (
        9,
        lambda dice: {
            "people": dice.sample(range(PEOPLE), dice.choice([1, 1, 2, 4, PEOPLE])),
            "group": dice.group(),
            "how": dice.choice(["card", "card", "launch", "ticket"]),
        },
    ),
    "leave": (4, Dice.somewhere),
    "come_back": (3, lambda dice: dice.somewhere(hidden=dice.choice(TRUTHS))),
    "hide": (4, lambda dice: dice.somewhere(hidden=dice.choice(TRUTHS))),
    "call_oneself": (2.5, lambda dice: dice.somewhere(alias=dice.choice(["", *NAMES]))),
    "rename": (2, lambda dice: dice.someone(name=dice.choice(NAMES))),
    "upload": (0.4, Dice.someone),
    "erase": (0.7, Dice.someone),
    "withdraw": (
        0.7,
        lambda dice: dice.someone(purpose=dice.choice(["nickname", "avatar", "groups"])),
    ),
    # Operators
    "settle": (
        5,
        lambda dice: dice.somewhere(
            what=dice.choice(["name", "alias", "face"]),
            approved=dice.happens(0.6),
            by_wechat=dice.choice(TRUTHS),
        ),
    ),
    "reset": (1, lambda dice: dice.somewhere(what=dice.choice(["name", "alias", "face"]))),
    "withhold": (4, lambda dice: dice.somewhere(withheld=dice.choice(TRUTHS))),
    "block": (2, lambda dice: dice.someone(blocked=dice.happens(0.4))),
    "label": (
        2.5,
        lambda dice: {"group": dice.group(), "label": dice.choice(["", "三班家长群", "Hikers"])},
    ),
    "hide_group": (
        1.5,
        lambda dice: {"group": dice.group(), "hidden": dice.happens(0.3)},
    ),
    "correct": (
        3,
        lambda dice: dice.somewhere(
            board=dice.board(),
            nth=dice.randrange(8),
            value=dice.choice([None, dice.randint(-3, 6)]),
        ),
    ),
    # Scores and servers
    "submit": (16, Dice.score),
    "batch": (6, lambda dice: dice.scores(1, 10, 40, 120)),
    "server_renames": (1, lambda dice: dice.someone(name=dice.choice(NAMES[:7]))),
    # The clock
    "wait": (
        10,
        lambda dice: {
            "seconds": dice.choice([0.5] * 5 + [1, MINUTE, 31 * MINUTE, DAY / 3, DAY, DAY])
        },
    ),
    "wait_long": (1, lambda dice: {"days": dice.choice([6, 7, 7, 30])}),
    "wait_for_end": (
        5,
        lambda dice: {
            "window": dice.choice(WINDOWS[:3]),
            "seconds": dice.choice([-0.5, 0, 1, 59.5, 60, 61]),
        },
    ),
    "wait_for_lapse": (1, lambda dice: dice.somewhere(seconds=dice.choice([0, 0.5]))),
    "clock_goes_back": (1, lambda dice: {"seconds": dice.randint(1, 40 * MINUTE)}),
    "stumble": (1, lambda dice: {"row": dice.score(), "again": dice.score()}),
    "end_period": (3, lambda dice: dice.ended(dice.board())),
    # What people see
    "look": (22, lambda dice: dice.ranking(other=dice.randrange(PEOPLE))),
    "watch": (
        4,
        lambda dice: dice.ranking(other=dice.randrange(PEOPLE), row=dice.score()),
    ),
    "walk": (
        6,
        lambda dice: dice.ranking(
            other=dice.randrange(PEOPLE),
            limit=dice.choice([1, 2, 3, 5]),
            names_period=dice.choice(TRUTHS),
        ),
    ),
    "look_around": (6, lambda dice: dice.ranking(size=dice.choice([1, 2, 3, 25]))),
    "server_looks": (4, lambda dice: dice.ranking(limit=dice.choice([1, 2, 4, 100]))),
    "ask_winners": (
        7,
        lambda dice: dice.ranking(
            period=dice.period(0, -1, -1, -2), places=dice.choice([None, 1, 1, 2, 5])
        ),
    ),
    "stray": (
        4,
        lambda dice: dice.ranking(
            other_group=dice.group(),
            other_board=dice.randrange(BOARDS),
            other_period=dice.period(),
        ),
    ),
    "odd_sizes": (0.4, lambda dice: dice.somewhere(language=dice.randrange(2))),
    "list_groups": (3, lambda dice: dice.somewhere(language=dice.randrange(2))),
    "list_boards": (0.5, lambda dice: dice.someone(language=dice.randrange(2))),
    "stroll": (2, lambda dice: dice.ranking(limit=dice.choice([1, 2]))),
    "stroll_on": (7, lambda _dice: {}),
}
