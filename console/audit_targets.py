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
from django.utils.http import urlencode
from django.utils.text import capfirst
from django.utils.translation import gettext

from accounts.models import WeChatUser
from audit.models import AuditEvent, Watch
from groups.models import Board, Group, Membership, Score, ServerKey, VerificationFile

from .review import union
from .roles import may_view

RECORDED_MODELS: tuple[type[Model], ...] = (
    WeChatUser,
    Group,
    Membership,
    Board,
    Score,
    User,
    ServerKey,
    VerificationFile,
    AuditEvent,
    Watch,
)
MODELS = {str(model._meta.model_name): model for model in RECORDED_MODELS}


def target_model(event: AuditEvent) -> type[Model] | None:
    """Return the model of what an event is about.

    Groups and roles have one name to Django; only a group has an appid.
    """
    if event.target == "group" and event.target_id and not event.app_id:
        return Role
    return MODELS.get(event.target)


def target_name(event: AuditEvent) -> str:
    """Return what an event is about, such as "成员 #12"."""
    model = target_model(event)
    name = model_name(model) if model else gettext("WeChat")
    return f"{name} #{event.target_id}" if event.target_id else name


def model_name(model: Any) -> str:
    """Return what the console's own pages call a row of this model."""
    registered = admin.site.is_registered(model)
    opts = admin.site.get_model_admin(model).opts if registered else model._meta
    return capfirst(str(opts.verbose_name))


def target_urls(events: Iterable[AuditEvent], operator: User) -> dict[int, str]:
    """Return, by event, the page of its target where that exists and `operator` may see it.

    One query, however many events there are.
    """
    models = {event.pk: target_model(event) for event in events}
    asked: dict[type[Model], set[int]] = defaultdict(set)
    for event in events:
        model = models[event.pk]
        if model and event.target_id and admin.site.is_registered(model):
            asked[model].add(event.target_id)
    rows = [
        model._default_manager.order_by()
        .filter(pk__in=numbers)
        .values_list("pk", Value(model._meta.label_lower))
        for model, numbers in asked.items()
        if may_view(operator, model)
    ]
    existing = set(union(rows)) if rows else set()
    return {
        event.pk: row_url(model, event.target_id)
        for event in events
        if (model := models[event.pk]) and (event.target_id, model._meta.label_lower) in existing
    }


def row_url(model: Any, pk: int | None) -> str:
    """Return the page of a row; `model` may be the row itself."""
    if model is Group or isinstance(model, Group):
        return reverse("group-page", args=[pk])
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_change", args=[pk])


def audit_url(**filters: Any) -> str:
    """Return the list of what the audit knows of a row, a member or a group."""
    return f"{reverse('admin:audit_auditevent_changelist')}?{urlencode(filters)}"
