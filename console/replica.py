"""Which pages read DATABASE_REPLICA_URL, and what they say of its age.

Pages that list, search and count are `from_replica`. Everything that decides about a person is not:
a group's own page and its ranking, a member's page, the pages of actions, the review queue, forms.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.auth import SESSION_KEY
from django.core.exceptions import MiddlewareNotUsed
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.timesince import timesince
from django.utils.timezone import now
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from core.replica import age_shown, has_replica, read
from core.routing import begin_noting_writes, has_written

from .dates import clock
from .sessions import replica_has

CHANGE = "changed"  # where a session keeps when its operator last changed something

View = Callable[..., Any]


def from_replica(view: View) -> View:
    """Let a page be read from the replica, unless its operator has changed what is not there yet.

    The page is read as a whole, templates included, and again from the primary where that fails:
    what it writes, it writes last.
    """

    @wraps(view)
    def shown(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        def page() -> Any:
            response = view(request, *args, **kwargs)
            return response.render() if hasattr(response, "render") else response

        if request.method not in {"GET", "HEAD"} or not has_replica():
            return view(request, *args, **kwargs)
        return read(page, lambda: _shows_own_changes(request))

    return shown


def _shows_own_changes(request: HttpRequest) -> bool:
    """Return whether the replica has what this operator did last.

    Their session was saved after it, with its moment, and is replicated like everything else: where
    the replica's copy of the session has that moment, it has all that was written before.
    """
    change = request.session.get(CHANGE)
    return change is None or replica_has(request.session, CHANGE, change)


def age_text() -> str:
    """Return how old what this page shows is: "As of 12:03:05, 8 seconds ago"; mostly ""."""
    found = age_shown()
    if found is None or not found.is_shown:
        return ""
    if found.as_of is None or found.age is None:
        return _("Read from a replica of the database; how old that is, is not known")
    seconds = int(found.age.total_seconds())
    ago = ngettext("%(count)d second", "%(count)d seconds", seconds) % {"count": seconds}
    if seconds >= 60:
        ago = timesince(found.as_of, found.as_of + found.age, depth=1)
    return format_html(_("As of {moment}, {ago} ago"), moment=clock(found.as_of), ago=ago)


class OwnChangesMiddleware:
    """Keeps in an operator's session when they changed something: no page of theirs is older."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        if not has_replica():
            raise MiddlewareNotUsed
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        begin_noting_writes()
        response = self.get_response(request)
        session = getattr(request, "session", None)  # the API has none
        if session is not None and has_written() and SESSION_KEY in session:
            session[CHANGE] = now().isoformat()
        return response
