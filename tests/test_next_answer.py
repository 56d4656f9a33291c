"""What is done shows in the next answer of either server, whatever else is under way.

Members, newcomers, operators and people who erase themselves change one group for some seconds,
each something that no other changes. A reader notes before each answer what is done, and after
it what has begun: the answer must lie between. They are in three groups at once, which they entered
in different orders: locks on groups in another order than that of their ids end in deadlocks.
"""

import time
from bisect import bisect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pytest

from tests.servers import MAKE_BOARD, Caller, Site, at_once, send_form, superusers, two_servers
from tests.settings import APP_ID

pytestmark = pytest.mark.xdist_group("next answer")

SECONDS = 3.0
OTHERS_SCORES = 2.0  # seconds after which others' scores show
SLACK = 1.0  # for a busy machine
CHATS = ("one", "two", "three")
BOARD = "raced"


@dataclass
class Fact:
    """What one thread alone changes: the number of the change that has begun, and of the last that
    is done, with the times when each was."""

    begun: int = 0
    done: int = 0
    times: list[float] = field(default_factory=list)

    def change(self, act: Callable[[int], tuple[int, Any] | int]) -> None:
        self.begun += 1
        answer = act(self.begun)
        status = answer[0] if isinstance(answer, tuple) else answer
        assert status in {200, 201, 204, 302}, answer
        self.times.append(time.monotonic())
        self.done = self.begun

    def done_by(self, moment: float) -> int:
        return bisect(self.times, moment)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with two_servers(tmp_path_factory.mktemp("answers"), THROTTLES="off") as site:
        yield site
        assert "Traceback" not in site.said()


class Stage:
    """People in three groups, what each of them is changing, and for how long."""

    def __init__(self, site: Site) -> None:
        self.site, self.serial = site, count()
        site.ask(MAKE_BOARD.format(app=APP_ID, key=BOARD, order="desc", policy="latest"))
        [(_pk, self.session)] = superusers(site, "olga")
        # By member's id: their name's number; whether they are listed (where even); their score.
        self.names: dict[str, Fact] = {}
        self.listed: dict[str, Fact] = {}
        self.sent: dict[str, Fact] = {}
        self.corrected: dict[str, Fact] = {}
        self.groups: dict[str, str] = {}
        self.viewers = [self.newcomer(CHATS)[0] for _ in range(3)]
        self.end = 0.0

    def newcomer(self, chats: tuple[str, ...]) -> tuple[Caller, str]:
        """Log someone in who enters these groups; return them and their id."""
        person = self.site.log_in(f"person-{next(self.serial)}")
        number = str(person.get("me")[1]["id"])
        for server, chat in enumerate(chats):
            self.enter(person, chat, server)
        return person, number

    def enter(self, person: Caller, chat: str, server: int = 0) -> int:
        status, answer = person.post("groups/bind", person.envelope(chat), server)
        assert status in {200, 201}, answer
        self.groups[chat] = answer["openGId"]
        return int(status)

    def path(self, chat: str, rest: str) -> str:
        return f"groups/{self.groups[chat]}/{rest}"

    def read(self, viewer: Caller, chat: str, server: int) -> dict[str, Any]:
        query = f"ranking?board={BOARD}&period=all&limit=100"
        status, ranking = viewer.get(self.path(chat, query), server)
        assert status == 200, ranking
        return dict(ranking)

    def turns(self) -> Iterator[int]:
        """Count the turns until the time is up; three at least."""
        for turn in count():
            if turn >= 3 and time.monotonic() > self.end:
                return
            yield turn

    # What readers do

    def watch(self, viewer: Caller) -> int:
        """Read, and check all that an answer shows; return how many were read."""
        for turn in self.turns():
            facts = (self.names, self.listed, self.corrected, self.sent)
            names, listed, corrected, sent = (list(each.items()) for each in facts)
            start = time.monotonic()
            done = {id(fact): fact.done for each in (names, listed, corrected) for _, fact in each}
            for _member, fact in sent:
                done[id(fact)] = fact.done_by(start - OTHERS_SCORES - SLACK)
            ranking = self.read(viewer, "one", turn)
            entries = {entry["member"]["id"]: entry for entry in ranking["entries"]}
            assert ranking["total"] == len(entries)
            for member, fact in listed:
                numbers = range(done[id(fact)], fact.begun + 1)
                assert (member in entries) in {number % 2 == 0 for number in numbers}, member
            for member, fact in names:
                shown = int(entries[member]["member"]["nickname"].partition("-")[2] or 0)
                assert done[id(fact)] <= shown <= fact.begun, entries[member]
            for member, fact in [*corrected, *sent]:
                shown = entries[member]["score"] or 0  # none yet
                assert done[id(fact)] <= shown <= fact.begun, entries[member]
        return turn

    # What writers do; each reads what it wrote from the other server

    def rename(self, chats: tuple[str, ...], path: str, column: str) -> int:
        person, me = self.newcomer(chats)
        target = self.path("one", path) if path else "me"
        fact = Fact()
        for turn in self.turns():
            fact.change(lambda n: person.call("PUT", target, turn, json={column: f"名-{n}"}))  # noqa: B023
            self.names[me] = fact
            assert self.mine(person, me, turn + 1)["member"]["nickname"] == f"名-{fact.done}"
        return fact.done

    def mine(self, person: Caller, me: str, server: int) -> dict[str, Any]:
        ranking = self.read(person, "one", server)
        [entry] = [each for each in ranking["entries"] if each["member"]["id"] == me]
        assert entry == ranking["me"]
        return dict(entry)

    def submit(self) -> int:
        person, me = self.newcomer(CHATS)
        fact = Fact()
        for turn in self.turns():
            fact.change(lambda n: person.post("scores", {"board": BOARD, "value": n}, turn))  # noqa: B023
            self.sent[me] = fact
            assert self.mine(person, me, turn + 1)["score"] == fact.done
        return fact.done

    def hide(self) -> int:
        person, me = self.newcomer(CHATS)
        fact = self.listed[me] = Fact()
        target = self.path("one", "membership")
        for turn in self.turns():
            fact.change(lambda n: person.call("PUT", target, turn, json={"hidden": n % 2 == 1}))  # noqa: B023
            absent = self.read(person, "one", turn + 1)["absent"]
            assert absent == ("hidden" if fact.done % 2 else None)
        return fact.done

    def leave_and_come_back(self) -> int:
        person, me = self.newcomer(CHATS)
        fact = self.listed[me] = Fact()
        target = self.path("one", "membership")
        for turn in self.turns():
            fact.change(lambda _n: person.call("DELETE", target, turn))  # noqa: B023
            fact.change(lambda _n: self.enter(person, "one", turn))  # noqa: B023
            self.mine(person, me, turn + 1)
        return fact.done

    def come_and_be_erased(self, chats: tuple[str, ...]) -> int:
        """Enter the groups and one of one's own with others, rename oneself, and go."""
        for turn in self.turns():
            person = self.site.log_in(f"person-{next(self.serial)}")
            me = str(person.get("me")[1]["id"])
            fact = Fact(begun=1, done=1)
            self.listed[me] = fact
            for server, chat in enumerate(chats):
                if chat == "one":
                    fact.change(lambda _n: self.enter(person, "one", turn))  # noqa: B023
                else:
                    self.enter(person, chat, server)
            assert person.call("PUT", "me", turn, json={"nickname": "过客"})[0] == 200
            fact.change(lambda _n: person.call("DELETE", "me", turn + 1))  # noqa: B023
        return turn

    def operate(self) -> int:
        """Hide and show one, block and unblock another, correct the score of a third."""
        (_hidden, one), (_blocked, two), (third, three) = (self.newcomer(CHATS) for _ in range(3))
        assert third.post("scores", {"board": BOARD, "value": 0})[0] == 200
        row = f"Membership.objects.get(user={one}, group__open_gid={self.groups['one']!r}).pk"
        membership = self.site.ask(row)
        score = self.site.ask(f"Score.objects.get(user={three}, period='all', scope=0).pk")
        hidden = self.listed[one] = Fact()
        blocked = self.listed[two] = Fact()
        corrected = self.corrected[three] = Fact()

        def act(fact: Fact, pk: Any, *keys: str) -> None:
            path = f"/admin/act/{keys[fact.done % 2]}/{pk}/"
            fact.change(lambda n: send_form(self.site, self.session, n, path, reason="试"))

        for turn in self.turns():  # noqa: B007
            act(hidden, membership, "hide", "show")
            act(blocked, two, "block", "unblock")
            path = f"/admin/groups/score/{score}/change/"
            corrected.change(
                lambda n: send_form(self.site, self.session, n, path, value=str(n), reason="试")  # noqa: B023
            )
        return turn


def test_what_is_done_shows_in_the_next_answer(site: Site) -> None:
    stage = Stage(site)
    stage.end = time.monotonic() + SECONDS
    acts = [
        *(lambda viewer=viewer: stage.watch(viewer) for viewer in stage.viewers),
        lambda: stage.rename(CHATS, "", "nickname"),
        lambda: stage.rename(CHATS[::-1], "", "nickname"),
        lambda: stage.rename(CHATS, "membership", "alias"),
        stage.submit,
        stage.hide,
        stage.leave_and_come_back,
        lambda: stage.come_and_be_erased(("two", "three", "one")),
        lambda: stage.come_and_be_erased(("own", *CHATS[::-1])),
        stage.operate,
    ]
    assert min(at_once(acts)) >= 2


def test_newcomers_who_enter_one_new_group_together_are_all_in_it(site: Site) -> None:
    people = [site.log_in(f"newcomer-{number}") for number in range(8)]
    for turn in range(3):
        envelopes = [person.envelope(f"new-{turn}") for person in people]
        calls = [
            lambda person=person, envelope=envelope, server=server: person.post(
                "groups/bind", envelope, server
            )
            for server, (person, envelope) in enumerate(zip(people, envelopes, strict=True))
        ]
        answers = at_once(calls)
        assert {status for status, _answer in answers} == {201}, answers
        open_gid = answers[0][1]["openGId"]
        totals = {
            person.get(f"groups/{open_gid}/ranking", server)[1]["total"]
            for server, person in enumerate(people)
        }
        assert totals == {len(people)}
