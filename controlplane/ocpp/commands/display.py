"""What a charger shows on its display (2.x functional block O)."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from controlplane.ocpp.commands.core import Command, ReportCommand

__all__ = [
    "ClearDisplayMessage",
    "DisplayMessage",
    "DisplayPriority",
    "DisplayState",
    "GetDisplayMessages",
    "MessageContent",
    "SetDisplayMessage",
    "TextFormat",
]


class TextFormat(StrEnum):
    """How a text is to be read; `qr_code` since 2.1."""

    ASCII = "ascii"
    HTML = "html"
    QR_CODE = "qr_code"
    URI = "uri"
    UTF8 = "utf8"


class DisplayPriority(StrEnum):
    """Which of several messages is shown: `always_front` alone, `in_front` before those that take
    turns."""

    ALWAYS_FRONT = "always_front"
    IN_FRONT = "in_front"
    NORMAL_CYCLE = "normal_cycle"


class DisplayState(StrEnum):
    """During which state of the charger a message is shown; `suspended` and `discharging` since
    2.1."""

    CHARGING = "charging"
    DISCHARGING = "discharging"
    FAULTED = "faulted"
    IDLE = "idle"
    SUSPENDED = "suspended"
    UNAVAILABLE = "unavailable"


class MessageContent(msgspec.Struct, frozen=True):
    """A text: at most 512 characters, 1,024 since 2.1. `language` is an RFC 5646 tag, empty where
    nobody said."""

    text: str
    format: TextFormat = TextFormat.UTF8
    language: str = ""


class DisplayMessage(msgspec.Struct, frozen=True):
    """A message on a display. `message_id`, 0 and up, is ours to choose; one that is set again
    replaces the one before. None or empty: any state, from now, until cleared, the main display.

    `extra` holds the same in other languages (since 2.1, at most 4).
    """

    message_id: int
    priority: DisplayPriority
    content: MessageContent
    state: DisplayState | None = None
    start_ms: int | None = None
    end_ms: int | None = None
    transaction_id: str = ""
    """Shown during this transaction and gone after it."""
    display: str = ""
    """The component that shows it."""
    connector_id: int | None = None
    """The EVSE that the display belongs to."""
    extra: tuple[MessageContent, ...] = ()


class SetDisplayMessage(Command, frozen=True, tag="set_display_message"):
    message: DisplayMessage


class GetDisplayMessages(ReportCommand, frozen=True, kw_only=True, tag="get_display_messages"):
    """Which messages the charger holds; those that match all that is given."""

    message_ids: tuple[int, ...] = ()
    priority: DisplayPriority | None = None
    state: DisplayState | None = None


class ClearDisplayMessage(Command, frozen=True, tag="clear_display_message"):
    message_id: int
