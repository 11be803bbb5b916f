"""Tokens that a 1.6 station asks about: section 4.1. The answer is the same for transactions."""

from __future__ import annotations

from typing import Any

from controlplane.ocpp import events
from controlplane.ocpp.dialect import Block, TokenAnswer
from controlplane.ocpp.events import Event

__all__ = ["AUTHORIZATION"]


def _authorize(payload: dict[str, Any]) -> Event:
    return events.Authorize(id_token=payload["idTag"])


def _token_reply(answer: TokenAnswer) -> dict[str, Any]:
    payload: dict[str, Any] = {}
    if answer.transaction_number is not None:
        payload["transactionId"] = answer.transaction_number
    if answer.status is not None:
        payload["idTagInfo"] = {"status": answer.status}
    return payload


AUTHORIZATION = Block(
    readers={"Authorize": _authorize},
    replies={TokenAnswer: _token_reply},
)
