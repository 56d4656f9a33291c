"""The calls of a team's own back end, with a server key instead of a member's token.

docs/server-api.md shows each with curl, and ten lines of Python.
"""

from collections.abc import Mapping
from typing import Any, cast

from django.http import Http404
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import APIException, NotFound, ValidationError
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.errors import UserBlocked
from accounts.models import WeChatUser
from accounts.serializers import LoginOutput
from accounts.services import begin_session
from core.views import JsonView
from wechat.client import Session

from . import ranking
from .authentication import KeyAuthentication
from .models import Board, Group, Membership, ScoreSource, ServerKey
from .serializers import (
    GroupsOutput,
    PageQuery,
    RankingOutput,
    RankingQuery,
    ServerScoresInput,
    ServerScoresOutput,
    SessionInput,
    WinnersOutput,
    WinnersQuery,
)
from .services import Submission, groups_of, submit_score


class ServerView(JsonView):
    """A call by a server, about the mini-program of its key alone."""

    authentication_classes = (KeyAuthentication,)
    permission_classes = (IsAuthenticated,)

    @property
    def app_id(self) -> str:
        return cast(ServerKey, self.request.auth).app_id

    def person(self, openid: str) -> WeChatUser:
        return get_object_or_404(WeChatUser, app_id=self.app_id, openid=openid)

    def group(self, open_gid: str) -> Group:
        return get_object_or_404(Group, app_id=self.app_id, open_gid=open_gid)

    def board(self, key: str | None) -> Board:
        try:
            return Board.objects.choose(self.app_id, key)
        except Board.DoesNotExist:
            raise Http404 from None


# Scores


class ServerScoresView(ServerView):
    @extend_schema(
        request=ServerScoresInput, responses=ServerScoresOutput, operation_id="server_scores"
    )
    def post(self, request: Request) -> Response:
        """Scores of up to 500 people; the results in their order.

        Each is a transaction of its own: one that is refused says why, and hinders no other.
        """
        results = [self.result(item) for item in self.read(ServerScoresInput)["scores"]]
        return self.answer(ServerScoresOutput, {"results": results})

    def result(self, item: Mapping[str, Any]) -> dict[str, Any]:
        about = {"openid": item["openid"], "board": item["board"]}
        try:
            return about | {"periods": self.submit(item)}
        except (Http404, WeChatUser.DoesNotExist):
            return about | refusal(NotFound())
        except APIException as error:
            return about | refusal(error)

    def submit(self, item: Mapping[str, Any]) -> Any:
        person, board = self.person(item["openid"]), self.board(item["board"])
        if person.is_blocked:
            raise UserBlocked
        group = self.group_of(person, item["openGId"]) if "openGId" in item else None
        submission = Submission(
            board, item["value"], group, item["idempotencyKey"], ScoreSource.SERVER
        )
        return submit_score(person, submission)

    def group_of(self, person: WeChatUser, open_gid: str) -> Group:
        """A group that the person is in."""
        mine = Membership.objects.of(person, self.now).select_related("group")
        return get_object_or_404(mine, group__open_gid=open_gid).group


def refusal(error: APIException) -> dict[str, Any]:
    """An error as one result among others."""
    if not isinstance(error, ValidationError):
        return {"code": error.default_code, "detail": str(error.detail)}
    fields = cast(dict[str, list[str]], error.detail)
    detail = " ".join(sentence for sentences in fields.values() for sentence in sentences)
    return {"code": error.default_code, "detail": detail, "fields": fields}


# Log-ins


class ServerSessionsView(ServerView):
    @extend_schema(request=SessionInput, responses=LoginOutput, operation_id="server_session")
    def post(self, request: Request) -> Response:
        """A member's token, for teams whose own back end logs in: two that exchange codes for one
        appid would change each other's session_key.

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
        """Somebody's groups, the one visited last first."""
        cursor = self.query(PageQuery).get("cursor")
        return self.answer(GroupsOutput, groups_of(self.person(openid), cursor, self.now))


class ServerRankingView(ServerView):
    @extend_schema(
        parameters=[RankingQuery], responses=RankingOutput, operation_id="server_ranking"
    )
    def get(self, request: Request, openGId: str) -> Response:
        """A group's ranking, as nobody in particular sees it."""
        asked = self.query(RankingQuery)
        group, board = self.group(openGId), self.board(asked.pop("board", None))
        found = ranking.standings(group, board, self.now, **asked)
        return self.answer(RankingOutput, found)


class WinnersView(ServerView):
    @extend_schema(parameters=[WinnersQuery], responses=WinnersOutput, operation_id="winners")
    def get(self, request: Request, openGId: str) -> Response:
        """Who won a finished period."""
        asked = self.query(WinnersQuery)
        group, board = self.group(openGId), self.board(asked.pop("board", None))
        found = ranking.winners(group, board, self.now, **asked)
        ids = [standing.member.id for standing in found.entries]
        openids = dict(WeChatUser.objects.filter(pk__in=ids).values_list("pk", "openid"))
        context = {"request": request, "ranking": found, "openids": openids}
        return Response(WinnersOutput(found, context=context).data)
