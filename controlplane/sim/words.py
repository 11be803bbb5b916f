"""The words that drive a simulated station; apart from `console.py`, so that `--help` loads
nothing."""

from __future__ import annotations

from typing import Final

__all__ = ["WORDS"]

WORDS: Final = {
    "plug [CONNECTOR] [TOKEN] [KWH]": "a vehicle that needs so much arrives, TOKEN is shown",
    "unplug [CONNECTOR]": "it leaves",
    "fault [CONNECTOR] [CODE]": "the connector fails, with an error code of OCPP 1.6",
    "repair [CONNECTOR]": "it works again",
    "offline SECONDS": "the line is gone for so long; what happens meanwhile is told afterwards",
    "reboot": "restart at once",
    "clock SECONDS": "the clock goes wrong by so much",
    "obey on|off": "keep to limits, or accept them and ignore them",
    "answer on|off": "answer what is asked, or nothing",
    "refuse ACTION": "answer NotSupported to an action from now on; `refuse none` ends that",
    "send TEXT": "send a text as it is: a broken frame, for one",
    "status": "say how every connector stands",
    "wait SECONDS": "let time pass, in a script",
    "quit": "hang up and end",
}
"""What the console understands."""
