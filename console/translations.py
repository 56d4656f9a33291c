"""Words of Django's admin that its catalogue has no Chinese for, or other Chinese than ours has.

Here only to be found by makemessages: LOCALE_PATHS goes before Django's own catalogues.
"""

from django.utils.translation import gettext_noop as _
from django.utils.translation import ngettext_lazy

WORDS = (
    _(":"),
    _("Error:"),
    _("The {name} “{obj}” was added successfully."),
    _("The {name} “{obj}” was changed successfully."),
    _("The %(name)s “%(obj)s” was deleted successfully."),
    _("Model name"),
    _("Add link"),
    _("Add %s"),
    _("Add %(name)s"),
    _("Cannot delete %(name)s"),
    _("Change %s"),
    _("View %s"),
    _(" By %(filter_title)s "),
    _("Change or view list link"),
    _("After you’ve created a user, you’ll be able to edit more user options."),
    _("Log out"),
    _("Logged out"),
    ngettext_lazy("%(num)d day", "%(num)d days", "num"),
)
