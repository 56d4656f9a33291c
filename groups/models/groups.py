"""Groups, and who is in them."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar, Self

from django.conf import settings
from django.db import connection, models
from django.db.models import Case, Count, F, Max, Q, Value, When
from django.db.models import Window as Over
from django.db.models.functions import Coalesce, NullIf, RowNumber
from django.utils import timezone
from django.utils.translation import gettext, ngettext, pgettext, pgettext_lazy
from django.utils.translation import gettext_lazy as _

from accounts.fields import NicknameField
from accounts.models import WeChatUser
from accounts.nicknames import spellings
from accounts.review import Reviewed, SetAtField, StateField
from core.database import columns_of, fetch_prepared, row_of
from core.fields import OpaqueIdField, PersonalTextField

NAMES_IN_A_TITLE = 2
PIECE = 500  # groups whose versions rise in one statement: MariaDB reads a whole table for 1,000
WALK, LONGEST_WALK = 80, 20_000  # entries: for each group looked for, and at most


class GroupQuerySet(models.QuerySet["Group"]):
    def visible_to(self, user: WeChatUser, now: datetime) -> Self:
        """Keep the groups whose members `user` may see: where they have a current membership."""
        return self.filter(pk__in=Membership.objects.of(user, now).values("group"))

    def matching(self, text: str) -> Self:
        """Keep the groups with `text` in their label or in a member's name, or as their openGId.

        Nicknames and aliases are searched separately: joined, it takes four times as long.
        """
        members = Membership.objects.filter(left_at=None)
        users = WeChatUser.objects.filter(contains("nickname", text))
        by_nickname = Q(pk__in=members.filter(user__in=users).values("group"))
        named = members.exclude(alias="").filter(contains("alias", text))
        by_alias = Q(pk__in=named.values("group"))
        return self.filter(contains("label", text) | Q(open_gid=text) | by_nickname | by_alias)

    def raise_versions(self, pks: Iterable[int]) -> None:
        """Say that what these groups' rankings show changes otherwise than by scores sent.

        Call it once in the transaction of the change: after the locks on people, and before a
        membership is inserted, whose foreign key takes a shared lock on the group on InnoDB; two
        newcomers with that lock could neither write the version.
        """
        # In the order of their ids, so that two who change some of the same groups cannot each wait
        # for the other. PostgreSQL alone updates in another order than that.
        ordered = sorted(set(pks))
        locks = len(ordered) > 1 and connection.features.has_select_for_no_key_update
        for start in range(0, len(ordered), PIECE):
            rows = self.filter(pk__in=ordered[start : start + PIECE])
            if locks:
                list(rows.select_for_update(no_key=True).order_by("pk").values_list("pk"))
            rows.update(version=F("version") + 1)


def contains(column: str, text: str) -> Q:
    """Match a column that holds `text`, in any case and width."""
    found = Q()
    for spelling in sorted(spellings(text)):
        found |= Q(**{f"{column}__icontains": spelling})
    return found


def called(text: str) -> Q:
    """Match the memberships of those who are called `text`, or so in part, and have not left."""
    return (contains("alias", text) | contains("user__nickname", text)) & Q(left_at=None)


class Group(models.Model):
    """A WeChat chat group within one mini-program. WeChat tells a server its id, never its name."""

    app_id = OpaqueIdField(_("appid"))
    open_gid = OpaqueIdField(_("openGId"))
    label = PersonalTextField(
        _("label"),
        max_length=60,
        blank=True,
        help_text=_("WeChat does not give a group's name; this is your name for it."),
    )
    hidden = models.BooleanField(
        _("hidden"),
        default=False,
        editable=False,
        help_text=_("Hidden by an operator: its members cannot see it."),
    )
    founded_by = models.ForeignKey(
        WeChatUser, models.SET_NULL, null=True, editable=False, related_name="+", db_index=False
    )
    created_at = models.DateTimeField(_("first seen"), default=timezone.now, editable=False)
    # The moment from which its periods count; earlier than `created_at`, that of the row, where a
    # group was imported.
    seen_from = models.DateTimeField(default=timezone.now, editable=False)
    # Raised by every change of what its rankings show but by scores sent: see `raise_versions`.
    version = models.PositiveBigIntegerField(default=0, editable=False)

    objects: ClassVar[GroupQuerySet] = GroupQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        verbose_name = verbose_name_plural = pgettext_lazy("WeChat", "group")
        constraints = [
            models.UniqueConstraint(fields=["app_id", "open_gid"], name="one_group_per_open_gid")
        ]
        indexes = [models.Index(fields=["founded_by", "created_at"], name="group_founded")]

    def __str__(self) -> str:
        return self.label or self.open_gid


@dataclass(frozen=True, slots=True)
class GroupCard:
    """A group as it is shown: its title, how many members it has, and their latest entry.

    `membership` is that of the member it is shown to, where there is one.
    """

    group: Group
    title: str
    member_count: int
    last_entry_at: datetime | None
    membership: "Membership | None" = None

    @classmethod
    def of(cls, group: Group, names: list[str], count: int, last_entry_at: datetime | None) -> Self:
        """Return the card of a group of `count`, whose first members are called `names`."""
        return cls(group, group.label or title_of(names, count), count, last_entry_at)


def describe(groups: Collection[Group], now: datetime) -> list[GroupCard]:
    """Return the cards of `groups`, in their order and in one query however many they are."""
    if len(groups) == 1 and connection.vendor == "postgresql":
        return [_describe_one(group, now) for group in groups]
    found: dict[int, list[tuple[int, datetime, str]]] = {}
    rows = Membership.objects.current(now).filter(group__in=groups).first_named(NAMES_IN_A_TITLE)
    for group_pk, *facts in rows:
        found.setdefault(group_pk, []).append(facts)
    cards = []
    for group in groups:
        first = found.get(group.pk, [])
        count, last_entry_at = first[0][:2] if first else (0, None)
        names = [name for _count, _last, name in first if name]
        cards.append(GroupCard.of(group, names, count, last_entry_at))
    return cards


def _describe_one(group: Group, now: datetime) -> GroupCard:
    """Do what `describe` does for one group, of which nothing has to be numbered."""
    asked = {"group": group.pk, "since": proven_since(now), "names": NAMES_IN_A_TITLE}
    [(count, last_entry_at, names)] = fetch_prepared(_DESCRIPTION, asked)
    return GroupCard.of(group, names or [], count, last_entry_at)


_DESCRIPTION = """
SELECT count(*), max(m.verified_at), (
    array_agg(COALESCE(NULLIF(m.alias, ''), u.nickname) ORDER BY m.joined_at, m.user_id)
    FILTER (WHERE NOT m.hidden AND NOT m.withheld AND (m.alias <> '' OR u.nickname <> ''))
)[1:%(names)s::int]
FROM groups_membership m JOIN accounts_wechatuser u ON u.id = m.user_id
WHERE m.group_id = %(group)s AND m.left_at IS NULL AND m.verified_at >= %(since)s
  AND u.status = 'active'
"""


def title_of(names: list[str], count: int) -> str:
    """Return the title of an unlabelled group, after its first members: "小明、李雷等 120 人"."""
    some = pgettext("between names", ", ").join(names)
    if not names:
        return ngettext("Group of %(count)d", "Group of %(count)d", count) % {"count": count}
    if count <= len(names):
        return some
    return gettext("%(names)s and others (%(count)d)") % {"names": some, "count": count}


def proven_since(now: datetime) -> datetime:
    """Return the moment of the oldest proof that counts at `now`."""
    return now - timedelta(days=settings.MEMBERSHIP_PROOF_DAYS)


def is_current(now: datetime, prefix: str = "") -> Q:
    """Match the memberships that may read, are listed and are counted at `now`."""
    return Q(
        **{
            f"{prefix}left_at": None,
            f"{prefix}verified_at__gte": proven_since(now),
            f"{prefix}user__status": WeChatUser.Status.ACTIVE,
        }
    )


class MembershipQuerySet(models.QuerySet["Membership"]):
    def current(self, now: datetime) -> Self:
        """Keep those that have neither left nor lapsed, of members who are not blocked."""
        return self.filter(is_current(now))

    def entries(self, now: datetime) -> Self:
        """Keep the current ones, to be counted or sorted by group in large numbers.

        As `current`, but the few who are blocked are looked up once instead of everyone's member.
        """
        blocked = WeChatUser.objects.exclude(status=WeChatUser.Status.ACTIVE)
        recent = self.filter(left_at=None, verified_at__gte=proven_since(now))
        return recent.exclude(user__in=blocked)

    def latest_groups(self, now: datetime, number: int) -> dict[int, datetime]:
        """Return the `number` groups entered last, or all there are, the latest first, with when.

        It walks back through the entries, which stand by time and group in an index, until it has
        met so many groups: however many there are before them, they cost nothing. Only for a
        number that would be a long walk are all entries read.
        """
        walk: Any = self.current(now).order_by("-verified_at", "-group")
        for steps in (WALK * number, 4 * WALK * number):
            if steps > LONGEST_WALK:
                break
            rows = list(walk.values_list("group", "verified_at")[:steps])
            found: dict[int, datetime] = {}
            for group, at in rows:
                found.setdefault(group, at)
            if len(found) >= number or len(rows) < steps:
                return dict(list(found.items())[:number])
        latest: Any = self.entries(now).values_list("group").annotate(at=Max("verified_at"))
        return dict(latest.order_by("-at", "-group")[:number])

    def at(self, user: WeChatUser, open_gid: str) -> "Membership | None":
        """Return a member's place in a group, current or not, with the group; None without one."""
        if connection.vendor != "postgresql":
            place = {"user": user, "group__app_id": user.app_id, "group__open_gid": open_gid}
            return self.filter(**place).select_related("group").first()
        asked = {"user": user.pk, "app_id": user.app_id, "open_gid": open_gid}
        for row in fetch_prepared(_AT, asked):
            membership = row_of(Membership, row)
            membership.group = row_of(Group, row[len(Membership._meta.concrete_fields) :])
            return membership
        return None

    def of(self, user: WeChatUser, now: datetime) -> Self:
        """Keep a member's current memberships, in groups that no operator hides."""
        return self.open(now).filter(user=user)

    def open(self, now: datetime) -> Self:
        """Keep the current ones in groups that no operator hides."""
        return self.current(now).filter(group__hidden=False)

    def listed(self) -> Self:
        """Keep those that others see: hidden neither by themselves nor by an operator."""
        return self.filter(hidden=False, withheld=False)

    def raise_versions(self) -> None:
        """Call `Group.objects.raise_versions` for the groups of these, but of those left."""
        groups = self.filter(left_at=None).values_list("group_id", flat=True)
        Group.objects.raise_versions(groups.order_by())

    def first_named(self, each: int) -> models.QuerySet["Membership", Any]:
        """Return rows for the first `each` members of every group, those with a name to show first.

        A row holds the group, its number of members, their latest entry, and this member's name.
        """
        shown = Q(hidden=False, withheld=False)
        chosen = Coalesce(NullIf("alias", Value("")), "user__nickname")
        name = Case(When(shown, then=chosen), default=Value(""))
        order = ("nameless", "joined_at", "user")
        return (
            self.annotate(name=name, nameless=Case(When(name="", then=1), default=0))
            .annotate(
                place=Over(RowNumber(), "group", order),
                size=Over(Count("pk"), "group"),
                last=Over(Max("verified_at"), "group"),
            )
            .filter(place__lte=each)
            .order_by("group", "place")
            .values_list("group", "size", "last", "name")
        )


class Absence(models.TextChoices):
    """A reason why a member of a group is not listed in it."""

    BLOCKED = "blocked", _("blocked")
    LEFT = "left", _("left the group")
    LAPSED = "lapsed", _("no entry lately")
    WITHHELD = "withheld", _("hidden by an operator")
    HIDDEN = "hidden", _("hides themselves")
    GROUP_HIDDEN = "group-hidden", _("the group is hidden")


class Proof(models.TextChoices):
    """A way in which a membership was proven."""

    ENVELOPE = "envelope", _("encrypted data")
    TICKET = "ticket", pgettext_lazy("proof", "ticket")
    CLOUD = "cloud", _("WeChat Cloud Run")
    IMPORT = "import", _("import")


class Membership(Reviewed):
    """A member's place in a group, as proven by an envelope that only WeChat could have made.

    The alias is under review: see accounts/review.py.
    """

    group = models.ForeignKey(
        Group,
        models.CASCADE,
        related_name="memberships",
        verbose_name=pgettext_lazy("WeChat", "group"),
        db_index=False,
    )
    user = models.ForeignKey(
        WeChatUser,
        models.CASCADE,
        related_name="memberships",
        verbose_name=_("member"),
        db_index=False,
    )
    joined_at = models.DateTimeField(_("joined"))
    verified_at = models.DateTimeField(_("last proven entry"))
    left_at = models.DateTimeField(_("left"), null=True, blank=True)
    hidden = models.BooleanField(_("hidden"), default=False)
    withheld = models.BooleanField(_("hidden by an operator"), default=False, editable=False)
    alias = NicknameField(_("name in this group"))
    alias_draft = NicknameField(_("new name in this group"), default="", editable=False)
    alias_state = StateField(_("review of the name in this group"))
    alias_at = SetAtField()
    alias_draft_at = SetAtField()
    scene = models.PositiveIntegerField(_("scene"), null=True, blank=True)
    watermarked = models.BooleanField(
        _("watermarked"),
        default=True,
        help_text=_("Whether the last proof carried WeChat's watermark."),
    )

    # How the last entry was proven; empty for those before this was kept.
    proof = models.CharField(
        _("how it was proven"), max_length=8, choices=Proof.choices, blank=True, editable=False
    )
    # The member's id within this very group, as the last entry that gave it did: for drawing their
    # face on a phone. It differs from group to group, so it is no key for people.
    group_openid = OpaqueIdField(blank=True, editable=False)

    objects: ClassVar[MembershipQuerySet] = MembershipQuerySet.as_manager()  # type: ignore[assignment]

    reviewed = ("alias",)

    class Meta:
        verbose_name = verbose_name_plural = _("membership")
        constraints = [
            models.UniqueConstraint(fields=["group", "user"], name="one_membership_per_person")
        ]
        indexes = [
            models.Index(fields=["user", "verified_at"], name="membership_visits"),
            models.Index(fields=["verified_at", "user"], name="latest_entries"),
            # By group within a moment, so that the groups entered last are found by a walk.
            models.Index(fields=["verified_at", "group"], name="entries_by_time"),
            models.Index(fields=["alias_state", "review_since"], name="aliases_in_review"),
        ]

    def __str__(self) -> str:
        return f"{self.user} @ {self.group}"

    def announce(self) -> None:
        if self.left_at is None:
            Group.objects.raise_versions([self.group_id])

    @property
    def own_alias(self) -> str:
        return self.own("alias")

    @property
    def is_unlisted(self) -> bool:
        """Tell whether others do not see this member, by their own wish or an operator's."""
        return self.hidden or self.withheld

    @property
    def is_founder(self) -> bool:
        """Tell whether this member was the first to enter the group."""
        return self.group.founded_by_id == self.user_id

    def is_proven(self, now: datetime) -> bool:
        """Tell whether it has neither been left nor lapsed."""
        return self.left_at is None and self.verified_at >= proven_since(now)

    def is_current(self, now: datetime) -> bool:
        """Tell what the function `is_current` matches, of a row that has been read."""
        return self.is_proven(now) and self.user.status == WeChatUser.Status.ACTIVE

    def absences(self, now: datetime) -> list[Absence]:
        """Return all reasons why others do not see this member; none while they do."""
        reasons = {
            Absence.BLOCKED: self.user.is_blocked,
            Absence.LEFT: self.left_at is not None,
            Absence.LAPSED: self.verified_at < proven_since(now),
            Absence.WITHHELD: self.withheld,
            Absence.HIDDEN: self.hidden,
            Absence.GROUP_HIDDEN: self.group.hidden,
        }
        return [reason for reason, holds in reasons.items() if holds]


# PostgreSQL's form of `MembershipQuerySet.at`.
_AT = f"""
SELECT {columns_of(Membership, "m")}, {columns_of(Group, "g")}
FROM groups_membership m JOIN groups_group g ON g.id = m.group_id
WHERE m.user_id = %(user)s AND g.app_id = %(app_id)s AND g.open_gid = %(open_gid)s
"""  # noqa: S608
