"""Do what only an operator can do: the only file here that knows the console and the models.

Adapt it when addresses of the console or names of models change; nothing else needs to.
"""

import re
from itertools import count
from typing import Any

from django.apps import apps
from django.contrib.auth import get_user_model
from django.test import Client as Browser

from tests.settings import APP_ID

BOARD = {
    "app_id": APP_ID,
    "order": "desc",
    "policy": "best",
    "scope": "group",
    "rank_style": "competition",
    "decimals": "0",
    "windows": ["day", "week", "month", "all"],
    "default_window": "week",
    "writer": "client",
    "unit_zh": "",
    "unit_en": "",
    "min_value": "",
    "max_value": "",
}
REASON = "举报属实"
_serial = count(1)  # no two keys have one name


class Operator:
    """Act as Olga at the console, signed in just now."""

    def __init__(self, browser: Browser) -> None:
        users = get_user_model().objects
        olga = users.filter(username="olga").first() or users.create_superuser("olga")
        self.browser = browser
        self.browser.force_login(olga)

    def make_board(self, key: str, zh: str, en: str, **more: Any) -> None:
        form = {**BOARD, "key": key, "title_zh": zh, "title_en": en, **more}
        self._post("/admin/groups/board/add/", form)

    def make_key(self, app_id: str = APP_ID) -> str:
        """Make a server key; return its text."""
        form = {"app_id": app_id, "name": f"结算服务 {next(_serial)}"}
        page = self.browser.post("/admin/groups/serverkey/add/", form, follow=True)
        [text] = re.findall(r'id="shown-once"[^>]*>([\w-]+)<', page.content.decode())
        return str(text)

    def revoke_keys(self) -> None:
        for key in _rows("groups.ServerKey").all():
            self._act("revoke", key.pk)

    def make_file(self, name: str, content: str) -> None:
        form = {"name": name, "content": content}
        self._post("/admin/groups/verificationfile/add/", form)

    def do_to_person(self, action: str, person: Any) -> None:
        """Block, unblock, reset_nickname, reset_avatar or erase."""
        self._act(action, person.pk)

    def do_to_membership(self, action: str, person: Any, open_gid: str) -> None:
        """Hide, show or reset_alias."""
        memberships = _rows("groups.Membership")
        self._act(action, memberships.get(user=person.pk, group__open_gid=open_gid).pk)

    def do_to_group(self, action: str, open_gid: str) -> None:
        """Apply hide_group or show_group."""
        self._act(action, _rows("groups.Group").get(open_gid=open_gid).pk)

    def remove_score(self, person: Any, board: str, period: str) -> None:
        self._act("remove_score", self._score(person, board, period).pk)

    def correct_score(self, person: Any, board: str, period: str, value: int) -> None:
        score = self._score(person, board, period)
        shown = score.board.score_text(value).replace(",", "")  # as an operator types it: 1000.0
        self._post(f"/admin/groups/score/{score.pk}/change/", {"value": shown, "reason": REASON})

    def label(self, open_gid: str, text: str) -> None:
        assert _rows("groups.Group").filter(open_gid=open_gid).update(label=text)

    def watch(self, person: Any) -> None:
        """Watch the log-ins and binds of this member."""
        self._post("/admin/check/watch/", {"member": str(person.pk)})

    def decide(self, verdict: str) -> None:
        """Approve, refuse or reset everything that awaits review."""
        page = self.browser.get("/admin/review/").content.decode()
        items = re.findall(r'name="item" value="([\w-]+)"', page)
        assert items, page
        form = {"verdict": verdict, "reason": REASON, "item": sorted({*items})}
        self._post("/admin/review/", form)

    def _act(self, action: str, pk: int) -> None:
        self._post(f"/admin/act/{action}/{pk}/", {"reason": REASON})

    @staticmethod
    def _score(person: Any, board: str, period: str) -> Any:
        return _rows("groups.Score").get(user=person.pk, board__key=board, period=period)

    def _post(self, path: str, form: dict[str, Any]) -> None:
        answer = self.browser.post(path, form)
        assert answer.status_code == 302, (path, form, answer.content.decode())


def _rows(model: str) -> Any:
    return apps.get_model(model)._default_manager
