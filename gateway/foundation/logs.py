"""Logs: one JSON object a line, with what the task at hand is about, and without secrets.

`bind(request_id=…)` holds for the current task and its children. Every text passes the scrubber: values under names
that hold secrets, keys by their shape, passwords in addresses, and card-like numbers are replaced before they reach
the stream; a test plants each and greps for it.
"""

import logging
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Final, TextIO

import msgspec

HIDDEN: Final = "[hidden]"
_SECRET_NAMES: Final = re.compile(
    r"(?i)(password|passwd|secret|token|authorization|cookie|api_?key|master_?key|credential|signature|card|cvv|pan$)"
)
_SECRET_SHAPES: Final = re.compile(
    r"\b(?:sk|ok|skey|whsec)_[A-Za-z0-9_+/=-]{8,}"
    r"|(?i:\b(?:bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,})"
    r"|(?<=://)[^/\s:@]*:[^/\s@]+(?=@)"
)
_CARD_LIKE: Final = re.compile(r"(?<![0-9A-Za-z])[2-6](?:[ -]?[0-9]){12,18}(?![0-9A-Za-z])")
_STANDARD_FIELDS: Final = frozenset(logging.makeLogRecord({}).__dict__) | {
    "message",
    "asctime",
    "taskName",
    "color_message",
}
_bound: ContextVar[Mapping[str, str]] = ContextVar("quickkub_log_fields")


def get_logger(name: str) -> logging.Logger:
    """The logger of a module; fields of one line go into `extra={…}`."""
    return logging.getLogger(name)


@contextmanager
def bind(**fields: str) -> Iterator[None]:
    """Put the fields on every line that is logged inside the block, e.g. `request_id`, `intent_id`."""
    token = _bound.set({**_bound.get({}), **fields})
    try:
        yield
    finally:
        _bound.reset(token)


def configure(*, level: int = logging.INFO, stream: TextIO = sys.stderr) -> None:
    """Send every log line of this process, ours and our libraries', to the stream as JSON."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # httpx logs each address it calls at INFO; ours carry tokens, and provider calls are measured anyway.
    # apscheduler tells of each of its ticks.
    for name in ("httpx", "httpcore", "alembic.runtime.plugins", "apscheduler"):
        logging.getLogger(name).setLevel(logging.WARNING)


class JsonLines(logging.Formatter):
    """A record as one scrubbed line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        extra = {name: value for name, value in record.__dict__.items() if name not in _STANDARD_FIELDS}
        fields = {
            "at": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_bound.get({}),
            **extra,
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(scrubbed(fields), enc_hook=str).decode()


def scrubbed(value: Any, name: str = "") -> Any:
    """The value with everything secret replaced.

    Args:
        name: the name that the value stands under; some names hide whatever they hold.
    """
    if name and _SECRET_NAMES.search(name):
        return HIDDEN
    if isinstance(value, dict):
        return {key: scrubbed(item, str(key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [scrubbed(item) for item in value]
    if value is None or isinstance(value, bool | float | datetime):
        return value
    text = f"[{len(value)} bytes]" if isinstance(value, bytes) else str(value)
    clean = _CARD_LIKE.sub(_unless_no_card, _SECRET_SHAPES.sub(HIDDEN, text))
    return value if isinstance(value, int) and clean == text else clean


def _unless_no_card(match: re.Match[str]) -> str:
    digits = [int(character) for character in match.group() if character.isdigit()]
    doubled = [digit * 2 - 9 * (digit > 4) for digit in digits[-2::-2]]  # noqa: PLR2004 -- Luhn: add the digits of twice it
    return HIDDEN if (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0 else match.group()
