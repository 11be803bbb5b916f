"""A token that a station has shown, on its way to a verdict."""

from __future__ import annotations

from controlplane.charging_tariff import Tariff
from controlplane.ocpp.dialect import Answer, TokenAnswer
from controlplane.tokens import Purpose, Verdict

__all__ = ["TokenCheck"]


class TokenCheck(Answer, frozen=True):
    """The answer to a station as long as its token is not judged.

    `session_number` is the session it is shown for, if there is one; `judges` whether the verdict
    is that session's too, and not only that of a token which ends it. `connector_id` 0 is none in
    particular. `transaction_number` is handed out in any case (1.6)."""

    id_token: str
    purpose: Purpose
    connector_id: int = 0
    transaction_number: int | None = None
    session_number: int | None = None
    judges: bool = False
    tariff: Tariff | None = None
    """The driver's own at this charger, for a token that is accepted; it goes before the one that
    the token has everywhere."""

    def answered(self, verdict: Verdict) -> TokenAnswer:
        """The answer, now that it is judged."""
        return TokenAnswer(
            verdict.status,
            self.transaction_number,
            tariff=(self.tariff or verdict.tariff) if verdict.accepted else None,
            expires_ms=verdict.expires_ms,
            group_id=verdict.group_id,
            language=verdict.language,
            message=verdict.message,
        )
