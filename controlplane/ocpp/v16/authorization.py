"""Tokens that a 1.6 station asks about: section 4.1. The answer is the same for transactions."""

from __future__ import annotations

from typing import Any, Final

from controlplane.ocpp import events
from controlplane.ocpp.dialect import Block, TokenAnswer
from controlplane.ocpp.events import Event
from controlplane.tokens import TokenStatus
from controlplane.units import iso_from_ms

__all__ = ["AUTHORIZATION", "ID_TAG_MAX", "id_tag_info"]

ID_TAG_MAX: Final = 20
"""Longest idTag (CiString20Type)."""

_WORDS: Final = {
    TokenStatus.ACCEPTED: "Accepted",
    TokenStatus.BLOCKED: "Blocked",
    TokenStatus.CONCURRENT_TX: "ConcurrentTx",
    TokenStatus.EXPIRED: "Expired",
    TokenStatus.INVALID: "Invalid",
    TokenStatus.NO_CREDIT: "Blocked",
    TokenStatus.NOT_AT_THIS_LOCATION: "Blocked",
    TokenStatus.NOT_AT_THIS_TIME: "Blocked",
    TokenStatus.UNKNOWN: "Invalid",
}
"""Section 7.2 has five words: Invalid is a token that nobody knows, Blocked one that is known and
may not charge."""


def _authorize(payload: dict[str, Any]) -> Event:
    return events.Authorize(id_token=payload["idTag"])


def id_tag_info(
    status: TokenStatus, expires_ms: int | None, group_id: str | None
) -> dict[str, Any]:
    """What a station is told of a token (section 7.27); a group whose id is too long is left
    out."""
    info: dict[str, Any] = {"status": _WORDS[status]}
    if expires_ms is not None:
        info["expiryDate"] = iso_from_ms(expires_ms)
    if group_id is not None and len(group_id) <= ID_TAG_MAX:
        info["parentIdTag"] = group_id
    return info


def _token_reply(answer: TokenAnswer) -> dict[str, Any]:
    payload: dict[str, Any] = {}
    if answer.transaction_number is not None:
        payload["transactionId"] = answer.transaction_number
    if answer.status is not None:
        payload["idTagInfo"] = id_tag_info(answer.status, answer.expires_ms, answer.group_id)
    return payload


AUTHORIZATION = Block(
    readers={"Authorize": _authorize},
    replies={TokenAnswer: _token_reply},
)
