"""List the scenarios by the name of the file of answers. Each has its own people and time."""

from collections.abc import Callable

from ..stage import Stage
from . import entry, groups, limits, pages, profile, ranking, scores, server

CHAPTERS: dict[str, Callable[[Stage], None]] = {
    scenario.__name__: scenario
    for scenario in (
        entry.log_in,
        entry.blocked,
        entry.doors,
        entry.bodies,
        entry.prove_and_bind,
        entry.stale_envelopes,
        profile.names_of_mine,
        profile.avatars,
        profile.consents,
        profile.my_data,
        profile.erasure,
        groups.my_groups,
        groups.titles,
        groups.membership,
        groups.reports,
        groups.boards,
        scores.submitted,
        scores.refused,
        scores.remembered,
        ranking.ranks,
        ranking.periods,
        ranking.scopes,
        ranking.absences,
        ranking.walks,
        server.server_calls,
        server.batches,
        server.winners,
        pages.member_page,
        pages.around_the_api,
        pages.pushes,
        limits.throttles,
        limits.every_call,
        limits.what_breaks,
        limits.two_mini_programs,
    )
}
