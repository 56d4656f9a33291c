"""No cliffs: what is large, or new to the database's statistics, costs at most three times as much.

Counted is the work of the very statements that the product runs, not time: on PostgreSQL the pages
that their plans touch, on MariaDB the rows read, on SQLite the steps of its virtual machine. A
million people take minutes to write: here they are 50,000, and `make bench GROUPS=20000` has them.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import Q
from django.test import Client as Browser
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import Token, WeChatUser
from groups import ranking
from groups.models import Board, Group, Membership, Score
from groups.periods import Period, Window
from tests.settings import APP_ID

pytestmark = pytest.mark.django_db

CROWD, MOST = 50_000, 3
ON_POSTGRESQL = connection.vendor == "postgresql"
linear_windows = pytest.mark.skipif(
    connection.vendor == "mysql",
    reason="MariaDB's window functions read a group once for each of its members: docs/deploy.md",
)
DIGITS = " UNION ALL ".join(f"SELECT {digit} AS d" for digit in range(10))
NUMBERS = (
    "(SELECT a.d + 10 * b.d + 100 * c.d + 1000 * e.d + 10000 * f.d AS n FROM "
    + ", ".join(f"({DIGITS}) {name}" for name in "abcef")
    + ") numbers"
)


# Counting


def selects(captured: Iterable[Mapping[str, str]]) -> list[str]:
    """Return the statements that read, each with its parameters in it, as it was run."""
    found = [query["sql"] for query in captured]
    return [sql for sql in found if sql.lstrip("( \n").upper().startswith(("SELECT", "WITH"))]


def work(ask: Callable[[], Any]) -> int:
    """Return how much the database works for `ask`, in the unit that it counts in."""

    def anew() -> None:
        ranking.recent.clear()
        ask()

    anew()  # fills the other caches
    return max(COUNTS[connection.vendor](anew), 1)


def pages_touched(ask: Callable[[], Any]) -> int:
    with CaptureQueriesContext(connection) as captured:
        ask()
    assert selects(captured.captured_queries)
    return sum(map(pages_of, selects(captured.captured_queries)))


def pages_of(sql: str) -> int:
    """Run a statement of PostgreSQL once more; return how many pages its plan touched."""
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {sql}")
        [[[explained]]] = cursor.fetchall()
    plan = explained["Plan"]
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


def rows_read(ask: Callable[[], Any]) -> int:
    def handled() -> int:
        with connection.cursor() as cursor:
            cursor.execute("SHOW SESSION STATUS LIKE 'Handler_read%'")
            return sum(int(number) for _name, number in cursor.fetchall())

    before = handled()
    ask()
    return handled() - before


def steps_taken(ask: Callable[[], Any]) -> int:
    steps = 0

    def step() -> int:
        nonlocal steps
        steps += 1
        return 0

    connection.ensure_connection()
    connection.connection.set_progress_handler(step, 10)
    try:
        ask()
    finally:
        connection.connection.set_progress_handler(None, 10)
    return steps


COUNTS = {"postgresql": pages_touched, "mysql": rows_read, "sqlite": steps_taken}


def analyse() -> None:
    """Let PostgreSQL know what is there; MariaDB would end the test's transaction."""
    if ON_POSTGRESQL:
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")


# Writing many rows


def multiply(model: Any, row: Any, source: str, **columns: str) -> None:
    """Copy a row once for every row of `source`, with these columns as SQL says; delete it."""
    quote = connection.ops.quote_name
    fields = [field for field in model._meta.concrete_fields if not field.primary_key]
    names = ", ".join(quote(field.column) for field in fields)
    chosen = ", ".join(columns.get(f.attname, f"t.{quote(f.column)}") for f in fields)
    table = quote(model._meta.db_table)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {table} ({names}) SELECT {chosen} FROM {table} t, {source}"
            f" AND t.id = {row.pk}"
        )
    row.delete()


def text(prefix: str, number: str) -> str:
    """Return the SQL of a text with a number at its end."""
    if connection.vendor == "mysql":
        return f"CONCAT('{prefix}', {number})"
    return f"'{prefix}' || {number}"


def make_crowd(number: int, name: str = "crowd") -> list[int]:
    one = WeChatUser.objects.create(app_id=APP_ID, openid=f"{name}-", nickname="N")
    source = f"{NUMBERS} WHERE n < {number}"
    multiply(WeChatUser, one, source, openid=text(f"{name}-", "n"))
    found = WeChatUser.objects.filter(openid__startswith=f"{name}-").order_by("pk")
    return list(found.values_list("pk", flat=True))


def make_group(name: str, users: list[int]) -> Group:
    now = timezone.now()
    group = Group.objects.create(app_id=APP_ID, open_gid=name)
    Membership.objects.bulk_create(
        [Membership(group=group, user_id=pk, joined_at=now, verified_at=now) for pk in users]
    )
    return group


def score(board: Board, users: list[int], week: int = 0) -> None:
    """Give people from the first to the last of `users` a score of this week, or of one before."""
    now = timezone.now() - timedelta(weeks=week)
    period = Period.current(Window.WEEK, now).key
    facts = {"board": board, "window": "week", "period": period, "achieved_at": now}
    one = Score.objects.create(user_id=users[0], scope=-1, value=1, **facts)
    source = f"accounts_wechatuser u WHERE u.id BETWEEN {users[0]} AND {users[-1]}"
    multiply(Score, one, source, scope="0", user_id="u.id", value="u.id % 1000")


def make_board(key: str) -> Board:
    titles = {"title_zh": "积分", "title_en": "Points"}
    return Board.objects.create(
        app_id=APP_ID, key=key, scope="app", default_window="week", **titles
    )


# The cliffs


def asks(group: Group, board: Board) -> dict[str, Callable[[], Any]]:
    """Return what reads a ranking: an API's page, an operator's page, an operator's list."""
    now, me = timezone.now(), WeChatUser.objects.get(pk=group.memberships.earliest("pk").user_id)
    group_only = Q(group=group)
    return {
        "standings": lambda: ranking.standings(group, board, now, viewer=me),
        "around": lambda: ranking.around(group, board, now, me),
        "roster": lambda: ranking.roster(group, board, now),
        "summary": lambda: ranking.summarize(group_only, {APP_ID: board}, now),
    }


def measured(group: Group, board: Board) -> dict[str, int]:
    return {name: work(ask) for name, ask in asks(group, board).items()}


def assert_no_cliff(found: dict[str, int], steady: dict[str, int]) -> None:
    assert {name: n for name, n in found.items() if n > MOST * steady[name]} == {}, (found, steady)


def test_a_board_that_is_new_to_the_statistics_costs_what_it_costs_later() -> None:
    people = make_crowd(CROWD)
    group = make_group("tG-fifty", people[:: CROWD // 50])
    old, fresh = make_board("old"), make_board("fresh")
    score(old, people)
    analyse()
    steady = measured(group, old)
    score(fresh, people)
    new = measured(group, fresh)
    analyse()
    assert_no_cliff(new, measured(group, fresh))
    assert_no_cliff(new, steady)


def test_a_week_that_is_new_to_the_statistics_costs_what_the_last_one_did() -> None:
    people = make_crowd(CROWD)
    group, board = make_group("tG-fifty", people[:: CROWD // 50]), make_board("points")
    score(board, people, week=2)
    analyse()
    score(board, people, week=1)  # too few for the statistics to be made anew
    score(board, people)
    new = measured(group, board)
    analyse()
    assert_no_cliff(new, measured(group, board))


def test_an_app_wide_board_of_many_costs_a_group_what_its_own_scores_do() -> None:
    people = make_crowd(CROWD)
    few, many = make_board("few"), make_board("many")
    group = make_group("tG-fifty", people[-50:])
    for board in few, many:
        score(board, people[-50:])
    score(many, people[:-50])
    analyse()
    assert_no_cliff(measured(group, many), measured(group, few))


@linear_windows
def test_a_member_of_a_group_of_2000_costs_what_one_of_500_does() -> None:
    people, board = make_crowd(2_500), make_board("points")
    score(board, people)
    groups = {size: make_group(f"tG-{size}", people[-size:]) for size in (500, 2_000)}
    analyse()
    found = {size: measured(group, board) for size, group in groups.items()}
    each = {size: {name: n / size for name, n in all.items()} for size, all in found.items()}
    assert_no_cliff(each[2_000], each[500])  # type: ignore[arg-type]


def join_groups(name: str, number: int) -> WeChatUser:
    """Make someone who is in so many groups of three, with a score of the week in each."""
    now, board = timezone.now(), Board.objects.active_days()
    *others, me = make_crowd(3, name)
    Group.objects.bulk_create(
        [Group(app_id=APP_ID, open_gid=f"tG-{name}-{place}") for place in range(number)]
    )
    groups = Group.objects.filter(open_gid__startswith=f"tG-{name}-")
    Membership.objects.bulk_create(
        [
            Membership(
                group=group, user_id=pk, joined_at=now, verified_at=now - timedelta(seconds=place)
            )
            for place, group in enumerate(groups)
            for pk in (*others, me)
        ]
    )
    period = Period.current(Window.WEEK, now).key
    facts = {"board": board, "window": "week", "period": period, "achieved_at": now, "value": 1}
    Score.objects.bulk_create([Score(user_id=me, scope=group.pk, **facts) for group in groups])
    return WeChatUser.objects.get(pk=me)


@linear_windows
def test_someone_in_a_thousand_groups_costs_what_someone_in_sixty_does(olga: Browser) -> None:
    few, many = join_groups("few", 60), join_groups("many", 1_000)
    analyse()
    mine, pages = {}, {}
    for user in few, many:
        token, _row = Token.objects.issue(user, timezone.now())
        headers = {"Authorization": f"Bearer {token}"}

        def my_groups(headers: dict[str, str] = headers) -> None:
            assert Browser().get("/api/v1/groups", headers=headers).status_code == 200

        def page(user: WeChatUser = user) -> None:
            answer = olga.get(f"/admin/accounts/wechatuser/{user.pk}/change/")
            assert len(answer.context["places"]) == 50

        mine[user.openid], pages[user.openid] = work(my_groups), work(page)
    assert mine[many.openid] <= MOST * mine[few.openid], mine
    assert pages[many.openid] <= MOST * pages[few.openid], pages


@linear_windows
def test_a_page_of_the_list_of_groups_costs_the_same_however_many_there_are(olga: Browser) -> None:
    def page() -> None:
        assert len(olga.get("/groups/").context["rows"]) == 50

    join_groups("few", 500)  # of fewer PostgreSQL reads the whole table, which is cheaper then
    analyse()
    few = work(page)
    join_groups("many", 5_000)
    analyse()
    assert work(page) <= MOST * few, few
