"""Metrics of every process, scraped at `/metrics`.

Durations are seconds; amounts are whole minor units. Labels are closed lists, never ids, so that the number of
series stays small. Several web workers of one machine share their counts through `PROMETHEUS_MULTIPROC_DIR`.
"""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

_FAST: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
_REMOTE: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

# The API.
HTTP_REQUEST_SECONDS: Final = Histogram(
    "quickkub_http_request_seconds", "Time to answer a request.", ["route", "method", "status"], buckets=_FAST
)
API_KEY_AUTH_FAILURES: Final = Counter(
    "quickkub_api_key_auth_failures_total", "Requests refused for their key.", ["reason"]
)
IDEMPOTENCY: Final = Counter(
    "quickkub_idempotency_total", "Idempotency keys seen: new, resumed, replay, conflict, mismatch.", ["result"]
)
RATE_LIMITED: Final = Counter("quickkub_rate_limited_total", "Requests refused for their rate, per kind.", ["kind"])
RATE_LIMIT_LOCAL: Final = Counter(
    "quickkub_rate_limit_local_total", "Requests counted in this process only, because Valkey did not answer."
)

# Payments and their providers.
PAYMENT_INTENTS: Final = Counter(
    "quickkub_payment_intents_total", "Payment intents that reached a status.", ["method", "provider", "status"]
)
PROVIDER_CALL_SECONDS: Final = Histogram(
    "quickkub_provider_call_seconds", "Time of a call to a provider.", ["provider", "op", "outcome"], buckets=_REMOTE
)
PROVIDER_CIRCUITS_OPEN: Final = Gauge(
    "quickkub_provider_circuits_open",
    "Circuits that hold calls back because the provider does not answer.",
    ["provider", "op"],
    multiprocess_mode="livesum",
)
ATTEMPTS_UNKNOWN: Final = Gauge(
    "quickkub_attempts_unknown",
    "Attempts whose outcome nobody knows yet.",
    ["provider"],
    multiprocess_mode="mostrecent",
)
ATTEMPT_UNKNOWN_OLDEST_SECONDS: Final = Gauge(
    "quickkub_attempt_unknown_oldest_seconds",
    "Age of the oldest attempt of unknown outcome.",
    multiprocess_mode="mostrecent",
)
JANITOR_RUNS: Final = Counter(
    "quickkub_janitor_runs_total", "Inquiries of the janitor, by what they found.", ["result"]
)

# Messages in and out.
INBOX_DUPLICATES: Final = Counter(
    "quickkub_inbox_duplicates_total", "Callbacks that had been stored before.", ["provider"]
)
INBOX_REJECTED: Final = Counter(
    "quickkub_inbox_rejected_total", "Callbacks put aside: forged, unreadable or contradicted.", ["provider"]
)
WEBHOOK_DELIVERY_SECONDS: Final = Histogram(
    "quickkub_webhook_delivery_seconds", "Time of a webhook delivery.", ["outcome"], buckets=_REMOTE
)
WEBHOOK_ENDPOINTS_DISABLED: Final = Counter(
    "quickkub_webhook_endpoints_disabled_total", "Endpoints switched off for failing too long."
)
OUTBOX_LAG_SECONDS: Final = Gauge(
    "quickkub_outbox_lag_seconds",
    "Age of the oldest event that is due and not delivered.",
    multiprocess_mode="mostrecent",
)

# The books.
LEDGER_MONTHS_AHEAD: Final = Gauge(
    "quickkub_ledger_months_ahead",
    "Months after this one that have room in the books; below 1 is an alarm.",
    multiprocess_mode="mostrecent",
)
LEDGER_CHECKPOINT_AGE_SECONDS: Final = Gauge(
    "quickkub_ledger_checkpoint_age_seconds",
    "Age of the last checkpoint of the book that is furthest behind; 0 when nothing is new. Two days are an alarm.",
    multiprocess_mode="mostrecent",
)
LEDGER_CHECKPOINTS_FAILING: Final = Gauge(
    "quickkub_ledger_checkpoints_failing",
    "Books of which no checkpoint could be made in the last round; anything but zero is an alarm.",
    multiprocess_mode="mostrecent",
)
PAYOUTS_IN_TRANSIT_MINOR: Final = Gauge(
    "quickkub_payouts_in_transit_minor",
    "Money of live books on its way to merchants, or perhaps on its way.",
    multiprocess_mode="mostrecent",
)
PAYOUT_FILES_UNANSWERED: Final = Gauge(
    "quickkub_payout_files_unanswered",
    "Payout files handed over more than an hour ago, of which the bank has not said what it did.",
    multiprocess_mode="mostrecent",
)
CLAIMS_DISPUTED: Final = Gauge(
    "quickkub_claims_disputed",
    "Claims of live books that the bank was handed and that are disputed since; anything but zero is an alarm.",
    multiprocess_mode="mostrecent",
)
UNIDENTIFIED_RECEIPTS_MINOR: Final = Gauge(
    "quickkub_unidentified_receipts_minor",
    "Noted credits of our bank accounts, of live books, that are assigned to nobody yet.",
    multiprocess_mode="mostrecent",
)

# The house itself.
JOB_LAST_SUCCESS_TIMESTAMP: Final = Gauge(
    "quickkub_job_last_success_timestamp", "When a job last ended well.", ["job"], multiprocess_mode="max"
)
WORKER_LOOP_FAILURES: Final = Counter(
    "quickkub_worker_loop_failures_total", "Rounds of a worker loop that raised.", ["loop"]
)
