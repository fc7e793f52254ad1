"""The one stable port of a model, and the listening socket behind it."""

from __future__ import annotations

import errno
import socket
from collections.abc import Collection

from mlops_pipelines.errors import TargetError

BACKLOG = 2048
"""Connections that the kernel keeps while workers change places."""


def bind(host: str, port: int, model: str) -> socket.socket:
    """A listening socket on `host`:`port`; raises TargetError where a stranger has it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise TargetError(
                f"{model}: port {port} of {host} is taken by another program; nothing moved; stop "
                f"that program (ss -ltnp 'sport = :{port}' names it), or declare another "
                "release.port"
            ) from error
        raise TargetError(
            f"{model}: {host}:{port} cannot be listened on: {error.strerror}; nothing moved; "
            "mend target.host or target.ports in resources/"
        ) from error
    return listener


def bind_first_free(
    host: str, ports: tuple[int, int], taken: Collection[int], model: str
) -> socket.socket:
    """A listening socket on the first port of the range that nobody has; raises TargetError."""
    for port in range(ports[0], ports[1] + 1):
        if port in taken:
            continue
        try:
            return bind(host, port, model)
        except TargetError as error:
            if not _is_taken(error):
                raise
    raise TargetError(
        f"{model}: every port from {ports[0]} to {ports[1]} of {host} is taken; nothing moved; "
        "widen target.ports in resources/"
    )


def _is_taken(error: TargetError) -> bool:
    return isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EADDRINUSE
