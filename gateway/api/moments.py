"""Moments that callers name."""

from datetime import UTC, datetime

from gateway.api.problems import Problem


def check_moment(moment: datetime | None, param: str) -> None:
    """Refuse a moment that names no time zone, or that is beyond the calendar once it is told in UTC.

    Raises:
        Problem: `parameter_invalid`.
    """
    if moment is None:
        return
    if moment.tzinfo is None:
        raise Problem("parameter_invalid", f"{param} names no time zone.", param=param)
    try:
        moment.astimezone(UTC)
    except OverflowError:
        raise Problem("parameter_invalid", f"{param} is beyond the calendar.", param=param) from None
