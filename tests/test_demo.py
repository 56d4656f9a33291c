"""The demo's site."""

import re
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import User
from django.contrib.auth.signals import user_logged_in
from django.core.management import call_command
from django.test import Client as Browser
from django.utils import timezone

from accounts.models import WeChatUser
from console.sign_in import sign_in_path
from groups import ranking
from groups.links import Link
from groups.models import Board, Group, Score, ScoreSource
from groupsite import demo
from scripts.pictures import PICTURES
from tests.cast import Person, refused
from tests.settings import APP_ID
from wechat.sandbox import Sandbox, demo_envelope, openid_of

pytestmark = pytest.mark.no_service

ROOT = Path(__file__).resolve().parent.parent


def seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "APP_ID", APP_ID)
    call_command("seed_demo", verbosity=0)


@pytest.fixture
def seeded(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    seed(monkeypatch)


def test_the_demo_has_scores_and_an_operator_without_a_password(seeded: None, capsys: Any) -> None:
    sources = set(Score.objects.values_list("board__key", "source"))
    assert sources == {("active-days", ScoreSource.ENTRY), ("taps", ScoreSource.CLIENT)}
    demo.print_addresses("http://127.0.0.1:8000")
    printed = capsys.readouterr().out
    assert "/sign-in" in printed and demo.SIGN_IN in printed
    assert not User.objects.get().has_usable_password()


def test_groups_that_are_hard_to_show_say_so_in_their_names(seeded: None) -> None:
    now = timezone.now()

    def rankings(label: str) -> list[ranking.Ranking]:
        group = Group.objects.get(label=label)
        return [ranking.whole(group, board, now) for board in Board.objects.of_app(APP_ID)]

    assert {found.total for found in rankings("五百人大群")} == {499}  # one enters by phone
    assert {found.total for found in rankings("一个人的群")} == {1}
    for found in rankings("还没有人得分的群"):
        assert found.total == 6
        assert {standing.rank for standing in found.entries} == {None}


# A Monday just after midnight, the first of a month, and an evening at a week's end.
@pytest.mark.parametrize("moment", ["2026-11-30 00:10", "2026-12-01 00:05", "2026-11-29 21:00"])
def test_the_ranking_that_the_demo_opens_is_worth_looking_at(
    db: None, monkeypatch: pytest.MonkeyPatch, capsys: Any, moment: str
) -> None:
    now = datetime.fromisoformat(f"{moment}+08:00")
    with time_machine.travel(now, tick=False):
        seed(monkeypatch)
        path = demo.print_addresses("http://127.0.0.1:8000")
        link = Link.open(path.split("/")[2])
        group, board = Group.objects.get(pk=link.group_id), Board.objects.get(key=link.board)
        alice = WeChatUser.objects.get(pk=link.user_id)
        found = ranking.standings(group, board, now, viewer=alice)
        everyone = ranking.whole(group, board, now).entries
    assert path in capsys.readouterr().out
    assert [standing.rank for standing in found.entries[:3]] == [1, 2, 3]
    assert all(standing.member.chosen_name.isalpha() for standing in found.entries[:3])
    ranks = [standing.rank for standing in everyone if standing.rank]
    assert len(ranks) > len(set(ranks)) > 20  # ties
    moves = [standing.movement for standing in everyone if standing.movement != "new"]
    assert {move > 0 for move in moves if move} == {True, False}
    assert found.me is not None and found.me.rank is not None
    assert found.me.rank > 60 and found.me not in found.entries
    assert found.me.movement not in {None, "new"}


def test_a_used_link_names_a_command_that_makes_another(
    db: None, settings: Any, capsys: Any
) -> None:
    operator = User.objects.create_superuser("operator", password=None)
    path = sign_in_path(operator)
    user_logged_in.connect(demo.say_how_to_sign_in_again)
    try:
        assert Browser().post(path).status_code == 302
    finally:
        user_logged_in.disconnect(demo.say_how_to_sign_in_again)
    assert capsys.readouterr().out.endswith("make signin\n")
    named = "<code>python manage.py sign_in_link &lt;username&gt;</code>"
    assert named in Browser().get(path).content.decode()
    settings.SIGN_IN_COMMAND = demo.SIGN_IN
    page = Browser().get(path)
    assert (page.status_code, "<code>make signin</code>" in page.content.decode()) == (410, True)
    assert re.search(r"^signin: .+\n\t.+-m groupsite.demo signin$", makefile(), re.MULTILINE)


def makefile() -> str:
    return (ROOT / "Makefile").read_text()


def test_the_mock_code_of_the_developer_tools_is_alice_in_the_demo_and_no_one_elsewhere(
    db: None, settings: Any
) -> None:
    visitor: Any = Person("visitor", phone=None)  # type: ignore[arg-type]
    code = {"code": "the code is a mock one"}
    apps = {APP_ID: settings.WECHAT_APPS[APP_ID]["SECRET"]}
    with Sandbox(apps) as elsewhere:
        settings.WECHAT_API_URL = elsewhere.url
        refused(visitor.post("login", code), 401, "invalid_code")
    with Sandbox(apps) as sandbox:
        settings.WECHAT_API_URL = sandbox.url
        demo.take_mock_code(sandbox)
        for _again in range(2):  # the tools give the same code at every log-in
            visitor.body = visitor.post("login", code).json()
            visitor.token = visitor.body["token"]
            assert visitor.openid == openid_of(APP_ID, "demo-alice")
        assert visitor.get("groups").json()["groups"] == []
        sealed = demo_envelope(APP_ID, "demo-alice", "family")
        assert visitor.post("groups/bind", sealed).status_code == 201
        for other in ("The code is a mock one", "the code is another mock one"):
            refused(visitor.post("login", {"code": other}), 401, "invalid_code")


def test_another_link_needs_a_demo_that_has_run(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="make demo"):
        demo.make_sign_in_link(tmp_path)


def test_a_phone_scans_the_address_of_the_ranking(capsys: Any) -> None:
    demo.print_phone_address("http://192.0.2.7:8000", f"/g/{'x' * 60}/")
    printed = capsys.readouterr().out
    assert "http://192.0.2.7:8000\n" in printed
    code = [line for line in printed.splitlines() if set(line) & set("█▀▄")]
    assert 18 < len(code) < 40  # fits a terminal
    assert max(map(len, code)) <= 60


@pytest.mark.parametrize("readme", ["README.md", "README.zh-CN.md"])
def test_the_pictures_of_the_readmes_are_those_that_the_script_takes(readme: str) -> None:
    shown = re.findall(r"docs/([\w-]+)\.png", (ROOT / readme).read_text())
    assert set(shown) == set(PICTURES)
    assert all((ROOT / "docs" / f"{name}.png").exists() for name in shown)
