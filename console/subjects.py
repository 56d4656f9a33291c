"""What a row of the audit is about: its name in the console, and its page where there is one.

Never a person's name: the audit outlives an erasure.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from django.contrib import admin
from django.contrib.auth.models import Group as Role
from django.contrib.auth.models import User
from django.db.models import Model, Value
from django.urls import reverse
from django.utils.text import capfirst
from django.utils.translation import gettext

from accounts.models import WeChatUser
from audit.models import AuditEvent, Watch
from groups.models import Board, Group, Membership, Score, ServerKey, VerificationFile

from .review import union
from .roles import may_view

MODELS: dict[str, type[Model]] = {
    str(model._meta.model_name): model
    for model in (
        *(WeChatUser, Group, Membership, Board, Score),
        *(User, ServerKey, VerificationFile, AuditEvent, Watch),
    )
}


def model_of(event: AuditEvent) -> type[Model] | None:
    """Groups and roles have one name to Django; only a group has an appid."""
    if event.target == "group" and event.target_id and not event.app_id:
        return Role
    return MODELS.get(event.target)


def subject_of(event: AuditEvent) -> str:
    """Such as "成员 #12"."""
    model = model_of(event)
    name = called(model) if model else gettext("WeChat")
    return f"{name} #{event.target_id}" if event.target_id else name


def called(model: Any) -> str:
    """As the console's own pages call it."""
    shown = admin.site.is_registered(model)
    opts = admin.site.get_model_admin(model).opts if shown else model._meta
    return capfirst(str(opts.verbose_name))


def add_pages(events: Iterable[Any], operator: User) -> None:
    """Set `page` on each: where its subject is, if that is still there and theirs to see; ""
    otherwise. One query."""
    events = list(events)
    there = _there(events, operator)
    for event in events:
        model = model_of(event)
        found = model is not None and (event.target_id, model._meta.label_lower) in there
        event.page = page_of(model, event.target_id) if found else ""


def page_of(model: Any, pk: int) -> str:
    """A row's own page in the admin."""
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_change", args=[pk])


def _there(events: Iterable[AuditEvent], operator: User) -> set[tuple[int, str]]:
    wanted: dict[type[Model], set[int]] = defaultdict(set)
    for event in events:
        model = model_of(event)
        if model and event.target_id and admin.site.is_registered(model):
            wanted[model].add(event.target_id)
    rows = [
        model._default_manager.order_by()
        .filter(pk__in=numbers)
        .values_list("pk", Value(model._meta.label_lower))
        for model, numbers in wanted.items()
        if may_view(operator, model)
    ]
    return set(union(rows)) if rows else set()
