"""`manage.py export`: what it writes is what `import` reads, all of it, whatever the database."""

import csv
import json
from collections.abc import Iterator
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import DEFAULT_DB_ALIAS, connection, connections
from django.db.utils import load_backend
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import WeChatUser
from audit.models import AuditEvent
from core.database import snapshot
from groups.models import Board, Group, Membership, Score, ScoreSource
from groups.transfer.rows import KINDS
from groupsite import settings as ours
from tests.cast import FAMILY, Person
from tests.query_counts import make_members
from tests.servers import scratch_database
from tests.settings import APP_ID, OTHER_APP_ID
from tests.transfers import hand_out, shanghai, take

SUMMER = shanghai(2026, 7, 1, 12, 30, 15, 123456)
# Which have the same order in no language, but as bytes.
OPENIDS = ["_a", "-b", "A1", "B1", "a1", "a_1", "a-1"]


@pytest.fixture
def lived_in(alice: Person, bob: Person, group: Group, make_board: Any) -> Group:
    """Make a site with something in every column that is moved."""
    laps = make_board(key="laps", scope="group", windows="all,week", decimals=2, order="asc")
    steps = make_board(min_value=-5, max_value=10**6, active_from=SUMMER, unit_zh="步")
    Board.objects.filter(pk=laps.pk).update(default_for=APP_ID, title_en='"Laps", ran\nby all')
    Board.objects.filter(key="active-days").update(title_zh="来过的天数")
    Group.objects.update(label="相亲, 相爱", seen_from=SUMMER)
    quiet = Group.objects.create(app_id=APP_ID, open_gid="Quiet-group", hidden=True)
    people = [WeChatUser(app_id=APP_ID, openid=openid) for openid in OPENIDS]
    people[0].nickname, people[0].nickname_draft = "以前", "=1+1"
    people[1].status = WeChatUser.Status.BLOCKED
    people[2].unionid = "union-2"
    WeChatUser.objects.bulk_create(people)
    people = list(WeChatUser.objects.filter(openid__in=OPENIDS))
    for place, user in enumerate(people):
        at = SUMMER + timedelta(days=place, microseconds=place)
        Membership.objects.create(group=quiet, user=user, joined_at=SUMMER, verified_at=at)
        for period, window in (("all", "all"), ("2026-W27", "week"), ("2026-07-02", "day")):
            facts = {"period": period, "window": window, "value": place - 2, "user": user}
            facts |= {"achieved_at": shanghai(2026, 7, 2, 1, 0, place)}
            Score.objects.create(board=steps, source=ScoreSource.SERVER, **facts)
            Score.objects.create(board=laps, scope=quiet.pk, **facts)
    Membership.objects.filter(user=people[0]).update(
        hidden=True, alias="别名", left_at=timezone.now()
    )
    Membership.objects.filter(user=people[1]).update(withheld=True, alias_draft="新名")
    return quiet


def moved() -> dict[str, list[Any]]:
    """Return all that an export takes along, as the database has it."""
    scores = Score.objects.exclude(board__key="laps", window="day")  # the board does not count days
    groups = dict(Group.objects.values_list("pk", "open_gid"))
    return {
        "people": sorted(
            (user.openid, user.unionid, user.own_nickname, user.status)
            for user in WeChatUser.objects.all()
        ),
        "groups": sorted(Group.objects.values_list("open_gid", "label", "seen_from", "hidden")),
        "boards": sorted(
            Board.objects.values_list(
                *("key", "app_id", "title_zh", "title_en", "unit_zh", "unit_en", "decimals"),
                *("order", "policy", "scope", "rank_style", "default_window", "min_value"),
                *("max_value", "writer", "active_from", "active_to", "default_for"),
            )
        ),
        "memberships": sorted(
            (
                *(each.user.openid, each.group.open_gid, each.joined_at, each.verified_at),
                *(str(each.left_at), each.hidden, each.withheld, each.own_alias),
            )
            for each in Membership.objects.select_related("user", "group")
        ),
        "scores": sorted(
            (
                *(each.user.openid, each.board.key, each.window, each.period),
                *(str(groups.get(each.scope)), each.value, each.achieved_at),
            )
            for each in scores.select_related("user", "board")
        ),
    }


def empty() -> None:
    """Make the site as it is after its first migration."""
    for model in (Score, Membership, Group, WeChatUser, Board):
        model._default_manager.all().delete()
    from django.apps import apps

    from groups.apps import ensure_active_days

    ensure_active_days(apps.get_app_config("groups"), DEFAULT_DB_ALIAS)


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_what_is_exported_and_imported_is_exported_again_byte_for_byte(
    lived_in: Group, tmp_path: Path, form: str
) -> None:
    before = moved()
    first = hand_out(tmp_path / "first", format=form)
    empty()
    answer = take(tmp_path / "first")
    assert answer.error == "" and all(not counts["refused"] for counts in answer.counts.values())
    assert moved() == before
    assert hand_out(tmp_path / "second", format=form) == first
    assert all(len(text) > 100 for text in first.values())


def test_columns_are_those_of_the_import(lived_in: Group, tmp_path: Path) -> None:
    for name, text in hand_out(tmp_path / "csv").items():
        kind = KINDS[name.removesuffix(".csv")]
        assert next(csv.reader(StringIO(text.decode()))) == list(kind.by_name)
    for name, text in hand_out(tmp_path / "jsonl", format="jsonl").items():
        kind = KINDS[name.removesuffix(".jsonl")]
        assert {tuple(json.loads(line)) for line in text.splitlines()} == {tuple(kind.by_name)}


def test_rows_stand_in_the_order_of_their_bytes(lived_in: Group, tmp_path: Path) -> None:
    text = hand_out(tmp_path / "out")["people.csv"].decode()
    openids = [row["openid"] for row in csv.DictReader(StringIO(text))]
    assert openids == sorted(openids) and set(OPENIDS) < set(openids)


def test_nothing_secret_and_nothing_of_others_is_exported(
    lived_in: Group, alice: Person, tmp_path: Path
) -> None:
    other = WeChatUser.objects.create(app_id=OTHER_APP_ID, openid="of-the-other-app")
    board = Board.objects.create(key="shared", title_zh="共有", title_en="Shared", scope="app")
    Score.objects.create(
        board=board, user=other, window="all", period="all", value=1, achieved_at=SUMMER
    )
    text = b"".join(hand_out(tmp_path / "out").values()).decode()
    user = alice.user
    assert alice.openid in text
    for hidden in (other.openid, alice.token, user.session_key, user.avatar_seed):
        assert hidden and hidden not in text


def test_only_the_owner_reads_the_files(lived_in: Group, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    out.mkdir(parents=True)
    (out / "people.csv.part").write_text("of an export that was killed")
    files = hand_out(out)
    assert out.stat().st_mode & 0o777 != 0o600
    assert {path.stat().st_mode & 0o777 for path in out.iterdir()} == {0o600}
    assert set(files) == {f"{kind}.csv" for kind in KINDS}
    for form in ("csv", "jsonl"):
        with pytest.raises(CommandError, match=r"The folder has people\.csv, groups\.csv"):
            hand_out(out, format=form)


def test_an_export_is_in_the_audit_and_says_that_it_holds_personal_data(
    lived_in: Group, tmp_path: Path
) -> None:
    out, error = StringIO(), StringIO()
    call_command("export", str(tmp_path / "out"), language="en", stdout=out, stderr=error)
    assert "people.csv       people          9" in out.getvalue()
    assert "personal data" in error.getvalue()
    event = AuditEvent.objects.get()
    assert (event.action, event.operator_name, event.app_id) == ("export", "manage.py", APP_ID)
    assert event.details["people"] == 9 and event.details["memberships"] == 9


def test_the_queries_of_an_export_do_not_grow(lived_in: Group, tmp_path: Path) -> None:
    counts = []
    for number in (1, 20):
        for user in make_members(number):
            Membership.objects.create(
                group=lived_in, user=user, joined_at=SUMMER, verified_at=SUMMER
            )
        with CaptureQueriesContext(connection) as captured:
            hand_out(tmp_path / str(number))
        counts.append(len(captured))
    assert counts[0] == counts[1] < 30


@pytest.fixture
def two_connections(tmp_path: Path) -> Iterator[Any]:
    """Connect to a scratch database, as this thread's own connection, and as someone else."""
    before = connections[DEFAULT_DB_ALIAS]
    with scratch_database(tmp_path) as url:
        config = {**before.settings_dict, **ours.database(url)}
        config["OPTIONS"] = before.settings_dict["OPTIONS"]
        made = [load_backend(config["ENGINE"]).DatabaseWrapper(config, "default") for _ in "12"]
        connections[DEFAULT_DB_ALIAS] = made[0]
        try:
            yield made
        finally:
            for each in made:
                each.close()
            connections[DEFAULT_DB_ALIAS] = before


@pytest.mark.django_db(transaction=True)
def test_all_that_is_read_in_a_snapshot_is_of_one_moment(two_connections: Any) -> None:
    mine, theirs = two_connections

    def count() -> int:
        with mine.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM things")
            return int(cursor.fetchone()[0])

    def write() -> None:
        with theirs.cursor() as cursor:
            cursor.execute("INSERT INTO things VALUES (1)")

    with theirs.cursor() as cursor:
        cursor.execute("CREATE TABLE things (a integer)")
    with snapshot():
        assert count() == 0
        write()  # which no reader keeps waiting
        assert count() == 0
    assert count() == 1
    assert not mine.in_atomic_block


def test_a_group_that_is_no_more_takes_its_scores_along(
    alice: Person, group: Group, tmp_path: Path
) -> None:
    Group.objects.filter(open_gid=FAMILY).delete()
    assert Score.objects.exists()
    text = hand_out(tmp_path / "out")["scores.csv"].decode()
    assert text.count("\n") == 1
