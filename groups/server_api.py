"""The calls of a team's own back end, with a server key instead of a member's token.

docs/server-api.md shows each with curl, and ten lines of Python.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, cast

from django.http import Http404
from django.shortcuts import get_object_or_404
from rest_framework.exceptions import APIException, ValidationError
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.models import WeChatUser
from accounts.serializers import LoginOutput
from accounts.services import UserRow, begin_session, register
from core.schema import extend_schema
from core.views import JsonView, Serializer
from wechat.client import Session

from . import ranking
from .authentication import KeyAuthentication
from .batches import ScoreRow, submit_batch
from .models import Board, Group, ServerKey
from .serializers import (
    MAX_ROWS,
    GroupsOutput,
    PageQuery,
    RankingQuery,
    ServerRankingOutput,
    ServerScoresInput,
    ServerScoresOutput,
    ServerUsersInput,
    ServerUsersOutput,
    SessionInput,
    WinnersOutput,
    WinnersQuery,
)
from .services import groups_of

FieldErrors = Mapping[str, list[Any]]


class ServerView(JsonView):
    """A call by a server, about the mini-program of its key alone."""

    authentication_classes = (KeyAuthentication,)
    permission_classes = (IsAuthenticated,)

    @property
    def app_id(self) -> str:
        return cast(ServerKey, self.request.auth).app_id

    def member(self, openid: str) -> WeChatUser:
        return get_object_or_404(WeChatUser, app_id=self.app_id, openid=openid)

    def group(self, open_gid: str) -> Group:
        return get_object_or_404(Group, app_id=self.app_id, open_gid=open_gid)

    def board(self, key: str | None) -> Board:
        try:
            return Board.objects.choose(self.app_id, key)
        except Board.DoesNotExist:
            raise Http404 from None


class RowsView(ServerView):
    """A call that is limited by its rows: a batch of 500 costs as much as 500 calls of one row."""

    rows_in: ClassVar[str] = ""  # the list in the body; "" where each call is one row
    unread: APIException | None = None

    def count_rows(self) -> int:
        """Return how many rows the body has, which nothing has checked yet; 1 if it is unreadable,
        which `read` says once it is known that the call may pass.
        """
        try:
            body = self.request.data
        except APIException as error:
            self.unread = error
            return 1
        rows = body.get(self.rows_in) if isinstance(body, dict) else None
        return min(max(1, len(rows)), MAX_ROWS) if isinstance(rows, list) else 1

    def read(self, serializer: Serializer) -> dict[str, Any]:
        if self.unread:
            raise self.unread
        return super().read(serializer)


# Scores


class ServerScoresView(RowsView):
    rows_in = "scores"

    @extend_schema(
        request=ServerScoresInput, responses=ServerScoresOutput, operation_id="server_scores"
    )
    def post(self, request: Request) -> Response:
        """Submit scores of up to 500 members; the results come in the same order.

        One that is refused says what and why, and does not stop the others.
        """
        rows = [
            ScoreRow(
                item["openid"],
                item["board"],
                item["value"],
                item.get("openGId"),
                item["idempotencyKey"],
            )
            for item in self.read(ServerScoresInput)["scores"]
        ]
        results = [
            {"openid": row.openid, "board": row.board, **outcome("periods", answer)}
            for row, answer in zip(rows, submit_batch(self.app_id, rows), strict=True)
        ]
        return self.answer(ServerScoresOutput, {"results": results})


def outcome(name: str, answer: Any) -> dict[str, Any]:
    """Write what became of a row, under this name, or the error that refused it."""
    if not isinstance(answer, APIException):
        return {name: answer}
    is_invalid = isinstance(answer, ValidationError)
    fields = answer.detail if is_invalid else getattr(answer, "fields", None)
    if not fields:
        return {"code": answer.default_code, "detail": str(answer.detail)}
    sentences = [str(sentence) for each in cast(FieldErrors, fields).values() for sentence in each]
    return {"code": answer.default_code, "detail": " ".join(sentences), "fields": fields}


# Members


class ServerUsersView(RowsView):
    rows_in = "users"

    @extend_schema(
        request=ServerUsersInput, responses=ServerUsersOutput, operation_id="server_users"
    )
    def post(self, request: Request) -> Response:
        """Make up to 500 members without a session; the results come in the same order."""
        people = [
            UserRow(item["openid"], item.get("unionid", ""), item.get("nickname", ""))
            for item in self.read(ServerUsersInput)["users"]
        ]
        results = [
            {"openid": person.openid, **outcome("user", answer)}
            for person, answer in zip(people, register(self.app_id, people), strict=True)
        ]
        return self.answer(ServerUsersOutput, {"results": results})


# Log-ins


class ServerSessionsView(RowsView):
    @extend_schema(request=SessionInput, responses=LoginOutput, operation_id="server_session")
    def post(self, request: Request) -> Response:
        """Make a member's token, for teams whose own back end logs in.

        Two back ends that exchange codes for one appid would change each other's session_key.
        Without `sessionKey` the member cannot enter groups with encrypted data.
        """
        body = self.read(SessionInput)
        session = Session(body["openid"], body.get("sessionKey", ""), body.get("unionid", ""))
        found = begin_session(self.app_id, session, body.get("nickname", ""))
        return self.answer(LoginOutput, found)


# Reading


class ServerGroupsView(ServerView):
    @extend_schema(parameters=[PageQuery], responses=GroupsOutput, operation_id="server_groups")
    def get(self, request: Request, openid: str) -> Response:
        """List a member's groups, the one visited last first."""
        cursor = self.query(PageQuery).get("cursor")
        return self.answer(GroupsOutput, groups_of(self.member(openid), cursor, self.now))


class ServerRankingView(ServerView):
    @extend_schema(
        parameters=[RankingQuery], responses=ServerRankingOutput, operation_id="server_ranking"
    )
    def get(self, request: Request, openGId: str) -> Response:
        """Return a group's ranking, as seen by no member in particular."""
        asked = self.query(RankingQuery)
        group, board = self.group(openGId), self.board(asked.pop("board", None))
        found = ranking.standings(group, board, self.now, **asked)
        return self.answer(ServerRankingOutput, found)


class WinnersView(ServerView):
    @extend_schema(parameters=[WinnersQuery], responses=WinnersOutput, operation_id="winners")
    def get(self, request: Request, openGId: str) -> Response:
        """Return the winners of a finished period."""
        asked = self.query(WinnersQuery)
        group, board = self.group(openGId), self.board(asked.pop("board", None))
        found = ranking.winners(group, board, self.now, **asked)
        ids = [standing.member.id for standing in found.entries]
        openids = dict(WeChatUser.objects.filter(pk__in=ids).values_list("pk", "openid"))
        context = {"request": request, "ranking": found, "openids": openids}
        return Response(WinnersOutput(found, context=context).data)
