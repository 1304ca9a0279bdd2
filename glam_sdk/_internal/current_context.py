"""Get at OpenTelemetry's current context in one step in place of three calls.

Its own functions pass on to a runtime object, which passes on to a context variable. That variable
is in every token they return: what one of both sets or resets, the other sees. Where the runtime is
another one (``OTEL_PYTHON_CONTEXT``) or somebody has wrapped the functions, these are theirs.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar, Token
from types import FunctionType
from typing import Any, Final

from opentelemetry import context as otel
from opentelemetry.context import Context
from opentelemetry.context.contextvars_context import ContextVarsRuntimeContext


def variable_of(api: Any) -> ContextVar[Context] | None:
    """Return the variable that holds the current context; None where it is not all there is to it.

    Args:
        api: The module ``opentelemetry.context``.
    """
    if type(getattr(api, "_RUNTIME_CONTEXT", None)) is not ContextVarsRuntimeContext:
        return None
    for function in (api.attach, api.detach, api.get_current):
        if type(function) is not FunctionType or function.__globals__ is not vars(api):
            return None
    token = api.attach(Context())
    api.detach(token)
    found: ContextVar[Context] = token.var
    return found


_variable: Final = variable_of(otel)
get_current: Final[Callable[[], Context]] = _variable.get if _variable else otel.get_current
"""Return the current context."""
attach: Final[Callable[[Context], Token[Context]]] = _variable.set if _variable else otel.attach
"""Make a context the current one, until its token is given to :func:`detach`."""
_reset: Final[Callable[[Token[Context]], None]] = _variable.reset if _variable else otel.detach


def detach(token: Token[Context]) -> None:
    """Make the context the current one that was before; logs where that cannot be, and goes on."""
    try:
        _reset(token)
    except Exception:  # noqa: BLE001 - OpenTelemetry says so below
        is_done = False
    else:
        is_done = True
    if not is_done:
        otel.detach(token)
