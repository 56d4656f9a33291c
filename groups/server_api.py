"""The calls of a team's own back end, with a server key instead of a member's token.

docs/server-api.md shows each with curl, and ten lines of Python.
"""

from collections.abc import Mapping
from typing import Any, cast

from django.http import Http404
from django.shortcuts import get_object_or_404
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import APIException, NotFound, ValidationError
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api import JsonView, LoginOutput
from accounts.authentication import KeyAuthentication
from accounts.errors import UserBlocked
from accounts.models import ServerKey, WeChatUser
from accounts.serializers import Nickname, StrictSerializer, Text, Time
from accounts.services import begin_session
from wechat.client import Session
from wechat.crypto import IV_PATTERN, decode_session_key

from . import ranking
from .api import (
    BoardHead,
    BoardQuery,
    GroupHead,
    GroupsOutput,
    MemberOutput,
    Number,
    OpaqueId,
    PageQuery,
    PeriodOutput,
    RankingOutput,
    RankingQuery,
    ScoreInput,
    SubmittedOutput,
    Word,
    groups_of,
    unreadable,
    unreadable_is_invalid,
)
from .models import Board, Group, Membership, Source
from .services import Submission, submit_score

MAX_SCORES = 500
DEFAULT_PLACES, MAX_PLACES = 3, 100


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


class ServerScoreInput(ScoreInput):
    """A score of one person; the idempotency key makes sending it again harmless."""

    openid = OpaqueId()
    idempotencyKey = Text(trim_whitespace=False, max_length=64)


class ServerScoresInput(StrictSerializer):
    scores = serializers.ListField(child=ServerScoreInput(), max_length=MAX_SCORES)


class ServerScoreOutput(serializers.Serializer[Any]):
    """What became of one score: its periods, or the code, detail and fields of an error."""

    openid = serializers.CharField()
    board = serializers.CharField()
    periods = SubmittedOutput(many=True, required=False)
    code = serializers.CharField(required=False)
    detail = serializers.CharField(required=False)
    fields = serializers.DictField(  # type: ignore[assignment]
        child=serializers.ListField(child=serializers.CharField()), required=False
    )


class ServerScoresOutput(serializers.Serializer[Any]):
    results = ServerScoreOutput(many=True)


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
        submission = Submission(board, item["value"], group, item["idempotencyKey"], Source.SERVER)
        return submit_score(person, submission)

    def group_of(self, person: WeChatUser, open_gid: str) -> Group:
        """A group that the person is in."""
        mine = Membership.objects.of(person, timezone.now()).select_related("group")
        return get_object_or_404(mine, group__open_gid=open_gid).group


def refusal(error: APIException) -> dict[str, Any]:
    """An error as one result among others."""
    if not isinstance(error, ValidationError):
        return {"code": error.default_code, "detail": str(error.detail)}
    fields = cast(dict[str, list[str]], error.detail)
    detail = " ".join(sentence for sentences in fields.values() for sentence in sentences)
    return {"code": error.default_code, "detail": detail, "fields": fields}


# Log-ins


class SessionInput(StrictSerializer):
    """Whom your server has logged in itself, with what WeChat's code2Session told it."""

    openid = OpaqueId()
    # Like an iv, the key of AES-128 is base64 of 16 bytes.
    sessionKey = Text(required=False, trim_whitespace=False, pattern=IV_PATTERN)
    unionid = OpaqueId(required=False)
    nickname = Nickname(required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        try:
            if "sessionKey" in attrs:
                decode_session_key(attrs["sessionKey"])
        except ValueError:
            sentence = _("Not as WeChat gives it: base64 of 16 bytes.")
            raise ValidationError({"sessionKey": [sentence]}) from None
        return attrs


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
        return self.answer(GroupsOutput, groups_of(self.person(openid), cursor))


class ServerRankingView(ServerView):
    @extend_schema(
        parameters=[RankingQuery], responses=RankingOutput, operation_id="server_ranking"
    )
    def get(self, request: Request, openGId: str) -> Response:
        """A group's ranking, as nobody in particular sees it."""
        asked = self.query(RankingQuery)
        group, board = self.group(openGId), self.board(asked.pop("board", None))
        with unreadable_is_invalid():
            found = ranking.standings(group, board, **asked)
        return self.answer(RankingOutput, found)


class WinnersQuery(BoardQuery):
    period = Word(required=True, help_text=_("The key of a period that has ended."))
    places = Number(default=DEFAULT_PLACES, min_value=1, max_value=MAX_PLACES)


class WinnerMemberOutput(MemberOutput):
    openid = serializers.SerializerMethodField()

    def get_openid(self, member: ranking.Member) -> str:
        return str(self.context["openids"][member.id])


class WinnerOutput(serializers.Serializer[ranking.Standing]):
    id = serializers.SerializerMethodField(
        help_text=_("The same for ever, so that a prize can be given once.")
    )
    rank = serializers.IntegerField()
    member = WinnerMemberOutput()
    score = serializers.IntegerField()
    scoreText = serializers.CharField(source="score_text")
    achievedAt = Time(source="achieved_at")

    def get_id(self, standing: ranking.Standing) -> str:
        found: ranking.Ranking = self.context["ranking"]
        where = (found.board.key, found.period.key, found.group.open_gid)
        return ":".join([*where, str(standing.member.id)])


class WinnersOutput(serializers.Serializer[ranking.Ranking]):
    """The first places of a finished period; who ties shares a place, so there may be more."""

    group = GroupHead()
    board = BoardHead()
    period = PeriodOutput(source="*")
    serverTime = Time(source="server_time")
    total = serializers.IntegerField()
    winners = WinnerOutput(many=True, source="entries")


class WinnersView(ServerView):
    @extend_schema(parameters=[WinnersQuery], responses=WinnersOutput, operation_id="winners")
    def get(self, request: Request, openGId: str) -> Response:
        """Who won a finished period."""
        asked = self.query(WinnersQuery)
        group, board = self.group(openGId), self.board(asked.pop("board", None))
        try:
            with unreadable_is_invalid():
                found = ranking.winners(group, board, **asked)
        except ranking.UnfinishedPeriod:
            raise unreadable("period") from None
        ids = [standing.member.id for standing in found.entries]
        openids = dict(WeChatUser.objects.filter(pk__in=ids).values_list("pk", "openid"))
        context = {"request": request, "ranking": found, "openids": openids}
        return Response(WinnersOutput(found, context=context).data)
