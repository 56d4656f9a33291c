"""The calls about groups: prove, bind, list, rank, link, leave."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.core import signing
from django.db.models import Q
from django.http import Http404
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import (
    PolymorphicProxySerializer,
    extend_schema,
    extend_schema_field,
)
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import trail
from accounts.api import ConsentOutput, MemberView
from accounts.api import MeView as ProfileView
from accounts.models import Attempt, AvatarCheck, Token, Watch, WeChatUser
from accounts.review import State
from accounts.serializers import (
    AvatarUrl,
    Flag,
    Nickname,
    NoInput,
    StrictSerializer,
    Text,
    Time,
    UserOutput,
    Whole,
)
from wechat.crypto import (
    DATA_PATTERN,
    IV_PATTERN,
    OPAQUE_ID,
    Envelope,
    MalformedEnvelopeError,
    is_opaque_id,
)

from . import periods, privacy, ranking
from .links import Link
from .models import (
    MAX_SCORE,
    Board,
    Group,
    IdempotencyKey,
    Membership,
    Score,
    Source,
    Submitted,
    describe,
)
from .periods import UnreadablePeriod, Window
from .services import (
    TICKET_LIFETIME,
    Entry,
    Submission,
    bind,
    change_membership,
    leave,
    redeem,
    resolve,
    submit_score,
    ticket_for,
)

PAGE = 20
KEY_PATTERN = f"^{OPAQUE_ID.pattern}$"
SIGNED_PATTERN = "^[A-Za-z0-9_.:-]+$"  # Django's signing

# Input


class OpaqueId(Text):
    """An openid or openGId."""

    default_error_messages = {"format": _("Not an id of WeChat.")}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(trim_whitespace=False, pattern=KEY_PATTERN, **kwargs)

    def to_internal_value(self, data: Any) -> str:
        text = super().to_internal_value(data)
        if not is_opaque_id(text):
            self.fail("format")
        return text


class EnvelopeInput(StrictSerializer):
    """What wx.getGroupEnterInfo or wx.getShareInfo gave, as it gave it."""

    encryptedData = Text(trim_whitespace=False, pattern=DATA_PATTERN)
    iv = Text(trim_whitespace=False, pattern=IV_PATTERN)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        try:
            envelope = Envelope.parse(attrs["encryptedData"], attrs["iv"])
        except MalformedEnvelopeError:
            sentence = _("Not as WeChat sends it: strict base64, unaltered. Send JSON, not a form.")
            raise serializers.ValidationError({"encryptedData": [sentence]}) from None
        return attrs | {"envelope": envelope}


class SceneField(Whole):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(min_value=0, max_value=65535, required=False, **kwargs)


class BindEnvelopeInput(EnvelopeInput):
    """The same, and the scene of the launch."""

    scene = SceneField()


class BindTicketInput(StrictSerializer):
    """The article's second step: what `groups/resolve` answered."""

    openGId = OpaqueId()
    openid = OpaqueId()
    ticket = Text(pattern=SIGNED_PATTERN)
    scene = SceneField()


class MembershipInput(StrictSerializer):
    """What I may change about myself in one group; an empty alias takes it back."""

    hidden = Flag(required=False)
    alias = Nickname(required=False, allow_blank=True)


class Value(Whole):
    """A score: an integer that JavaScript holds exactly."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(min_value=-MAX_SCORE, max_value=MAX_SCORE, **kwargs)


class ScoreInput(StrictSerializer):
    """A score of mine; in which group, where the board has one for each.

    The same `idempotencyKey` with the same body counts once, for seven days.
    """

    board = Text(trim_whitespace=False, max_length=64, pattern=KEY_PATTERN)
    value = Value()
    openGId = OpaqueId(required=False)
    idempotencyKey = Text(required=False, trim_whitespace=False, max_length=64)


class LinkInput(StrictSerializer):
    """The key of the board that the page shows."""

    board = Text(required=False, trim_whitespace=False, max_length=64, pattern=KEY_PATTERN)


class Word(Text):
    """A query parameter taken as it is: a space before or after it is part of it."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"required": False, "trim_whitespace": False, **kwargs})


class Number(serializers.IntegerField):
    """A query parameter of plain digits; int() itself would read 1_0, +5 and ５ as well."""

    def to_internal_value(self, data: Any) -> int:
        if not re.fullmatch("[0-9]{1,9}", str(data)):
            self.fail("invalid")
        return super().to_internal_value(data)


class PageQuery(serializers.Serializer[Any]):
    cursor = Word(pattern=SIGNED_PATTERN)


class BoardQuery(serializers.Serializer[Any]):
    board = Word(pattern=KEY_PATTERN, help_text=_("A board's key."))
    period = Word(
        pattern=periods.PATTERN,
        help_text="`day`, `week`, `month`, `all`, `2026-11-22`, `2026-W47`, `2026-11`",
    )


class AroundQuery(BoardQuery):
    size = Number(default=ranking.DEFAULT_AROUND, min_value=1, max_value=ranking.MAX_AROUND)


class RankingQuery(BoardQuery):
    limit = Number(default=ranking.DEFAULT_LIMIT, min_value=1, max_value=ranking.MAX_LIMIT)
    cursor = Word(pattern=SIGNED_PATTERN)


# Output


class MembershipOutput(serializers.Serializer[Membership]):
    joinedAt = Time(source="joined_at")
    verifiedAt = Time(source="verified_at")
    hidden = serializers.BooleanField(
        source="is_unlisted", help_text=_("by my own wish, or by an operator")
    )
    alias = serializers.CharField(source="own_alias")
    aliasState = serializers.ChoiceField(State.choices, source="alias_state")


class GroupHead(serializers.Serializer[Group]):
    openGId = serializers.CharField(source="open_gid")
    title = serializers.CharField()
    memberCount = serializers.IntegerField(source="member_count")


class GroupOutput(GroupHead):
    membership = MembershipOutput()


class GroupsOutput(serializers.Serializer[Any]):
    groups = GroupOutput(many=True)
    next = serializers.CharField(allow_null=True)


class ResolvedOutput(serializers.Serializer[Any]):
    openGId = serializers.CharField()
    openid = serializers.CharField()
    ticket = serializers.CharField()
    expiresIn = serializers.IntegerField(help_text=_("seconds"))


class BoundOutput(serializers.Serializer[Any]):
    created = serializers.BooleanField()
    openGId = serializers.CharField(source="group.open_gid")
    group = GroupOutput()
    membership = MembershipOutput()
    user = UserOutput()


class BoardHead(serializers.Serializer[Board]):
    key = serializers.CharField()
    title = serializers.CharField()
    order = serializers.ChoiceField(Board.Order.choices)
    unit = serializers.CharField()
    decimals = serializers.IntegerField()
    scope = serializers.ChoiceField(Board.Scope.choices)


class BoardOutput(BoardHead):
    """With what a client that submits scores wants to know."""

    policy = serializers.ChoiceField(Board.Policy.choices)
    rankStyle = serializers.ChoiceField(Board.RankStyle.choices, source="rank_style")
    windows = serializers.ListField(
        child=serializers.ChoiceField(Window.choices), source="counted_windows"
    )
    defaultWindow = serializers.ChoiceField(Window.choices, source="default_window")
    writer = serializers.ChoiceField(Board.Writer.choices)


class SubmittedOutput(serializers.Serializer[Submitted]):
    key = serializers.CharField(help_text=_("the period's"))
    value = serializers.IntegerField()
    changed = serializers.BooleanField()


class ScoreOutput(serializers.Serializer[Any]):
    board = serializers.CharField()
    periods = SubmittedOutput(many=True)


class BoardsOutput(serializers.Serializer[Any]):
    boards = BoardOutput(many=True)


class PeriodOutput(serializers.Serializer[ranking.Ranking]):
    key = serializers.CharField(source="period.key")
    window = serializers.ChoiceField(Window.choices, source="period.window")
    title = serializers.CharField(source="period_title")
    start = Time(source="period.start", allow_null=True)
    end = Time(source="period.end", allow_null=True, help_text=_("exclusive"))
    previous = serializers.CharField(source="period.previous.key", allow_null=True)
    next = serializers.CharField(source="next_period.key", allow_null=True)


class MyProfileOutput(UserOutput):
    """Who I am, what others see of me, and what awaits review."""

    appid = serializers.CharField(source="app_id")
    openid = serializers.CharField()
    unionid = serializers.CharField()
    shownNickname = serializers.CharField(source="nickname", help_text=_("what others see"))
    shownAvatar = AvatarUrl(source="avatar_path", help_text=_("what others see"))
    status = serializers.ChoiceField(WeChatUser.Status.choices)
    firstSeen = Time(source="created_at")
    sessionSince = Time(source="session_key_at", allow_null=True)
    staleEnvelopes = serializers.IntegerField(source="stale_count")
    staleSince = Time(source="stale_since", allow_null=True)
    reviewSince = Time(source="review_since", allow_null=True)


class MyTokenOutput(serializers.Serializer[Token]):
    createdAt = Time(source="created_at")
    expiresAt = Time(source="expires_at")


class MyAvatarCheckOutput(serializers.Serializer[AvatarCheck]):
    """One check of an avatar of mine by WeChat."""

    traceId = serializers.CharField(source="trace_id")
    sentAt = Time(source="created_at")
    suggestion = serializers.CharField(help_text=_("empty until WeChat has answered"))
    label = serializers.CharField()  # type: ignore[assignment]


class MyMembershipOutput(MembershipOutput):
    """Me in one group, be it that I have left or lapsed."""

    openGId = serializers.CharField(source="group.open_gid")
    shownAlias = serializers.CharField(source="alias", help_text=_("what others see"))
    withheld = serializers.BooleanField(help_text=_("hidden by an operator"))
    leftAt = Time(source="left_at", allow_null=True)
    reviewSince = Time(source="review_since", allow_null=True)
    scene = serializers.IntegerField(allow_null=True)
    watermarked = serializers.BooleanField()
    founded = serializers.BooleanField(help_text=_("whether I was the first to enter"))


class MyScoreOutput(serializers.Serializer[Score]):
    board = serializers.CharField(source="board.key")
    period = serializers.CharField()
    openGId = serializers.CharField(source="open_gid", allow_null=True)
    value = serializers.IntegerField()
    achievedAt = Time(source="achieved_at")
    source = serializers.ChoiceField(Source.choices)  # type: ignore[assignment]


class MyIdempotencyKeyOutput(serializers.Serializer[IdempotencyKey]):
    """A submission of a score that is remembered, with what was answered."""

    key = serializers.CharField()
    source = serializers.ChoiceField(Source.choices)  # type: ignore[assignment]
    createdAt = Time(source="created_at")
    answer = serializers.JSONField()


class MyAttemptOutput(serializers.Serializer[Attempt]):
    """A log-in or bind of mine within the last day: all that failed, and some that went well."""

    at = Time()
    kind = serializers.ChoiceField(trail.Kind.choices)
    outcome = serializers.CharField(help_text=_("the error's code, empty where it went well"))
    requestId = serializers.CharField(source="request_id")


class MyWatchOutput(serializers.Serializer[Watch]):
    """That my log-ins and binds are followed by an operator who helps to find a fault."""

    until = Time()


class MyDataOutput(serializers.Serializer[Any]):
    """Everything held about me but secrets: keys and tokens are kept as ciphertext or digest."""

    user = MyProfileOutput()
    tokens = MyTokenOutput(many=True)
    consents = ConsentOutput(many=True)
    avatarChecks = MyAvatarCheckOutput(many=True, source="avatar_checks")
    memberships = MyMembershipOutput(many=True)
    scores = MyScoreOutput(many=True)
    idempotencyKeys = MyIdempotencyKeyOutput(many=True, source="idempotency_keys")
    attempts = MyAttemptOutput(many=True)
    watches = MyWatchOutput(many=True)


class MemberOutput(serializers.Serializer[ranking.Member]):
    id = serializers.CharField()
    nickname = serializers.CharField()
    avatar = AvatarUrl(source="avatar_path")


@extend_schema_field({"oneOf": [{"type": "integer"}, {"type": "string", "enum": ["new"]}]})
class MovementField(serializers.Field):  # type: ignore[type-arg]  # not generic at run time
    def to_representation(self, value: ranking.Movement) -> ranking.Movement:
        return value


class StandingOutput(serializers.Serializer[ranking.Standing]):
    rank = serializers.IntegerField(allow_null=True)
    movement = MovementField(allow_null=True)
    member = MemberOutput()
    score = serializers.IntegerField(allow_null=True)
    scoreText = serializers.CharField(source="score_text", allow_null=True)
    achievedAt = Time(source="achieved_at", allow_null=True)
    isMe = serializers.BooleanField(source="is_me")


class RankingOutput(serializers.Serializer[ranking.Ranking]):
    group = GroupHead()
    board = BoardHead()
    period = PeriodOutput(source="*")
    serverTime = Time(source="server_time")
    total = serializers.IntegerField()
    percentile = serializers.IntegerField(allow_null=True)
    entries = StandingOutput(many=True)
    me = StandingOutput(allow_null=True)
    absent = serializers.ChoiceField(["hidden"], allow_null=True)
    next = serializers.CharField(allow_null=True)


class LinkOutput(serializers.Serializer[Any]):
    url = serializers.CharField()
    expiresAt = Time(source="expires_at")


# Calls


def attach(memberships: Sequence[Membership], now: datetime) -> list[Group]:
    """The groups of one person's memberships, described, each with its `membership`."""
    groups = [membership.group for membership in memberships]
    describe(groups, now)
    for group, membership in zip(groups, memberships, strict=True):
        group.membership = membership
    return groups


class GroupView(MemberView):
    """A call about a group; whoever is not in it gets 404, as if there were none."""

    def group(self, open_gid: str) -> Group:
        groups = Group.objects.visible_to(self.user, timezone.now())
        return get_object_or_404(groups, app_id=self.user.app_id, open_gid=open_gid)

    def membership(self, open_gid: str) -> Membership:
        mine = Membership.objects.of(self.user, timezone.now()).select_related("group", "user")
        return get_object_or_404(mine, group__open_gid=open_gid)

    def board(self, key: str | None) -> Board:
        try:
            return Board.objects.choose(self.user.app_id, key)
        except Board.DoesNotExist:
            raise Http404 from None


class ResolveView(MemberView):
    @extend_schema(request=EnvelopeInput, responses=ResolvedOutput, operation_id="resolve")
    def post(self, request: Request) -> Response:
        """Open a group's encrypted data ("decode"); binds nothing.

        Fetch the data after logging in: WeChat may have changed the key since.
        """
        with trail.attempt(trail.Kind.RESOLVE):
            entry = resolve(self.user, self.read(EnvelopeInput)["envelope"])
        answer = {
            "openGId": entry.open_gid,
            "openid": self.user.openid,
            "ticket": ticket_for(self.user, entry),
            "expiresIn": int(TICKET_LIFETIME.total_seconds()),
        }
        return self.answer(ResolvedOutput, answer)


BIND_INPUT = PolymorphicProxySerializer(
    component_name="BindInput",
    serializers=[BindEnvelopeInput, BindTicketInput],
    resource_type_field_name=None,
)


class BindView(MemberView):
    @extend_schema(
        request=BIND_INPUT, responses={200: BoundOutput, 201: BoundOutput}, operation_id="bind"
    )
    def post(self, request: Request) -> Response:
        """Enter a group: with its encrypted data, or with what `groups/resolve` answered."""
        by_ticket = self.has_any("openGId", "openid", "ticket")
        with trail.attempt(trail.Kind.REDEEM if by_ticket else trail.Kind.BIND):
            bound = bind(self.user, *(self.by_ticket() if by_ticket else self.by_envelope()))
        membership = bound.membership
        [group] = attach([membership], timezone.now())
        answer = {
            "created": bound.created,
            "group": group,
            "membership": membership,
            "user": self.user,
        }
        code = status.HTTP_201_CREATED if bound.created else status.HTTP_200_OK
        return self.answer(BoundOutput, answer, code)

    def by_envelope(self) -> tuple[Entry, int | None]:
        """What this call proves, and the scene it came from."""
        body = self.read(BindEnvelopeInput)
        trail.passed("scene", scene=body.get("scene"))
        return resolve(self.user, body["envelope"]), body.get("scene")

    def by_ticket(self) -> tuple[Entry, int | None]:
        """The same, of the form with a ticket."""
        body = self.read(BindTicketInput)
        trail.passed("scene", scene=body.get("scene"))
        entry = redeem(self.user, body["openGId"], body["openid"], body["ticket"])
        return entry, body.get("scene")

    def has_any(self, *names: str) -> bool:
        body = self.request.data
        return isinstance(body, dict) and not body.keys().isdisjoint(names)


class GroupsView(MemberView):
    @extend_schema(parameters=[PageQuery], responses=GroupsOutput, operation_id="groups")
    def get(self, request: Request) -> Response:
        """My groups, the one visited last first."""
        return self.answer(GroupsOutput, groups_of(self.user, self.query(PageQuery).get("cursor")))


def groups_of(user: WeChatUser, cursor: str | None) -> dict[str, Any]:
    """A page of somebody's groups, the one visited last first. Raises ValidationError."""
    now, salt = timezone.now(), f"groups.mine.{user.pk}"
    mine = Membership.objects.of(user, now).select_related("group")
    rows = mine.order_by("-verified_at", "-pk")
    if cursor:
        try:
            visited, pk = signing.loads(cursor, salt=salt)
        except signing.BadSignature:
            raise unreadable("cursor") from None
        moment = datetime.fromisoformat(visited)
        rows = rows.filter(Q(verified_at__lt=moment) | Q(verified_at=moment, pk__lt=pk))
    page, following = list(rows[: PAGE + 1]), None
    if len(page) > PAGE:
        page, last = page[:PAGE], page[PAGE - 1]
        following = signing.dumps([last.verified_at.isoformat(), last.pk], salt=salt)
    return {"groups": attach(page, now), "next": following}


class OneGroupView(GroupView):
    @extend_schema(responses=GroupOutput, operation_id="group")
    def get(self, request: Request, openGId: str) -> Response:
        """One of my groups."""
        [group] = attach([self.membership(openGId)], timezone.now())
        return self.answer(GroupOutput, group)


class MembershipView(GroupView):
    costly = {"PUT"}

    @extend_schema(
        request=MembershipInput, responses=MembershipOutput, operation_id="update_membership"
    )
    def put(self, request: Request, openGId: str) -> Response:
        """Hide me from this group's rankings, or name me differently there.

        A name that WeChat's check doubts waits; until then I alone see it.
        """
        membership = self.membership(openGId)
        changed = change_membership(membership, self.read(MembershipInput))
        return self.answer(MembershipOutput, changed)

    @extend_schema(responses={204: None}, operation_id="leave")
    def delete(self, request: Request, openGId: str) -> Response:
        """Leave the group here; WeChat's own group is not touched."""
        self.read(NoInput)
        leave(self.membership(openGId))
        return Response(status=status.HTTP_204_NO_CONTENT)


class RankingView(GroupView):
    @extend_schema(parameters=[RankingQuery], responses=RankingOutput, operation_id="ranking")
    def get(self, request: Request, openGId: str) -> Response:
        """A group's ranking, from the top or after a cursor."""
        asked = self.query(RankingQuery)
        group, board = self.group(openGId), self.board(asked.pop("board", None))
        with unreadable_is_invalid():
            found = ranking.standings(group, board, viewer=self.user, **asked)
        return self.answer(RankingOutput, found)


class AroundView(GroupView):
    @extend_schema(parameters=[AroundQuery], responses=RankingOutput, operation_id="around")
    def get(self, request: Request, openGId: str) -> Response:
        """The ranking's part around me."""
        asked = self.query(AroundQuery)
        group, board = self.group(openGId), self.board(asked.pop("board", None))
        with unreadable_is_invalid():
            found = ranking.around(group, board, viewer=self.user, **asked)
        return self.answer(RankingOutput, found)


class LinkView(GroupView):
    @extend_schema(request=LinkInput, responses=LinkOutput, operation_id="link")
    def post(self, request: Request, openGId: str) -> Response:
        """A link to the group's web page, as I see it; it opens for LINK_MAX_AGE seconds."""
        group, board = self.group(openGId), self.board(self.read(LinkInput).get("board"))
        link = Link(self.user.pk, group.pk, board.key)
        answer = {
            "url": request.build_absolute_uri(reverse("member-page", args=[link.sign()])),
            "expires_at": timezone.now() + timedelta(seconds=settings.LINK_MAX_AGE),
        }
        return self.answer(LinkOutput, answer)


class ScoresView(GroupView):
    @extend_schema(request=ScoreInput, responses=ScoreOutput, operation_id="submit_score")
    def post(self, request: Request) -> Response:
        """A score of mine, in all the board's current periods at once.

        403 where only the server writes.
        """
        body = self.read(ScoreInput)
        group = self.group(body["openGId"]) if "openGId" in body else None
        board = self.board(body["board"])
        key = body.get("idempotencyKey", "")
        submission = Submission(board, body["value"], group, key, Source.CLIENT)
        periods = submit_score(self.user, submission)
        return self.answer(ScoreOutput, {"board": board.key, "periods": periods})


class MeView(ProfileView):
    """The calls about me of `accounts`, and my erasure, which reaches into every group."""

    open_to_blocked = {"DELETE"}
    costly = {"PUT", "DELETE"}

    @extend_schema(responses={204: None}, operation_id="erase_me")
    def delete(self, request: Request) -> Response:
        """Erase me and everything held about me, at once and for good."""
        self.read(NoInput)
        privacy.erase(self.user)
        return Response(status=status.HTTP_204_NO_CONTENT)


class MyDataView(MemberView):
    open_to_blocked = {"GET"}
    costly = {"GET"}

    @extend_schema(responses=MyDataOutput, operation_id="my_data")
    def get(self, request: Request) -> Response:
        """Everything held about me."""
        return self.answer(MyDataOutput, privacy.data_about(self.user))


class BoardsView(MemberView):
    @extend_schema(responses=BoardsOutput, operation_id="boards")
    def get(self, request: Request) -> Response:
        """This mini-program's boards."""
        boards = Board.objects.of_app(self.user.app_id).order_by("pk")
        return self.answer(BoardsOutput, {"boards": boards})


UNREADABLE = {
    "period": _("Not a period: day, week, month, all, or a key such as 2026-W47 that has begun."),
    "cursor": _("Not a cursor of this list. Begin again without it."),
}


def unreadable(name: str) -> serializers.ValidationError:
    return serializers.ValidationError({name: [UNREADABLE[name]]})


@contextmanager
def unreadable_is_invalid() -> Iterator[None]:
    try:
        yield
    except UnreadablePeriod:
        raise unreadable("period") from None
    except ranking.UnreadableCursor:
        raise unreadable("cursor") from None
