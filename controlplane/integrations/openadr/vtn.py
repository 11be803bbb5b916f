"""The utility's side: HTTP to a VTN, with OAuth 2.0 client credentials.

Invariants: the secret goes to the token endpoint and nowhere else, and no redirect is followed.
Every answer is bounded in size and time, every list in length. What a VTN answers with an error
becomes one of Loadstar's errors, with the VTN's own words in it."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections import OrderedDict
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx

from controlplane.errors import (
    AlreadyExists,
    Exhausted,
    InvalidInput,
    LoadstarError,
    NotFound,
    Precondition,
    TimedOut,
    Unavailable,
)

__all__ = ["VtnClient"]

PAGE_SIZE = 50
"""The most that a VTN has to return at once (`limit` of the OpenAPI document)."""

_PAGES_MAX = 100
_ANSWER_MAX_BYTES = 8 * 1024 * 1024
_TIMEOUT_S = 10.0
_REQUEST_TIMEOUT_S = 30.0
_TOKEN_LIFE_S = 3_600.0
_TOKEN_USED_FOR = 0.8
"""The part of a token's life after which another is fetched."""
_TAGS_MAX = 256


class VtnClient:
    """One VTN, as one client of it.

    Args:
        base_url: such as `https://vtn.example/openadr3/3.1.0`.
        token_url: where tokens are fetched; empty asks the VTN for it (`/auth/server` of 3.1), and
            is `/auth/token` below `base_url` where it does not say.
        ca_file: certificates to trust instead of those of this machine.
    """

    def __init__(
        self,
        base_url: str,
        *,
        client_id: str,
        client_secret: str,
        token_url: str = "",
        scope: str = "",
        ca_file: Path | None = None,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._client_id = client_id
        self._client_secret = client_secret
        self._token_url = token_url
        self._scope = scope
        self._token = ""
        self._token_until_s = 0.0
        self._tagged: OrderedDict[str, tuple[str, Any]] = OrderedDict()
        self.knows_31 = False
        """Whether the VTN speaks 3.1, as far as was seen."""
        self.ahead_ms: int | None = None
        """How far the VTN's clock was ahead of ours at the last answer, to the second."""
        verify: ssl.SSLContext | bool = True
        if ca_file is not None:
            verify = ssl.create_default_context(cafile=str(ca_file))
        self._http = httpx.AsyncClient(
            verify=verify,
            timeout=_TIMEOUT_S,
            follow_redirects=False,
            headers={"User-Agent": "loadstar", "Accept": "application/json"},
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def discover(self) -> None:
        """Find out which version the VTN speaks, and where it gives tokens.

        Raises:
            LoadstarError: it cannot be reached, or fails.
        """
        try:
            answer = await self._send("GET", f"{self._base_url}/auth/server")
        except (NotFound, Precondition, InvalidInput):
            # 3.0 has no such path; what a gateway before it says of it does not matter.
            answer = None
        told = answer.get("tokenURL") if isinstance(answer, dict) else None
        self.knows_31 = isinstance(told, str)
        if isinstance(told, str) and not self._token_url:
            self._token_url = told

    async def objects(self, path: str, **query: Any) -> list[Any]:
        """All elements of a list, page by page; each once.

        Raises:
            LoadstarError: see `get`.
        """
        found: list[Any] = []
        seen: set[str] = set()
        skip = 0
        for _ in range(_PAGES_MAX):
            page = await self._ask("GET", path, query={**query, "skip": skip, "limit": PAGE_SIZE})
            if not isinstance(page, list):
                raise _malformed(path, "a list was expected")
            # A list that changes between two pages shows an element twice.
            fresh = [element for element in page if _id(element) not in seen]
            seen.update(known for element in page if (known := _id(element)))
            found += fresh
            skip += len(page)
            if len(page) < PAGE_SIZE or not fresh:
                return found
        raise Exhausted(
            f"the VTN lists more than {_PAGES_MAX * PAGE_SIZE} at {path}", reason="VTN_LIST_LONG"
        )

    async def get(self, path: str) -> Any:
        """One object.

        Raises:
            NotFound: there is none.
            Precondition: the VTN does not let us (`VTN_UNAUTHORIZED`, `VTN_FORBIDDEN`).
            InvalidInput: it refuses the request, or its answer is malformed.
            Unavailable: it is out of reach, or too busy.
            TimedOut: no answer in time.
        """
        return await self._ask("GET", path)

    async def post(self, path: str, body: dict[str, Any]) -> Any:
        """Create an object; errors as `get`, and AlreadyExists."""
        return await self._ask("POST", path, body=body)

    async def put(self, path: str, body: dict[str, Any]) -> Any:
        """Replace an object; errors as `get`."""
        return await self._ask("PUT", path, body=body)

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, Any] | None = None,
        body: dict[str, Any] | None = None,
    ) -> Any:
        url = f"{self._base_url}{path}"
        for renewed in (False, True):
            headers = {"Authorization": f"Bearer {await self._bearer()}"}
            try:
                return await self._send(method, url, headers=headers, query=query, body=body)
            except Precondition as error:
                # A token may be withdrawn before its time: once more with a new one.
                if error.reason != "VTN_UNAUTHORIZED" or renewed:
                    raise
                self._token = ""
        raise AssertionError("the second attempt returns or raises")

    async def _bearer(self) -> str:
        now_s = asyncio.get_running_loop().time()
        if self._token and now_s < self._token_until_s:
            return self._token
        form = {
            "grant_type": "client_credentials",
            "client_id": self._client_id,
            "client_secret": self._client_secret,
            **({"scope": self._scope} if self._scope else {}),
        }
        url = self._token_url or f"{self._base_url}/auth/token"
        answer = await self._send("POST", url, form=form)
        token = answer.get("access_token") if isinstance(answer, dict) else None
        if not isinstance(token, str) or not token:
            raise _malformed("the token endpoint", "no access_token")
        lasts_s = answer.get("expires_in")
        if not isinstance(lasts_s, int | float) or lasts_s <= 0:
            lasts_s = _TOKEN_LIFE_S
        self._token = token
        self._token_until_s = now_s + lasts_s * _TOKEN_USED_FOR
        return token

    async def _send(
        self,
        method: str,
        url: str,
        *,
        headers: dict[str, str] | None = None,
        query: dict[str, Any] | None = None,
        body: dict[str, Any] | None = None,
        form: dict[str, str] | None = None,
    ) -> Any:
        request = self._http.build_request(
            method, url, headers=headers, params=query, json=body, data=form
        )
        tag, kept = self._tagged.get(str(request.url), ("", None))
        if method == "GET" and tag:
            request.headers["If-None-Match"] = tag
        try:
            async with asyncio.timeout(_REQUEST_TIMEOUT_S):
                response = await self._http.send(request, stream=True)
                try:
                    content = await _content(response)
                finally:
                    await response.aclose()
        except (TimeoutError, httpx.TimeoutException) as error:
            raise TimedOut(f"no answer from {url} in time", reason="VTN_SILENT") from error
        except httpx.HTTPError as error:
            raise Unavailable(
                f"{url} is out of reach: {error}", reason="VTN_UNREACHABLE"
            ) from error
        self._compare_clocks(response)
        if response.status_code == httpx.codes.NOT_MODIFIED and tag:
            return kept
        if not response.is_success:
            raise _refusal(response, content)
        answer = _parsed(url, content)
        if method == "GET" and "ETag" in response.headers:
            self._tagged[str(request.url)] = (response.headers["ETag"], answer)
            if len(self._tagged) > _TAGS_MAX:
                self._tagged.popitem(last=False)
        return answer

    def _compare_clocks(self, response: httpx.Response) -> None:
        try:
            theirs = parsedate_to_datetime(response.headers.get("Date", ""))
            self.ahead_ms = round((theirs.timestamp() - time.time()) * 1_000)
        except (ValueError, TypeError):
            self.ahead_ms = None


async def _content(response: httpx.Response) -> bytes:
    content = bytearray()
    async for part in response.aiter_bytes():
        content += part
        if len(content) > _ANSWER_MAX_BYTES:
            raise _malformed(str(response.url), f"more than {_ANSWER_MAX_BYTES} bytes")
    return bytes(content)


def _parsed(url: str, content: bytes) -> Any:
    if not content:
        return None
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise _malformed(url, f"no JSON: {error}") from error


def _malformed(place: str, fault: str) -> InvalidInput:
    return InvalidInput(
        f"the VTN's answer at {place} cannot be read: {fault}", reason="VTN_ANSWER_MALFORMED"
    )


def _refusal(response: httpx.Response, content: bytes) -> LoadstarError:
    """The error for an HTTP status, with the words of the problem (RFC 7807) or of RFC 6749."""
    words = f"{response.request.method} {response.request.url} was answered {response.status_code}"
    try:
        problem = json.loads(content)
    except (ValueError, RecursionError):
        problem = None
    if isinstance(problem, dict):
        told = [problem.get(name) for name in ("title", "detail", "error", "error_description")]
        words += "".join(f": {word}"[:300] for word in told if isinstance(word, str))
    match response.status_code:
        case 400 | 422:
            return InvalidInput(words, reason="VTN_REFUSED")
        case 401:
            return Precondition(words, reason="VTN_UNAUTHORIZED")
        case 403:
            return Precondition(words, reason="VTN_FORBIDDEN")
        case 404 | 405 | 501:
            return NotFound(words, reason="VTN_NOT_FOUND")
        case 409:
            return AlreadyExists(words, reason="VTN_CONFLICT")
        case 429 | 503:
            wait = response.headers.get("Retry-After", "")
            metadata = {"retry_after_s": wait} if wait.isdecimal() else {}
            return Unavailable(words, reason="VTN_BUSY", metadata=metadata)
        case status if 300 <= status < 400:
            return InvalidInput(f"{words}; redirects are not followed", reason="VTN_REDIRECTS")
        case _:
            return Unavailable(words, reason="VTN_FAILED")


def _id(element: Any) -> str:
    found = element.get("id") if isinstance(element, dict) else None
    return found if isinstance(found, str) else ""
