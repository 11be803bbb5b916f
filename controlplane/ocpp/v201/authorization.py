"""Tokens that a 2.x station asks about: C01 to C12. The answer is the same for transactions."""

from __future__ import annotations

from typing import Any, Final

from controlplane.ocpp import events
from controlplane.ocpp.dialect import Block, TokenAnswer
from controlplane.ocpp.events import Event
from controlplane.tokens import TokenStatus, TokenType
from controlplane.units import iso_from_ms

__all__ = ["AUTHORIZATION", "ID_TOKEN_MAX", "id_token_info", "id_token_of"]

ID_TOKEN_MAX: Final = 36
"""Longest idToken (IdTokenType)."""
_MESSAGE_MAX: Final = 512
_LANGUAGE_MAX: Final = 8

_TYPES: Final = {
    TokenType.CENTRAL: "Central",
    TokenType.EMAID: "eMAID",
    TokenType.ISO14443: "ISO14443",
    TokenType.ISO15693: "ISO15693",
    TokenType.KEY_CODE: "KeyCode",
    TokenType.LOCAL: "Local",
    TokenType.MAC_ADDRESS: "MacAddress",
    TokenType.NO_AUTHORIZATION: "NoAuthorization",
}


def _authorize(payload: dict[str, Any]) -> Event:
    token = payload["idToken"]
    return events.Authorize(
        id_token=token["idToken"],
        id_token_type=token["type"],
        unproven=bool(payload.get("certificate")),
    )


def id_token_of(id_token: str, type: TokenType) -> dict[str, Any]:
    """A token as stations are told it; a type that 2.0.1 has no word for is Central."""
    return {"idToken": id_token, "type": _TYPES.get(type, "Central")}


def id_token_info(
    status: TokenStatus,
    expires_ms: int | None,
    group_id: str | None,
    language: str,
    message: str,
) -> dict[str, Any]:
    """What a station is told of a token (IdTokenInfoType); a group whose id is too long is left
    out, a message that is too long is cut."""
    info: dict[str, Any] = {"status": str(status)}
    if expires_ms is not None:
        info["cacheExpiryDateTime"] = iso_from_ms(expires_ms)
    if group_id is not None and len(group_id) <= ID_TOKEN_MAX:
        info["groupIdToken"] = id_token_of(group_id, TokenType.CENTRAL)
    if language:
        info["language1"] = language[:_LANGUAGE_MAX]
    if message:
        info["personalMessage"] = {"format": "UTF8", "content": message[:_MESSAGE_MAX]}
    return info


def _token_reply(answer: TokenAnswer) -> dict[str, Any]:
    if answer.status is None:
        return {}
    written: dict[str, Any] = {
        "idTokenInfo": id_token_info(
            answer.status, answer.expires_ms, answer.group_id, answer.language, answer.message
        )
    }
    if answer.certificate_status:
        written["certificateStatus"] = answer.certificate_status
    return written


AUTHORIZATION = Block(
    readers={"Authorize": _authorize},
    replies={TokenAnswer: _token_reply},
)
