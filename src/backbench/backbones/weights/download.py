"""One file over HTTP(S): whole and checked, or an error that says what happened."""

from __future__ import annotations

import hashlib
import http.client
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from filelock import FileLock

from backbench.core.errors import UnavailableError
from backbench.core.files import set_aside

Progress = Callable[[int, int | None], None]
"""Called with the bytes that are here so far and the size of the file, None when the server does not say."""

_CHUNK = 1 << 20
_ALGORITHMS = {32: "md5", 64: "sha256"}
# What proxies and gateways answer when it is they who cannot get through: the host itself was never reached.
_GATEWAY_STATUSES = frozenset({407, 502, 503, 504, 511})


class DownloadError(UnavailableError):
    """A file could not be had over HTTP; the host was reached."""


class HostUnreachableError(DownloadError):
    """No usable connection to `host`: another source may be tried."""

    def __init__(self, host: str, reason: str) -> None:
        super().__init__(f"{host} cannot be reached: {reason}")
        self.host = host


class IncompleteError(DownloadError):
    """The connection broke half way; what came is kept and continued by the next call."""


class ContentError(DownloadError):
    """What came is not the file that was published; it was thrown away."""


def file_digest(path: Path, like: str) -> str:
    """Hex digest of a file with the algorithm of the digest `like`: md5 for 32 digits, sha256 for 64."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, _ALGORITHMS[len(like)]).hexdigest()


def download(
    url: str,
    target: Path,
    *,
    digest: str | None = None,
    valid: Callable[[Path], bool] = Path.is_file,
    timeout: float = 10.0,
    progress: Progress | None = None,
) -> Path:
    """Fetch `url` to `target`, which appears only when the content is complete and right.

    `digest` is a hex md5 or sha256; `valid` is a further look at the content, all there is when no digest is published.
    With a digest, what an interrupted call left in `<target>.part` is continued; without one it is fetched again,
    because nothing could tell a seam between two versions. Of several processes that want the same file one fetches
    it and the others wait. `timeout` in seconds holds for the connection and for every read.

    Raises HostUnreachableError, IncompleteError, ContentError, or DownloadError for anything else, each with one line.
    """
    part = target.with_name(f"{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(f".{target.name}.lock")):
            if target.is_file() and _is_right(target, digest=digest, valid=valid):
                return target
            if digest is None:
                part.unlink(missing_ok=True)
            if not (part.is_file() and digest is not None and file_digest(part, digest) == digest):
                _transfer(url, part, timeout=timeout, progress=progress)
            _check(part, url=url, digest=digest, valid=valid)
            if target.exists():
                set_aside(target)
            part.replace(target)
    except OSError as error:
        raise DownloadError(f"cannot write {target}: {error.strerror or error}") from error
    return target


def _is_right(path: Path, *, digest: str | None, valid: Callable[[Path], bool]) -> bool:
    return (digest is None or file_digest(path, digest) == digest) and valid(path)


def _check(part: Path, *, url: str, digest: str | None, valid: Callable[[Path], bool]) -> None:
    """Throw the fetched part away and raise ContentError unless it is what was published."""
    came = file_digest(part, digest) if digest is not None else None
    if came != digest:
        part.unlink()
        kind = _ALGORITHMS[len(digest or "")]
        raise ContentError(f"{url} came with {kind} {came} where {digest} was published; it was thrown away")
    if not valid(part):
        part.unlink()
        raise ContentError(f"{url} did not answer with a weights file; what came was thrown away")


def _transfer(url: str, part: Path, *, timeout: float, progress: Progress | None) -> None:
    """Append to `part` what is still missing, or write it anew when the server cannot continue."""
    start = part.stat().st_size if part.is_file() else 0
    headers = {"User-Agent": "backbench", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        response = _open(Request(url, headers=headers), timeout=timeout)  # noqa: S310 - _open lets only http(s) pass
    except HTTPError as error:
        error.close()
        if error.code == 416 and start:  # the part is longer than the file: no part of it
            part.unlink()
            return _transfer(url, part, timeout=timeout, progress=progress)
        raise DownloadError(f"{url} answered {error.code} {error.reason}") from None
    with response:
        if response.status != 206 or not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            start = 0
        length = response.headers.get("Content-Length", "")
        total = start + int(length) if length.isdigit() else None
        done = start
        with part.open("ab" if start else "wb") as stream:
            while chunk := _read(response, url=url, done=done, total=total):
                stream.write(chunk)
                done += len(chunk)
                if progress is not None:
                    progress(done, total)
    if total is not None and done < total:
        raise _incomplete(url, reason="the connection was closed", done=done, total=total)
    return None


class _Redirects(HTTPRedirectHandler):
    """Goes along, but never from a connection whose host is verified to one whose host is not."""

    def redirect_request(self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Request | None:
        """The request of the new address. Raises DownloadError for one that is less safe."""
        allowed = ("https",) if req.type == "https" else ("http", "https")
        if urlsplit(newurl).scheme not in allowed:
            raise DownloadError(f"{req.full_url} leads on to {newurl}, which is not {' or '.join(allowed)}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _open(request: Request, *, timeout: float) -> Any:
    """The response, headers read. Raises HTTPError for a status of the host itself, else HostUnreachableError."""
    host = urlsplit(request.full_url).hostname or request.full_url
    if not request.full_url.startswith(("http://", "https://")):
        raise DownloadError(f"{request.full_url} is no http or https address")
    try:
        return build_opener(_Redirects).open(request, timeout=timeout)
    except HTTPError as error:
        if error.code in _GATEWAY_STATUSES:
            error.close()
            raise HostUnreachableError(host, f"a gateway answered {error.code} {error.reason}") from None
        raise
    except (OSError, http.client.HTTPException) as error:
        raise HostUnreachableError(host, _reason(error, timeout=timeout)) from error


def _reason(error: BaseException, *, timeout: float) -> str:
    """Why a connection failed, in words."""
    cause = error.reason if isinstance(error, URLError) else error
    match cause:
        case socket.gaierror():
            return "its name cannot be resolved"
        case TimeoutError():
            return f"no answer within {timeout:g} s"
        case ConnectionRefusedError():
            return "connection refused"
        case ssl.SSLCertVerificationError():
            return f"its certificate is not trusted here ({cause.verify_message})"
        case OSError() if cause.strerror:
            return cause.strerror
    return " ".join(str(cause).split()) or type(cause).__name__


def _read(response: Any, *, url: str, done: int, total: int | None) -> bytes:
    try:
        return response.read1(_CHUNK)  # type: ignore[no-any-return]
    except TimeoutError:
        raise _incomplete(url, reason="nothing came any more", done=done, total=total) from None
    except (OSError, http.client.HTTPException) as error:
        raise _incomplete(url, reason=_reason(error, timeout=0), done=done, total=total) from error


def _incomplete(url: str, *, reason: str, done: int, total: int | None) -> IncompleteError:
    size = "" if total is None else f" of {total:,}"
    return IncompleteError(f"{url} broke off after {done:,}{size} bytes ({reason}); run again to continue")
