"""Passwords of stations (OCPP security profiles 1 and 2): made, hashed and checked.

A password that a person chose is hashed with Argon2, which is slow on purpose: it is checked on a
thread, and one that was right is remembered as a keyed hash. One that Loadstar made holds 160
random bits, which nobody guesses however fast the hash: it is kept as salted BLAKE2b, so that
thousands of chargers that come back after a restart cost no time. Invariant: what guesses can cost
is bounded, and a charger that has been here before does not wait behind them."""

from __future__ import annotations

import asyncio
import binascii
import hashlib
import hmac
import secrets
import time
from base64 import b64decode
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from controlplane.errors import Exhausted

__all__ = ["Passwords", "basic_passwords", "fast_hash", "new_password"]

_KNOWN_MAX: Final = 200_000
_CHECK_ASSUMED_S: Final = 0.1
_WAIT_MAX_S: Final = 5.0
"""How long the last in the queue waits at most; within the time that a handshake may take."""
_CHECK_THREADS: Final = 2
_FAST: Final = "$blake2b$"
_FAILURES_MAX: Final = 50_000
_FAILURES_PER_CHARGER: Final = 5
_FAILURES_PER_ADDRESS: Final = 100
_FORGIVEN_S: Final = 60.0
_KEY_BYTES: Final = range(16, 21)
"""How many an AuthorizationKey has (1.6 security whitepaper, section 2)."""
_SPELLED_DIGITS: Final = range(32, 129)
"""Hexadecimal digits of a password of 16 to 64 characters."""


def new_password() -> str:
    """40 hexadecimal digits: what 1.6 calls the AuthorizationKey, and within the 16 to 40
    characters of a 2.x BasicAuthPassword."""
    return secrets.token_hex(20)


def fast_hash(password: str) -> str:
    """What is kept of a password that `new_password` made."""
    salt = secrets.token_bytes(16)
    return f"{_FAST}{salt.hex()}${_digest(salt, password)}"


def basic_passwords(header: str, user: str) -> tuple[str, ...]:
    """The passwords that an Authorization header of HTTP Basic may stand for; none where it is
    another user's or no such header.

    1.6 stations differ in whether the password is the AuthorizationKey's hexadecimal text or its
    bytes, and operators in which of the two they took for the password. So each is read as the
    other, where it can be one at all.
    """
    scheme, _, encoded = header.strip().partition(" ")
    if scheme.lower() != "basic":
        return ()
    try:
        given = b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError):
        return ()
    # An id may hold colons, so what stands before the password is known, and not looked for.
    name = f"{user}:".encode()
    if not hmac.compare_digest(given[: len(name)], name):
        return ()
    password = given[len(name) :]
    try:
        text = password.decode()
    except UnicodeDecodeError:
        return (password.hex(),)
    if not text.isprintable():
        return text, password.hex()
    if len(password) in _KEY_BYTES:
        return text, password.hex()
    if len(password) in _SPELLED_DIGITS:
        try:
            spelled = bytes.fromhex(text).decode()
        except ValueError:
            return (text,)
        return (text, spelled) if spelled.isprintable() else (text,)
    return (text,)


class Passwords:
    """Checks passwords, for one gateway."""

    def __init__(self) -> None:
        self.checks = 0
        """Argon2 computed."""
        self._hasher = PasswordHasher()
        self._threads = ThreadPoolExecutor(_CHECK_THREADS, thread_name_prefix="argon2")
        self._key = secrets.token_bytes(32)
        self._right: OrderedDict[bytes, None] = OrderedDict()
        self._checking: dict[bytes, asyncio.Future[bool]] = {}
        self._check_s = _CHECK_ASSUMED_S
        """How long a check takes here, smoothed."""
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()

    async def right(self, password_hash: str, password: str, *, charger: str, address: str) -> bool:
        """Whether `password` is the one that was hashed.

        Raises:
            Exhausted: too many wrong ones came, or too many wait for their check; try again.
        """
        if password_hash.startswith(_FAST):
            return self._fast(password_hash, password)
        known = hashlib.blake2b(
            f"{password_hash}\0{password}".encode(), key=self._key, digest_size=32
        ).digest()
        if known in self._right:
            self._right.move_to_end(known)
            return True
        checking = self._checking.get(known)
        if checking is None:
            keys = f"{address} {charger}", address
            checking = self._begin(known, password_hash, password, keys)
        # Whoever gives up waiting leaves the check to those who ask again.
        return await asyncio.shield(checking)

    def _begin(
        self, known: bytes, password_hash: str, password: str, keys: tuple[str, str]
    ) -> asyncio.Future[bool]:
        """Have a password checked.

        Raises:
            Exhausted: see `right`.
        """
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        most = _FAILURES_PER_CHARGER, _FAILURES_PER_ADDRESS
        if any(self._failed(key, now_s) >= bound for key, bound in zip(keys, most, strict=True)):
            raise Exhausted("too many wrong passwords", reason="PASSWORDS_WRONG")
        if len(self._checking) * self._check_s / _CHECK_THREADS > _WAIT_MAX_S:
            raise Exhausted("too many handshakes at once", reason="HANDSHAKES_WAITING")
        # Counted before it is known, so that many at once are no way around the bound.
        for key in keys:
            self._count(key, now_s)
        checking = loop.run_in_executor(self._threads, self._verify, password_hash, password)
        self._checking[known] = checking
        checking.add_done_callback(partial(self._checked, known, keys))
        return checking

    def _checked(self, known: bytes, keys: tuple[str, str], checking: asyncio.Future[bool]) -> None:
        del self._checking[known]
        if checking.cancelled() or not checking.result():
            return
        for key in keys:
            self._uncount(key)
        self._right[known] = None
        if len(self._right) > _KNOWN_MAX:
            self._right.popitem(last=False)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _verify(self, password_hash: str, password: str) -> bool:
        begun_s = time.monotonic()
        try:
            return self._hasher.verify(password_hash, password)
        except (VerificationError, InvalidHashError):
            return False
        finally:
            self.checks += 1
            self._check_s += (time.monotonic() - begun_s - self._check_s) / 8

    def _fast(self, password_hash: str, password: str) -> bool:
        salt, _, digest = password_hash.removeprefix(_FAST).partition("$")
        try:
            right = _digest(bytes.fromhex(salt), password)
        except ValueError:
            return False
        return hmac.compare_digest(right, digest)

    def _failed(self, key: str, now_s: float) -> int:
        count, until_s = self._failures.get(key, (0, 0.0))
        return count if now_s < until_s else 0

    def _count(self, key: str, now_s: float) -> None:
        count, until_s = self._failures.pop(key, (0, 0.0))
        if now_s >= until_s:
            count, until_s = 0, now_s + _FORGIVEN_S
        self._failures[key] = (count + 1, until_s)
        if len(self._failures) > _FAILURES_MAX:
            self._failures.popitem(last=False)

    def _uncount(self, key: str) -> None:
        count, until_s = self._failures.get(key, (0, 0.0))
        if count:
            self._failures[key] = (count - 1, until_s)


def _digest(salt: bytes, password: str) -> str:
    # Hexadecimal digits: a station may write them large.
    return hashlib.blake2b(password.lower().encode(), salt=salt, digest_size=32).hexdigest()
