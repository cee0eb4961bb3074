"""Every error interlock raises, and whose turn it is to act.

    InterlockError
    ├── ConfigError            the operator: correct the configuration (file, line and nearest name are given)
    ├── RequestError           the caller: correct the request
    │   ├── Unauthorized       the caller: send a key that exists
    │   ├── Forbidden          the caller: use a key whose role permits it
    │   ├── NotFound           the caller: ask for something that exists
    │   └── TooLarge           the caller: send less, or raise the stated limit
    ├── Refused                the caller or the operator: no candidate may serve; every candidate's reason is listed
    ├── Busy                   the caller: the same request again, later
    ├── OverBudget             the caller or the operator: wait until the budget's window ends, or raise it
    ├── Throttled              the caller: the same request again, when the rate permits it
    ├── CounterUnreachable     the operator: budgets cannot be checked, since what counts them cannot be reached
    ├── ProviderError          the router: consult the fallback table; the caller only when the table is exhausted
    │   ├── RateLimited        wait as long as the provider says, or go to the next candidate
    │   ├── Overloaded         next candidate
    │   ├── TimedOut           next candidate, if the deadline leaves room
    │   ├── Unreachable        retry once, then next candidate
    │   ├── Garbled            next candidate: the provider answered, but not in its own protocol
    │   ├── Rejected           nobody: the provider says the request itself is wrong
    │   │   ├── TooLong        next candidate: the request exceeds this one's context window or body limit
    │   │   └── Unsupported    next candidate: this provider's protocol cannot express the request
    │   ├── NoSuchModel        the operator: the provider does not serve the configured model
    │   ├── Unauthenticated    the operator: the provider's credentials are wrong
    │   ├── OutOfFunds         the operator: the provider's account is empty
    │   ├── Unmasked           the operator: personal data could not be masked, so nothing was sent
    │   └── Skipped            next candidate: not called, since its breaker is open or the deadline leaves no room
    ├── LedgerError            the operator
    │   ├── LedgerCorrupt      the operator: the chain breaks at the row that is named
    │   ├── LedgerUnreachable  the caller: the same again, later; the operator when it lasts
    │   └── LedgerClosed       nobody: the process is going down
    ├── KeyStoreError          the operator: the database of virtual keys cannot be used
    ├── KeySetError            the operator: the keys of an issuer of tokens cannot be fetched
    ├── SnapshotError          the learner: fall back to the last good snapshot
    └── WeightsError           the operator: a weight file is missing, damaged or of another version

`status` is the HTTP status the gateway gives, `code` the machine-readable name in the OpenAI error shape.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Any


class InterlockError(Exception):
    """Base of all errors that interlock raises on purpose."""

    status = 500
    code = "internal_error"
    kind = "server_error"  # the `type` field of the OpenAI error shape
    details: Mapping[str, Any] = {}  # further fields of it

    @property
    def message(self) -> str:
        return str(self)


def nearest(name: str, known: Sequence[str]) -> str:
    """A half sentence that offers the nearest known name, or lists them when none is near."""
    close = get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    return "known: " + ", ".join(sorted(known)) if known else "none is known"


class ConfigError(InterlockError):
    """The configuration is wrong. `file`, `line` (from 1) and `path` (dotted key) say where."""

    code = "config_error"

    def __init__(self, problem: str, *, file: str = "", line: int = 0, path: str = "") -> None:
        self.problem, self.file, self.line, self.path = problem, file, line, path
        where = ":".join(str(part) for part in (file, line) if part)
        super().__init__(": ".join(part for part in (where, path, problem) if part))


class RequestError(InterlockError):
    """The request is wrong. `param` names the field at fault."""

    status, code, kind = 400, "invalid_request", "invalid_request_error"

    def __init__(self, problem: str, *, param: str | None = None, code: str | None = None) -> None:
        self.param = param
        if code is not None:
            self.code = code
        super().__init__(problem)


class Unauthorized(RequestError):
    status, code, kind = 401, "invalid_api_key", "authentication_error"


class Forbidden(RequestError):
    status, code, kind = 403, "permission_denied", "permission_error"


class NotFound(RequestError):
    status, code = 404, "not_found"


class TooLarge(RequestError):
    status, code = 413, "request_too_large"


class Refused(InterlockError):
    """No candidate may serve the request. `reasons` maps each candidate's name to what stands against it.

    `retry_after`, in seconds, is given when only the candidates' health does: then nothing is wrong with the request.
    """

    status, code, kind = 422, "no_permitted_candidate", "invalid_request_error"

    def __init__(
        self, reasons: Mapping[str, Sequence[str]], decision_id: str = "", retry_after: float | None = None
    ) -> None:
        self.retry_after = retry_after
        if retry_after is not None:
            self.status, self.code, self.kind = 503, "no_healthy_candidate", "server_error"
        self.reasons = {name: list(texts) for name, texts in reasons.items()}
        self.decision_id = decision_id
        listed = "; ".join(f"{name}: {', '.join(texts)}" for name, texts in self.reasons.items())
        super().__init__(f"no candidate may serve this request ({listed or 'the pool is empty'})")


class Busy(InterlockError):
    """A queue is full. `retry_after` is in seconds."""

    status, code, kind = 429, "overloaded", "rate_limit_error"

    def __init__(self, problem: str, retry_after: float = 1.0) -> None:
        self.retry_after = retry_after
        super().__init__(problem)


class OverBudget(InterlockError):
    """A hard budget has no room for the request. Money in USD, `ends` in seconds since the epoch.

    `needed` is what the cheapest candidate may cost at most. When requests under way hold what would be needed,
    `retry_after` is short; otherwise it is the end of the window.
    """

    status, code, kind = 429, "insufficient_quota", "insufficient_quota"

    def __init__(
        self,
        *,
        scope: str,
        name: str,
        window: str,
        used: float,
        reserved: float,
        limit: float,
        needed: float,
        ends: float | None,
        retry_after: float | None,
    ) -> None:
        self.retry_after = retry_after
        self.details = {
            "budget": {
                "scope": scope,
                "name": name,
                "window": window,
                "used_usd": used,
                "reserved_usd": reserved,
                "limit_usd": limit,
                "needed_usd": needed,
                "window_ends": ends,
            }
        }
        until = "" if ends is None else f"; the window ends at {datetime.fromtimestamp(ends, UTC):%Y-%m-%d %H:%M} UTC"
        held = f" and ${reserved:.6g} held for requests under way" if reserved else ""
        super().__init__(
            f"the {_per(window)} budget of {scope} {name!r} has no room for this request: ${used:.6g} used{held} "
            f"of ${limit:.6g}, and it may cost ${needed:.6g}{until}"
        )


def _per(window: str) -> str:
    return {"hour": "hourly", "day": "daily", "month": "monthly"}.get(window, window)


class Throttled(InterlockError):
    """A rate is exceeded: `limited` says which. `headers` are ready lines for the response."""

    status, code, kind = 429, "rate_limit_exceeded", "rate_limit_error"

    def __init__(
        self, *, scope: str, name: str, limited: str, limit: int, retry_after: float, headers: bytes = b""
    ) -> None:
        self.retry_after, self.headers = retry_after, headers
        self.details = {"limit": {"scope": scope, "name": name, "of": limited, "most": limit}}
        what = f"{limit} streamed answers open at once" if limited == "streams" else f"{limit} {limited} a minute"
        super().__init__(f"{scope} {name!r} is at its limit of {what}; try again in {retry_after:.3g} s")


class CounterUnreachable(InterlockError):
    status, code = 503, "counter_unreachable"

    retry_after = 5.0


class ProviderError(InterlockError):
    """A provider failed. `candidate` says which, `retry_after` (seconds) how long it asks to be left alone."""

    status, code = 502, "provider_error"

    def __init__(
        self, problem: str, *, candidate: str = "", retry_after: float | None = None, upstream_status: int | None = None
    ) -> None:
        self.candidate, self.retry_after, self.upstream_status = candidate, retry_after, upstream_status
        super().__init__(problem)

    def __str__(self) -> str:
        problem = super().__str__()
        return f"{self.candidate}: {problem}" if self.candidate else problem


class RateLimited(ProviderError):
    status, code, kind = 429, "provider_rate_limited", "rate_limit_error"


class Overloaded(ProviderError):
    status, code = 503, "provider_overloaded"


class TimedOut(ProviderError):
    status, code = 504, "provider_timeout"


class Unreachable(ProviderError):
    code = "provider_unreachable"


class Garbled(ProviderError):
    code = "provider_garbled"


class Rejected(ProviderError):
    status, code, kind = 400, "provider_rejected_request", "invalid_request_error"


class TooLong(Rejected):
    code = "context_length_exceeded"


class Unsupported(Rejected):
    code = "provider_cannot_express_request"


class NoSuchModel(ProviderError):
    code = "provider_no_such_model"


class Unauthenticated(ProviderError):
    code = "provider_authentication"


class OutOfFunds(ProviderError):
    code = "provider_out_of_funds"


class Unmasked(ProviderError):
    status, code = 500, "masking_failed"


class Skipped(ProviderError):
    """No call was made. `cause` says why: `breaker_open`, `deadline`, `attempts` or `retry_budget`."""

    status, code = 503, "candidate_skipped"

    def __init__(self, problem: str, *, cause: str, candidate: str = "") -> None:
        self.cause = cause
        super().__init__(problem, candidate=candidate)


class LedgerError(InterlockError):
    code = "ledger_error"


class LedgerCorrupt(LedgerError):
    """The hash chain breaks. `seq` is the first row that does not verify."""

    def __init__(self, problem: str, seq: int) -> None:
        self.seq = seq
        super().__init__(f"row {seq}: {problem}")


class LedgerUnreachable(LedgerError):
    """The database that holds the ledger does not answer."""

    status, code = 503, "ledger_unreachable"


class LedgerClosed(LedgerError):
    status, code = 503, "shutting_down"


class KeyStoreError(InterlockError):
    code = "key_store_error"


class KeySetError(InterlockError):
    """The public keys of an issuer of tokens cannot be had. Those fetched before go on serving."""

    code = "key_set_error"


class SnapshotError(InterlockError):
    code = "snapshot_error"


class WeightsError(InterlockError):
    code = "weights_error"
