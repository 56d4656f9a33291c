"""Read rankings: ranks, periods, movement, unlisted members, pages."""

from ..stage import Person, Stage

CROWD = ("alice", "bob", "carol", "dora", "emil", "frank", "gina", "hugo")


def crowd(stage: Stage, *names: str, chat: str = "family") -> dict[str, Person]:
    """Let people enter one group, a second after each other."""
    people = {name: stage.person(name, name.title()) for name in names or CROWD}
    for person in people.values():
        person.enter(chat)
    return people


def ranks(stage: Stage) -> None:
    """Read ties by every style in both orders, texts of scores, and percentiles."""
    stage.at("2026-11-18 12:00")
    operator = stage.operator
    for style in ("competition", "dense", "ordinal"):
        for order in ("desc", "asc"):
            key = f"{style}-{order}"
            operator.make_board(key, key, key, rank_style=style, order=order, scope="app")
    people = crowd(stage)
    values = (70, 90, 70, 50, 90, 70, 0)
    path = f"groups/{stage.chat('family')}/ranking"
    for style in ("competition", "dense", "ordinal"):
        for order in ("desc", "asc"):
            board = f"{style}-{order}"
            for name, value in zip(CROWD, values, strict=False):
                people[name].score(board, value)
            stage.title(board)
            people["carol"].get(f"{path}?board={board}")
            people["hugo"].get(f"{path}/around?board={board}&size=1", twice=False)

    stage.title("Ties at the very same moment: the earlier member comes first")
    operator.make_board("same", "同时", "Same", scope="app")
    for name in reversed(CROWD[:4]):
        stage.at("2026-11-18 13:00")
        people[name].score("same", 5)
    people["alice"].get(f"{path}?board=same")

    stage.title("Percentiles")
    for name in CROWD:
        answer = people[name].get(f"{path}?board=competition-desc&limit=1", twice=False)
        assert answer.json()["me"]
    alone = stage.person("alone", "独行")
    alone.enter("elsewhere")
    alone.get(f"groups/{stage.chat('elsewhere')}/ranking")
    alone.get(f"groups/{stage.chat('elsewhere')}/ranking?board=competition-desc")

    stage.title("Texts of scores")
    for decimals in (0, 1, 2, 3, 6):
        board = f"decimals-{decimals}"
        operator = stage.operator
        operator.make_board(board, board, board, decimals=str(decimals), scope="app")
        for name, value in zip(
            CROWD, (2**53 - 1, 1234567, 9781, 999, 5, 0, -5, 1 - 2**53), strict=True
        ):
            people[name].score(board, value)
        people["alice"].get(f"{path}?board={board}", twice=False)


def periods(stage: Stage) -> None:
    """Read scores of five weeks by every window and key."""
    stage.at("2026-10-26 12:00")  # a Monday
    stage.operator.make_board("points", "积分", "Points", scope="app", policy="sum")
    stage.operator.make_board("steps", "步数", "Steps", policy="best")
    stage.operator.make_board("weekly", "周榜", "Weekly", windows=["week"], scope="app")
    people = crowd(stage, "alice", "bob", "carol", "dora", "emil")
    days = {
        "2026-10-31": {"alice": 5, "bob": 7},
        "2026-11-01": {"alice": 9, "carol": 1},
        "2026-11-02": {"alice": 3, "bob": 3, "carol": 3},
        "2026-11-15": {"dora": 8, "alice": 2},
        "2026-11-16": {"alice": 4, "bob": 6, "dora": 1},
        "2026-11-21": {"carol": 10, "bob": 1},
        "2026-11-22": {"emil": 2, "alice": 10},
    }
    for day, values in days.items():
        stage.at(f"{day} 20:00")
        with stage.off_the_record():
            for name in people:
                people[name].log_in()
        for name, value in values.items():
            people[name].enter("family")
            for board, chat in (("points", ""), ("steps", "family"), ("weekly", "")):
                people[name].score(board, value, chat)
    alice, emil = people["alice"], people["emil"]
    path = f"groups/{stage.chat('family')}/ranking"

    stage.title("Windows and keys")
    for period in (
        *("day", "week", "month", "all", "2026-11-22", "2026-11-21", "2026-11-16"),
        *("2026-W47", "2026-W46", "2026-W45", "2026-W44", "2026-W01", "2026-11", "2026-10"),
        *("2025-12", "2000-01-01", "2000-01", "2000-W01", "2024-02-29"),
    ):
        alice.get(f"{path}?board=points&period={period}")
    for board in ("steps", "active-days"):
        for period in ("day", "week", "2026-W46", "month", "2026-10", "all"):
            alice.get(f"{path}?board={board}&period={period}", twice=False)
        emil.get(f"{path}/around?board={board}&period=2026-W47&size=1", twice=False)

    stage.title("Periods that are invalid, have not begun, or are not counted")
    for period in (
        *("year", "DAY", "2026-11-23", "2026-W48", "2026-12", "2026-W54", "2026-W00", "2026-02-30"),
        *("2026-13", "1999-12-31", "1999-W52", "9999-W01", "2026-W7", "2026-W047", "2026-11-2"),
        *("", "week%20", "%20week", "2026-11-22%0a", "%D9%A2026-11", "2026", "day,week"),
    ):
        alice.get(f"{path}?period={period}")
    for period in ("week", "day", "month", "all", "2026-11", "2026-11-22", "2026-W46"):
        alice.get(f"{path}?board=weekly&period={period}")
    alice.get(f"{path}?board=weekly")
    alice.get(f"{path}?period=x&period=week", twice=False)

    stage.title("The end of a day, a week, a month and a year")
    for moment in (
        *("2026-11-22 23:59", "2026-11-23 00:00", "2026-11-30 23:59", "2026-12-01 00:00"),
        *("2026-12-31 23:59", "2027-01-01 00:00", "2027-01-03 23:59", "2027-01-04 00:00"),
    ):
        stage.at(moment)
        with stage.off_the_record():
            alice.log_in()
        alice.enter("family")
        for period in ("day", "week", "month"):
            stage.at(moment)
            alice.get(f"{path}?board=points&period={period}")

    stage.title("An operator corrects a finished period, and removes a score of it")
    stage.operator.correct_score(people["alice"], "points", "2026-W47", 1)
    stage.operator.remove_score(people["carol"], "points", "2026-W47")
    for name in ("bob", "carol"):
        with stage.off_the_record():
            people[name].log_in()
        people[name].enter("family")
    alice.get(f"{path}?board=points&period=2026-W47")


def scopes(stage: Stage) -> None:
    """Compare boards of both scopes in two groups that share a member."""
    stage.at("2026-11-18 12:00")
    stage.operator.make_board("points", "积分", "Points", scope="app")
    stage.operator.make_board("steps", "步数", "Steps", scope="group")
    alice, bob, carol = (stage.person(name, name.title()) for name in ("alice", "bob", "carol"))
    for person, chat in ((alice, "family"), (bob, "family"), (carol, "school"), (alice, "school")):
        person.enter(chat)
    for number, person in enumerate((alice, bob, carol)):
        person.score("points", 50 - number)
    alice.score("steps", 10, "family")
    alice.score("steps", 20, "school")
    bob.score("steps", 15, "family")
    for chat in ("family", "school"):
        for board in ("points", "steps", "active-days"):
            alice.get(f"groups/{stage.chat(chat)}/ranking?board={board}&period=all", twice=False)
    stage.title("The next day: entries count in the group that was entered")
    stage.at("2026-11-19 00:00")
    alice.enter("school")
    alice.enter("school")
    for chat in ("family", "school"):
        alice.get(f"groups/{stage.chat(chat)}/ranking", twice=False)
    alice.get("me/data")


def absences(stage: Stage) -> None:
    """Read rankings with hidden, withheld, blocked, left, lapsed and erased members."""
    stage.at("2026-11-16 12:00")
    stage.operator.make_board("points", "积分", "Points", scope="app")
    people = crowd(stage)
    for name, value in zip(CROWD, (10, 80, 70, 60, 50, 40, 30, 20), strict=True):
        people[name].score("points", value)
    alice, family = people["alice"], stage.chat("family")
    path, mine = f"groups/{family}/ranking", f"groups/{family}/membership"
    points = f"{path}?board=points"

    stage.title("All of them")
    alice.get(points)
    stage.title("Bob hides")
    people["bob"].put(mine, {"hidden": True})
    alice.get(points)
    people["bob"].get(points)
    people["bob"].get(f"{path}/around?board=points")
    stage.title("Carol is hidden by an operator, and Dora by both")
    stage.operator.do_to_membership("hide", people["carol"], family)
    stage.operator.do_to_membership("hide", people["dora"], family)
    people["dora"].put(mine, {"hidden": True})
    alice.get(points)
    people["carol"].get(points)
    stage.title("Emil is blocked, Frank leaves, Gina is erased")
    stage.operator.do_to_person("block", people["emil"])
    people["frank"].delete(mine)
    people["gina"].delete("me")
    alice.get(points)
    people["emil"].get(points)
    people["frank"].get(points)
    people["gina"].get(points)
    stage.title("And back again")
    stage.operator.do_to_person("unblock", people["emil"])
    people["frank"].enter("family")
    stage.operator.do_to_membership("show", people["carol"], family)
    stage.operator.do_to_membership("show", people["dora"], family)
    alice.get(points)
    people["dora"].get(points)

    stage.title("Hugo lapses thirty days after his last entry, to the second")
    stage.at("2026-11-16 13:00:00")
    people["hugo"].enter("family")
    with stage.off_the_record():
        stage.at("2026-12-16 12:00")
        for name in ("alice", "bob", "carol", "emil", "hugo"):
            people[name].log_in()
        for name in ("alice", "bob", "carol", "emil"):
            people[name].enter("family")
    for name in ("alice", "hugo"):
        for moment in ("2026-12-16 13:00:00", "2026-12-16 13:00:01"):
            stage.at(moment)
            people[name].get(f"{points}&period=all")
    people["hugo"].post("groups/bind", people["hugo"].share_info("family"))
    alice.get(f"{points}&period=all")


def walks(stage: Stage) -> None:
    """Walk through pages by cursor, read the part around me, try limits."""
    stage.at("2026-11-17 12:00")
    stage.operator.make_board("points", "积分", "Points", scope="app")
    stage.operator.make_board("others", "其他", "Others", scope="app")
    people = crowd(stage, *(f"member-{number:02}" for number in range(12)))
    for number, person in enumerate(people.values()):
        if number < 10:
            person.score("points", 100 - 7 * (number // 2))
    first, *_others, last = people.values()
    first.enter("school")
    path = f"groups/{stage.chat('family')}/ranking"
    points = f"{path}?board=points"

    stage.title("A walk in pages of five, while a member overtakes")
    cursor = first.get(f"{points}&limit=5").json()["next"]
    last.score("points", 1000)
    cursor = first.get(f"{points}&limit=5&cursor={cursor}").json()["next"]
    first.get(f"{points}&limit=5&cursor={cursor}")
    last.get(f"{points}&limit=5&cursor={cursor}&period=week", twice=False)
    last.get(f"{points}&limit=5&cursor={cursor}&period=2026-W47", twice=False)

    stage.title("Wrong cursors")
    for query in (
        f"cursor={cursor}&period=day",
        f"cursor={cursor}&period=2026-W46",
        f"cursor={cursor}&period=x",
        f"cursor={cursor}x",
        f"cursor={cursor[1:]}",
        "cursor=x",
        "cursor=",
        "cursor=%00",
    ):
        first.get(f"{points}&limit=5&{query}")
    first.get(f"{path}?board=others&cursor={cursor}")
    first.get(f"groups/{stage.chat('school')}/ranking?board=points&cursor={cursor}")
    first.get(f"groups?cursor={cursor}")

    stage.title("A cursor of the week before")
    stage.at("2026-11-23 00:00")
    first.get(f"{points}&limit=5&cursor={cursor}", twice=False)
    first.get(f"{points}&limit=5&cursor={cursor}&period=week")
    stage.at("2026-11-18 12:00")

    stage.title("Limits and sizes")
    for limit in ("1", "100", "0", "101", "-1", "x", "", "1_0", "%2B5", "5.0", "1e1", "9" * 10):
        first.get(f"{points}&limit={limit}", twice=limit != "100")
    for size in ("1", "3", "25", "0", "26", "x", "", "%D9%A5"):
        people["member-05"].get(f"{path}/around?board=points&size={size}", twice=size != "25")
    people["member-05"].get(f"{path}/around?board=points", twice=False)
    first.get(f"{path}/around?board=points&size=2", twice=False)
    people["member-10"].get(f"{path}/around?board=points&size=2", twice=False)
    first.get(f"{path}/around?board=points&cursor=x", twice=False)

    stage.title("Not a group or board of mine")
    stranger = stage.person("stranger")
    for where in (path, f"{path}/around", "groups/tG-no-such-group/ranking"):
        stranger.get(where)
    first.get(f"{path}?board=nothing")
    first.get(f"{path}/around?board=nothing")
