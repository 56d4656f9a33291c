"""What `make bench` prints and writes: tables, benchmarks/RESULTS.md, benchmarks/results.svg."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from xml.sax.saxutils import escape

FOLDER = Path(__file__).resolve().parent
SITE, FLOOR, NODE = "site", "pgbench", "Node"
LOG_INS = 50  # a second, while rankings are measured
WAITING_GOAL, MEMORY_GOAL, START_GOAL = 0.7, 70, 1


@dataclass(frozen=True)
class Measurement:
    """One measurement: requests a second, CPU ms a request of application and data, and times; the
    rate is `held` back where all groups had been asked a moment ago."""

    rate: float
    app: float
    data: float
    times: list[float]
    held: bool

    @property
    def cpu(self) -> float:
        return self.app + self.data


# By name of the call and who answered it, one a round.
Figures = dict[tuple[str, str], list[Measurement]]


@dataclass(frozen=True)
class Comparison:
    """A call of the site, what it is compared with, and the goals for the ratios of CPU."""

    name: str
    floor: str | None
    node: str
    floor_goal: float | None = None
    node_goal: float | None = None


@dataclass(frozen=True)
class Growth:
    size: int
    figure: Measurement


@dataclass(frozen=True)
class Waiting:
    """Rankings a second alone, and while log-ins wait; log-ins a second that were answered."""

    alone: float
    beside: float
    log_ins: float


@dataclass(frozen=True)
class Start:
    """What a process takes: memory in MB after the run, CPU seconds until its first answer."""

    who: str
    memory: float
    seconds: float


@dataclass(frozen=True)
class Ratio:
    """A ratio of two measurements, round by round, and the goal for it."""

    rounds: list[float]
    goal: float | None

    @property
    def value(self) -> float:
        return statistics.median(self.rounds)

    def __str__(self) -> str:
        goal = (
            ""
            if self.goal is None
            else f" (≥ {self.goal:g}{'' if self.value >= self.goal else ' ✗'})"
        )
        return f"{self.value:.2f}{goal}"


def cpu_ratio(figures: Figures, row: Comparison, who: str) -> Ratio | None:
    """Return the peer's CPU a request divided by the site's: above 1 the site is cheaper."""
    name, goal = (row.floor, row.floor_goal) if who == FLOOR else (row.node, row.node_goal)
    if name is None:
        return None
    pairs = zip(figures[name, who], figures[row.name, SITE], strict=True)
    return Ratio([theirs.cpu / ours.cpu for theirs, ours in pairs], goal)


def rate_ratio(figures: Figures, row: Comparison, who: str) -> Ratio | None:
    """Return the site's requests a second divided by the peer's."""
    name = row.floor if who == FLOOR else row.node
    if name is None:
        return None
    pairs = zip(figures[name, who], figures[row.name, SITE], strict=True)
    return Ratio([ours.rate / theirs.rate for theirs, ours in pairs], None)


def middle(figures: Sequence[Measurement], name: str) -> float:
    return float(statistics.median(getattr(each, name) for each in figures))


def times(figures: Sequence[Measurement]) -> list[str]:
    """Return the median and the 99th percentile in milliseconds."""
    every = sorted(one for each in figures for one in each.times)
    if not every:
        return ["–", "–"]
    return [f"{1000 * every[int(len(every) * part)]:.1f}" for part in (0.5, 0.99)]


def printed(
    figures: Figures,
    rows: Sequence[Comparison],
    starts: Sequence[Start],
    waiting: Waiting,
    growth: Sequence[Growth],
    facts: Mapping[str, str],
) -> str:
    """Return all figures as Markdown, which is what is printed too."""
    parts = [
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC. {'; '.join(facts.values())}.",
        "CPU a request, the other's divided by the site's: above 1 the site is cheaper. Beside it "
        "requests a second, the site's divided by the other's. In brackets the goal.",
        table(RATIO_HEAD, ratio_lines(figures, rows)),
        table(FIGURE_HEAD, figure_lines(figures, rows)),
        table(
            ("one process", "memory, PSS MB", "cold start, CPU s"),
            [[each.who, f"{each.memory:.0f}", f"{each.seconds:.2f}"] for each in starts],
        ),
        f"Goals of the site's: at most {MEMORY_GOAL} MB and {START_GOAL} s.",
        f"Rankings of 50 alone {waiting.alone:.0f}/s, while log-ins wait 100 ms for WeChat "
        f"{waiting.beside:.0f}/s: {waiting.beside / waiting.alone:.2f} (≥ {WAITING_GOAL}); "
        f"{waiting.log_ins:.0f} of the {LOG_INS} log-ins/s were answered.",
        table(
            ("members", "ranking, CPU ms: application", "data", "× the smallest"),
            [
                [
                    str(each.size),
                    f"{each.figure.app:.1f}",
                    f"{each.figure.data:.1f}",
                    f"{each.figure.cpu / growth[0].figure.cpu:.1f}",
                ]
                for each in growth
            ],
        ),
    ]
    return "\n\n".join(parts)


RATIO_HEAD = (
    "call",
    "CPU: pgbench / site",
    "CPU: Node / site",
    "rate: site / pgbench",
    "site / Node",
)
FIGURE_HEAD = ("call", "who", "requests/s", "p50 ms", "p99 ms", "CPU ms: application", "data")


def ratio_lines(figures: Figures, rows: Sequence[Comparison]) -> Iterator[list[str]]:
    for row in rows:
        ratios = [
            count(figures, row, who) for count in (cpu_ratio, rate_ratio) for who in (FLOOR, NODE)
        ]
        yield [row.name, *("–" if each is None else str(each) for each in ratios)]


def figure_lines(figures: Figures, rows: Sequence[Comparison]) -> Iterator[list[str]]:
    for row in rows:
        for who in (SITE, FLOOR, NODE):
            if found := figures.get((row.name, who)):
                cpu = [f"{middle(found, name):.2f}" for name in ("app", "data")]
                held = " (held)" if any(each.held for each in found) else ""
                yield [row.name, who, f"{middle(found, 'rate'):.0f}{held}", *times(found), *cpu]


def table(head: Sequence[str], lines: Iterator[list[str]] | list[list[str]]) -> str:
    cells = [list(head), *lines]
    widths = [max(len(line[place]) for line in cells) for place in range(len(head))]
    cells.insert(1, ["-" * width for width in widths])
    return "\n".join(
        f"| {' | '.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))} |"
        for line in cells
    )


TITLE = """# Results of `make bench`

[docs/benchmarks.md](../docs/benchmarks.md) says how to read this."""


def write_results(figures: Figures, rows: Sequence[Comparison], text: str) -> Path:
    """Write what was printed, with a plot."""
    (FOLDER / "results.svg").write_text(plot(figures, rows))
    path = FOLDER / "RESULTS.md"
    path.write_text(f"{TITLE}\n\n![CPU a request](results.svg)\n\n{text}\n")
    return path


# The plot: for each call the CPU of a request, application and data, of all who were measured

WIDTH, LEFT, BAR, GAP = 760, 190, 11, 10
COLOURS = {
    SITE: ("#07915b", "#8fd3b6"),
    FLOOR: ("#5b6573", "#c3c9d1"),
    NODE: ("#b8620c", "#f0c391"),
}


def plot(figures: Figures, rows: Sequence[Comparison]) -> str:
    """Draw each call to a scale of its own, the longest bar across the whole width."""
    parts, y = [], 44
    for row in rows:
        who_by_name = {SITE: row.name, FLOOR: row.floor, NODE: row.node}
        found = {who: figures[name, who] for who, name in who_by_name.items() if name}
        most = max(middle(each, "cpu") for each in found.values())
        parts.append(f'<text x="8" y="{y + BAR * 2}">{escape(row.name)}</text>')
        for who, each in found.items():
            scale = (WIDTH - LEFT - 90) / most
            app, data = middle(each, "app") * scale, middle(each, "data") * scale
            dark, light = COLOURS[who]
            parts += [
                rect(LEFT, y, app, BAR - 1, dark),
                rect(LEFT + app, y, data, BAR - 1, light),
                f'<text x="{LEFT + app + data + 6:.1f}" y="{y + BAR - 2}" class="n">'
                f"{middle(each, 'cpu'):.2f} ms</text>",
            ]
            y += BAR
        y += GAP
    legend = "".join(
        rect(LEFT + 110 * place, 14, 12, 12, COLOURS[who][0])
        + f'<text x="{LEFT + 110 * place + 18}" y="24">{who}</text>'
        for place, who in enumerate(COLOURS)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" width="{WIDTH}" '
        'font-family="system-ui, sans-serif" font-size="13">'
        "<style>text { fill: #1c2733 } .n { font-size: 10px }</style>"
        f'<rect width="{WIDTH}" height="{y}" fill="#fff"/>'
        f'<text x="8" y="24">CPU a request</text>{legend}'
        f'<text x="{LEFT + 340}" y="24" class="n">dark: application, light: data</text>'
        f"{''.join(parts)}</svg>\n"
    )


def rect(x: float, y: float, width: float, height: float, fill: str) -> str:
    return f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{height}" fill="{fill}"/>'
