"""List my groups, read their titles, change my membership, list the boards."""

from tests.settings import APP_ID

from ..stage import Person, Stage


def my_groups(stage: Stage) -> None:
    stage.at("2026-11-18 12:00")
    alice, bob = stage.person("alice", "小明"), stage.person("bob", "李雷")
    alice.get("groups")

    stage.title("The latest visit first, twenty a page")
    for number in range(43):
        alice.enter(f"chat {number}")
    bob.enter("chat 3")
    page = alice.get("groups").json()
    alice.enter("chat 5")
    page = alice.get(f"groups?cursor={page['next']}").json()
    last = page["next"]
    alice.get(f"groups?cursor={last}")
    alice.get("groups")
    for cursor in ("x", f"{last}x", last[1:], "", "%00", f"{last}&cursor=x"):
        alice.get(f"groups?cursor={cursor}")
    bob.get(f"groups?cursor={last}")

    stage.title("One group, for its members only")
    alice.get(f"groups/{stage.chat('chat 3')}")
    bob.get(f"groups/{stage.chat('chat 3')}")
    bob.get(f"groups/{stage.chat('chat 4')}")
    bob.get(f"groups/{stage.chat('chat 3').swapcase()}")

    stage.title("A membership lapses after thirty days, until the next entry")
    stage.later(days=29)
    alice.enter("chat 3")
    stage.later(days=2)
    with stage.off_the_record():
        alice.log_in()
        bob.log_in()
    alice.get("groups")
    bob.get("groups")
    bob.get(f"groups/{stage.chat('chat 3')}")
    alice.get(f"groups/{stage.chat('chat 3')}")
    bob.post("groups/bind", bob.share_info("chat 3"))


def titles(stage: Stage) -> None:
    """Read a group's title as people come, go, hide and change names."""
    stage.at("2026-11-18 12:00")
    family = stage.chat("family")
    nameless = [stage.person(f"nameless {number}") for number in range(2)]
    people = [stage.person(name, name) for name in ("小明", "李雷", "Dora")]
    path, mine = f"groups/{family}", f"groups/{family}/membership"
    first: Person = nameless[0]
    for person in (*nameless, *people):
        person.enter("family")
        first.get(path)
    people[1].put(mine, {"alias": "三班李雷"})
    first.get(path)
    people[0].put(mine, {"hidden": True})
    first.get(path)
    people[0].get(path)
    people[0].get(f"{path}/ranking")
    stage.operator.do_to_membership("hide", people[1], family)
    first.get(path)
    stage.operator.do_to_person("block", people[2])
    first.get(path)
    nameless[1].delete(mine)
    first.get(path)
    stage.operator.label(family, "家人群")
    first.get(path)
    first.get("groups")
    first.get(f"{path}/ranking")
    stage.operator.label(family, "")
    stage.operator.do_to_membership("show", people[1], family)
    people[0].put(mine, {"hidden": False})
    first.get(path)
    stage.operator.do_to_person("unblock", people[2])
    first.get(path)


def membership(stage: Stage) -> None:
    stage.at("2026-11-18 12:00")
    alice, bob = stage.person("alice", "小明"), stage.person("bob", "李雷")
    for person in (alice, bob):
        person.enter("family")
    path = f"groups/{stage.chat('family')}"
    mine = f"{path}/membership"

    stage.title("Hiding, and showing oneself again")
    alice.put(mine, {"hidden": True})
    alice.get(path)
    bob.get(f"{path}/ranking")
    alice.get(f"{path}/ranking")
    alice.put(mine, {"hidden": False, "alias": "三班小明"})
    alice.put(mine, {})
    alice.put(mine)

    stage.title("An operator's hiding is not undone by one's own showing")
    stage.operator.do_to_membership("hide", alice, stage.chat("family"))
    alice.put(mine, {"hidden": False})
    alice.get(f"{path}/ranking")
    bob.get(f"{path}/ranking")
    stage.operator.do_to_membership("show", alice, stage.chat("family"))
    alice.get(path)

    stage.title("Refused")
    for body in (
        {"hidden": "yes"},
        {"hidden": 1},
        {"hidden": None},
        {"alias": None},
        {"hat": True},
        {"hidden": True, "hat": True},
    ):
        alice.put(mine, body)
    for other in ("groups/tG-no-such-group/membership", f"groups/{'x' * 65}/membership"):
        alice.put(other, {"hidden": True})
        alice.delete(other)
    alice.delete(mine, data=b'{"foo": 1}', says={"foo": 1})
    stranger = stage.person("stranger")
    stranger.put(mine, {"hidden": True})
    stranger.delete(mine)

    stage.title("Leaving, and coming back: hiding, name and days are kept")
    alice.put(mine, {"hidden": True})
    alice.delete(mine)
    alice.get(path)
    bob.get(path)
    stage.later(days=1)
    alice.post("groups/bind", alice.share_info("family"))
    alice.get(f"{path}/ranking?period=all")


def reports(stage: Stage) -> None:
    stage.at("2026-11-18 12:00")
    alice, bob = stage.person("alice", "小明"), stage.person("bob", "李雷")
    for person in (alice, bob):
        person.enter("family")
    path = f"groups/{stage.chat('family')}/reports"

    stage.title("The same answer in every case")
    for member in (bob.pk, bob.pk, alice.pk, 10**17):
        alice.post(path, {"member": str(member), "reason": "abuse"})
    alice.get("me/data")

    stage.title("Refused")
    for body in (
        {},
        {"member": str(bob.pk)},
        {"member": str(bob.pk), "reason": "boredom"},
        {"member": str(bob.pk), "reason": 5},
        {"member": 5, "reason": "advert"},
        {"member": "0", "reason": "advert"},
        {"member": "x", "reason": "advert"},
        {"member": str(bob.pk), "reason": "advert", "hat": True},
    ):
        alice.post(path, body)
    stage.person("stranger").post(path, {"member": str(bob.pk), "reason": "advert"})


def boards(stage: Stage) -> None:
    stage.at("2026-11-18 12:00")
    operator, alice = stage.operator, stage.person("alice", "小明")
    alice.enter("family")
    ranking = f"groups/{stage.chat('family')}/ranking"

    stage.title("Before any operator made one")
    alice.get("boards")
    alice.get(ranking)

    stage.title("Of all kinds")
    operator.make_board("steps", "步数", "Steps", unit_zh="步", unit_en="steps", policy="sum")
    operator.make_board("points", "积分", "Points", scope="app", decimals="2", windows=["all"],
                        default_window="all")  # fmt: skip
    operator.make_board("laps", "圈速", "Laps", order="asc", rank_style="dense", decimals="3",
                        unit_zh="秒", unit_en="s", windows=["week", "day"], writer="server",
                        min_value="1", max_value="600000")  # fmt: skip
    operator.make_board("mood", "心情", "Mood", policy="latest", rank_style="ordinal",
                        scope="app", default_window="month")  # fmt: skip
    alice.get("boards")
    for board in ("steps", "points", "laps", "mood", "active-days", "nothing", "", "a b"):
        alice.get(f"{ranking}?board={board}")

    stage.title("A default of its own")
    stage.operator.make_board("best", "最佳", "Best", is_default="on", default_window="month")
    alice.get(ranking)
    alice.get(f"{ranking}/around")
    alice.get("boards")

    stage.title("A board of its own under the key that every mini-program has")
    stage.operator.make_board("active-days", "活跃", "Active", app_id=APP_ID)
    alice.get(f"{ranking}?board=active-days")
    alice.get("boards")
