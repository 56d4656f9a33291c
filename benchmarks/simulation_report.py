"""What a simulation found: the tables of docs/simulation.md, and the plot docs/simulation.svg."""

import json
from collections.abc import Callable, Mapping, Sequence
from math import ceil, floor, log10
from pathlib import Path
from string import Template
from typing import Any

from .queueing import DAY, KINDS, load_costs
from .report import table
from .simulation import RESULTS, STEP, TIERS

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGES = (DOCS / "simulation.md",)
PLOT = DOCS / "simulation.svg"
BEGIN, END = "<!-- {} -->\n", "<!-- / -->"
NAMES = {tier.key: tier.en for tier in TIERS}

Found = Mapping[str, Any]


def write_page(found: Found, is_kept: bool) -> str:
    """Keep the figures, draw the plot and put the tables into the page; return the tables.

    Those of other assumptions are not kept, only returned.
    """
    tables = all_tables(found)
    if is_kept:
        RESULTS.write_text(written(found))
        PLOT.write_text(plot(found), encoding="utf-8")
        for page in PAGES:
            page.write_text(filled(page.read_text(encoding="utf-8"), tables), encoding="utf-8")
    return "\n\n".join(tables.values())


def written(found: Found) -> str:
    """Return the figures as JSON with a line for each cell."""
    parts = (f"{json.dumps(name)}: {lines(value)}" for name, value in found.items())
    return "{\n" + ",\n".join(parts) + "\n}\n"


def lines(value: Any) -> str:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "[\n" + ",\n".join(json.dumps(each) for each in value) + "\n]"
    return json.dumps(value)


def filled(page: str, tables: Mapping[str, str]) -> str:
    """Return a page with each table between its marks. Raises ValueError without a mark."""
    for name, text in tables.items():
        begin = page.index(BEGIN.format(name)) + len(BEGIN.format(name))
        page = f"{page[:begin]}\n{text}\n\n{page[page.index(END, begin) :]}"
    return page


def all_tables(found: Found) -> dict[str, str]:
    return {
        "summary": summary(found),
        "switch": switch_table(found),
        "machines": machine_table(found),
        "latency": latency_table(found),
        "slices": slice_table(found),
        "day": day_table(found),
        "validation": validation_table(found),
    }


def summary(found: Found) -> str:
    """Return the summary in Chinese."""
    ends = {key: in_chinese(each[0]) for key, each in found["switch"].items()}
    largest = found["table"][-1]["people"]
    best = min(
        (
            cell
            for cell in found["table"]
            # As it was planned: what then comes in these seconds may be a little more.
            if cell["people"] == largest and cell["utilization"] <= found["world"]["busy"]
        ),
        key=lambda cell: float(cell["money"]),
    )
    shape = next(tier.zh for tier in TIERS if tier.key == best["tier"])
    app, data = (of_real(found, name) for name in ("app", "data"))
    seldom = two(load_costs()["postgresql"]["seldom"])
    calls, rows = (two(best[name] * best["shards"]) for name in ("rate", "rows"))
    return "\n".join(
        (
            "> **摘要。** 用真实代码测得的单次开销，模拟 1 万到 1 亿人的一天",
            "> （假设：每天两成的人来，每人两次，晚间有群内爆发）。",
            f"> 最忙两分钟里占用不超过六成的上限：SQLite {ends['sqlite']}人，",
            f"> 单机 PostgreSQL {ends['one']}人，多台应用加一主 {ends['nodes']}人，",
            f"> 管理后台改读从库后 {ends['replicas']}人；再往上按小程序分片。",
            f"> {chinese(largest)}人时最忙两分钟每秒约 {calls} 次调用、写 {rows} 行，",
            f"> 按平均占用不超过六成配置，最省的方案是“{shape.removeprefix('同上，')}”：",
            f"> 排行 p95 约 {two(best['latency']['ranking'][1])} ms，共 {best['cores']} 核，",
            f"> 每月约 {in_chinese(best['money'])}元（价格是假设，未与任何报价核对）。",
            "> 排行缓存只在进程内有效：进程越多，命中越少，规划时按读库计算。",
            f"> 与真实人群对照：模拟的应用 CPU 为真实的 {app}，数据库为 {data}。",
            f"> 对照里每次调用多算 {seldom} ms：调用稀少时缓存是冷的；",
            "> 上面的数字是忙碌时的，没有这一项；规划时应用 CPU 请再乘 1.3。",
        )
    )


def of_real(found: Found, side: str) -> str:
    """Return which share of real crowds' CPU the simulated ones took, at least and at most."""
    shares = [each["simulated"][side] / each["real"][side] for each in found["validation"]]
    return f"{min(shares):.0%}–{max(shares):.0%}"


def in_chinese(value: float) -> str:
    """Return a number with two digits that count."""
    return chinese(float(two(value).replace(",", "")))


def switch_table(found: Found) -> str:
    calls = calls_for_each(found)
    rows = []
    for key, (comfortable, breaks) in found["switch"].items():
        rate = [f"{two(people * calls)}/s" for people in (comfortable, breaks)]
        cells = [people_in_words(comfortable), rate[0], people_in_words(breaks), rate[1]]
        most = next(tier.most_cores for tier in TIERS if tier.key == key)
        rows.append([NAMES[key], str(most), *cells])
    return table(
        (
            "tier",
            "cores of its largest machine",
            "at most 60 % busy",
            "calls",
            "breaks at",
            "calls",
        ),
        rows,
    )


def calls_for_each(found: Found) -> float:
    """Return the calls a second that a person makes in the busiest minutes."""
    largest = [cell for cell in found["table"] if "rate" in cell][-1]
    return float(largest["rate"] * largest["shards"] / largest["people"])


def machine_table(found: Found) -> str:
    head = (
        *("people", "tier", "machines (cores)", "cores", "calls/s", "rows written/s", "WAL MB/s"),
        *("application busy", "database busy", "rankings kept", "connections, each primary"),
        *("processes' memory GB", "stored GB", "CNY a month"),
    )
    rows = []
    for cell in found["table"]:
        row = [people_in_words(cell["people"]), NAMES[cell["tier"]], machines_in_words(cell)]
        row += [f"{cell['cores']:,}"]
        if "latency" in cell:
            times = cell["shards"]
            row += [two(cell["rate"] * times), two(cell["rows"] * times)]
            row += [f"{cell['wal'] * times / 1e6:.2g}" if cell["wal"] else "–"]
            busy = cell["app_busy"], cell["data_busy"]
            if cell["tier"] in {"sqlite", "one"}:
                row += [f"{sum(busy):.0%} together", ""]
            else:
                row += [f"{share:.0%}" for share in busy]
            row += [f"{cell['hits']:.0%}"]
        else:
            row += ["**breaks**", "", "", f"{cell['utilization']:.0%} needed", "", ""]
        row += [f"{cell['connections']:,}" if cell["connections"] else "–", f"{cell['memory']:g}"]
        row += [two(cell["storage"]), two(cell["money"])]
        rows.append(row)
    return table(head, rows)


def latency_table(found: Found) -> str:
    rows = []
    for cell in found["table"]:
        start = [people_in_words(cell["people"]), NAMES[cell["tier"]]]
        if "latency" in cell:
            times = [
                " / ".join(two(value) for value in cell["latency"][kind])
                if kind in cell["latency"]
                else "–"
                for kind in KINDS
            ]
            rows.append([*start, *times, str(cell["pool"])])
        else:
            rows.append([*start, "**breaks**", *[""] * len(KINDS)])
    names = ("log in", "bind", "ranking", "ranking again", "score", "around")
    return table(("people", "tier", *names, "waited for a connection, at most"), rows)


def slice_table(found: Found) -> str:
    rows = []
    for cell in found["slices"]:
        times = " / ".join(two(value) for value in cell["latency"]["ranking"])
        busy = [f"{cell[name]:.1%}" for name in ("app_busy", "data_busy", "hits")]
        rows.append([f"{cell['share']:g}", f"{cell['rate']:,.0f}", *busy, times])
    head = ("share", "calls/s, scaled up", "application busy", "database busy", "rankings kept")
    return table((*head, "ranking p50 / p95 / p99 ms"), rows)


def day_table(found: Found) -> str:
    rows = []
    for people, day in found["days"].items():
        usual = sum(day["mean"]) * STEP / DAY
        cells = [people_in_words(float(people)), f"{usual:,.2f}", f"{max(day['mean']):,.1f}"]
        rows.append([*cells, f"{day['busiest']:,.0f}", f"{day['busiest'] / usual:.1f}"])
    head = ("people", "visits/s, mean", "busiest five minutes", "busiest second", "× the mean")
    return table(head, rows)


def validation_table(found: Found) -> str:
    """Return for each crowd what was measured, and what its simulations found."""
    crowds = found["validation"]
    rows = []
    for place, share in enumerate(("p50", "p95")):
        for kind in KINDS:
            row = [f"{kind}, {share} ms"]
            for each in crowds:
                sides = each["real"]["latency"], each["simulated"]["latency"]
                values = (side[kind][place] for side in (*sides, each["simulated"]["among"]))
                row.append(" / ".join(two(value) for value in values))
            rows.append(row)
    for name, of in (("app", "application"), ("data", "database")):
        row = [f"CPU ms a visit, {of}"]
        for each in crowds:
            real, simulated = each["real"][name], each["simulated"][name]
            row.append(f"{two(real)} / {two(simulated)} = {simulated / real:.2f}")
        rows.append(row)
    heads = [f"{each['phones']} phones, load {each['real']['load']:g}" for each in crowds]
    return table(("really / alone / among others", *heads), rows)


# Words


def two(value: float) -> str:
    """Return a number with two digits that count, in full."""
    if not value:
        return "0"
    digits = max(0, 1 - floor(log10(abs(value))))
    shown = round(value, 1 - floor(log10(abs(value))))
    return f"{shown:,.{digits}f}"


def people_in_words(people: float) -> str:
    return f"{two(people / 1e6)} M" if people >= 1e6 else f"{two(people)}"


def machines_in_words(cell: Found) -> str:
    plurals = {"primary": "primaries", "redis": "redis"}
    parts = [
        f"{number} {plurals.get(kind, f'{kind}s') if number > 1 else kind} ({cores})"
        for kind, (number, cores) in cell["machines"].items()
    ]
    shards = f"{cell['shards']} shards: " if cell["shards"] > 1 else ""
    return shards + ", ".join(parts)


# The plot: cost, latency and a day, one below the other, so that a phone shows it as well

WIDTH, LEFT, RIGHT, HEIGHT, GAP = 480, 62, 14, 190, 104
TOP = 158
COLOURS = {
    "sqlite": ("#8a5a00", "#e0a84a"),
    "one": ("#b3261e", "#ff8f86"),
    "nodes": ("#1f5fbf", "#86b6ff"),
    "replicas": ("#067a3d", "#5fd394"),
    "shards": ("#6b2fb3", "#c79bff"),
}
DASHES = {"sqlite": "none", "one": "7 4", "nodes": "2 4", "replicas": "none", "shards": "9 3 2 3"}
STYLE = Template("""
.bg { fill: #fff } text { fill: #1a1f24 } .s { font-size: 12.5px; fill: #515b66 }
.strong { font-weight: 600 } .grid { stroke: #dde3e8 } .line { fill: none; stroke-width: 2.4 }
.shown, .soft { stroke: #1f5fbf } .soft { opacity: .45; stroke-width: 1 }
$light
@media (prefers-color-scheme: dark) {
.bg { fill: #111418 } text { fill: #eef1f4 } .s { fill: #b3bcc5 } .grid { stroke: #333c45 }
.shown, .soft { stroke: #86b6ff }
$dark
}
""")
FONT = "system-ui, 'PingFang SC', 'Microsoft YaHei', 'Noto Sans CJK SC', sans-serif"


class LogAxis:
    """A logarithmic axis of whole decades, between two pixels."""

    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        self.low, self.high = floor(log10(min(values))), ceil(log10(max(values)))
        self.start, self.end = start, end

    def at(self, value: float) -> float:
        share = (log10(value) - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    @property
    def ticks(self) -> list[float]:
        return [10.0**power for power in range(self.low, self.high + 1)]


def plot(found: Found) -> str:
    parts = [legend()]
    tops = [TOP + place * (HEIGHT + GAP) for place in range(3)]
    parts.append(
        by_size(
            found,
            tops[0],
            ("每月费用，元", "Cost a month, CNY (assumed prices)"),
            lambda cell: float(cell["money"]) if "latency" in cell else None,
            short,
        )
    )
    parts.append(
        by_size(
            found,
            tops[1],
            ("最忙两分钟里排行的 p95", "Ranking in the two busiest minutes, p95"),
            lambda cell: float(cell["latency"]["ranking"][1]) if "latency" in cell else None,
            duration_in_words,
        )
    )
    parts.append(day_panel(found, tops[2]))
    height = tops[2] + HEIGHT + 56
    light, dark = (
        " ".join(
            f".{key} {{ stroke: {colours[place]}; stroke-dasharray: {DASHES[key]} }} "
            f".{key}-dot {{ fill: {colours[place]} }}"
            for key, colours in COLOURS.items()
        )
        for place in (0, 1)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
        f'role="img" aria-labelledby="title" font-family="{FONT}" font-size="14">\n'
        '<title id="title">Cost, latency and a day of the same code with 10,000 to 100 million '
        "people, by tier</title>\n"
        f"<style>{STYLE.substitute(light=light, dark=dark)}</style>\n"
        f'<rect class="bg" width="{WIDTH}" height="{height}" rx="12"/>\n'
        f"{''.join(parts)}</svg>\n"
    )


def legend() -> str:
    rows = []
    for place, tier in enumerate(TIERS):
        y = 20 + 18 * place
        rows.append(
            f'<path class="line {tier.key}" d="M{LEFT - 48} {y}h34"/>'
            f'<text class="s" x="{LEFT - 6}" y="{y + 4}">{tier.zh} · {tier.en}</text>\n'
        )
    return "".join(rows)


def by_size(
    found: Found,
    top: float,
    title: tuple[str, str],
    value_of: Callable[[Found], float | None],
    say: Callable[[float], str],
) -> str:
    """Draw a line for each tier over the number of people, as far as the tier goes."""
    cells = [(cell, value) for cell in found["table"] if (value := value_of(cell))]
    across = LogAxis([cell["people"] for cell, _value in cells], LEFT, WIDTH - RIGHT - 8)
    up = LogAxis([value for _cell, value in cells], top + HEIGHT, top)
    parts = [headline(top, title)]
    parts += [level_line(up.at(tick), say(tick)) for tick in up.ticks]
    parts += [under(top, across.at(tick), chinese(tick)) for tick in across.ticks]
    parts.append(below(top, "人 people (万 = 10⁴, 亿 = 10⁸)"))
    for tier in TIERS:
        points = [
            (across.at(cell["people"]), up.at(value))
            for cell, value in cells
            if cell["tier"] == tier.key
        ]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        parts.append(f'<path class="line {tier.key}" d="M{path}"/>')
        parts += [
            f'<circle class="{tier.key}-dot" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>' for x, y in points
        ]
    return "".join(parts) + "\n"


def day_panel(found: Found, top: float) -> str:
    """Draw the visits of a day, the mean of five minutes and their busiest second."""
    people, day = list(found["days"].items())[-1]
    high = 10 ** floor(log10(day["busiest"]))
    most = high * ceil(day["busiest"] / high)
    width = WIDTH - RIGHT - 8 - LEFT

    def path(values: Sequence[float]) -> str:
        step = width / len(values)
        return "L".join(
            f"{LEFT + step * (place + 0.5):.1f} {top + HEIGHT * (1 - value / most):.1f}"
            for place, value in enumerate(values)
        )

    title = (
        f"{chinese(float(people))}人的一天：每秒访问",
        "Visits a second through a day in Shanghai",
    )
    parts = [headline(top, title)]
    parts += [
        level_line(top + HEIGHT * (1 - tick / most), f"{tick:,.0f}") for tick in (0, most / 2, most)
    ]
    parts += [under(top, LEFT + width * hour / 24, f"{hour}:00") for hour in range(0, 25, 4)]
    parts.append(below(top, "浅：每五分钟里最忙的一秒 pale: the busiest second of five minutes"))
    parts.append(f'<path class="line soft" d="M{path(day["most"])}"/>')
    parts.append(f'<path class="line shown" d="M{path(day["mean"])}"/>')
    return "".join(parts) + "\n"


def headline(top: float, title: tuple[str, str]) -> str:
    return (
        f'<text class="strong" x="14" y="{top - 30}">{title[0]}</text>'
        f'<text class="s" x="14" y="{top - 12}">{title[1]}</text>'
    )


def level_line(y: float, text: str) -> str:
    return (
        f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>'
        f'<text class="s" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{text}</text>'
    )


def under(top: float, x: float, text: str) -> str:
    return f'<text class="s" x="{x:.1f}" y="{top + HEIGHT + 20}" text-anchor="middle">{text}</text>'


def below(top: float, text: str) -> str:
    return (
        f'<text class="s" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{top + HEIGHT + 40}" '
        f'text-anchor="middle">{text}</text>'
    )


def chinese(number: float) -> str:
    return f"{number / 1e8:g}亿" if number >= 1e8 else f"{number / 1e4:g}万"


def duration_in_words(milliseconds: float) -> str:
    return f"{milliseconds / 1000:g} s" if milliseconds >= 1000 else f"{milliseconds:g} ms"


def short(value: float) -> str:
    return f"{value / 1e4:g}万" if value >= 1e4 else f"{value:,.0f}"
