"""The calls about groups: prove, bind, list, rank, link, leave."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.http import Http404
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.urls import reverse
from drf_spectacular.utils import PolymorphicProxySerializer
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api import MemberView
from accounts.models import Token, WeChatUser
from audit import attempts
from core.gateway import proves_by_cloud_id
from core.schema import extend_schema
from core.serializers import NoInput, absolute

from . import privacy, ranking
from .answers import ranking_answer
from .causes import BIND, REDEEM, RESOLVE
from .links import Link
from .models import Board, Group, Membership, ScoreSource, choose
from .serializers import (
    AroundQuery,
    BindCloudIdInput,
    BindEnvelopeInput,
    BindTicketInput,
    BoardsOutput,
    BoundOutput,
    CloudIdInput,
    EnvelopeInput,
    GroupOutput,
    GroupsOutput,
    LinkInput,
    LinkOutput,
    MembershipInput,
    MembershipOutput,
    MyDataOutput,
    PageQuery,
    RankingOutput,
    RankingQuery,
    ReportInput,
    ResolvedOutput,
    ScoreInput,
    ScoreOutput,
)
from .services import (
    TICKET_LIFETIME,
    GroupEntry,
    Submission,
    bind,
    cards_of,
    change_membership,
    groups_of,
    leave,
    redeem,
    report,
    resolve,
    resolve_cloud_id,
    submit_score,
    ticket_for,
)
from .visits import Visit, visit_by_token


class GroupView(MemberView):
    """A call about a group; a member who is not in it gets 404, as if there were none."""

    def group(self, open_gid: str) -> Group:
        groups = Group.objects.visible_to(self.user, self.now)
        return get_object_or_404(groups, app_id=self.user.app_id, open_gid=open_gid)

    def membership(self, open_gid: str) -> Membership:
        mine = Membership.objects.of(self.user, self.now).select_related("group", "user")
        place = {"group__app_id": self.user.app_id, "group__open_gid": open_gid}
        return get_object_or_404(mine, **place)

    def board(self, key: str | None) -> Board:
        try:
            return Board.objects.choose(self.user.app_id, key)
        except Board.DoesNotExist:
            raise Http404 from None


def _resolve_input() -> type[EnvelopeInput | CloudIdInput]:
    return CloudIdInput if proves_by_cloud_id() else EnvelopeInput


def _bind_input() -> type[BindEnvelopeInput | BindCloudIdInput]:
    return BindCloudIdInput if proves_by_cloud_id() else BindEnvelopeInput


def entry_of(user: WeChatUser, body: Mapping[str, Any]) -> GroupEntry:
    """Return the group that the envelope in a body, or its cloudID, proves."""
    if "cloudID" in body:
        return resolve_cloud_id(user, body["cloudID"])
    return resolve(user, body["envelope"])


class ResolveView(MemberView):
    @extend_schema(request=_resolve_input(), responses=ResolvedOutput, operation_id="resolve")
    def post(self, request: Request) -> Response:
        """Open a group's encrypted data ("decode"); bind nothing.

        Fetch the data after logging in: WeChat may have changed the key since. Where `WECHAT_CLOUD`
        is `cloudid`, its `cloudID` is wanted instead.
        """
        with attempts.record(RESOLVE):
            entry = entry_of(self.user, self.read(_resolve_input()))
        answer = {
            "openGId": entry.open_gid,
            "openid": self.user.openid,
            "ticket": ticket_for(self.user, entry),
            "expiresIn": int(TICKET_LIFETIME.total_seconds()),
        }
        return self.answer(ResolvedOutput, answer)


BIND_INPUT = PolymorphicProxySerializer(
    component_name="BindInput",
    serializers=[_bind_input(), BindTicketInput],
    resource_type_field_name=None,
)


class BindView(MemberView):
    @extend_schema(
        request=BIND_INPUT, responses={200: BoundOutput, 201: BoundOutput}, operation_id="bind"
    )
    def post(self, request: Request) -> Response:
        """Enter a group: with its encrypted data, or with what `groups/resolve` answered."""
        by_ticket = self.has_any("openGId", "openid", "ticket")
        with attempts.record(REDEEM if by_ticket else BIND):
            bound = bind(self.user, *(self.by_ticket() if by_ticket else self.by_envelope()))
        membership = bound.membership
        [card] = cards_of([membership], self.now)
        answer = {
            "created": bound.created,
            "group": card,
            "membership": membership,
            "user": self.user,
        }
        code = status.HTTP_201_CREATED if bound.created else status.HTTP_200_OK
        return self.answer(BoundOutput, answer, code)

    def by_envelope(self) -> tuple[GroupEntry, int | None]:
        """Return what the encrypted data proves, and the scene of the launch."""
        body = self.read(_bind_input())
        attempts.passed("scene", scene=body.get("scene"))
        return entry_of(self.user, body), body.get("scene")

    def by_ticket(self) -> tuple[GroupEntry, int | None]:
        """Return what the ticket proves, and the scene of the launch."""
        body = self.read(BindTicketInput)
        attempts.passed("scene", scene=body.get("scene"))
        entry = redeem(self.user, body["openGId"], body["openid"], body["ticket"])
        return entry, body.get("scene")

    def has_any(self, *names: str) -> bool:
        body = self.request.data
        return isinstance(body, dict) and not body.keys().isdisjoint(names)


class GroupsView(MemberView):
    @extend_schema(parameters=[PageQuery], responses=GroupsOutput, operation_id="groups")
    def get(self, request: Request) -> Response:
        """List my groups, the one visited last first."""
        cursor = self.query(PageQuery).get("cursor")
        return self.answer(GroupsOutput, groups_of(self.user, cursor, self.now))


class OneGroupView(GroupView):
    @extend_schema(responses=GroupOutput, operation_id="group")
    def get(self, request: Request, openGId: str) -> Response:
        """Return one of my groups."""
        [card] = cards_of([self.membership(openGId)], self.now)
        return self.answer(GroupOutput, card)


class MembershipView(GroupView):
    costly = {"PUT"}

    @extend_schema(
        request=MembershipInput, responses=MembershipOutput, operation_id="update_membership"
    )
    def put(self, request: Request, openGId: str) -> Response:
        """Hide me from this group's rankings, or change my name there.

        A name that WeChat's check doubts awaits review; until then only I see it.
        """
        membership = self.membership(openGId)
        changed = change_membership(membership, self.read(MembershipInput))
        return self.answer(MembershipOutput, changed)

    @extend_schema(responses={204: None}, operation_id="leave")
    def delete(self, request: Request, openGId: str) -> Response:
        """Leave the group here; WeChat's own group does not change."""
        self.read(NoInput)
        leave(self.membership(openGId))
        return Response(status=status.HTTP_204_NO_CONTENT)


class VisitView(GroupView):
    """A call that a whole group makes at the same moment: one query says who asks and may they."""

    visit: Visit

    def valid_token(self, text: str, now: datetime) -> Token | None:
        """Return the row of a valid token, and keep what it lets its owner see."""
        token, visit = visit_by_token(text, self.kwargs["openGId"], now)
        if visit:
            self.visit = visit
        return token

    def group(self, open_gid: str) -> Group:
        """Return the group in the address."""
        if self.visit.group is None:
            raise Http404
        return self.visit.group

    def board(self, key: str | None) -> Board:
        try:
            return choose(self.visit.boards, self.user.app_id, key)
        except Board.DoesNotExist:
            raise Http404 from None


RANKING = {200: RankingOutput, 304: None}  # None: the client has it already


class RankingView(VisitView):
    @extend_schema(parameters=[RankingQuery], responses=RANKING, operation_id="ranking")
    def get(self, request: Request, openGId: str) -> HttpResponseBase:
        """Return a group's ranking, from the top or after a cursor."""
        asked = self.query(RankingQuery)
        group, board = self.group(openGId), self.board(asked.pop("board", None))
        found = ranking.standings(group, board, self.now, viewer=self.user, **asked)
        return ranking_answer(request, found)


class AroundView(VisitView):
    @extend_schema(parameters=[AroundQuery], responses=RANKING, operation_id="around")
    def get(self, request: Request, openGId: str) -> HttpResponseBase:
        """Return the part of the ranking around me."""
        asked = self.query(AroundQuery)
        group, board = self.group(openGId), self.board(asked.pop("board", None))
        found = ranking.around(group, board, self.now, self.user, **asked)
        return ranking_answer(request, found)


class LinkView(GroupView):
    @extend_schema(request=LinkInput, responses=LinkOutput, operation_id="link")
    def post(self, request: Request, openGId: str) -> Response:
        """Make a link to the group's web page as I see it; it opens for LINK_MAX_AGE seconds."""
        group, board = self.group(openGId), self.board(self.read(LinkInput).get("board"))
        link = Link(self.user.pk, group.pk, board.key)
        answer = {
            "url": absolute(request, reverse("member-page", args=[link.sign()])),
            "expires_at": self.now + timedelta(seconds=settings.LINK_MAX_AGE),
        }
        return self.answer(LinkOutput, answer)


class ReportsView(GroupView):
    costly = {"POST"}

    @extend_schema(request=ReportInput, responses={204: None}, operation_id="report")
    def post(self, request: Request, openGId: str) -> Response:
        """Report the name and face of another member of this group to the operators.

        Once a member and what they show; the answer is the same whatever is meant.
        """
        group, body = self.group(openGId), self.read(ReportInput)
        report(self.user, group, int(body["member"]), body["reason"])
        return Response(status=status.HTTP_204_NO_CONTENT)


class ScoresView(GroupView):
    @extend_schema(request=ScoreInput, responses=ScoreOutput, operation_id="submit_score")
    def post(self, request: Request) -> Response:
        """Submit a score of mine, in all the board's current periods at once.

        403 where only the server writes.
        """
        body = self.read(ScoreInput)
        group = self.group(body["openGId"]) if "openGId" in body else None
        board = self.board(body["board"])
        key = body.get("idempotencyKey", "")
        submission = Submission(board, body["value"], group, key, ScoreSource.CLIENT)
        periods = submit_score(self.user, submission)
        return self.answer(ScoreOutput, {"board": board.key, "periods": periods})


class MyDataView(MemberView):
    open_to_blocked = {"GET"}
    costly = {"GET"}

    @extend_schema(responses=MyDataOutput, operation_id="my_data")
    def get(self, request: Request) -> Response:
        """Return everything held about me."""
        return self.answer(MyDataOutput, privacy.data_about(self.user))


class BoardsView(MemberView):
    @extend_schema(responses=BoardsOutput, operation_id="boards")
    def get(self, request: Request) -> Response:
        """List this mini-program's boards, one a key."""
        return self.answer(BoardsOutput, {"boards": Board.objects.of_app(self.user.app_id)})
