"""The report of a crowd: one HTML file that needs no network and no script, with plots as SVG.

Marks are drawn in a box that is stretched to the width there is; words are placed by percentages,
so that they keep their size at any width.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from html import escape
from math import ceil, floor, inf, log10
from pathlib import Path
from string import Template

from .phones import CUT_OFF, SEEN, WECHAT, Crowd

PAGE = Template((Path(__file__).parent / "crowd_report.html").read_text(encoding="utf-8"))
NAMES = {
    SEEN: ("点开到看到排行", "tap to ranking"),
    "login": ("登录", "login"),
    "bind": ("入群", "bind"),
    "ranking": ("排行", "ranking"),
    "again": ("再看排行", "ranking again"),
    "scores": ("提交得分", "scores"),
    "around": ("我的前后", "around"),
    WECHAT: ("wx（沙箱）", "wx (sandbox)"),
}
SHARES = (50, 90, 99)
MOST_BINS = 120
LATE, BUSY = (
    0.05,
    0.8,
)  # seconds, and share of a core, from which the generator is not to be trusted
ROW = 52  # pixels


def percentile(values: Iterable[float], share: float) -> float:
    """Return the value that so many percent are not above; 0 for none."""
    found = sorted(values)
    return found[max(0, ceil(len(found) * share / 100) - 1)] if found else 0.0


def duration(seconds: float) -> str:
    if seconds == inf:
        return "∞"
    if seconds >= 1:
        return f"{seconds:.3g} s"
    return f"{1000 * seconds:.0f} ms" if seconds >= 0.01 else f"{1000 * seconds:.2g} ms"


class CrowdReport:
    """What is said about a crowd that has gone."""

    def __init__(self, crowd: Crowd, setting: str, share: float) -> None:
        self.crowd = crowd
        self.setting = setting
        self.share = share
        self.calls = [call for call in crowd.calls if call.name not in {SEEN, WECHAT}]
        saw = [call.took for call in crowd.calls if call.name == SEEN]
        self.saw = len(saw)
        # Who never saw the ranking waited longer than all others.
        self.waits = saw + [inf] * (len(crowd.arrived) - self.saw)
        self.errors = Counter(call.error for call in crowd.calls if call.error)
        self.bin = max(1, ceil(crowd.took / MOST_BINS))  # seconds
        self.bins = max(1, ceil(crowd.took / self.bin))

    @property
    def cut_off(self) -> int:
        return len(self.crowd.arrived) - self.crowd.finished - self.crowd.given_up

    @property
    def warnings(self) -> list[str]:
        late = percentile(self.crowd.late, 99)
        usual = percentile((call.took for call in self.calls), 50)
        if (late <= LATE or late <= usual / 10) and self.share <= BUSY:
            return []
        return [
            f"压测端自己慢了（p99 迟到 {duration(late)}，占用一个核的 {self.share:.0%}），"
            f"下列时延偏大。 The generator itself was late (p99 {duration(late)}, "
            f"{self.share:.0%} of a core): the times are too long. Use another machine "
            "for it, or fewer phones."
        ]

    def render(self) -> str:
        """Return the page."""
        figures = "".join(
            f"<li><b>{value}</b>{zh}<span lang=en>{en}</span></li>"
            for value, zh, en in self.figures()
        )
        panels = [self.arrivals(), self.percentiles(), self.by_call(), self.by_error()]
        return PAGE.substitute(
            when=f"{datetime.now().astimezone():%Y-%m-%d %H:%M %z}",
            setting=escape(self.setting),
            warnings="".join(f"<p class=warning role=note>{escape(w)}</p>" for w in self.warnings),
            figures=figures,
            panels="".join(panels),
        )

    def figures(self) -> list[tuple[str, str, str]]:
        crowd = self.crowd
        saw = f"{self.saw}/{len(crowd.arrived)}"
        peak = max(self.per_bin([call.ended for call in self.calls if call.error != CUT_OFF]))
        late = duration(percentile(crowd.late, 99))
        gone = f"{crowd.given_up} + {self.cut_off}"
        return [
            (saw, "部手机看到了排行", "phones saw the ranking"),
            (gone, "放弃 + 到时中断", "gave up + were cut off at the end"),
            (
                duration(percentile(self.waits, 50)),
                "点开到看到排行，中位",
                "tap to ranking, median",
            ),
            (duration(percentile(self.waits, 99)), "点开到看到排行，p99", "tap to ranking, p99"),
            (f"{len(self.calls) / crowd.took:.3g}/s", "平均请求", "requests, mean"),
            (f"{peak:.3g}/s", "最高请求", "requests, peak"),
            (f"{self.share:.0%}", "压测端占一个核", "the generator's share of a core"),
            (late, "压测端迟到，p99", "the generator was late, p99"),
        ]

    # Plots

    def arrivals(self) -> str:
        came = self.per_bin(self.crowd.arrived)
        answered = self.per_bin([call.ended for call in self.calls if not call.error])
        failed = self.per_bin([call.ended for call in self.calls if call.error])
        ticks, top = steps(max(*came, *answered, *failed))
        up: Callable[[float], float] = lambda value: value / top  # noqa: E731
        marks = bars(came, up, "came") + curve(answered, up, "answered")
        marks += curve([each or None for each in failed], up, "failed")
        table = [
            [f"{at} s", *(f"{each:.3g}" for each in row)]
            for at, *row in zip(self.starts(), came, answered, failed, strict=True)
        ]
        heads = ["秒 second", "到达 arrivals/s", "应答 answers/s", "出错 errors/s"]
        return panel(
            ("到达与应答", "Arrivals and answers"),
            ("每秒到达的手机、应答的请求。", "Phones that came and requests answered, a second."),
            [("came", "到达 arrivals"), ("answered", "应答 answers"), ("failed", "出错 errors")],
            frame([(up(each), f"{each:g}") for each in ticks], self.times(), marks),
            table_of(heads, table),
        )

    def percentiles(self) -> str:
        due: list[list[float]] = [[] for _ in range(self.bins)]
        for call in self.calls:
            due[self.bin_of(call.due)].append(call.took)
        lines = {
            share: [percentile(each, share) if each else None for each in due] for share in SHARES
        }
        scale = Scale([call.took for call in self.calls])
        marks = "".join(curve(line, scale.place, f"p{share}") for share, line in lines.items())
        table = [
            [f"{at} s", *(duration(each) if each is not None else "–" for each in row)]
            for at, *row in zip(self.starts(), *lines.values(), strict=True)
        ]
        return panel(
            ("时延", "Latency"),
            (
                "站点的全部调用，按应当发出的时刻计；纵轴为对数。",
                "All calls of the site, by the moment they were due; logarithmic.",
            ),
            [(f"p{share}", f"p{share}") for share in SHARES],
            frame(
                [(scale.place(each), duration(each)) for each in scale.ticks], self.times(), marks
            ),
            table_of(["秒 second", *(f"p{share}" for share in SHARES)], table),
        )

    def by_call(self) -> str:
        took: dict[str, list[float]] = {name: [] for name in NAMES}
        for call in self.crowd.calls:
            took[call.name].append(call.took)
        took[SEEN] = self.waits
        took = {name: values for name, values in took.items() if values}
        scale = Scale([percentile(values, end) for values in took.values() for end in (5, 99)])
        rows, table = "", []
        for place, (name, values) in enumerate(took.items()):
            found = {share: percentile(values, share) for share in (5, 25, 50, 75, 90, 99)}
            at = {share: 100 * scale.place(value) for share, value in found.items()}
            y = place * ROW + 34
            right = f"{duration(found[50])} · {duration(found[99])}"
            rows += (
                f'<g class="{"soft" if name == WECHAT else "call"}">'
                f'{words(name, right, place)}<line class="whisker" x1="{at[5]:.2f}%" '
                f'x2="{at[99]:.2f}%" y1="{y}" y2="{y}"/><rect x="{at[25]:.2f}%" '
                f'width="{max(0.4, at[75] - at[25]):.2f}%" y="{y - 7}" height="14" rx="3"/>'
                f'<line class="median" x1="{at[50]:.2f}%" x2="{at[50]:.2f}%" y1="{y - 10}" '
                f'y2="{y + 10}"/></g>'
            )
            cells = [duration(value) for value in found.values()]
            table.append([" ".join(NAMES[name]), str(len(values)), *cells])
        ticks = [(scale.place(each), duration(each)) for each in scale.ticks]
        return panel(
            ("各调用的时延", "Latency by call"),
            (
                "线 p5–p99，框 p25–p75，竖线 p50；横轴为对数；右为 p50 · p99。",
                "Line p5–p99, box p25–p75, stroke p50; logarithmic; at the right p50 · p99.",
            ),
            [],
            frame([], ticks, outside=rows, height=ROW * len(took), kind="rows"),
            table_of(["调用 call", "次数 count", "p5", "p25", "p50", "p75", "p90", "p99"], table),
        )

    def by_error(self) -> str:
        title = ("错误", "Errors by code")
        if not self.errors:
            return panel(title, ("没有出错。", "None."), [], "", "")
        most, rows = max(self.errors.values()), ""
        for place, (error, count) in enumerate(self.errors.most_common()):
            rows += (
                f'<g class="failure">{words(error, str(count), place)}<rect x="0" '
                f'width="{100 * count / most:.2f}%" y="{place * ROW + 28}" height="12" rx="3"/></g>'
            )
        by_call = Counter((call.error, call.name) for call in self.crowd.calls if call.error)
        table = [
            [error, " ".join(NAMES[name]), str(count)]
            for (error, name), count in by_call.most_common()
        ]
        note = ("手机遇到错误即放弃。", "A phone that meets one gives up.")
        plot = frame([], [], outside=rows, height=ROW * len(self.errors), kind="rows bare")
        return panel(
            title, note, [], plot, table_of(["错误 error", "调用 call", "次数 count"], table)
        )

    # The axis of time

    def bin_of(self, moment: float) -> int:
        return min(self.bins - 1, int(moment / self.bin))

    def per_bin(self, moments: Iterable[float]) -> list[float]:
        counted = Counter(self.bin_of(moment) for moment in moments)
        return [counted[place] / self.bin for place in range(self.bins)]

    def starts(self) -> list[int]:
        return [place * self.bin for place in range(self.bins)]

    def times(self) -> list[tuple[float, str]]:
        whole = self.bins * self.bin
        return [(each / whole, f"{each:g} s") for each in steps(whole, 5)[0] if each <= whole]


class Scale:
    """A logarithmic axis from the decade of the smallest value to above the largest."""

    def __init__(self, values: Sequence[float]) -> None:
        some = [max(value, 1e-4) for value in values if value < inf] or [0.001]
        self.low, self.high = floor(log10(min(some))), log10(max(some) * 1.1)
        if self.high - self.low < 1:
            self.high = self.low + 1.0

    def place(self, value: float) -> float:
        return min(1.0, (log10(max(value, 1e-4)) - self.low) / (self.high - self.low))

    @property
    def ticks(self) -> list[float]:
        return [10.0**power for power in range(self.low, floor(self.high) + 1)]


def steps(most: float, count: int = 4) -> tuple[list[float], float]:
    """Return round ticks from 0, about so many, and the top of the axis."""
    rough = max(most, 1) / count
    power = 10.0 ** floor(log10(rough))
    step = next(each * power for each in (1, 2, 5, 10) if each * power >= rough)
    step = max(1.0, step)
    return [step * place for place in range(ceil(most / step) + 1)], step * max(
        1, ceil(most / step)
    )


# SVG and HTML


def frame(
    left: Sequence[tuple[float, str]],
    below: Sequence[tuple[float, str]],
    marks: str = "",
    outside: str = "",
    height: int = 220,
    kind: str = "",
) -> str:
    """Return a plot: ticks at the left and below, as shares of the axis, and what is drawn."""
    lines = "".join(
        f'<line x2="100%" y1="{100 - 100 * at:.2f}%" y2="{100 - 100 * at:.2f}%"/>'
        f'<text class="left" x="-8" y="{100 - 100 * at:.2f}%">{text}</text>'
        for at, text in left
    ) + "".join(
        f'<line y2="100%" x1="{100 * at:.2f}%" x2="{100 * at:.2f}%"/>'
        f'<text class="below" x="{100 * at:.2f}%" y="100%" dy="20">{text}</text>'
        for at, text in below
    )
    stretched = (
        f'<svg viewBox="0 0 1000 1000" preserveAspectRatio="none">{marks}</svg>' if marks else ""
    )
    return (
        f'<svg class="plot {kind}" height="{height}" aria-hidden="true">'
        f'<g class="grid">{lines}</g>{stretched}{outside}</svg>'
    )


def bars(values: Sequence[float], up: Callable[[float], float], kind: str) -> str:
    width = 1000 / len(values)
    return "".join(
        f'<rect class="{kind}" x="{place * width:.1f}" width="{0.8 * width:.1f}" '
        f'y="{1000 - 1000 * up(value):.1f}" height="{1000 * up(value):.1f}"/>'
        for place, value in enumerate(values)
        if value
    )


def curve(values: Sequence[float | None], up: Callable[[float], float], kind: str) -> str:
    """Return a line through the middle of each bin, with gaps where there is nothing."""
    path, width, is_down = "", 1000 / len(values), False
    for place, value in enumerate(values):
        if value is not None:
            x, y = (place + 0.4) * width, 1000 - 1000 * up(value)
            # A point alone has a line of no length, which round ends show.
            path += f"L{x:.1f} {y:.1f}" if is_down else f"M{x:.1f} {y:.1f}h0"
        is_down = value is not None
    return f'<path class="{kind}" d="{path}"/>'


def words(name: str, right: str, place: int) -> str:
    """Return the words above a row, in both languages where it has a name in them."""
    zh, en = NAMES.get(name, (name, ""))
    y = place * ROW + 18
    return (
        f'<text x="0" y="{y}">{escape(zh)} <tspan class="en">{escape(en)}</tspan></text>'
        f'<text class="right" x="100%" y="{y}">{escape(right)}</text>'
    )


def panel(
    title: tuple[str, str],
    note: tuple[str, str],
    legend: Sequence[tuple[str, str]],
    plot: str,
    table: str,
) -> str:
    keys = "".join(f'<li><i class="{kind}"></i>{text}</li>' for kind, text in legend)
    return (
        f"<section><h2>{title[0]} <span lang=en>{title[1]}</span></h2>"
        f"<p>{note[0]} <span lang=en>{note[1]}</span></p>"
        f"{f'<ul class=legend>{keys}</ul>' if keys else ''}{plot}{table}</section>"
    )


def table_of(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th scope=col>{escape(text)}</th>" for text in heads)
    body = "".join(
        f"<tr><th scope=row>{escape(first)}</th>"
        + "".join(f"<td>{escape(text)}</td>" for text in rest)
        + "</tr>"
        for first, *rest in rows
    )
    return (
        "<details><summary>数据表 <span lang=en>As a table</span></summary><div class=scroll>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div></details>"
    )
