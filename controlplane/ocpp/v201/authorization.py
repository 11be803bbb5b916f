"""Tokens that a 2.x station asks about: C01 to C12. The answer is the same for transactions."""

from __future__ import annotations

from typing import Any

from controlplane.ocpp import events
from controlplane.ocpp.dialect import Block, TokenAnswer
from controlplane.ocpp.events import Event

__all__ = ["AUTHORIZATION"]


def _authorize(payload: dict[str, Any]) -> Event:
    token = payload["idToken"]
    return events.Authorize(id_token=token["idToken"], id_token_type=token["type"])


def _token_reply(answer: TokenAnswer) -> dict[str, Any]:
    return {} if answer.status is None else {"idTokenInfo": {"status": answer.status}}


AUTHORIZATION = Block(
    readers={"Authorize": _authorize},
    replies={TokenAnswer: _token_reply},
)
