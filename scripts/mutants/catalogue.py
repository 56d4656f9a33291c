"""The faults: each an exact text of a product file, and what takes its place.

A name says what the product then does. Add one for each rule of the ranking that is new.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """A fault in one file, made by replacing a text that is there exactly once."""

    name: str
    path: str
    old: str
    new: str


RANKING = "groups/ranking.py"
STANDINGS = "groups/standings.py"
ANSWERS = "groups/answers.py"
PERIODS = "groups/periods.py"
SERVICES = "groups/services.py"
BATCHES = "groups/batches.py"
SERIALIZERS = "groups/serializers.py"
API = "groups/api.py"
SERVER_API = "groups/server_api.py"
MODERATION = "groups/moderation.py"
BOARDS = "groups/models/boards.py"
GROUPS = "groups/models/groups.py"
SCORES = "groups/models/scores.py"
NAMES = "accounts/services.py"
REVIEW = "accounts/review.py"

MUTANTS = [
    # Who is listed, and as what
    Mutant(
        "members that an operator hides are listed",
        RANKING,
        "return self.hidden or self.withheld",
        "return self.hidden",
    ),
    Mutant(
        "members who hide themselves are listed",
        RANKING,
        "return self.hidden or self.withheld",
        "return self.withheld",
    ),
    Mutant(
        "drafts of names and faces are shown to everyone",
        RANKING,
        "member=row.member,",
        "member=row.own,",
    ),
    Mutant(
        "members do not see their own drafts",
        RANKING,
        "_replace(member=row.own, is_me=True)",
        "_replace(is_me=True)",
    ),
    Mutant(
        "names in a group are ignored",
        RANKING,
        'return self.alias or self.chosen_name or gettext("WeChat user")',
        'return self.chosen_name or gettext("WeChat user")',
    ),
    Mutant(
        "those who lapsed are listed",
        GROUPS,
        '            f"{prefix}verified_at__gte": proven_since(now),\n',
        "",
    ),
    Mutant(
        "a membership lapses a moment too early",
        GROUPS,
        'f"{prefix}verified_at__gte": proven_since(now)',
        'f"{prefix}verified_at__gt": proven_since(now)',
    ),
    Mutant(
        "those who left are listed",
        GROUPS,
        '            f"{prefix}left_at": None,\n',
        "",
    ),
    Mutant(
        "the blocked are listed",
        GROUPS,
        '            f"{prefix}user__status": WeChatUser.Status.ACTIVE,\n',
        "",
    ),
    Mutant(
        "the blocked may call",
        "accounts/permissions.py",
        "if user.is_blocked and",
        "if not user.pk and",
    ),
    Mutant(
        "an operator who shows a member undoes the member's own hiding",
        MODERATION,
        "rows.update(withheld=withheld)",
        "rows.update(withheld=withheld, hidden=withheld)",
    ),
    Mutant(
        "outsiders read a group",
        API,
        "groups = Group.objects.visible_to(self.user, self.now)",
        "groups = Group.objects.all()",
    ),
    Mutant(
        "memberships that ended can be used",
        API,
        "mine = Membership.objects.of(self.user, self.now).select",
        "mine = Membership.objects.filter(user=self.user).select",
    ),
    Mutant(
        "the members of a hidden group see it",
        GROUPS,
        "return self.current(now).filter(group__hidden=False)",
        "return self.current(now)",
    ),
    Mutant(
        "a hidden group can be entered",
        SERVICES,
        "if group.hidden:",
        "if group.hidden and group.pk is None:",
    ),
    Mutant(
        "the key of one mini-program reads the groups of another",
        SERVER_API,
        "return get_object_or_404(Group, app_id=self.app_id, open_gid=open_gid)",
        "return get_object_or_404(Group, open_gid=open_gid)",
    ),
    # The head of an answer
    Mutant(
        "memberCount is taken after hiding",
        RANKING,
        "GroupCard.of(self.group, table.names, len(table.rows),",
        "GroupCard.of(self.group, table.names, len(table.listed),",
    ),
    Mutant(
        "total leaves out those without a score",
        RANKING,
        "total=len(table.listed)",
        "total=len(table.ranks)",
    ),
    Mutant(
        "labels of groups are ignored",
        GROUPS,
        "group.label or title_of(names, count)",
        "title_of(names, count)",
    ),
    Mutant(
        "titles name hidden members",
        RANKING,
        "name) for row in shown if",
        "name) for row in rows.values() if",
    ),
    Mutant(
        "titles name members in the order of their ids",
        RANKING,
        "named = [(row.joined_at, row.id, name)",
        "named = [(row.id, row.joined_at, name)",
    ),
    Mutant(
        "titles in lists name members that an operator hides",
        GROUPS,
        "shown = Q(hidden=False, withheld=False)",
        "shown = Q(hidden=False)",
    ),
    Mutant(
        "titles in lists leave out names for nameless members",
        GROUPS,
        'order = ("nameless", "joined_at", "user")',
        'order = ("joined_at", "user")',
    ),
    Mutant(
        "a title that names everyone counts them too",
        GROUPS,
        "if count <= len(names):",
        "if count < len(names):",
    ),
    Mutant(
        "a board's title is always Chinese",
        BOARDS,
        'return self.title_en if get_language() == "en" else self.title_zh',
        "return self.title_zh",
    ),
    Mutant(
        "a board's unit is always Chinese",
        BOARDS,
        'return self.unit_en if get_language() == "en" else self.unit_zh',
        "return self.unit_zh",
    ),
    Mutant(
        "the sign of a score is not written",
        BOARDS,
        'sign = "-" if value < 0 else ""',
        'sign = "" if value < 0 else ""',
    ),
    Mutant(
        "a board of every mini-program takes the place of an own one",
        BOARDS,
        "if board.app_id == app_id or board.key not in own]",
        "if own or theirs]",
    ),
    Mutant(
        "the default board takes the place of the one that was asked for",
        BOARDS,
        "if board.default_for == app_id and not key)",
        "if board.default_for == app_id)",
    ),
    Mutant(
        "there is no default board but the one that counts days",
        BOARDS,
        "if board.default_for == app_id and not key)",
        "if board.default_for == app_id and key == ACTIVE_DAYS)",
    ),
    # Ranks and order
    Mutant(
        "boards that sort the lowest first sort the highest first",
        RANKING,
        "badness = score if board.order == Board.Order.ASC else -score",
        "badness = -score",
    ),
    Mutant(
        "the later achiever is listed first",
        RANKING,
        "(0, badness, achieved_at, row.joined_at, row.id)",
        "(0, badness, EPOCH - (achieved_at - EPOCH), row.joined_at, row.id)",
    ),
    Mutant(
        "ties are in the order of joining alone",
        RANKING,
        "(0, badness, achieved_at, row.joined_at, row.id)",
        "(0, badness, EPOCH, row.joined_at, row.id)",
    ),
    Mutant(
        "ties of one moment are in the order of ids alone",
        RANKING,
        "(0, badness, achieved_at, row.joined_at, row.id)",
        "(0, badness, achieved_at, EPOCH, row.id)",
    ),
    Mutant(
        "those without a score are in the order of ids",
        RANKING,
        "(1, 0, EPOCH, row.joined_at, row.id)",
        "(1, 0, EPOCH, EPOCH, row.id)",
    ),
    Mutant(
        "those without a score come first",
        RANKING,
        "(1, 0, EPOCH, row.joined_at, row.id)",
        "(-1, 0, EPOCH, row.joined_at, row.id)",
    ),
    Mutant(
        "dense ranks leave gaps",
        RANKING,
        "sorted(set(self._values)) if is_dense else self._values",
        "self._values",
    ),
    Mutant(
        "competition ranks leave no gaps",
        RANKING,
        "sorted(set(self._values)) if is_dense else self._values",
        "sorted(set(self._values))",
    ),
    Mutant(
        "ordinal ranks are shared in a tie",
        RANKING,
        "return key if self._is_by_time else key[1]",
        "return key[1]",
    ),
    # The viewer
    Mutant(
        "percentile is rounded up",
        RANKING,
        "100 * (others - not_below) // others",
        "-(-100 * (others - not_below) // others)",
    ),
    Mutant(
        "percentile leaves out those without a score",
        RANKING,
        "others = len(self.listed) - 1",
        "others = len(self.ranks) - 1",
    ),
    Mutant(
        "percentile is 0 for who is alone",
        RANKING,
        "// others if others else 100",
        "// others if others else 0",
    ),
    Mutant(
        "those who tie with me count as below me",
        RANKING,
        "bisect_right(self._values, self._value(key))",
        "bisect_left(self._values, self._value(key)) + 1",
    ),
    Mutant(
        "no one is told that they are hidden",
        RANKING,
        'absent="hidden" if self.me and self.me.is_unlisted else None',
        "absent=None",
    ),
    Mutant(
        "hidden members get a rank of their own",
        RANKING,
        "return None if row.is_unlisted else self.ranks.rank",
        "return self.ranks.rank",
    ),
    Mutant(
        "no entry is mine",
        RANKING,
        "is_me=True) if row is self.me else",
        "is_me=False) if row is self.me else",
    ),
    Mutant(
        "a membership is hidden only where an operator hides it",
        SERIALIZERS,
        'source="is_unlisted"',
        'source="withheld"',
    ),
    Mutant(
        "owners see no name in a group but a new one",
        SERIALIZERS,
        'source="own_alias"',
        'source="alias_draft"',
    ),
    # Movement
    Mutant(
        "movement has the wrong sign",
        RANKING,
        'return "new" if before is None else before - rank',
        'return "new" if before is None else rank - before',
    ),
    Mutant(
        "no one is new",
        RANKING,
        'return "new" if before is None else before - rank',
        "return None if before is None else before - rank",
    ),
    Mutant(
        "movement is against ranks that count hidden members",
        RANKING,
        "_sort_key_before(board, row) for row in shown]",
        "_sort_key_before(board, row) for row in rows.values()]",
    ),
    Mutant(
        "movement is against the same period",
        RANKING,
        "read_rows(group, board, period, before, now)",
        "read_rows(group, board, period, before and period, now)",
    ),
    Mutant(
        "there is a period before the group was first seen",
        RANKING,
        "return before if before and before.end and before.end > group.seen_from else None",
        "return before if before and before.end else None",
    ),
    Mutant(
        "there is a period that ended when the group was first seen",
        RANKING,
        "before.end > group.seen_from",
        "before.end >= group.seen_from",
    ),
    # Periods
    Mutant(
        "windows that a board does not count can be read",
        RANKING,
        "if walked is None and asked.window not in board.counted_windows:",
        "if walked is not None and asked.window not in board.counted_windows:",
    ),
    Mutant(
        "periods that have not begun can be read",
        PERIODS,
        "if period.start and period.start > now:",
        "if period.start and period.start.year > now.year + 1:",
    ),
    Mutant(
        "next is given before it begins",
        PERIODS,
        "return self.following if self.end and self.end <= now else None",
        "return self.following",
    ),
    Mutant(
        "next is given a moment too late",
        PERIODS,
        "self.end <= now else None",
        "self.end < now else None",
    ),
    Mutant(
        "weeks begin on Sunday",
        PERIODS,
        "floor=lambda day: day - timedelta(days=day.weekday())",
        "floor=lambda day: day - timedelta(days=day.isoweekday() % 7)",
    ),
    Mutant(
        "the calendar is that of London",
        PERIODS,
        'CALENDAR = ZoneInfo("Asia/Shanghai")',
        'CALENDAR = ZoneInfo("UTC")',
    ),
    Mutant(
        "the week before is called by its number",
        PERIODS,
        "return str(row.previous) if self == current.previous else",
        "return str(row.previous) if self == current else",
    ),
    Mutant(
        "the sentence about periods names windows that are not counted",
        RANKING,
        "for window in board.counted_windows:\n        key = Period.current(window, now).key",
        "for window in Window:\n        key = Period.current(window, now).key",
    ),
    # Pages
    Mutant(
        "cursors are good in any group",
        RANKING,
        'return f"groups.ranking.{group.pk}.{board.pk}"',
        'return f"groups.ranking.{board.pk}"',
    ),
    Mutant(
        "cursors are good on any board",
        RANKING,
        'return f"groups.ranking.{group.pk}.{board.pk}"',
        'return f"groups.ranking.{group.pk}"',
    ),
    Mutant(
        "cursors are good in any period",
        RANKING,
        "if walked and text and text != walked.window and asked != walked:",
        "if walked and text and text != walked.window and asked is None:",
    ),
    Mutant(
        "the next page is of the default period",
        RANKING,
        "return walked or asked",
        "return asked",
    ),
    Mutant(
        "a page leaves out its first member",
        RANKING,
        "view.table.after(place.key) if place",
        "view.table.after(place.key) + 1 if place",
    ),
    Mutant(
        "a page repeats the last member of the one before",
        RANKING,
        "view.table.after(place.key) if place",
        "view.table.after(place.key) - 1 if place",
    ),
    Mutant(
        "a cursor is a number of places",
        RANKING,
        "_sort_key(self.board, page[-1])",
        "_sort_key(self.board, table.listed[min(last, len(table.listed) - 1)])",
    ),
    Mutant(
        "there is a page after the last",
        RANKING,
        "if page and last < len(table.listed):",
        "if page and last <= len(table.listed):",
    ),
    Mutant(
        "a page has one member more than its limit",
        RANKING,
        "return view.ranking(first, first + limit)",
        "return view.ranking(first, first + limit + 1)",
    ),
    Mutant(
        "a page may have 101 members",
        RANKING,
        "DEFAULT_LIMIT, MAX_LIMIT = 50, 100",
        "DEFAULT_LIMIT, MAX_LIMIT = 50, 101",
    ),
    Mutant(
        "around me are 26 on each side",
        RANKING,
        "DEFAULT_AROUND, MAX_AROUND = 5, 25",
        "DEFAULT_AROUND, MAX_AROUND = 5, 26",
    ),
    Mutant(
        "around me is one too few below",
        RANKING,
        "return view.ranking(max(0, mine - size), mine + size + 1)",
        "return view.ranking(max(0, mine - size), mine + size)",
    ),
    Mutant(
        "around me is one too few above",
        RANKING,
        "return view.ranking(max(0, mine - size), mine + size + 1)",
        "return view.ranking(max(0, mine - size + 1), mine + size + 1)",
    ),
    Mutant(
        "around the first are the last",
        RANKING,
        "return view.ranking(max(0, mine - size), mine + size + 1)",
        "return view.ranking(mine - size, mine + size + 1)",
    ),
    Mutant(
        "around who is not listed is the top",
        RANKING,
        "return view.ranking(0, 0)",
        "return view.ranking(0, size)",
    ),
    # Winners
    Mutant(
        "winners are one place too few",
        RANKING,
        "if rank and rank <= places))",
        "if rank and rank < places))",
    ),
    Mutant(
        "winners do not include who ties with the last of them",
        RANKING,
        "sum(1 for rank in ranks if rank and rank <= places))",
        "min(places, sum(1 for rank in ranks if rank)))",
    ),
    Mutant(
        "running periods have winners",
        RANKING,
        "if (ready := chosen.end + SETTLING) > now:",
        "if (ready := chosen.end + SETTLING) > now + timedelta(days=400):",
    ),
    Mutant(
        "winners are known as soon as a period ends",
        RANKING,
        "SETTLING = timedelta(seconds=60)",
        "SETTLING = timedelta(seconds=0)",
    ),
    Mutant(
        "winners are known a second too late",
        RANKING,
        "SETTLING = timedelta(seconds=60)",
        "SETTLING = timedelta(seconds=61)",
    ),
    Mutant(
        "the id of a prize is that of the same one in another group",
        SERIALIZERS,
        "where = (found.board.key, found.period.key, found.group.group.open_gid)",
        "where = (found.board.key, found.period.key)",
    ),
    Mutant(
        "the id of a prize changes with the rank",
        SERIALIZERS,
        'return ":".join([*where, str(standing.member.id)])',
        'return ":".join([*where, str(standing.member.id), str(standing.rank)])',
    ),
    # What a score becomes
    Mutant(
        "best is the highest where the lowest comes first",
        BOARDS,
        "return min(before, value) if self.order == self.Order.ASC else max(before, value)",
        "return max(before, value)",
    ),
    Mutant(
        "latest behaves as best",
        BOARDS,
        "if before is None or self.policy == self.Policy.LATEST:",
        "if before is None:",
    ),
    Mutant(
        "a sum is the last value",
        BOARDS,
        "return before + value",
        "return value",
    ),
    Mutant(
        "a sum below what JavaScript holds is taken",
        BOARDS,
        "if abs(before + value) > MAX_SCORE:",
        "if before + value > MAX_SCORE:",
    ),
    Mutant(
        "bounds hold for sums, not for submissions alone",
        BOARDS,
        "if abs(before + value) > MAX_SCORE:",
        "if before + value > (self.max_value or MAX_SCORE):",
    ),
    Mutant(
        "the scores of one group count in all of them",
        BOARDS,
        "return group if self.scope == self.Scope.GROUP else ALL_GROUPS",
        "return ALL_GROUPS",
    ),
    Mutant(
        "scores for all groups are looked for in one",
        BOARDS,
        "return group if self.scope == self.Scope.GROUP else ALL_GROUPS",
        "return group",
    ),
    Mutant(
        "the largest score is ignored",
        SERVICES,
        "(low is not None and self.value < low) or (high is not None and self.value > high)",
        "low is not None and self.value < low",
    ),
    Mutant(
        "the smallest score is ignored",
        SERVICES,
        "(low is not None and self.value < low) or (high is not None and self.value > high)",
        "high is not None and self.value > high",
    ),
    Mutant(
        "the largest score itself is refused",
        SERVICES,
        "self.value > high",
        "self.value >= high",
    ),
    Mutant(
        "a board that is not active takes scores",
        SERVICES,
        "if not self.board.is_active(now):",
        "if self.board.pk is None:",
    ),
    Mutant(
        "a board takes scores before it becomes active",
        BOARDS,
        "return begun and (self.active_to",
        "return (self.active_to",
    ),
    Mutant(
        "a board that only the server writes takes a phone's score",
        SERVICES,
        "if self.source is ScoreSource.CLIENT and self.board.writer",
        "if self.source is ScoreSource.ENTRY and self.board.writer",
    ),
    Mutant(
        "a server key writes active days",
        SERVICES,
        "if self.board.counts_days:",
        "if self.board.counts_days and self.source is ScoreSource.CLIENT:",
    ),
    Mutant(
        "a board with a score for each group needs none named",
        SERVICES,
        "if (self.group is None) == (self.board.scope == Board.Scope.GROUP):",
        "if self.group is not None and self.board.scope == Board.Scope.APP:",
    ),
    Mutant(
        "a worse score changes when it was achieved",
        SCORES,
        "if not result.changed:",
        "if row is not None and not row.pk:",
    ),
    Mutant(
        "scores count in windows that a board does not count",
        SCORES,
        "for window in board.counted_windows:",
        "for window in Window:",
    ),
    Mutant(
        "a clock that goes back writes into a period that has ended",
        SCORES,
        "now = max(now, self._latest.get(place, now))",
        "now = max(now, now)",
    ),
    Mutant(
        "a clock that goes back does not see scores of later periods",
        SCORES,
        "period__gte=Period.current(window, now).key",
        "period=Period.current(window, now).key",
    ),
    # Keys and batches
    Mutant(
        "idempotency keys are ignored",
        SERVICES,
        "if known is None or known.created_at <= now - KEYS_REMEMBERED:",
        "if known is None or known.created_at <= now:",
    ),
    Mutant(
        "idempotency keys are remembered for ever",
        SERVICES,
        "if known is None or known.created_at <= now - KEYS_REMEMBERED:",
        "if known is None:",
    ),
    Mutant(
        "a phone and the server share idempotency keys",
        SERVICES,
        "known = self._rows.get((user, submission.source, submission.key))",
        "known = next((row for (who, _s, key), row in self._rows.items() "
        "if (who, key) == (user, submission.key)), None)",
    ),
    Mutant(
        "people of a batch share idempotency keys",
        SERVICES,
        "known = self._rows.get((user, submission.source, submission.key))",
        "known = next((row for (_who, source, key), row in self._rows.items() "
        "if (source, key) == (submission.source, submission.key)), None)",
    ),
    Mutant(
        "a key used before takes another body",
        SERVICES,
        "if known.digest != submission.digest:",
        "if not known.digest:",
    ),
    Mutant(
        "a score out of bounds is refused and written",
        SERVICES,
        "        submission.check_bounds(now)\n"
        "        answer = sheet.enter(\n"
        "            board, user, submission.scope, submission.value, now, submission.source\n"
        "        )\n",
        "        answer = sheet.enter(\n"
        "            board, user, submission.scope, submission.value, now, submission.source\n"
        "        )\n"
        "        submission.check_bounds(now)\n",
    ),
    Mutant(
        "a refused row stops the others of its batch",
        BATCHES,
        "                read.append(refusal)\n",
        "                raise refusal\n",
    ),
    Mutant(
        "the results of a batch have the refused ones last",
        BATCHES,
        "else next(written) for each in read]",
        "else next(written) for each in sorted(read, key=lambda row: isinstance(row, Exception))]",
    ),
    Mutant(
        "a batch writes the scores of the blocked",
        BATCHES,
        "if user.is_blocked:",
        "if user.pk is None:",
    ),
    Mutant(
        "a batch writes scores of those who are no members any more",
        BATCHES,
        "Membership.objects.open(now).filter(",
        "Membership.objects.filter(",
    ),
    # Entering and leaving
    Mutant(
        "a day counts at each entry",
        SERVICES,
        "counts = membership is None or day_of(membership.verified_at) < day_of(now)",
        "counts = membership is None or membership.verified_at < now",
    ),
    Mutant(
        "only the first day counts",
        SERVICES,
        "counts = membership is None or day_of(membership.verified_at) < day_of(now)",
        "counts = membership is None",
    ),
    Mutant(
        "a day counts again for who leaves and comes back",
        SERVICES,
        "        if counts:\n",
        "        if counts or created:\n",
    ),
    Mutant(
        "an entry does not renew a membership",
        SERVICES,
        "latest = max(membership.verified_at, now)",
        "latest = membership.verified_at",
    ),
    Mutant(
        "a clock that goes back makes the last entry earlier",
        SERVICES,
        "latest = max(membership.verified_at, now)",
        "latest = now",
    ),
    Mutant(
        "who comes back has the old time of joining",
        SERVICES,
        "        membership.joined_at = now\n",
        "",
    ),
    Mutant(
        "who comes back is not told so",
        SERVICES,
        "    return came_back\n",
        "    return False\n",
    ),
    Mutant(
        "who comes back is hidden no more",
        SERVICES,
        "        membership.joined_at = now\n",
        "        membership.joined_at, membership.hidden = now, False\n"
        '        membership.save(update_fields=["hidden"])\n',
    ),
    Mutant(
        "scores are lost when their owner leaves",
        SERVICES,
        "        Membership.objects.filter(pk=membership.pk).update(**gone)\n",
        "        Membership.objects.filter(pk=membership.pk).update(**gone)\n"
        "        membership.user.scores.filter(scope=membership.group_id).delete()\n",
    ),
    Mutant(
        "leaving leaves nothing",
        SERVICES,
        'gone = {"left_at": timezone.now(), "group_openid": ""}',
        'gone = {"left_at": None, "group_openid": ""}',
    ),
    Mutant(
        "groups are listed with the latest visit last",
        SERVICES,
        'rows = mine.order_by("-verified_at", "-pk")',
        'rows = mine.order_by("verified_at", "pk")',
    ),
    # Names and faces
    Mutant(
        "a name that WeChat refuses is taken",
        NAMES,
        "if suggestion is Suggestion.RISKY:",
        "if suggestion is None:",
    ),
    Mutant(
        "a name that WeChat doubts is shown",
        NAMES,
        "if suggestion is Suggestion.PASS:",
        "if suggestion is not Suggestion.RISKY:",
    ),
    Mutant(
        "a server's names are shown without review",
        NAMES,
        "if settings.CONTENT_SAFETY and not reviewed and name != user.nickname:",
        "if settings.CONTENT_SAFETY and not name:",
    ),
    Mutant(
        "what an operator approves is not shown",
        REVIEW,
        "        self._put_value(name, draft, at)\n",
        "",
    ),
    Mutant(
        "what an operator refuses is shown",
        REVIEW,
        '        self._put_draft(name, "", None, State.REFUSED)\n\n    def reset',
        "        self.approve_draft(name)\n\n    def reset",
    ),
    Mutant(
        "a new name loses the one that others see",
        REVIEW,
        "        self._put_draft(name, value, timezone.now(), State.PENDING)\n",
        "        self._put_draft(name, value, timezone.now(), State.PENDING)\n"
        '        self._put_value(name, "", None)\n',
    ),
    # What is kept of standings
    Mutant(
        "a kept ranking is used whatever has changed",
        STANDINGS,
        "kept.version < version or ",
        "",
    ),
    Mutant(
        "a kept ranking is used for ten seconds",
        STANDINGS,
        "MAX_AGE = timedelta(seconds=2)",
        "MAX_AGE = timedelta(seconds=10)",
    ),
    Mutant(
        "my own score shows as late as that of others",
        RANKING,
        " and (row.score, row.achieved_at) == (own or (None, None))",
        "",
    ),
    Mutant(
        "a kept ranking is that of another period",
        RANKING,
        "key = (group.pk, board.pk, period, before, *counts)",
        "key = (group.pk, board.pk, *counts)",
    ),
    Mutant(
        "my own entry is what was written for others",
        ANSWERS,
        "= None if standing.is_me else written.get(standing.member.id)",
        "= written.get(standing.member.id)",
    ),
    Mutant(
        "what was written in one language is shown in another",
        ANSWERS,
        "(origin(request), get_language())",
        "(origin(request), None)",
    ),
]
