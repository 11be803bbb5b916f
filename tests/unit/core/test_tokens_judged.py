"""What a token is answered, rule by rule (OCPP 1.6 section 7.2, 2.x part 2 C01 to C16)."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from controlplane.authorisation import AuthorisationConfig
from controlplane.tokens import (
    Authorisation,
    AuthorisationPolicy,
    Purpose,
    Token,
    TokenState,
    TokenStatus,
    TokenType,
    Verdict,
    judge,
    judge_unheard,
    same_group,
    token_faults,
    token_key,
)
from controlplane.units import MS_PER_S

NOW_MS = 1_700_000_000_000
OPEN = Authorisation(AuthorisationPolicy.OPEN)
KNOWN = Authorisation(AuthorisationPolicy.KNOWN)
CLOSED = Authorisation(AuthorisationPolicy.CLOSED)


def verdict(
    token: Token | None,
    purpose: Purpose = Purpose.START,
    *,
    authorisation: Authorisation = KNOWN,
    others: int = 0,
) -> Verdict:
    return judge(
        token,
        authorisation,
        purpose,
        site_id="depot",
        charger_id="CP1",
        now_ms=NOW_MS,
        others=others,
    )


def status(token: Token | None, purpose: Purpose = Purpose.START, **given: Any) -> TokenStatus:
    return verdict(token, purpose, **given).status


def test_whom_nobody_knows_only_an_open_site_serves() -> None:
    assert status(None, authorisation=OPEN) is TokenStatus.ACCEPTED
    assert status(None, authorisation=KNOWN) is TokenStatus.UNKNOWN
    assert status(None, authorisation=CLOSED) is TokenStatus.UNKNOWN


@pytest.mark.parametrize("authorisation", [OPEN, KNOWN, CLOSED])
def test_a_known_token_is_held_to_what_is_known_of_it(authorisation: Authorisation) -> None:
    for token, expected in {
        Token("A"): TokenStatus.ACCEPTED,
        Token("A", state=TokenState.BLOCKED): TokenStatus.BLOCKED,
        Token("A", state=TokenState.NO_CREDIT): TokenStatus.NO_CREDIT,
        Token("A", valid_until_ms=NOW_MS): TokenStatus.EXPIRED,
        Token("A", valid_until_ms=NOW_MS + 1): TokenStatus.ACCEPTED,
        Token("A", valid_from_ms=NOW_MS): TokenStatus.ACCEPTED,
        Token("A", valid_from_ms=NOW_MS + 1): TokenStatus.NOT_AT_THIS_TIME,
        Token("A", sites=("depot",)): TokenStatus.ACCEPTED,
        Token("A", chargers=("CP1",)): TokenStatus.ACCEPTED,
        Token("A", sites=("mall",), chargers=("CP2",)): TokenStatus.NOT_AT_THIS_LOCATION,
    }.items():
        assert status(token, authorisation=authorisation) is expected, token


def test_concurrent_transactions_matter_only_at_a_start() -> None:
    token = Token("A", concurrent_max=2)
    assert status(token, others=1) is TokenStatus.ACCEPTED
    assert status(token, others=2) is TokenStatus.CONCURRENT_TX
    for purpose in (Purpose.AUTHORIZE, Purpose.CONTINUE, Purpose.STOP):
        assert status(token, purpose, others=5) is TokenStatus.ACCEPTED
    assert status(Token("A"), others=50) is TokenStatus.ACCEPTED


def test_a_transaction_that_runs_outlives_its_tokens_validity_but_not_a_block() -> None:
    assert status(Token("A", valid_until_ms=1), Purpose.CONTINUE) is TokenStatus.ACCEPTED
    assert status(Token("A", state=TokenState.BLOCKED), Purpose.CONTINUE) is TokenStatus.BLOCKED
    barred = Token("A", sites=("mall",))
    assert status(barred, Purpose.CONTINUE) is TokenStatus.NOT_AT_THIS_LOCATION
    assert status(None, Purpose.CONTINUE) is TokenStatus.UNKNOWN


def test_an_expired_token_that_stops_is_answered_expired() -> None:
    assert status(Token("A", valid_until_ms=1), Purpose.STOP) is TokenStatus.EXPIRED


def test_a_master_pass_is_accepted_and_starts_nothing() -> None:
    """2.x part 2 C16."""
    master = Authorisation(AuthorisationPolicy.KNOWN, master_pass_group="MASTER")
    token = Token("A", group_id="master")
    asked = verdict(token, Purpose.AUTHORIZE, authorisation=master)
    assert (asked.status, asked.group_id) == (TokenStatus.ACCEPTED, "master")
    assert status(token, Purpose.STOP, authorisation=master) is TokenStatus.ACCEPTED
    assert status(token, Purpose.START, authorisation=master) is TokenStatus.INVALID
    assert status(Token("A"), Purpose.START, authorisation=master) is TokenStatus.ACCEPTED


def test_a_cache_believes_no_longer_than_the_site_and_the_token_allow() -> None:
    cached = Authorisation(AuthorisationPolicy.OPEN, cache_s=7_200)
    later_ms = NOW_MS + 7_200 * MS_PER_S
    assert verdict(Token("A"), authorisation=cached).expires_ms == later_ms
    assert verdict(None, authorisation=cached).expires_ms == later_ms
    short = Token("A", valid_until_ms=NOW_MS + 5)
    assert verdict(short, authorisation=cached).expires_ms == NOW_MS + 5
    assert verdict(short).expires_ms == NOW_MS + 5
    assert verdict(Token("A")).expires_ms is None


def test_without_an_answer_only_a_closed_site_refuses() -> None:
    assert judge_unheard(OPEN).accepted and judge_unheard(KNOWN).accepted
    assert judge_unheard(CLOSED).status is TokenStatus.INVALID


def test_ids_are_the_same_in_upper_and_lower_case() -> None:
    assert token_key(" De-8AA-cA1 ") == token_key("DE-8aa-Ca1")
    assert same_group("Fleet", "FLEET")
    assert not same_group(None, None), "no group is no one's"


def test_what_cannot_be_stored_is_named() -> None:
    def fields(token: Token) -> list[str]:
        return [field for field, _ in token_faults(token)]

    assert fields(Token("A")) == []
    assert fields(Token("")) == ["id_token"]
    assert fields(Token("", type=TokenType.NO_AUTHORIZATION)) == []
    assert fields(Token("A" * 256)) == ["id_token"]
    assert fields(Token("A\n")) == ["id_token"]
    assert fields(Token("A", concurrent_max=0)) == ["concurrent_max"]
    assert fields(Token("A", valid_from_ms=5, valid_until_ms=5)) == ["valid_until"]
    assert fields(Token("A", group_id="")) == ["group_id"]
    assert fields(Token("A", language="a very long tag")) == ["language"]
    assert fields(Token("A", message="x" * 1_025)) == ["message"]


def test_a_site_that_says_nothing_is_open_and_leaves_its_stations_alone() -> None:
    told = AuthorisationConfig().told()
    assert told.policy is AuthorisationPolicy.OPEN and not told.configures
    assert AuthorisationConfig(cache=False).told().configures
    with pytest.raises(ValidationError, match="cache_s says nothing"):
        AuthorisationConfig(cache=False, cache_s=600)
