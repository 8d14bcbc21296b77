"""TLS between driver, scheduler and workers, by Dask's own configuration.

Whoever can talk to a Dask scheduler or worker can run any code on it. With TLS these
are the holders of a certificate that the cluster's authority has signed.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask

from daskgnn.errors import ClusterError, InputError
from daskgnn.paths import absolute_path, given_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_ROLES = ("client", "scheduler", "worker")
FILES = ("tls_ca_file", "tls_cert", "tls_key")
"""Of TLS between processes, in the words of the command line."""


@dataclass(frozen=True)
class Encryption:
    """How a cluster's connections are encrypted, in the words of the command line."""

    tls: bool | None = None
    """Make a certificate for a cluster that is started here, in memory."""
    tls_ca_file: str | None = None
    """Of the authority that signed every certificate, as PEM."""
    tls_cert: str | None = None
    """Of this process, and of own scheduler and workers."""
    tls_key: str | None = None

    @classmethod
    def of(cls, settings: dict[str, Any]) -> Encryption:
        """Return what a run's settings say; those of older runs say nothing."""
        return cls(**{f.name: settings.get(f.name) for f in fields(cls)})

    def absolute(self) -> Encryption:
        """Return the same with absolute paths, for a run that is resumed elsewhere."""
        given = asdict(self)
        files = [name for name, value in given.items() if isinstance(value, str)]
        return self.of(given | {n: absolute_path(given[n]) for n in files})

    def __bool__(self) -> bool:
        return any(asdict(self).values())

    def check(self, scheduler: str | None) -> None:
        """Refuse what does not go together.

        Raises
        ------
        InputError
        """
        files = {name: getattr(self, name) for name in FILES}
        missing = [name for name, file in files.items() if file is None]
        if self.tls and (scheduler is not None or len(missing) < len(files)):
            raise InputError(
                "tls=True makes a certificate for a cluster of its own: give "
                f"{_written(files)} in its place for one that is there"
            )
        if 0 < len(missing) < len(files):
            raise InputError(f"TLS needs three files: {_written(missing)} not given")
        if not missing and scheduler and not scheduler.startswith("tls://"):
            raise InputError(
                f"scheduler={scheduler!r} is not encrypted, so certificates are of no "
                "use: expected an address that begins with tls://"
            )
        for name, file in files.items():
            if file is not None and not Path(given_path(file)).is_file():
                raise InputError(f"{name}={file!r}: there is no such file")

    @contextmanager
    def configured(self, scheduler: str | None) -> Iterator[None]:
        """Have Dask encrypt all connections that are made inside.

        Raises
        ------
        InputError
            As `check`.
        ClusterError
            If a certificate is to be made and the package for it is missing.
        """
        self.check(scheduler)
        if self.tls:
            settings = _temporary()
        elif self.tls_ca_file:
            files = (self.tls_ca_file, self.tls_cert, self.tls_key)
            settings = _settings(*(absolute_path(str(f)) for f in files))
        else:
            settings = {}
        with dask.config.set(settings):
            yield


def _written(names: Iterable[str]) -> str:
    """Return the names of settings, as messages have them."""
    return ", ".join(f"{name}=" for name in names)


def _settings(authority: str, cert: str, key: str) -> dict[str, Any]:
    """Return Dask's configuration; certificates by path or as text."""
    roles = {f"distributed.comm.tls.{role}.cert": cert for role in _ROLES}
    roles |= {f"distributed.comm.tls.{role}.key": key for role in _ROLES}
    return {
        "distributed.comm.require-encryption": True,
        "distributed.comm.default-scheme": "tls",
        "distributed.comm.tls.ca-file": authority,
        **roles,
    }


def _temporary() -> dict[str, Any]:
    """Make a certificate that is its own authority; nothing is written to a disk."""
    from distributed.security import Security

    try:
        made = Security.temporary()
    except ImportError as error:
        raise ClusterError(
            "tls=True needs the package cryptography: pip install 'daskgnn[tls]'"
        ) from error
    return _settings(made.tls_ca_file, made.tls_client_cert, made.tls_client_key)


def connection_args(address: str) -> dict[str, Any]:
    """Return what a client's connections need, by Dask's configuration.

    Raises
    ------
    ClusterError
        If the address is encrypted and there is no certificate.
    """
    from distributed.security import Security

    found = Security().get_connection_args("client")
    if address.startswith("tls://") and found.get("ssl_context") is None:
        raise ClusterError(
            f"{address} asks for a certificate: give {_written(FILES)}, or "
            "distributed.comm.tls in Dask's configuration"
        )
    return found
