"""Operators and their roles: Django's own, audited, and under names of ours.

Anyone who may change operators or roles gives no more than they hold, and touches no one who
outranks them: neither their name, their rights and their password, nor a role they hold.
"""

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.contrib.admin.widgets import RelatedFieldWidgetWrapper
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.forms import AdminPasswordChangeForm, UsernameField
from django.contrib.auth.models import Group as Role
from django.contrib.auth.models import Permission, User
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.db.models import Count, Prefetch, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext, pgettext
from django.views.decorators.http import require_POST

from console import shown_once
from console.access import operator_of
from console.dates import moment
from console.grants import listed, permission_name, role_allows, role_name
from console.roles import (
    RIGHTS,
    ROLES,
    SUPERUSER,
    are_the_last_superusers,
    grantable,
    grantable_roles,
    is_beyond,
    ordered_roles,
    outranks,
)
from console.sessions import end_other_sessions
from console.sign_in import LINK_MINUTES, sign_in_path, sign_in_tokens

from .base import pill
from .stale import SeenForm, SeenModelAdmin

admin.site.unregister([User, Role])


def renamed(opts: Any, one: Any, many: Any) -> Any:
    """Return a model's options under other names; Django has one word for roles and groups."""
    opts = copy(opts)
    opts.verbose_name, opts.verbose_name_plural = one, many
    return opts


LAST_SUPERUSER = _("This is the last active superuser. Make another operator a superuser first.")
NAME_TAKEN = _("An operator of that name exists. Choose another name.")
ROLE_TAKEN = _("A role of that name exists. Choose another name.")
GRANTS = ("groups", "user_permissions", "permissions")
PERMISSIONS = Prefetch("permissions", Permission.objects.select_related("content_type"))
CACHES = ("_perm_cache", "_user_perm_cache", "_group_perm_cache")


class GrantField(forms.ModelMultipleChoiceField[Any]):
    """A choice of what the operator may give and take; what else is held is left alone."""

    def withheld(self, held: Any) -> list[Any]:
        """Return what is held and not offered."""
        offered = set(self.queryset or ())
        return [each for each in held or () if each not in offered]

    def has_changed(self, initial: Any, data: Any) -> bool:
        withheld = self.withheld(initial)
        return super().has_changed([x for x in initial or () if x not in withheld], data)


class RoleField(GrantField):
    """Roles, the ready ones with what they allow; for the others their own page says it."""

    def label_from_instance(self, obj: Role) -> str:
        allows = role_allows(obj) if obj.name in ROLES else ""
        return role_label(role_name(obj.name), allows)

    def name_of(self, obj: Role) -> str:
        return role_name(obj.name)


class PermissionField(GrantField):
    """Permissions in the reader's language: Django keeps "Can view member"."""

    def label_from_instance(self, obj: Permission) -> str:
        return permission_name(obj)


def role_label(name: Any, allows: Any) -> SafeString:
    return format_html('<b>{}</b> <span class="quiet">{}</span>', name, allows)


def _given(values: Mapping[str, Any]) -> set[str]:
    """Return what a form's values allow, in words for the audit."""
    permissions = [*values.get("user_permissions", ()), *values.get("permissions", ())]
    return (
        {right for right in RIGHTS if values.get(right)}
        | {role.name for role in values.get("groups", ())}
        | {f"{each.content_type.app_label}.{each.codename}" for each in permissions}
    )


class PermissionModelAdmin(SeenModelAdmin):
    """A form that gives permissions: of those the console asks for, the ones its reader holds.

    Operators who may change operators or roles cannot give themselves more than they hold, nor
    change a row that is beyond them.
    """

    def outranks(self, row: Any, operator: User) -> bool:
        """Return whether this row is beyond the operator."""
        raise NotImplementedError

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_change_permission(request, obj) and self._may_touch(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_delete_permission(request, obj) and self._may_touch(request, obj)

    def _may_touch(self, request: HttpRequest, row: Any) -> bool:
        """Ask once in a request: Django's pages ask several times."""
        if row is None or row.pk is None:
            return True
        known = request.__dict__.setdefault("rows_beyond", {})
        if row.pk not in known:
            known[row.pk] = self.outranks(row, operator_of(request))
        return not known[row.pk]

    def lock(self, request: HttpRequest, row: Any) -> None:
        """Let one change of operators or roles wait for another, and read one's own rights anew.

        So what is checked stays true until it is saved: who outranks whom, and that there is a
        superuser left. There are few operators, and they change seldom.
        """
        locked = {each.pk: each for each in User.objects.select_for_update().order_by("pk")}
        operator = operator_of(request)
        now = locked.get(operator.pk)
        for right in RIGHTS:
            setattr(operator, right, getattr(now, right, False))
        for cache in CACHES:
            if hasattr(operator, cache):
                delattr(operator, cache)
        request.__dict__.pop("rows_beyond", None)
        if not self.admin_site.has_permission(request):
            raise PermissionDenied

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if request.method != "POST":
            return super().delete_view(request, object_id, extra_context)
        with transaction.atomic():
            self.lock(request, None)
            return super().delete_view(request, object_id, extra_context)

    def formfield_for_manytomany(self, db_field: Any, request: Any, **kwargs: Any) -> Any:
        operator = operator_of(request)
        kwargs |= {"form_class": PermissionField, "queryset": grantable(operator), "help_text": ""}
        if db_field.name == "groups":
            roles = {"form_class": RoleField, "queryset": grantable_roles(operator)}
            kwargs |= {"label": capfirst(_("roles")), **roles}
        return super().formfield_for_manytomany(db_field, request, **kwargs)

    def formfield_for_dbfield(self, db_field: Any, request: Any, **kwargs: Any) -> Any:
        """Return the field without Django's link to add a role in another window."""
        field: Any = super().formfield_for_dbfield(db_field, request, **kwargs)
        if isinstance(getattr(field, "widget", None), RelatedFieldWidgetWrapper):
            field.widget = field.widget.widget
        return field

    def save_related(self, request: Any, form: Any, formsets: Any, change: bool) -> None:
        """Keep what the operator was not offered, and save the rest as chosen."""
        for name in form.fields.keys() & GRANTS:
            withheld = form.fields[name].withheld(form.initial.get(name))
            form.cleaned_data[name] = [*form.cleaned_data[name], *withheld]
        super().save_related(request, form, formsets, change)

    def construct_change_message(
        self, request: HttpRequest, form: Any, formsets: Any, add: bool = False
    ) -> list[dict[str, Any]]:
        """Say what was given and taken, for the audit."""
        message: list[dict[str, Any]] = super().construct_change_message(
            request, form, formsets, add
        )
        before, after = _given(form.initial), _given(form.cleaned_data)
        grants = {"given": sorted(after - before), "taken": sorted(before - after)}
        return [*message, {"audit": {key: names for key, names in grants.items() if names}}]


class NewOperatorForm(forms.ModelForm[User]):
    """A new operator: what they are called and which role they have. A link signs them in."""

    operator: ClassVar[User]  # who adds them
    role = forms.ChoiceField(label=capfirst(_("role")), widget=forms.RadioSelect)

    class Meta:
        model = User
        fields = ("username", "first_name")
        field_classes: ClassVar[dict[str, Any]] = {"username": UsernameField}
        labels: ClassVar[dict[str, Any]] = {"first_name": capfirst(_("full name"))}
        help_texts: ClassVar[dict[str, Any]] = {
            "username": _("What they sign in with: letters, digits and @ . + - _"),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        roles = grantable_roles(self.operator).prefetch_related(PERMISSIONS)
        self.roles = {str(role.pk): role for role in roles}
        choices = [
            (key, role_label(role_name(role.name), role_allows(role)))
            for key, role in self.roles.items()
        ]
        if self.operator.is_superuser:
            choices.append(("superuser", role_label(SUPERUSER.name, SUPERUSER.allows)))
        field: Any = self.fields["role"]
        field.choices = choices
        field.required = bool(choices)
        field.initial = next((key for key, role in self.roles.items() if role.name == "viewer"), "")
        if not choices:
            field.help_text = _("You can give no role: each allows more than you may.")

    def clean_username(self) -> str:
        """Refuse a name that differs from another only in case."""
        name: str = self.cleaned_data["username"]
        if User.objects.filter(username__iexact=name).exists():
            raise ValidationError(NAME_TAKEN)
        return name

    def clean(self) -> dict[str, Any]:
        role = self.cleaned_data.pop("role", "")
        self.cleaned_data["groups"] = [self.roles[role]] if role in self.roles else []
        self.cleaned_data["is_superuser"] = role == "superuser"
        return self.cleaned_data


class OperatorForm(SeenForm[User]):
    class Meta:
        field_classes: ClassVar[dict[str, Any]] = {"username": UsernameField}
        labels: ClassVar[dict[str, Any]] = {
            "first_name": capfirst(_("full name")),
            "is_active": capfirst(_("may sign in")),
            "is_staff": capfirst(_("opens the console")),
            "is_superuser": SUPERUSER.name,
            "user_permissions": capfirst(_("single permissions")),
        }
        help_texts: ClassVar[dict[str, Any]] = {
            "username": "",
            "is_active": _("Untick it for who leaves: what they did keeps their name."),
            "is_staff": "",
            "is_superuser": SUPERUSER.allows,
        }
        error_messages: ClassVar[dict[str, Any]] = {"username": {"unique": NAME_TAKEN}}

    def clean(self) -> dict[str, Any] | None:
        """Keep one superuser who can let the others in."""
        super().clean()
        stays = all(self.cleaned_data.get(right, True) for right in RIGHTS)
        if not stays and are_the_last_superusers([self.instance]):
            raise ValidationError(LAST_SUPERUSER)
        return self.cleaned_data


class PasswordForm(AdminPasswordChangeForm):  # type: ignore[type-arg]
    """A new password, and no choice to have none: Django's speaks of LDAP."""

    def __init__(self, user: User, *args: Any, **kwargs: Any) -> None:
        super().__init__(user, *args, **kwargs)
        self.fields.pop("usable_password", None)


class RoleFilter(admin.SimpleListFilter):
    title = _("role")
    parameter_name = "role"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Sequence[tuple[str, str]]:
        roles = [(str(role.pk), role_name(role.name)) for role in ordered_roles()]
        return [*roles, ("superuser", str(SUPERUSER.name))]

    def queryset(self, request: HttpRequest, rows: QuerySet[Any]) -> QuerySet[Any]:
        match self.value():
            case None:
                return rows
            case "superuser":
                return rows.filter(is_superuser=True)
            case pk:
                return rows.filter(groups=int(pk)) if pk.isdecimal() else rows.none()


@admin.register(User)
class OperatorAdmin(PermissionModelAdmin, UserAdmin[User]):
    list_display = ("username", "full_name", "roles", "state", "last_sign_in")
    list_filter = (RoleFilter, "is_active")
    search_fields = ("username", "first_name", "email")
    search_help_text = _("User name, name or e-mail")
    add_fieldsets = ((None, {"fields": ("username", "first_name", "role")}),)
    fieldsets = (
        (None, {"fields": ("username", "first_name", "email", "password_state")}),
        (_("What they may do"), {"fields": ("groups", "is_superuser")}),
        (_("Access"), {"fields": ("is_active", "is_staff", "last_sign_in", "added")}),
        (_("Single permissions"), {"fields": ("user_permissions",), "classes": ("collapse",)}),
    )
    readonly_fields = ("password_state", "last_sign_in", "added", "roles", "permissions")
    read_only: ClassVar[dict[str, str]] = {"groups": "roles", "user_permissions": "permissions"}
    filter_horizontal = ()
    form = OperatorForm
    add_form = NewOperatorForm
    add_form_template = None
    change_password_form = PasswordForm

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.opts = renamed(self.opts, _("operator"), _("operators"))

    def outranks(self, row: User, operator: User) -> bool:
        return outranks(row, operator)

    def get_urls(self) -> list[Any]:
        link = self.admin_site.admin_view(require_POST(self.link_view))
        return [path("<id>/link/", link, name="auth_user_link"), *super().get_urls()]

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        form: Any = super().get_form(request, obj, change=change, **kwargs)
        if obj is None:
            form.operator = operator_of(request)
        return form

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        mine = () if operator_of(request).is_superuser else ("is_superuser",)
        return (*super().get_readonly_fields(request, obj), *mine)

    def get_deleted_objects(self, objs: Iterable[User], request: HttpRequest) -> Any:
        """Protect the last superuser; what goes with an operator needs no list of Django's."""
        return [], {}, set(), [LAST_SUPERUSER] if are_the_last_superusers(objs) else []

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """Read the roles of all operators on the page at once."""
        page: Any = super().get_changelist_instance(request)
        page.result_list = page.result_list.prefetch_related(Prefetch("groups", ordered_roles()))
        return page

    @admin.display(description=_("full name"))
    def full_name(self, operator: User) -> str:
        return operator.get_full_name() or "–"

    @admin.display(description=_("roles"))
    def roles(self, operator: User) -> str:
        names = [str(SUPERUSER.name)] if operator.is_superuser else []
        names += [role_name(role.name) for role in operator.groups.all()]
        return listed(names) or "–"

    @admin.display(description=_("single permissions"))
    def permissions(self, operator: User) -> str:
        held = operator.user_permissions.select_related("content_type")
        return listed(map(permission_name, held)) or "–"

    @admin.display(description=_("state"))
    def state(self, operator: User) -> SafeString:
        if not (operator.is_active and operator.is_staff):
            return pill("off", pgettext("state", "locked out"))
        if operator.last_login is None:
            return pill("wait", pgettext("state", "not signed in yet"))
        return pill("good", pgettext("state", "valid"))

    @admin.display(description=_("last sign-in"), ordering="last_login")
    def last_sign_in(self, operator: User) -> str:
        return moment(operator.last_login)

    @admin.display(description=_("added"))
    def added(self, operator: User) -> str:
        return moment(operator.date_joined)

    @admin.display(description=_("password"))
    def password_state(self, operator: User) -> SafeString:
        """Say whether there is one: how it is kept is nothing an operator can use."""
        known = operator.has_usable_password()
        return pill("good", _("password set")) if known else pill("wait", _("no password"))

    def row_context(self, request: HttpRequest, row: User) -> dict[str, Any]:
        """Show a link that was just made, and lead to what may be done to the operator."""
        mine = self.has_change_permission(request, row)
        made = shown_once.take(request, row) if mine else None
        enters = row.is_active and row.is_staff
        return {
            "title": row.get_full_name() or row.get_username(),
            "subtitle": None,
            "link": request.build_absolute_uri(sign_in_path(row, int(made))) if made else "",
            "link_minutes": LINK_MINUTES,
            "link_url": reverse("admin:auth_user_link", args=[row.pk]) if mine and enters else "",
            "password_url": reverse("admin:auth_user_password_change", args=[row.pk]) * mine,
            "is_beyond": not mine,
            "sessions_url": self.sessions_url(request, row) if mine else "",
        }

    def sessions_url(self, request: HttpRequest, row: User) -> str:
        """Return the page that shows where an operator is signed in, and ends it."""
        if row == operator_of(request):
            return reverse("console-account")
        page = reverse("admin:auth_user_change", args=[row.pk])
        return f"{reverse('console-act', args=['end_sessions', row.pk])}?next={page}"

    def user_change_password(
        self, request: HttpRequest, id: str, form_url: str = ""
    ) -> HttpResponse:
        """Set a password in one transaction with its audit, unless the operator may do more."""
        with transaction.atomic():
            if request.method == "POST":
                self.lock(request, None)
            response = super().user_change_password(request, id, form_url)
            if request.method == "POST" and response.status_code == 302:
                row = User.objects.get(pk=unquote(id))
                end_other_sessions(row, request.session.session_key)
        if (context := getattr(response, "context_data", None)) is not None:
            original: User = context["original"]
            page = reverse("admin:auth_user_change", args=[original.pk])
            context |= {"crumbs": [(original.get_username(), page)], "back": page}
        return response

    def link_view(self, request: HttpRequest, id: str) -> HttpResponse:
        """Make a link by which an operator signs in once, and show it on their page."""
        with transaction.atomic():
            self.lock(request, None)
            row = self.get_object(request, unquote(id))
            if not self.has_change_permission(request, row):
                raise PermissionDenied
            if row is None:
                raise Http404
            if row.is_active and row.is_staff:
                self.make_link(request, row)
            else:
                messages.error(request, _("They may not sign in. Allow that first."))
        return HttpResponseRedirect(reverse("admin:auth_user_change", args=[row.pk]))

    def make_link(self, request: HttpRequest, row: User) -> None:
        """Let the next look at the operator's page show a link.

        Nothing keeps it: the page makes it again from the moment, the operator's state and
        SECRET_KEY, and using it changes that state.
        """
        shown_once.keep(request, row, str(sign_in_tokens.moment()))
        self.audit(request, "sign_in_link", row)

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        """Let in an operator who is added here, by a link alone until they set a password.

        The sessions of one who is let in no more end.
        """
        if not change:
            obj.is_staff, obj.is_superuser = True, form.cleaned_data["is_superuser"]
            obj.set_unusable_password()
        super().save_model(request, obj, form, change)
        if not (obj.is_active and obj.is_staff):
            end_other_sessions(obj, None)  # or they would go on once the operator is let in again

    def save_related(self, request: Any, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        if not change:
            form.instance.groups.set(form.cleaned_data["groups"])

    def response_add(
        self, request: HttpRequest, obj: User, post_url_continue: str | None = None
    ) -> HttpResponse:
        self.make_link(request, obj)
        return HttpResponseRedirect(reverse("admin:auth_user_change", args=[obj.pk]))


class RoleForm(SeenForm[Role]):
    class Meta:
        error_messages: ClassVar[dict[str, Any]] = {"name": {"unique": ROLE_TAKEN}}
        labels: ClassVar[dict[str, Any]] = {"permissions": capfirst(_("permissions"))}

    def clean_name(self) -> str:
        """Refuse the name that a ready role has in the console: two roles would look the same."""
        name: str = self.cleaned_data["name"]
        if name.casefold() in {str(each.name).casefold() for each in (*ROLES.values(), SUPERUSER)}:
            raise ValidationError(ROLE_TAKEN)
        return name


@admin.register(Role)
class RoleAdmin(PermissionModelAdmin, GroupAdmin):  # type: ignore[misc]
    """The ready roles are only to be read: each migrate puts them right. Others are made here."""

    list_display = ("title", "allows", "held_by")
    search_fields = ()
    list_display_links = ("title",)
    fieldsets = ((None, {"fields": ("name", "permissions")}),)
    readonly_fields = ("title", "allows", "listed_permissions")
    read_only: ClassVar[dict[str, str]] = {"name": "title", "permissions": "listed_permissions"}
    filter_horizontal = ()
    form = RoleForm

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.opts = renamed(self.opts, _("role"), _("roles"))

    def outranks(self, row: Role, operator: User) -> bool:
        return row.name in ROLES or is_beyond(row, operator)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Role]:
        return ordered_roles().prefetch_related(PERMISSIONS)

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        return ("place", "name")

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """Count who holds each role, in the query of the list alone."""
        page: Any = super().get_changelist_instance(request)
        page.result_list = page.result_list.annotate(holders=Count("user"))
        return page

    @admin.display(description=_("role"))
    def title(self, role: Role) -> str:
        return role_name(role.name)

    @admin.display(description=_("What it allows"))
    def allows(self, role: Role) -> str:
        return role_allows(role)

    @admin.display(description=_("held by"))
    def held_by(self, role: Any) -> str:
        count: int = role.holders
        return ngettext("%(count)d operator", "%(count)d operators", count) % {"count": count}

    @admin.display(description=_("permissions"))
    def listed_permissions(self, role: Role) -> SafeString:
        names = map(permission_name, role.permissions.all())
        return format_html_join(SafeString("<br>"), "{}", ((name,) for name in names))

    def row_context(self, request: HttpRequest, row: Role) -> dict[str, Any]:
        is_ready = row.name in ROLES
        return {
            "title": role_name(row.name),
            "subtitle": None,
            "allows": role_allows(row) if is_ready else "",
            "is_ready": is_ready,
            "is_beyond": not is_ready and not self.has_change_permission(request, row),
        }
