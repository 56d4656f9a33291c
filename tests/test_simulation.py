"""`python -m benchmarks.simulation`: its queues are as the books say, it keeps what the site keeps,
and the page says what it found."""

import json
import random
import shlex
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import factorial, inf
from pathlib import Path
from statistics import mean
from types import SimpleNamespace

import pytest

from benchmarks.costs import Meter, all_calls
from benchmarks.crowd_report import percentile
from benchmarks.load import Walk
from benchmarks.queueing import (
    DAY,
    KINDS,
    MAX_AGE,
    MOST_KEPT,
    POOL,
    PUSH,
    STATEMENTS,
    Assumptions,
    CallsPlayed,
    Costs,
    KeptRankings,
    PhoneVisit,
    Resource,
    SimulatedClock,
    SimulatedSite,
    SiteRun,
    Steps,
    all_visits,
    level,
    load_costs,
)
from benchmarks.simulation import (
    RESULTS,
    TIERS,
    Cell,
    assumed,
    build,
    main,
    plan,
    read_options,
    simulate,
    simulate_plan,
    switch_point,
    whole_day,
)
from benchmarks.simulation_report import PAGES, PLOT, all_tables, filled, in_chinese, plot, summary
from benchmarks.validation import simulated
from groups import standings
from groups.standings import Recent

from .documented import blocks_of

pytestmark = pytest.mark.no_service

NOON = 12 * 3600
WORLD = Assumptions()


def queue(servers: int, rate: float, lengths: list[float], seed: int = 1) -> tuple[float, float]:
    """Let so many come at random; return the mean wait, and how many there were on average."""
    chance, clock, at = random.Random(seed), SimulatedClock(), 0.0
    waits: list[float] = []
    desk = Resource(servers)
    there = [0.0, 0, 0.0]  # sum over time, now, since

    def counted(change: int) -> None:
        there[0] += there[1] * (clock.now - there[2])
        there[1], there[2] = there[1] + change, clock.now

    def served(length: float) -> Steps:
        began = clock.now
        counted(1)
        yield desk
        waits.append(clock.now - began)
        yield length
        clock.give(desk)
        counted(-1)

    for length in lengths:
        at += chance.expovariate(rate)
        clock.start(at, served(length))
    clock.run()
    assert len(waits) == len(lengths) and desk.free == servers and not desk.queue
    return mean(waits), there[0] / clock.now


def test_one_server_makes_people_wait_as_the_formula_says_and_littles_law_holds() -> None:
    rate, length = 0.7, 1.0
    wait, there = queue(1, rate, [length] * 40_000)
    assert wait == pytest.approx(rate * length / (2 * (1 - rate)), rel=0.07)  # M/D/1
    assert there == pytest.approx(rate * (wait + length), rel=0.02)  # L = λW


def test_several_servers_make_people_wait_as_erlang_says() -> None:
    chance, servers, load = random.Random(2), 4, 3.0
    wait = mean(
        queue(servers, load, [chance.expovariate(1) for _each in range(20_000)], seed)[0]
        for seed in range(4)
    )
    full = load**servers / factorial(servers) * servers / (servers - load)
    waits = full / (sum(load**each / factorial(each) for each in range(servers)) + full)
    assert wait == pytest.approx(waits / (servers - load), rel=0.1)  # M/M/c


def one_visit(at: float, group: int = 1, **changes: bool) -> PhoneVisit:
    chosen = {"logs_in": True, "is_new": False, "is_first": False} | changes
    return PhoneVisit(at, group, 50, (3.0, 1.0), **chosen)


def played(
    visits: list[PhoneVisit], site: SimulatedSite, world: Assumptions = WORLD, seed: int = 1
) -> tuple[CallsPlayed, SiteRun]:
    run = SiteRun(world, Costs(load_costs(), site.is_sqlite), site, random.Random(seed))
    return run.play(visits, 0, 0, inf), run


def test_who_is_alone_waits_for_nothing_but_the_work() -> None:
    world = Assumptions(spread=0.0)
    done, _run = played([one_visit(10.0 * each) for each in range(20)], SimulatedSite(4, 4), world)
    costs = Costs(load_costs())
    app, data, _written = costs.of("bind again")
    expected = app + data + costs.sync + STATEMENTS["bind"] * world.trip
    assert done.took["bind"] == pytest.approx([expected] * 20)
    app, data, _written = costs.of("login")
    expected = app + data + costs.sync + STATEMENTS["login"] * world.trip + world.wechat
    assert done.took["login"] == pytest.approx([expected] * 20)


def busy_visits(people: int = 5_000_000, seconds: int = 20, seed: int = 3) -> list[PhoneVisit]:
    return all_visits(Assumptions(), people, NOON, NOON + seconds, random.Random(seed))


@pytest.mark.parametrize("tier", [0, 1, 2])
def test_every_visit_is_answered_and_every_ranking_is_kept_or_read(tier: int) -> None:
    site = build(TIERS[tier], 2_000_000, 20, 8, Assumptions()).site
    visits = busy_visits()
    done, run = played(visits, site)
    assert done.arrived == done.finished == len(visits) > 300
    calls = {kind: len(done.took[kind]) for kind in KINDS}
    assert calls.pop("login") == sum(visit.logs_in for visit in visits)
    assert set(calls.values()) == {len(visits)}
    assert done.rankings.total() == 3 * len(visits) and set(done.rankings) >= {"kept", "read"}
    free = [*run.interpreters, *run.threads, *run.pools, run.cores, run.writer]
    assert all(each.free == each.count and not each.queue for each in free) and not run.makers


def test_the_same_seed_gives_the_same_figures() -> None:
    cell = Cell(1, 100_000, Assumptions(), 1, calls=3000)
    first = simulate(cell)
    assert first == simulate(cell) != simulate(cell._replace(seed=2))
    assert first["unanswered"] == 0 and first["calls"] > 1000


def test_a_ranking_is_kept_as_long_as_the_site_keeps_it() -> None:
    assert timedelta(seconds=MAX_AGE) == standings.MAX_AGE and MOST_KEPT == standings.MOST_KEPT
    chance, began = random.Random(4), datetime(2026, 11, 30, tzinfo=UTC)
    ours = KeptRankings()
    theirs: Recent[tuple[float, int]] = Recent(size=lambda made: made[1])
    versions: Counter[int] = Counter()
    now, kept, read = 0.0, 0, 0
    for _turn in range(20_000):
        now = round(now + chance.expovariate(40), 6)
        group = min(60, int(chance.paretovariate(0.5)))
        size = 5 + 60 * group
        if chance.random() < 0.05:
            versions[group] += 1
        own_since = now - chance.choice([0.0, 0.5, 1.0, 5.0, inf])
        made: list[float] = []

        def make(made: list[float] = made, at: float = now, size: int = size) -> tuple[float, int]:
            made.append(at)
            return at, size

        fits = ours.fits(group, versions[group], now, own_since)
        theirs.get(
            group,
            versions[group],
            began + timedelta(seconds=now),
            lambda found, own_since=own_since: own_since <= found[0],
            make,
        )
        assert fits is not bool(made)
        if made:
            ours.keep(group, versions[group], now, size)
        kept, read = kept + fits, read + (not fits)
    assert kept > 2000 and read > 2000


def test_a_slice_has_what_the_whole_has() -> None:
    world = Assumptions()
    chosen = plan(TIERS[3], 10_000_000, world)
    cells = [Cell(3, 10_000_000, world, 5, 12_000, share) for share in (1.0, 0.5)]
    whole, half = (simulate_plan(cell, chosen) for cell in cells)
    for name in ("app_busy", "data_busy"):
        ratio = (half[name] / half["rate"]) / (whole[name] / whole["rate"])
        assert ratio == pytest.approx(1, rel=0.05), name
    assert half["hits"] == pytest.approx(whole["hits"], abs=0.04)
    assert half["latency"]["ranking"][0] == pytest.approx(whole["latency"]["ranking"][0], rel=0.25)


def test_more_processes_are_never_slower_when_there_is_much_to_do() -> None:
    visits = busy_visits(20_000_000, 8)
    waits = [
        percentile(played(visits, SimulatedSite(processes, 32))[0].took["ranking"], 95)
        for processes in (2, 4, 8)
    ]
    assert waits == sorted(waits, reverse=True) and waits[0] > 2 * waits[-1]


def test_a_ranking_is_kept_less_the_more_processes_there_are() -> None:
    shares = [
        played(busy_visits(), SimulatedSite(processes, 32))[0].hits for processes in (2, 16, 128)
    ]
    assert shares == sorted(shares, reverse=True) and shares[0] > 2 * shares[-1]


def test_a_bind_of_the_day_makes_what_was_kept_before_of_no_use_to_who_came() -> None:
    site, known = SimulatedSite(1, 8), [one_visit(0.0), one_visit(0.5, logs_in=False)]
    done, _run = played(known, site)
    assert done.rankings == {"read": 2, "kept": 4}
    done, _run = played([known[0], known[1]._replace(is_first=True)], site)
    assert done.rankings == {"read": 3, "kept": 3}
    other_board = Assumptions(shares_days=False)  # there a score that was sent changes one's own
    done, _run = played([known[0], known[1]._replace(is_first=True)], site, other_board)
    assert done.rankings == {"read": 4, "kept": 2}


def test_a_day_has_as_many_visits_as_its_people_make() -> None:
    world, people = Assumptions(push=1.0), 100_000
    levels = [level(second, 1.0) for second in range(0, DAY, 60)]
    assert sum(levels) / len(levels) == pytest.approx(1, rel=0.001)
    visits = all_visits(world, people, 0, DAY, random.Random(6))
    assert len(visits) == pytest.approx(people * world.active * world.visits, rel=0.1)
    assert visits == sorted(visits)
    whole, thinned = (whole_day(world, people, 6, sample) for sample in (people, people // 4))
    assert sum(thinned.mean) == pytest.approx(sum(whole.mean), rel=0.15)
    assert sum(thinned.most) == pytest.approx(sum(whole.most), rel=0.25)


def test_a_tier_ends_where_its_largest_machine_is_full() -> None:
    tier, world = TIERS[0], Assumptions()
    people = switch_point(tier, world, 1.0)
    found = build(tier, people, world.visits_at(people, PUSH[1] - 1), tier.most_cores, world)
    assert found.utilization == pytest.approx(1, rel=0.1)
    assert "latency" not in simulate(Cell(0, int(people * 1.3), world, 1))
    ends = list(json.loads(RESULTS.read_text())["switch"].values())
    assert ends == sorted(ends) and all(busy < full for busy, full in ends)


def test_the_page_and_the_plot_say_what_the_kept_run_found() -> None:
    found = json.loads(RESULTS.read_text())
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert filled(text, all_tables(found)) == text
    assert plot(found) == PLOT.read_text(encoding="utf-8")
    assert found["machine"] == load_costs()["machine"], "the costs are newer than the run"
    assert Assumptions(**found["world"]) == Assumptions(), "the assumptions are newer than the run"


def test_the_summary_names_the_cheapest_plan_however_busy_it_came_out() -> None:
    found = json.loads(RESULTS.read_text())
    last = [cell for cell in found["table"] if cell["people"] == found["table"][-1]["people"]]
    planned = [cell for cell in last if cell["utilization"] <= WORLD.busy]
    cheapest = min(planned, key=lambda cell: cell["money"])
    assert any(cell["money"] < cheapest["money"] and "app_busy" in cell for cell in last)
    for cell in planned:
        cell["app_busy"] = cell["data_busy"] = 0.617
    assert f"每月约 {in_chinese(cheapest['money'])}元" in summary(found)


def test_the_kept_figures_are_those_of_this_code() -> None:
    found = json.loads(RESULTS.read_text())
    kept = found["table"][1]
    assert (kept["tier"], kept["people"]) == ("one", 10_000)
    again = simulate(Cell(1, 10_000, Assumptions(), found["seed"]))
    for name in ("calls", "hits", "app_busy", "data_busy", "rows", "wal", "money"):
        assert again[name] == pytest.approx(kept[name], rel=0.02), name
    for kind, times in kept["latency"].items():
        assert again["latency"][kind] == pytest.approx(times, rel=0.02)


def test_each_call_that_is_measured_has_its_cost() -> None:
    names = {call.name for call in all_calls(100_000)}
    for vendor in ("postgresql", "sqlite"):
        assert set(load_costs()[vendor]["calls"]) == names
        assert load_costs()[vendor]["seldom"] > 0


def test_a_score_is_measured_with_a_key_and_a_first_log_in_with_someone_new() -> None:
    made = {call.name: (call.make(0), call.make(1)) for call in all_calls(100_000)}
    assert all(b'"idempotencyKey"' in each for each in made["score"])
    assert len(set(made["score"])) == len(set(made["login anew"])) == 2


def test_what_is_asked_seldom_is_kept_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []

    def ask_seldom(_meter: Meter, walk: Walk) -> int:
        asked.extend(walk.next()[0] for _turn in range(20))
        return 20

    meter = object.__new__(Meter)
    meter.server = SimpleNamespace(port=0)  # type: ignore[assignment]
    monkeypatch.setattr(Meter, "ask_seldom", ask_seldom)
    monkeypatch.setattr(Meter, "spent", lambda meter: (0.0,))
    monkeypatch.setattr("benchmarks.costs.ask", lambda *load: SimpleNamespace(answers=1))
    meter.seldom(next(call for call in all_calls(100_000) if call.name == "kept 50"))
    assert len({request.split(b"\r\n")[0] for request in asked}) == 1
    assert len(set(asked)) > 1  # by several members


def test_who_is_new_costs_more_to_log_in_and_a_call_costs_more_where_there_are_few() -> None:
    world, site = Assumptions(spread=0.0), SimulatedSite(1, 4)
    visits = [one_visit(10.0 * each) for each in range(20)]
    costs = load_costs()["postgresql"]
    known, _run = played(visits, site, world)
    new, _run = played([visit._replace(is_new=True) for visit in visits], site, world)
    more = [costs["calls"][name]["app"] for name in ("login anew", "login", "bind anew")]
    expected = more[0] - more[1] + more[2] - costs["calls"]["bind again"]["app"]
    assert 1000 * (new.app - known.app) / len(visits) == pytest.approx(expected)
    few = SiteRun(world, Costs(load_costs(), is_seldom=True), site, random.Random(1))
    spent = few.play(visits, 0, 0, inf).app
    assert 1000 * (spent - known.app) / len(visits) == pytest.approx(len(KINDS) * costs["seldom"])


def test_a_crowd_is_simulated_as_it_comes() -> None:
    found = simulated(50, {"sandbox": 3.0, "load": 4.2})
    assert set(found["latency"]) == set(KINDS)
    for kind, (low, high) in found["latency"].items():
        assert 0 < low <= high and found["among"][kind][0] > low, "among others it takes longer"
    assert found == simulated(50, {"sandbox": 3.0, "load": 4.2})


def test_the_commands_of_the_page_are_understood() -> None:
    [block] = blocks_of("tests/test_simulation.py::test_the_commands_of_the_page_are_understood")
    for line in block.code.splitlines():
        python, option, module, *options = shlex.split(line, comments=True)
        assert (python, option, module) == (".venv/bin/python", "-m", "benchmarks.simulation")
        assumed(read_options(options).assume)
    assert assumed(["visits=4", "shares_days=0"]) == replace(
        Assumptions(), visits=4, shares_days=False
    )
    with pytest.raises(SystemExit, match="no assumption"):
        assumed(["moons=2"])


def test_a_size_of_ones_own_is_only_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = [path.read_bytes() for path in (RESULTS, PLOT, *PAGES)]
    monkeypatch.setattr("sys.argv", ["", "--people", "20,000", "--calls", "500"])
    assert main() == 0
    assert [path.read_bytes() for path in (RESULTS, PLOT, *PAGES)] == kept
    printed = capsys.readouterr().out
    rows = [line for line in printed.splitlines() if line.startswith("| 20,000")]
    assert [sum(tier.en in row for row in rows) for tier in TIERS] == [2] * len(TIERS)
    assert len(rows) == 2 * len(TIERS) + 1  # machines, latencies and the day
    for wrong in ("many", "999", "2,000,000,000"):
        with pytest.raises(SystemExit):
            read_options(["--people", wrong])


def test_the_page_names_every_assumption() -> None:
    page = Path(PAGES[0]).read_text(encoding="utf-8")
    named = {name for name in vars(Assumptions()) if f"`{name}`" in page}
    assert named == set(vars(Assumptions()))
    assert f"{POOL}, rankings of 10,000 members for 2 s" in page
