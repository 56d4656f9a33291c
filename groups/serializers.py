"""The shapes of the API about groups, boards, scores and rankings: input, queries, output."""

import re
from typing import Any

from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import ValidationError

from accounts.models import AvatarCheck, Token, WeChatUser
from accounts.review import State
from accounts.serializers import AvatarURLField, ConsentOutput, NicknameInputField, UserOutput
from audit.attempts import KINDS
from audit.models import Attempt, Watch
from core import signed
from core.serializers import (
    QueryCharField,
    QueryIntegerField,
    StrictBooleanField,
    StrictCharField,
    StrictIntegerField,
    StrictSerializer,
    TimestampField,
    absolute,
    timestamp,
)
from wechat.crypto import (
    DATA_PATTERN,
    IV_PATTERN,
    OPAQUE_ID,
    Envelope,
    MalformedEnvelopeError,
    decode_session_key,
    is_opaque_id,
)

from . import periods, ranking
from .models import (
    MAX_SCORE,
    Board,
    GroupCard,
    IdempotencyKey,
    Membership,
    PeriodResult,
    Report,
    ScoreSource,
)
from .periods import Window
from .privacy import ScoreRecord

KEY_PATTERN = f"^{OPAQUE_ID.pattern}$"
# White space is what JavaScript's \\s matches, and Python's but for the last.
_CONTROLS = r"\u0000-\u001F\u007F-\u009F"
_EDGE = rf"[^\s\uFEFF{_CONTROLS}]"
CONTROL = re.compile(f"[{_CONTROLS}]")
IDEMPOTENCY_KEY = f"^{_EDGE}([^{_CONTROLS}]*{_EDGE})?$"
CLOUD_ID = "^[!-~]{1,512}$"
MAX_ROWS = 500  # of a batch
DEFAULT_PLACES, MAX_PLACES = 3, 100

# Input


class WeChatIdField(StrictCharField):
    """An openid or openGId."""

    default_error_messages = {"format": _("Not a valid openid or openGId.")}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(trim_whitespace=False, pattern=KEY_PATTERN, **kwargs)

    def to_internal_value(self, data: Any) -> str:
        text = super().to_internal_value(data)
        if not is_opaque_id(text):
            self.fail("format")
        return text


class EnvelopeInput(StrictSerializer):
    """What wx.getGroupEnterInfo or wx.getShareInfo gave, as it gave it."""

    ignored = StrictSerializer.ignored | {"cloudID"}

    encryptedData = StrictCharField(trim_whitespace=False, pattern=DATA_PATTERN)
    iv = StrictCharField(trim_whitespace=False, pattern=IV_PATTERN)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        try:
            envelope = Envelope.parse(attrs["encryptedData"], attrs["iv"])
        except MalformedEnvelopeError:
            sentence = _("Not as WeChat sends it: strict base64, unaltered. Send JSON, not a form.")
            raise serializers.ValidationError({"encryptedData": [sentence]}) from None
        return attrs | {"envelope": envelope}


class SceneField(StrictIntegerField):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(min_value=0, max_value=65535, required=False, **kwargs)


class CloudIdField(StrictCharField):
    """What `wx` adds to its results where cloud development is switched on."""

    default_error_messages = {"format": _("Not a cloudID as WeChat gives it.")}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(trim_whitespace=False, pattern=CLOUD_ID, **kwargs)

    def to_internal_value(self, data: Any) -> str:
        text = super().to_internal_value(data)
        if not re.fullmatch(CLOUD_ID, text):
            self.fail("format")
        return text


class CloudIdInput(StrictSerializer):
    """The cloudID of what wx.getGroupEnterInfo or wx.getShareInfo gave; the rest is ignored."""

    ignored = StrictSerializer.ignored | {"encryptedData", "iv"}

    cloudID = CloudIdField()


class BindEnvelopeInput(EnvelopeInput):
    """The same, and the scene of the launch."""

    scene = SceneField()


class BindCloudIdInput(CloudIdInput):
    """The same, and the scene of the launch."""

    scene = SceneField()


class BindTicketInput(StrictSerializer):
    """The article's second step: what `groups/resolve` answered."""

    openGId = WeChatIdField()
    openid = WeChatIdField()
    ticket = StrictCharField(pattern=signed.PATTERN)
    scene = SceneField()


class MembershipInput(StrictSerializer):
    """What I may change about myself in one group; an empty alias takes it back."""

    hidden = StrictBooleanField(required=False)
    alias = NicknameInputField(required=False, allow_blank=True)


MEMBER_ID = "^[1-9][0-9]{0,17}$"


class MemberIdField(StrictCharField):
    """A member's id, as rankings give it."""

    default_error_messages = {"format": _("Not a member's id: send `member.id` of a ranking.")}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(trim_whitespace=False, pattern=MEMBER_ID, **kwargs)

    def to_internal_value(self, data: Any) -> str:
        text = super().to_internal_value(data)
        if not re.fullmatch(MEMBER_ID, text):
            self.fail("format")
        return text


class ReportInput(StrictSerializer):
    """Whose name and face I report, and why."""

    member = MemberIdField()
    reason = serializers.ChoiceField(Report.Reason.choices)


class ScoreValueField(StrictIntegerField):
    """A score: an integer that JavaScript holds exactly."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(min_value=-MAX_SCORE, max_value=MAX_SCORE, **kwargs)


class IdempotencyKeyField(StrictCharField):
    """A name that the caller gives to a submission, to send it again without harm.

    Without white space at its ends: MariaDB takes "k" and "k " for one key.
    """

    default_error_messages = {
        "control": _("Control characters are not allowed in a key."),
        "edges": _("A key may not begin or end with white space."),
    }

    def __init__(self, **kwargs: Any) -> None:
        how = {"trim_whitespace": False, "max_length": 64, "pattern": IDEMPOTENCY_KEY}
        super().__init__(**{**how, **kwargs})

    def to_internal_value(self, data: Any) -> str:
        text = super().to_internal_value(data)
        if CONTROL.search(text):
            self.fail("control")
        if not re.fullmatch(IDEMPOTENCY_KEY, text):
            self.fail("edges")
        return text


class ScoreInput(StrictSerializer):
    """A score of mine; in which group, where the board has one for each.

    The same `idempotencyKey` with the same body counts once, for seven days.
    """

    board = StrictCharField(trim_whitespace=False, max_length=64, pattern=KEY_PATTERN)
    value = ScoreValueField()
    openGId = WeChatIdField(required=False)
    idempotencyKey = IdempotencyKeyField(required=False)


class LinkInput(StrictSerializer):
    """The key of the board that the page shows."""

    board = StrictCharField(
        required=False, trim_whitespace=False, max_length=64, pattern=KEY_PATTERN
    )


class PageQuery(serializers.Serializer[Any]):
    cursor = QueryCharField(pattern=signed.PATTERN)


class BoardQuery(serializers.Serializer[Any]):
    board = QueryCharField(pattern=KEY_PATTERN, help_text=_("A board's key."))
    period = QueryCharField(
        pattern=periods.PATTERN,
        help_text="`day`, `week`, `month`, `all`, `2026-11-22`, `2026-W47`, `2026-11`",
    )


class AroundQuery(BoardQuery):
    size = QueryIntegerField(
        default=ranking.DEFAULT_AROUND, min_value=1, max_value=ranking.MAX_AROUND
    )


class RankingQuery(BoardQuery):
    limit = QueryIntegerField(
        default=ranking.DEFAULT_LIMIT, min_value=1, max_value=ranking.MAX_LIMIT
    )
    cursor = QueryCharField(pattern=signed.PATTERN)


# Output


class MembershipOutput(serializers.Serializer[Membership]):
    joinedAt = TimestampField(source="joined_at")
    verifiedAt = TimestampField(source="verified_at")
    hidden = serializers.BooleanField(
        source="is_unlisted", help_text=_("by my own wish, or by an operator")
    )
    alias = serializers.CharField(source="own_alias")
    aliasState = serializers.ChoiceField(State.choices, source="alias_state")


class GroupHead(serializers.Serializer[GroupCard]):
    openGId = serializers.CharField(source="group.open_gid")
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
    openGId = serializers.CharField(source="group.group.open_gid")
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


class SubmittedOutput(serializers.Serializer[PeriodResult]):
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
    start = TimestampField(source="period.start", allow_null=True)
    end = TimestampField(source="period.end", allow_null=True, help_text=_("exclusive"))
    previous = serializers.CharField(source="previous_period.key", allow_null=True)
    next = serializers.CharField(source="next_period.key", allow_null=True)


SHOWN_SINCE = _("when I set what others see; null for nothing")


class MyProfileOutput(UserOutput):
    """Who I am, what others see of me, and what awaits review."""

    appid = serializers.CharField(source="app_id")
    openid = serializers.CharField()
    unionid = serializers.CharField()
    shownNickname = serializers.CharField(source="nickname", help_text=_("what others see"))
    shownAvatar = AvatarURLField(source="avatar_path", help_text=_("what others see"))
    nicknameAt = TimestampField(source="nickname_at", allow_null=True, help_text=SHOWN_SINCE)
    nicknameDraftAt = TimestampField(source="nickname_draft_at", allow_null=True)
    avatarAt = TimestampField(source="avatar_at", allow_null=True, help_text=SHOWN_SINCE)
    avatarDraftAt = TimestampField(source="avatar_draft_at", allow_null=True)
    status = serializers.ChoiceField(WeChatUser.Status.choices)
    firstSeen = TimestampField(source="created_at")
    sessionSince = TimestampField(source="session_key_at", allow_null=True)
    staleEnvelopes = serializers.IntegerField(source="stale_count")
    staleSince = TimestampField(source="stale_since", allow_null=True)
    reviewSince = TimestampField(source="review_since", allow_null=True)


class MyTokenOutput(serializers.Serializer[Token]):
    createdAt = TimestampField(source="created_at")
    expiresAt = TimestampField(source="expires_at")


class MyAvatarCheckOutput(serializers.Serializer[AvatarCheck]):
    """One check of an avatar of mine by WeChat."""

    traceId = serializers.CharField(source="trace_id")
    sentAt = TimestampField(source="created_at")
    suggestion = serializers.CharField(help_text=_("empty until WeChat has answered"))
    label = serializers.CharField()  # type: ignore[assignment]


class MyMembershipOutput(MembershipOutput):
    """Me in one group, be it that I have left or lapsed."""

    openGId = serializers.CharField(source="group.open_gid")
    shownAlias = serializers.CharField(source="alias", help_text=_("what others see"))
    aliasAt = TimestampField(source="alias_at", allow_null=True, help_text=SHOWN_SINCE)
    aliasDraftAt = TimestampField(source="alias_draft_at", allow_null=True)
    withheld = serializers.BooleanField(help_text=_("hidden by an operator"))
    leftAt = TimestampField(source="left_at", allow_null=True)
    reviewSince = TimestampField(source="review_since", allow_null=True)
    scene = serializers.IntegerField(allow_null=True)
    watermarked = serializers.BooleanField()
    groupOpenId = serializers.CharField(
        source="group_openid", help_text=_("WeChat's id of me in this group; empty if unknown")
    )
    proof = serializers.CharField(
        help_text=_("how my last entry was proven: envelope, ticket, cloud; import: by no one here")
    )
    founded = serializers.BooleanField(
        source="is_founder", help_text=_("whether I was the first to enter")
    )


class MyScoreOutput(serializers.Serializer[ScoreRecord]):
    board = serializers.CharField(source="score.board.key")
    period = serializers.CharField(source="score.period")
    openGId = serializers.CharField(source="open_gid", allow_null=True)
    value = serializers.IntegerField(source="score.value")
    achievedAt = TimestampField(source="score.achieved_at")
    source = serializers.ChoiceField(  # type: ignore[assignment]
        ScoreSource.choices, source="score.source"
    )


class MyIdempotencyKeyOutput(serializers.Serializer[IdempotencyKey]):
    """A submission of a score that is remembered, with what was answered."""

    key = serializers.CharField()
    source = serializers.ChoiceField(ScoreSource.choices)  # type: ignore[assignment]
    createdAt = TimestampField(source="created_at")
    answer = serializers.JSONField()


class MyReportOutput(serializers.Serializer[Report]):
    """A report of mine about another member's name and face."""

    openGId = serializers.CharField(source="membership.group.open_gid")
    member = serializers.CharField(source="membership.user_id", help_text=_("the member's id"))
    reason = serializers.ChoiceField(Report.Reason.choices)
    createdAt = TimestampField(source="created_at")


class MyAttemptOutput(serializers.Serializer[Attempt]):
    """A log-in or bind of mine within the last day: all that failed, and some that went well."""

    at = TimestampField()
    kind = serializers.ChoiceField([(kind.key, kind.label) for kind in KINDS.values()])
    outcome = serializers.CharField(help_text=_("the error's code, empty where it went well"))
    requestId = serializers.CharField(source="request_id")


class MyWatchOutput(serializers.Serializer[Watch]):
    """That my log-ins and binds are followed by an operator who helps to find a fault."""

    until = TimestampField()


class MyDataOutput(serializers.Serializer[Any]):
    """Everything held about me but secrets: keys and tokens are kept as ciphertext or digest."""

    user = MyProfileOutput()
    tokens = MyTokenOutput(many=True)
    consents = ConsentOutput(many=True)
    avatarChecks = MyAvatarCheckOutput(many=True, source="avatar_checks")
    memberships = MyMembershipOutput(many=True)
    scores = MyScoreOutput(many=True)
    idempotencyKeys = MyIdempotencyKeyOutput(many=True, source="idempotency_keys")
    reports = MyReportOutput(many=True)
    attempts = MyAttemptOutput(many=True)
    watches = MyWatchOutput(many=True)


class ServerMemberOutput(serializers.Serializer[ranking.Member]):
    """A member as a team's server gets them."""

    id = serializers.CharField()
    nickname = serializers.CharField()
    avatar = AvatarURLField(source="avatar_path")

    def to_representation(self, member: ranking.Member) -> dict[str, Any]:
        """Write by hand what the fields would write in ten times the time."""
        return {
            "id": str(member.id),
            "nickname": member.nickname,
            "avatar": absolute(self.context["request"], member.avatar_path),
        }


class MemberOutput(ServerMemberOutput):
    """A member as the others of the group get them, and no one else."""

    groupOpenId = serializers.CharField(
        allow_null=True,
        help_text=_(
            "WeChat's id of this member in this group, to draw their face; null if unknown"
        ),
    )

    def to_representation(self, member: ranking.Member) -> dict[str, Any]:
        return {**super().to_representation(member), "groupOpenId": member.group_openid or None}


@extend_schema_field({"oneOf": [{"type": "integer"}, {"type": "string", "enum": ["new"]}]})
class MovementField(serializers.Field):  # type: ignore[type-arg]  # not generic at run time
    def to_representation(self, value: ranking.Movement) -> ranking.Movement:
        return value


class ServerStandingOutput(serializers.Serializer[ranking.Standing]):
    rank = serializers.IntegerField(allow_null=True)
    movement = MovementField(allow_null=True)
    member = ServerMemberOutput()
    score = serializers.IntegerField(allow_null=True)
    scoreText = serializers.CharField(source="score_text", allow_null=True)
    achievedAt = TimestampField(source="achieved_at", allow_null=True)
    isMe = serializers.BooleanField(source="is_me")

    def to_representation(self, standing: ranking.Standing) -> dict[str, Any]:
        """Write by hand what the fields would write in ten times the time."""
        achieved_at = standing.achieved_at
        return {
            "rank": standing.rank,
            "movement": standing.movement,
            "member": self.fields["member"].to_representation(standing.member),
            "score": standing.score,
            "scoreText": standing.score_text,
            "achievedAt": None if achieved_at is None else timestamp(achieved_at),
            "isMe": standing.is_me,
        }


class StandingOutput(ServerStandingOutput):
    member = MemberOutput()


class ServerRankingOutput(serializers.Serializer[ranking.Ranking]):
    group = GroupHead()
    board = BoardHead()
    period = PeriodOutput(source="*")
    serverTime = TimestampField(source="server_time")
    total = serializers.IntegerField()
    percentile = serializers.IntegerField(allow_null=True)
    entries = ServerStandingOutput(many=True)
    me = ServerStandingOutput(allow_null=True)
    absent = serializers.ChoiceField(["hidden"], allow_null=True)
    next = serializers.CharField(allow_null=True)


class RankingOutput(ServerRankingOutput):
    """The same for those who are in the group."""

    entries = StandingOutput(many=True)
    me = StandingOutput(allow_null=True)


def ranking_head(found: ranking.Ranking) -> dict[str, Any]:
    """Write which ranking it is: the first keys of `RankingOutput`."""
    card, board, period = found.group, found.board, found.period
    start, end = period.start, period.end
    before, after = found.previous_period, found.next_period
    return {
        "group": {
            "openGId": card.group.open_gid,
            "title": card.title,
            "memberCount": card.member_count,
        },
        "board": {
            "key": board.key,
            "title": board.title,
            "order": board.order,
            "unit": board.unit,
            "decimals": board.decimals,
            "scope": board.scope,
        },
        "period": {
            "key": period.key,
            "window": period.window.value,
            "title": found.period_title,
            "start": start and timestamp(start),
            "end": end and timestamp(end),
            "previous": before and before.key,
            "next": after and after.key,
        },
    }


class LinkOutput(serializers.Serializer[Any]):
    url = serializers.CharField()
    expiresAt = TimestampField(source="expires_at")


# Server to server


class ServerScoreInput(ScoreInput):
    """A score of one person; the idempotency key makes sending it again harmless."""

    openid = WeChatIdField()
    # Whatever is no board's key is refused in its own row.
    board = StrictCharField(trim_whitespace=False, max_length=64, pattern=r"^[^\u0000]{1,64}$")
    idempotencyKey = IdempotencyKeyField()


class ServerScoresInput(StrictSerializer):
    scores = serializers.ListField(child=ServerScoreInput(), max_length=MAX_ROWS)


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


class ServerUserInput(StrictSerializer):
    """A person of your mini-program, who need not have logged in here."""

    openid = WeChatIdField()
    unionid = WeChatIdField(required=False)
    nickname = NicknameInputField(required=False)


class ServerUsersInput(StrictSerializer):
    users = serializers.ListField(child=ServerUserInput(), max_length=MAX_ROWS)


class ServerUserOutput(serializers.Serializer[Any]):
    """What became of one person: the member, or the code, detail and fields of an error."""

    openid = serializers.CharField()
    user = UserOutput(required=False)
    code = serializers.CharField(required=False)
    detail = serializers.CharField(required=False)
    fields = serializers.DictField(  # type: ignore[assignment]
        child=serializers.ListField(child=serializers.CharField()), required=False
    )


class ServerUsersOutput(serializers.Serializer[Any]):
    results = ServerUserOutput(many=True)


class SessionInput(StrictSerializer):
    """A member that your server has logged in itself, with what WeChat's code2Session answered."""

    openid = WeChatIdField()
    # Like an iv, the key of AES-128 is base64 of 16 bytes.
    sessionKey = StrictCharField(required=False, trim_whitespace=False, pattern=IV_PATTERN)
    unionid = WeChatIdField(required=False)
    nickname = NicknameInputField(required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        try:
            if "sessionKey" in attrs:
                decode_session_key(attrs["sessionKey"])
        except ValueError:
            sentence = _("Not as WeChat gives it: base64 of 16 bytes.")
            raise ValidationError({"sessionKey": [sentence]}) from None
        return attrs


class WinnersQuery(BoardQuery):
    period = QueryCharField(required=True, help_text=_("The key of a period that has ended."))
    places = QueryIntegerField(default=DEFAULT_PLACES, min_value=1, max_value=MAX_PLACES)


class WinnerMemberOutput(ServerMemberOutput):
    openid = serializers.CharField()

    def to_representation(self, member: ranking.Member) -> dict[str, Any]:
        return {**super().to_representation(member), "openid": self.context["openids"][member.id]}


class WinnerOutput(serializers.Serializer[ranking.Standing]):
    id = serializers.SerializerMethodField(
        help_text=_("Always the same, so that a prize can be given once.")
    )
    rank = serializers.IntegerField()
    member = WinnerMemberOutput()
    score = serializers.IntegerField()
    scoreText = serializers.CharField(source="score_text")
    achievedAt = TimestampField(source="achieved_at")

    def get_id(self, standing: ranking.Standing) -> str:
        found: ranking.Ranking = self.context["ranking"]
        where = (found.board.key, found.period.key, found.group.group.open_gid)
        return ":".join([*where, str(standing.member.id)])


class WinnersOutput(serializers.Serializer[ranking.Ranking]):
    """The first places of a finished period; who ties shares a place, so there may be more."""

    group = GroupHead()
    board = BoardHead()
    period = PeriodOutput(source="*")
    serverTime = TimestampField(source="server_time")
    total = serializers.IntegerField()
    winners = WinnerOutput(many=True, source="entries")
