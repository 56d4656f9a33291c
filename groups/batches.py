"""Scores of many people at once, from a team's own server."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from rest_framework.exceptions import APIException

from accounts.errors import UserBlocked
from accounts.models import WeChatUser

from .errors import RowNotFound
from .models import Board, Group, Membership, ScoreSource
from .services import Answer, Submission, write_scores

# Rows that are written in one transaction: enough to be quick, few enough that a member whose score
# is in it does not wait long for the lock.
PIECE = 50


@dataclass(frozen=True)
class ScoreRow:
    """A score of a batch, as it was sent: with keys and ids, which may name nothing."""

    openid: str
    board: str
    value: int
    open_gid: str | None
    key: str


def submit_batch(app_id: str, rows: Sequence[ScoreRow]) -> list[Answer]:
    """Write scores as if each was submitted by itself, in this order; return what became of each.

    They are written in pieces, each in a transaction of its own; what is refused does not stop the
    others.
    """
    boards = {board.key: board for board in Board.objects.of_app(app_id)}
    people = WeChatUser.objects.filter(app_id=app_id, openid__in={row.openid for row in rows})
    pks = dict(people.values_list("openid", "pk"))
    answers: list[Answer] = []
    for start in range(0, len(rows), PIECE):
        answers += _submit_piece(app_id, rows[start : start + PIECE], boards, pks)
    return answers


def _submit_piece(
    app_id: str, rows: Sequence[ScoreRow], boards: Mapping[str, Board], pks: Mapping[str, int]
) -> list[Answer]:
    with transaction.atomic():
        locked = WeChatUser.objects.lock_all(pks[row.openid] for row in rows if row.openid in pks)
        people = {user.openid: user for user in locked.values()}
        open_gids = {row.open_gid for row in rows} - {None}
        groups = _groups_of(app_id, locked, open_gids, timezone.now())
        read: list[tuple[int, Submission] | APIException] = []
        for row in rows:
            try:
                read.append(_read(row, boards, people, groups))
            except APIException as refusal:
                read.append(refusal)
        written = iter(write_scores([each for each in read if not isinstance(each, APIException)]))
    return [each if isinstance(each, APIException) else next(written) for each in read]


def _groups_of(
    app_id: str, users: Collection[int], open_gids: Collection[str | None], now: datetime
) -> dict[tuple[int, str], Group]:
    """Return the groups that these people are in, by person and openGId."""
    if not open_gids:
        return {}
    # With the appid, which is that of the people anyway, an index finds the groups.
    rows = Membership.objects.open(now).filter(
        user__in=users, group__app_id=app_id, group__open_gid__in=open_gids
    )
    return {(row.user_id, row.group.open_gid): row.group for row in rows.select_related("group")}


def _read(
    row: ScoreRow,
    boards: Mapping[str, Board],
    people: Mapping[str, WeChatUser],
    groups: Mapping[tuple[int, str], Group],
) -> tuple[int, Submission]:
    """Find what a row names; return the person's id and the submission.

    Raises RowNotFound, UserBlocked, PermissionDenied, InvalidField.
    """
    user, board = people.get(row.openid), boards.get(row.board)
    if user is None or board is None:
        absent = {"openid": user, "board": board}
        raise RowNotFound({name: [ABSENT[name]] for name in absent if absent[name] is None})
    if user.is_blocked:
        raise UserBlocked
    group = groups.get((user.pk, row.open_gid)) if row.open_gid is not None else None
    if group is None and row.open_gid is not None:
        raise RowNotFound({"openGId": [ABSENT["openGId"]]})
    submission = Submission(board, row.value, group, row.key, ScoreSource.SERVER)
    submission.check()
    return user.pk, submission


ABSENT = {
    "openid": _("No member has this openid. `server/users` makes members."),
    "board": _("The mini-program has no board with this key."),
    "openGId": _("The member is not in such a group, or has not entered it for too long."),
}
