"""The console's one navigation: where one can go, and where a page stands in it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from django.contrib.auth.models import Group as Role
from django.contrib.auth.models import User
from django.db.models import Model
from django.http import HttpRequest
from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from accounts.models import WeChatUser
from audit.models import AuditEvent
from groups.models import Board, ServerKey, VerificationFile

from .access import operator_of
from .actions import ACTIONS, Text
from .exports import EXPORTS
from .review import QUEUE, waiting_for
from .roles import holds, may_view

REVIEW = "review-queue"


@dataclass(frozen=True)
class Entry:
    """A page that the navigation leads to.

    `opens` says which operators may open it. `views` are the beginnings of the names of the views
    that belong to it beside its own. The pages of `tabs` stand together under its heading.
    """

    label: Text
    view: str
    opens: Callable[[User], bool]
    views: tuple[str, ...] = ()
    tabs: tuple["Entry", ...] = field(default=(), repr=False)

    @property
    def url(self) -> str:
        return reverse(self.view)

    def holds_view(self, name: str) -> bool:
        """Return whether a view of this name belongs to the entry itself, not to a tab."""
        return name == self.view or name.startswith(self.views or ("\0",))

    def holds_page(self, name: str) -> bool:
        return self.holds_view(name) or any(tab.holds_view(name) for tab in self.tabs)


def holding(*permissions: str) -> Callable[[User], bool]:
    """Return a test for operators who hold all of these."""
    return lambda operator: all(holds(operator, each) for each in permissions)


def of_model(label: Text, model: type[Model], *tabs: Entry, more: str = "") -> Entry:
    """Return the entry of a model's list in the admin, and of its rows' pages."""
    meta = model._meta
    name = f"admin:{meta.app_label}_{meta.model_name}_"
    opens = holding(f"{meta.app_label}.view_{meta.model_name}")
    return Entry(label, f"{name}changelist", opens, tuple(filter(None, (name, more))), tabs)


# Each tuple is a part of the navigation.
NAVIGATION: tuple[tuple[Entry, ...], ...] = (
    (
        Entry(pgettext_lazy("navigation", "Overview"), "admin:index", holding()),
        Entry(
            _("Groups and rankings"),
            "group-list",
            holding("groups.view_group", "groups.view_membership"),
            ("group-", "admin:groups_group_", "admin:groups_membership_", "admin:groups_score_"),
        ),
        of_model(_("Members"), WeChatUser, more="console-openid"),
        Entry(
            _("Awaiting review"),
            REVIEW,
            lambda operator: any(kind.decided_by(operator) for kind in QUEUE.values()),
        ),
        of_model(_("Boards"), Board),
        Entry(_("Integration check"), "check", holding("audit.view_attempt"), ("check-",)),
        Entry(
            _("Downloads"),
            "export-index",
            lambda operator: any(may_view(operator, each.model) for each in EXPORTS.values()),
            ("export-",),
        ),
    ),
    (
        of_model(_("Audit"), AuditEvent),
        of_model(
            _("Operators and roles"),
            User,
            of_model(_("Operators"), User),
            of_model(_("Roles"), Role),
        ),
        of_model(_("Server keys"), ServerKey),
        of_model(_("Verification files"), VerificationFile),
        Entry(
            _("My account"),
            "console-account",
            holding(),
            ("console-account", "console-otp", "admin:password_change"),
        ),
    ),
)


@dataclass(frozen=True)
class Crumb:
    """A step on the way to a page."""

    label: Text
    url: str


@dataclass(frozen=True)
class Navigation:
    """The navigation as one request shows it; each part is read when the template asks."""

    request: HttpRequest

    @cached_property
    def parts(self) -> list[list[Entry]]:
        """Return what the operator may open."""
        found = [[entry for entry in part if self._opens(entry)] for part in NAVIGATION]
        return [part for part in found if part]

    def _opens(self, entry: Entry) -> bool:
        return entry.opens(operator_of(self.request))

    @cached_property
    def waiting(self) -> int:
        """Count what awaits the operator's review; one query a request."""
        operator = operator_of(self.request)
        counts = waiting_for(self.request)
        decided = [kind.name for kind in QUEUE.values() if kind.decided_by(operator)]
        return sum(counts[name].count for name in decided if name in counts)

    @cached_property
    def _view(self) -> str:
        """Return the name of the page's view; of an action, that of its row's page."""
        match = self.request.resolver_match
        name = match.view_name if match else ""
        if name == "console-act" and match and (action := ACTIONS.get(match.kwargs["key"])):
            meta = action.model._meta
            return f"admin:{meta.app_label}_{meta.model_name}_change"
        return str(name)

    @cached_property
    def here(self) -> Entry | None:
        """Return the entry that the page belongs to."""
        entries = (entry for part in NAVIGATION for entry in part)
        return next((entry for entry in entries if entry.holds_page(self._view)), None)

    @cached_property
    def tab(self) -> Entry | None:
        tabs = self.here.tabs if self.here else ()
        return next((tab for tab in tabs if tab.holds_view(self._view)), None)

    @cached_property
    def tabs(self) -> list[Entry]:
        """Return the lists beside this one, where the page is a list with some."""
        found = [tab for tab in self.here.tabs if self._opens(tab)] if self.here else []
        return found if len(found) > 1 and self._view in {tab.view for tab in found} else []

    @cached_property
    def crumbs(self) -> list[Crumb]:
        """Return the way from the front page to what the page belongs to, without the page."""
        if self.here is None or self._view == "admin:index":
            return []
        steps = [NAVIGATION[0][0], self.here]
        if self.tab and self.tab.view != self.here.view:
            steps.append(self.tab)
        return [Crumb(step.label, step.url) for step in steps if step.view != self._view]
