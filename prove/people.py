"""`python -m prove.people`: make members, groups and a board in the site's database; or print what
that database holds about them. For trials, which are no part of the site's own processes.
"""

import json
import secrets
import sys
from datetime import timedelta
from typing import Any

from . import APP_ID

SESSION_KEY = "tiihtNczf5v6AKRyjwEUhQ=="
BOARD = "laps"


def make(count: int) -> list[dict[str, Any]]:
    """Make as many more members, and a board of sums; return the number and token of each."""
    from django.utils import timezone

    from accounts.models import Token, WeChatUser
    from core.vault import digest_of, encrypt
    from groups.models import Board

    now = timezone.now()
    fields = {"title_zh": "圈", "title_en": "Laps", "scope": Board.Scope.APP}
    fields |= {"policy": Board.Policy.SUM, "writer": Board.Writer.CLIENT}
    Board.objects.get_or_create(app_id=APP_ID, key=BOARD, defaults=fields)
    sealed = encrypt(SESSION_KEY)
    mark = secrets.token_hex(4)
    people = [
        WeChatUser(app_id=APP_ID, openid=f"{mark}-{n}", session_key=sealed, session_key_at=now)
        for n in range(count)
    ]
    met = WeChatUser.objects.meet_all(people)
    tokens = {user.pk: secrets.token_urlsafe(32) for user in met.values()}
    until = now + timedelta(days=60)
    Token.objects.bulk_create(
        Token(user_id=pk, digest=digest_of(text), created_at=now, expires_at=until)
        for pk, text in tokens.items()
    )
    return [{"id": pk, "token": text} for pk, text in tokens.items()]


def look() -> dict[str, Any]:
    """Return what is stored: names, sums, keys, memberships and days by member; groups by id."""
    from collections import Counter

    from accounts.models import WeChatUser
    from groups.models import Group, IdempotencyKey, Membership, Score
    from groups.periods import Window

    whole = Score.objects.filter(window=Window.ALL).exclude(value=0)
    sums = whole.filter(board__key=BOARD).values_list("user", "value")
    groups = dict(Group.objects.values_list("pk", "open_gid"))
    days = whole.exclude(board__key=BOARD).values_list("user", "scope", "value")
    members = Membership.objects.values_list("user", "group__open_gid")
    return {
        "names": {str(pk): name for pk, name in WeChatUser.objects.values_list("pk", "nickname")},
        "sums": [[str(pk), value] for pk, value in sums],
        "days": [[str(pk), groups[scope], value] for pk, scope, value in days],
        "members": [[str(pk), group] for pk, group in members],
        "keys": [[str(pk), key] for pk, key in IdempotencyKey.objects.values_list("user", "key")],
        "groups": Counter(groups.values()),
    }


if __name__ == "__main__":
    import django

    django.setup()
    found = make(int(sys.argv[1])) if len(sys.argv) > 1 else look()
    sys.stdout.write(json.dumps(found, default=str))
