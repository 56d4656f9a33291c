"""`make bench`: its data is of the stated sizes, and it counts what it says."""

import os
import random
import subprocess
import sys
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from accounts.models import Token, WeChatUser
from benchmarks import APP_ID, growth
from benchmarks.load import STAYS_FRESH, Walk
from benchmarks.report import FLOOR, NODE, SITE, Comparison, Measurement, cpu_ratio, rate_ratio
from benchmarks.seed import (
    LARGEST,
    SMALLEST,
    VIEWERS,
    code_of,
    numbers_of,
    open_gid,
    seed,
    sizes,
    strangers,
    token_of,
)
from benchmarks.serving import cpu_seconds, family, parent_of
from groups.models import Group, Membership, Score
from groups.periods import Window
from wechat.sandbox import openid_of


def test_sizes_follow_zipfs_law_between_three_and_five_hundred() -> None:
    drawn = sizes(20_000, random.Random(1))
    assert (min(drawn), max(drawn)) == (SMALLEST, LARGEST)
    assert 900_000 < sum(drawn) < 1_200_000
    for size in (10, 50, 200):
        share = sum(1 for one in drawn if one >= size) / len(drawn)
        assert share == pytest.approx((SMALLEST / size) ** 0.6, rel=0.1)
    assert drawn == sizes(20_000, random.Random(1)) != sizes(20_000, random.Random(2))


@pytest.mark.django_db
def test_a_small_seed_is_a_whole_site() -> None:
    if connection.vendor != "postgresql":
        assert not hasattr(connection.cursor(), "copy"), "COPY is PostgreSQL's, as the bench is"
        return
    progress: list[tuple[str, int, int]] = []
    sized = {5: 2, VIEWERS + 1: 1}
    seed(4, random.Random(1), lambda *step: progress.append(step), sized)
    crowds, asked = sum(sizes(4, random.Random(1))), 2 * 5 + VIEWERS + 1
    people = WeChatUser.objects.count()
    assert Group.objects.count() == 4 + 3
    assert Membership.objects.count() == crowds + asked
    assert Token.objects.count() == 2 * 5 + VIEWERS
    points = Score.objects.filter(board__key="points")
    assert 0.85 < points.filter(period="all").count() / people < 0.95
    assert Score.objects.exclude(board__key="points").count() == len(Window) * crowds
    assert all(done == total for _what, done, total in progress)


@pytest.mark.django_db
def test_viewers_have_tokens_for_the_groups_of_exact_sizes_and_strangers_are_in_none() -> None:
    if connection.vendor != "postgresql":
        assert not hasattr(connection.cursor(), "copy"), "COPY is PostgreSQL's, as the bench is"
        return
    sized = {3: 2, 5: 2}
    people = seed(1, random.Random(1), lambda *_step: None, sized)
    assert list(numbers_of(3, 1, sized)) == [2, 3]
    for number in numbers_of(5, 1, sized):
        members = Membership.objects.filter(group__open_gid=open_gid(number))
        for viewer in range(5):
            token = Token.objects.valid(token_of(number, viewer), timezone.now())
            assert token and members.filter(user=token.user).exists()
    openids = [openid_of(APP_ID, code_of(person)) for person in strangers(people)]
    alone = WeChatUser.objects.filter(openid__in=openids)
    assert alone.count() == len(openids) and not alone.filter(memberships__isnull=False).exists()


@pytest.mark.no_service
def test_a_walk_comes_back_to_a_group_only_when_nothing_is_remembered_of_it() -> None:
    walk = Walk(lambda turn: b"%d" % (turn % 2), groups=2)
    first, second, third = (walk.next() for _turn in range(3))
    assert (first, second) == ((b"0", 0.0), (b"1", 0.0))
    assert third[0] == b"0" and STAYS_FRESH < third[1] <= STAYS_FRESH + 1
    again = Walk(lambda turn: b"%d" % (turn % 2))
    assert [again.next() for _turn in range(3)] == [(b"0", 0.0), (b"1", 0.0), (b"0", 0.0)]


@pytest.mark.no_service
def test_the_cost_of_a_process_has_that_of_its_children_that_ended() -> None:
    burn = "import time\nwhile time.process_time() < .3: pass"
    parent = f"import subprocess, sys, time; subprocess.run([sys.executable, '-c', {burn!r}]);"
    command = [sys.executable, "-c", f"{parent} print('done', flush=True); time.sleep(60)"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.readline()
        assert 0.3 <= cpu_seconds(process.pid) < 5
        assert process.pid in family(process.pid) and parent_of(process.pid) == os.getpid()
        process.kill()


@pytest.mark.no_service
def test_ratios_say_how_much_more_the_others_cost_and_mark_a_goal_that_is_not_reached() -> None:
    def figure(app: float, data: float, rate: float) -> Measurement:
        return Measurement(rate, app, data, [0.001], held=False)

    figures = {
        ("bind", SITE): [figure(1, 1, 100), figure(2, 2, 100), figure(1, 1, 100)],
        ("bind", NODE): [figure(0.5, 0.5, 300), figure(0.5, 0.5, 200), figure(1, 0.5, 200)],
    }
    row = Comparison("bind", None, "bind", None, 0.6)
    cpu, rate = cpu_ratio(figures, row, NODE), rate_ratio(figures, row, NODE)
    assert cpu and rate and cpu_ratio(figures, row, FLOOR) is None
    assert cpu.rounds == [0.5, 0.25, 0.75] and str(cpu) == "0.50 (≥ 0.6 ✗)"
    assert rate.value == 0.5


@pytest.mark.django_db
def test_invented_people_leave_rows_as_the_product_makes_them(settings: Any) -> None:
    settings.CONTENT_SAFETY = False
    meter = growth.CallMeter(None)
    life = growth.live(growth.Population(14, random.Random(1), meter), 14, 8, 0.5)
    assert life.whole["accounts_wechatuser"] == 14 - 1  # one is erased at the end of the week
    submitted = meter.costs["score"].calls
    # What the one had who was erased went with them.
    assert submitted > life.whole["groups_idempotencykey"] > 14
    assert life.whole["groups_score"] > 2 * life.whole["groups_idempotencykey"]
    assert life.whole["accounts_token"] >= 14 - 1
    assert meter.costs["bind"].statements / meter.costs["bind"].calls < 12


def test_what_stays_in_a_table_is_what_comes_as_long_as_it_is_kept() -> None:
    dated = growth.TableGrowth("t", rows=3, a_day=2, kept=7, packed=100, used=200)
    lasting = growth.TableGrowth("t", rows=3, a_day=2, kept=None, packed=100, used=200)
    assert (dated.steady, dated.without) == (14, 730)
    assert (lasting.steady, lasting.without) == (3, 3)


def test_every_rule_of_retention_is_of_a_table() -> None:
    from groups.retention import RULES

    assert set(growth.RULE_OF.values()) == RULES.keys() - {"files"}
    assert growth.RULE_OF.keys() <= growth.tables().keys()
