"""VAT numbers as a driver types them, held against the form that their country gives them.

The form and its check digits are python-stdnum's; nobody is asked over the network, so a number
that passes can still be nobody's. Whatever was typed gets an answer, never an exception."""

from __future__ import annotations

from typing import Final

from stdnum import get_cc_module
from stdnum.eu import vat as vat_eu
from stdnum.exceptions import ValidationError

__all__ = ["compact_vat_number"]

_LENGTH_MAX: Final = 20


def compact_vat_number(typed: str) -> str | None:
    """The number without blanks and points, its country's letters in front; None where no country
    has such numbers."""
    text = typed.strip().upper()
    if not text.isascii() or not text[:2].isalpha():
        return None
    module = vat_eu if vat_eu.is_valid(text) else get_cc_module(text[:2].lower(), "vat")
    if module is None:
        return None
    try:
        compact = str(module.validate(text))
    except ValidationError:
        return None
    if not compact.startswith(text[:2]):
        compact = text[:2] + compact
    return compact if len(compact) <= _LENGTH_MAX else None
