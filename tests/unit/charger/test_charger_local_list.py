"""The local list: sent behind everything else, in step, and never on top of an unknown one."""

from __future__ import annotations

from typing import Any

from token_charger import TokenCharger

from controlplane.actor import Ask, Call
from controlplane.charger.messages import ChargerView, GetCharger
from controlplane.ocpp.commands import GetListVersion
from controlplane.site.messages import TokensChanged
from controlplane.store.queries import ListFound
from controlplane.tokens import Authorisation, AuthorisationPolicy, Token, TokenState

LISTED = Authorisation(AuthorisationPolicy.KNOWN, configures=True, local_list=True)
PAUSE_MS = 20_000


def ready(*tokens: Token, version: str = "ocpp1.6") -> TokenCharger:
    charger = TokenCharger(LISTED)
    charger.list_found = ListFound(5, tokens, (), True)
    charger.settle(version)
    return charger


def answers(charger: TokenCharger, version: int, **bounds: str) -> None:
    """The station says how much it takes, where it is asked, and what it has."""
    if charger.last_call().action == "GetConfiguration":
        keys = [{"key": key, "readonly": True, "value": value} for key, value in bounds.items()]
        charger.answer(configurationKey=keys, unknownKey=[])
    assert charger.last_call().action == "GetLocalListVersion"
    charger.answer(listVersion=version)


def state(charger: TokenCharger) -> str:
    charger.tell(Ask("view", GetCharger()))
    view = charger.answered("view")[-1]
    assert isinstance(view, ChargerView) and view.local_list is not None
    return view.local_list.state


def lists(charger: TokenCharger) -> list[dict[str, Any]]:
    calls = [effect for effect in charger.all if isinstance(effect, Call)]
    return [call.payload for call in calls if call.action == "SendLocalList"]


def in_step(charger: TokenCharger, number: int = 1) -> None:
    """The list that is there by now is the station's."""
    charger.wait(PAUSE_MS)
    answers(charger, number - 1)
    charger.answer(status="Accepted")
    assert state(charger) == "in_step"


def test_a_site_that_keeps_no_lists_sends_none() -> None:
    charger = TokenCharger()
    charger.settle()
    charger.tell(TokensChanged(1, None))
    charger.wait(100_000)
    assert charger.outstanding is None and state(charger) == "off"


def test_an_answer_that_its_asker_did_not_wait_for_begins_no_list() -> None:
    charger = TokenCharger()
    charger.settle()
    charger.execute(GetListVersion(), timeout_ms=1_000)
    charger.wait(1_000)
    charger.answer(listVersion=7)
    charger.wait(100_000)
    assert lists(charger) == []


def test_a_list_is_in_step_and_changes_by_differences() -> None:
    charger = ready(Token("ANNA"))
    assert state(charger) == "pending"
    in_step(charger)
    assert lists(charger)[0]["updateType"] == "Full"
    charger.list_found = ListFound(6, (Token("BEN", state=TokenState.BLOCKED),), ("ANNA",), True)
    charger.tell(TokensChanged(6, ("ben", "anna")))
    assert state(charger) == "pending"
    charger.wait(PAUSE_MS)
    answers(charger, 1)
    assert lists(charger)[1] == {
        "listVersion": 2,
        "updateType": "Differential",
        "localAuthorizationList": [
            {"idTag": "BEN", "idTagInfo": {"status": "Blocked"}},
            {"idTag": "ANNA"},
        ],
    }
    charger.answer(status="Accepted")
    assert state(charger) == "in_step"


def test_a_change_that_concerns_nobody_here_sends_nothing() -> None:
    charger = ready(Token("ANNA"))
    in_step(charger)
    charger.list_found = ListFound(9, (), (), True)
    charger.tell(TokensChanged(9, ("other",)))
    charger.wait(PAUSE_MS)
    answers(charger, 1)
    assert state(charger) == "in_step" and len(lists(charger)) == 1


def test_a_long_list_goes_in_the_parts_that_the_station_takes() -> None:
    charger = ready(*(Token(f"T{number}") for number in range(5)))
    charger.wait(PAUSE_MS)
    answers(charger, 0, SendLocalListMaxLength="2", LocalAuthListMaxLength="4")
    for _ in range(3):
        assert state(charger) == "pending"
        charger.answer(status="Accepted")
    assert [(each["updateType"], each["listVersion"]) for each in lists(charger)] == [
        ("Full", 1),
        ("Differential", 2),
        ("Differential", 3),
    ]
    assert state(charger) == "in_step"


def test_a_list_that_is_not_ours_is_replaced() -> None:
    charger = ready(Token("ANNA"))
    charger.wait(PAUSE_MS)
    answers(charger, 41)
    assert lists(charger)[0]["listVersion"] == 42 and lists(charger)[0]["updateType"] == "Full"


def test_a_difference_that_does_not_fit_leads_to_the_whole_list() -> None:
    charger = ready(Token("ANNA"))
    in_step(charger)
    charger.tell(TokensChanged(6, None))
    charger.wait(PAUSE_MS)
    answers(charger, 1)
    charger.answer(status="VersionMismatch")
    assert [each["updateType"] for each in lists(charger)] == ["Full", "Differential", "Full"]
    charger.answer(status="Accepted")
    assert state(charger) == "in_step"


def test_a_station_without_a_list_is_left_in_peace() -> None:
    for version, status in ((-1, ""), (0, "NotSupported"), (0, "NotImplemented")):
        charger = ready(Token("ANNA"))
        charger.wait(PAUSE_MS)
        answers(charger, version)
        if status == "NotSupported":
            charger.answer(status=status)
        elif status:
            charger.refuse(status)
        assert state(charger) == "unsupported"
        charger.tell(TokensChanged(6, None))
        charger.wait(PAUSE_MS)
        assert charger.outstanding is None


def test_a_station_that_fails_is_tried_again_later() -> None:
    charger = ready(Token("ANNA"))
    charger.wait(PAUSE_MS)
    answers(charger, 0)
    charger.answer(status="Failed")
    assert state(charger) == "refused"
    charger.wait(600_000)
    answers(charger, 0)
    charger.answer(status="Accepted")
    assert state(charger) == "in_step"


def test_a_line_that_breaks_in_the_middle_leads_to_the_whole_list() -> None:
    charger = ready(*(Token(f"T{number}") for number in range(4)))
    charger.wait(PAUSE_MS)
    answers(charger, 0, SendLocalListMaxLength="2")
    charger.answer(status="Accepted")
    charger.connect()
    charger.wait(5_000)
    charger.accept_all()
    charger.wait(PAUSE_MS)
    answers(charger, 1)
    assert [(each["updateType"], each["listVersion"]) for each in lists(charger)][-1] == (
        "Full",
        2,
    )


def test_tokens_that_no_list_has_a_word_for_are_left_out() -> None:
    charger = ready(
        Token("LATER", valid_from_ms=2_000_000_000_000),
        Token("A-CONTRACT-ID-OF-MORE-THAN-20"),
        Token("OVER", valid_until_ms=1),
        Token("POOR", state=TokenState.NO_CREDIT),
    )
    charger.wait(PAUSE_MS)
    answers(charger, 0)
    assert [
        (each["idTag"], each["idTagInfo"]["status"])
        for each in lists(charger)[0]["localAuthorizationList"]
    ] == [("OVER", "Expired"), ("POOR", "Blocked")]


def test_a_list_that_is_too_long_is_cut_and_says_so() -> None:
    charger = ready(Token("ANNA"))
    charger.list_found = ListFound(5, (Token("ANNA"),), (), False)
    charger.wait(PAUSE_MS)
    answers(charger, 0, LocalAuthListMaxLength="1")
    charger.answer(status="Accepted")
    assert state(charger) == "cut"


def test_the_whole_list_is_sent_anew_every_day() -> None:
    charger = ready(Token("ANNA"))
    in_step(charger)
    charger.wait(24 * 3_600_000 + PAUSE_MS)
    answers(charger, 1)
    assert [each["updateType"] for each in lists(charger)] == ["Full", "Full"]


def test_what_was_in_step_is_known_after_a_crash() -> None:
    charger = ready(Token("ANNA"))
    in_step(charger)
    other = TokenCharger(LISTED, snapshot=charger.snapshot, now_ms=charger.now_ms)
    other.list_found = ListFound(5, (), (), True)
    other.connect(name=charger.connection, resumed=True)
    other.wait(PAUSE_MS)
    answers(other, 1)
    assert lists(other) == [] and state(other) == "in_step"
