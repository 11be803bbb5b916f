"""A charger under test whose site authorises, with tokens in a store that may be slow."""

from __future__ import annotations

from typing import Any

from charger_driver import SETTINGS, Charger

from controlplane.actor import Ask, Effect, LookedUp, LookUp, Message
from controlplane.charger.messages import CancelReserved, ChargerAssigned, ReserveConnector
from controlplane.ids import SessionId, SiteId
from controlplane.network import ChargerConfig, ConnectorConfig
from controlplane.site.messages import ConnectorState, TokensChanged
from controlplane.store.queries import (
    ListFound,
    ListQuery,
    Query,
    QueryAnswer,
    TokenFound,
    TokenQuery,
)
from controlplane.store.records import ReservationRecord, SessionRecord
from controlplane.tokens import Authorisation, AuthorisationPolicy, Token

__all__ = ["KNOWN", "TokenCharger"]

KNOWN = Authorisation(AuthorisationPolicy.KNOWN)


class TokenCharger(Charger):
    """Look-ups are answered at once, unless `slow`; `elsewhere` are sessions of every token at
    other chargers."""

    def __init__(self, authorisation: Authorisation = KNOWN, **given: Any) -> None:
        self.authorisation = authorisation
        self.tokens: dict[str, Token] = {}
        self.list_found = ListFound(0, (), (), True)
        self.elsewhere: tuple[SessionId, ...] = ()
        self.slow = False
        self.broken = False
        self.asked: list[LookUp] = []
        super().__init__(**given)

    def store(self, *tokens: Token) -> None:
        self.tokens |= {token.key: token for token in tokens}

    def change(self, *tokens: Token) -> None:
        """Tokens are written while the charger runs."""
        self.store(*tokens)
        self.tell(TokensChanged(1, tuple(token.key for token in tokens)))

    def assign(self, *, connectors: int = 1, offline_a: float = 6.0, **config: Any) -> None:
        described = ChargerConfig(
            id="CP1",
            circuit="main",
            connectors=tuple(ConnectorConfig(id=number + 1) for number in range(connectors)),
            offline_current_a=offline_a,
            **config,
        )
        self.tell(
            ChargerAssigned(
                SiteId("site"),
                230,
                described.model_dump_json().encode(),
                authorisation=self.authorisation,
            )
        )

    def tell(self, message: Message) -> list[Effect]:
        collected = list(super().tell(message))
        while self.asked and not self.slow:
            question = self.asked.pop(0)
            answer = None if self.broken else self._look_up(question.query)
            collected += super().tell(LookedUp(question.look_up_id, answer))
        self.effects = collected
        return collected

    def reserve(self, connector_id: int, id_token: str = "ANNA", *, seconds: int = 3_600) -> None:
        until_ms = self.now_ms + seconds * 1_000
        self.tell(Ask("reserve", ReserveConnector(connector_id, id_token, until_ms)))

    def unreserve(self, number: int) -> None:
        self.tell(Ask("unreserve", CancelReserved(number)))

    def start(self, id_tag: str, *, connector: int = 1, **given: Any) -> dict[str, Any]:
        answer = self.call(
            "StartTransaction",
            connectorId=connector,
            idTag=id_tag,
            meterStart=given.pop("meter_wh", 0),
            timestamp=self.at(),
            **given,
        )
        info: dict[str, Any] = answer["idTagInfo"]
        return info | {"transaction": answer["transactionId"]}

    def authorised(self, connector_id: int = 1) -> bool | None:
        """What the site was told last of the connector's session."""
        told = [each for each in self.told(ConnectorState) if each.connector_id == connector_id]
        return None if told[-1].session is None else told[-1].session.authorised

    def session(self) -> SessionRecord:
        return self.records(SessionRecord)[-1]

    def reservation(self) -> ReservationRecord:
        return self.records(ReservationRecord)[-1]

    def settle_known(self, version: str = "ocpp1.6", **description: Any) -> None:
        self.settle(version, **description)
        self.wait(SETTINGS.token_wait_ms)

    def _look_up(self, query: Query) -> QueryAnswer:
        if isinstance(query, TokenQuery):
            token = self.tokens.get(query.token_key)
            bounded = token is not None and token.concurrent_max is not None
            return TokenFound(token, self.elsewhere if bounded else ())
        assert isinstance(query, ListQuery)
        return self.list_found

    def _carry_out(self, effects: list[Effect]) -> None:
        super()._carry_out(effects)
        self.asked += [effect for effect in effects if isinstance(effect, LookUp)]
