"""What each problem's `type` leads to: one line on what it means and whether to try again."""

import msgspec
from litestar import Router, get
from litestar.params import FromPath

from gateway.api.problems import PROBLEMS, Problem, problem_responses


class ProblemPage(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for every problem with this code."""

    code: str
    title: str
    status: int
    retryable: bool


def _page_of(code: str) -> ProblemPage:
    kind = PROBLEMS[code]
    return ProblemPage(code=code, title=kind.title, status=kind.status.value, retryable=kind.retryable)


@get("/", summary="Every error code")
async def list_problems() -> list[ProblemPage]:
    """Every code that an error answer may have."""
    return [_page_of(code) for code in PROBLEMS]


@get("/{code:str}", summary="One error code", responses=problem_responses(404))
async def get_problem(code: FromPath[str]) -> ProblemPage:
    """What a code means and whether the same request may succeed later."""
    if code not in PROBLEMS:
        raise Problem("not_found")
    return _page_of(code)


PROBLEM_PAGES = Router("/problems", route_handlers=[list_problems, get_problem], tags=["errors"])
