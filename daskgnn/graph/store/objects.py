"""Objects below an address, such as ``s3://bucket/graph.zarr``, by their names.

Credentials are those of the environment, or of the file system's own configuration, in
each process: they are in no address, and nothing here keeps them.
"""

from __future__ import annotations

import asyncio
from functools import cached_property
from typing import TYPE_CHECKING, Any

import fsspec

from daskgnn.errors import SourceAwayError, StoreError, first_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_PACKAGES = {"s3": "daskgnn[s3]", "s3a": "daskgnn[s3]", "gs": "gcsfs", "az": "adlfs"}
_PERMANENT = (FileNotFoundError, PermissionError, NotImplementedError)
_FIRST_WAIT = 0.25


class Objects:
    """What lies below an address; every error is a `StoreError` of one line."""

    def __init__(self, url: str) -> None:
        self.url = url

    @cached_property
    def _found(self) -> tuple[Any, str]:
        """The file system, and its name for what lies here."""
        try:
            system, root = fsspec.core.url_to_fs(self.url)
        except ImportError as error:
            scheme = self.url.partition("://")[0]
            package = _PACKAGES.get(scheme, f"what {scheme}:// needs")
            raise StoreError(
                f"{self.url!r} needs a package that is not there "
                f"({first_line(error)}): pip install '{package}'"
            ) from error
        except ValueError as error:
            raise StoreError(
                f"{self.url!r} cannot be opened ({first_line(error)}): give a path, or "
                "an address that fsspec knows, as in s3://bucket/graph.zarr"
            ) from error
        return system, root.rstrip("/")

    def get(self, names: Iterable[str]) -> dict[str, bytes]:
        """Fetch whole objects at once; those that are not there are left out."""
        paths = {f"{self._found[1]}/{name}": name for name in names}
        found = {paths[path]: content for path, content in self._cat(list(paths))}
        return {name: c for name, c in found.items() if isinstance(c, bytes)}

    def get_first(self, name: str) -> bytes:
        """Fetch the object without which there is nothing here.

        Raises
        ------
        FileNotFoundError
            It says what the server has said: that the bucket is not there, for one.
        """
        for _, found in self._cat([f"{self._found[1]}/{name}"]):
            if isinstance(found, bytes):
                return found
            raise found
        raise FileNotFoundError(name)

    def _cat(self, paths: list[str]) -> Iterator[tuple[str, bytes | FileNotFoundError]]:
        """Yield each path with its content, or with the error that it is not there."""
        try:
            found = self._found[0].cat(paths, on_error="return")
        except Exception as error:
            raise self._unreadable(error) from error
        for path, content in found.items():
            if isinstance(content, Exception) and not isinstance(
                content, FileNotFoundError
            ):
                raise self._unreadable(content) from content
            yield path, content

    def sizes(self) -> dict[str, int]:
        """List everything there is, with its size in bytes."""
        system, root = self._found
        try:
            system.invalidate_cache()
            found = system.find(root, detail=True)
        except FileNotFoundError:
            return {}
        except Exception as error:
            raise self._unreadable(error) from error
        return {name[len(root) + 1 :]: int(i["size"]) for name, i in found.items()}

    async def fetch(self, name: str, size: int, patience: float) -> bytes | None:
        """Fetch an object of a known size by one request; None if it is not there.

        A server that does not answer is asked again for `patience` seconds, at growing
        intervals. One byte more than `size` comes of an object that is too long.
        """
        system, root = self._found
        wait, waited = _FIRST_WAIT, 0.0
        while True:
            try:
                # The end of the range, so that the length is not asked for first.
                how = {"start": 0, "end": size + 1}
                if not system.async_impl:
                    call = asyncio.to_thread(system.cat_file, f"{root}/{name}", **how)
                    return bytes(await call)
                call = system._cat_file(f"{root}/{name}", **how)
                asked = asyncio.run_coroutine_threadsafe(call, system.loop)
                return bytes(await asyncio.wrap_future(asked))
            except FileNotFoundError:
                return None
            except Exception as error:
                if isinstance(error, _PERMANENT) or waited >= patience:
                    raise self._unreadable(error) from error
            await asyncio.sleep(wait)
            wait, waited = min(2 * wait, 8.0), waited + wait

    def put(self, files: dict[str, Path]) -> None:
        """Write files as objects, many at once."""
        system, root = self._found
        try:
            targets = [f"{root}/{name}" for name in files]
            system.put([str(file) for file in files.values()], targets)
        except Exception as error:
            raise self._unwritable(error) from error

    def remove(self, names: Iterable[str]) -> None:
        """Remove objects."""
        system, root = self._found
        try:
            system.rm([f"{root}/{name}" for name in names])
        except Exception as error:
            raise self._unwritable(error) from error

    def _unreadable(self, error: Exception) -> StoreError:
        kind = StoreError if isinstance(error, _PERMANENT) else SourceAwayError
        return kind(f"{self.url!r} cannot be read ({_told(error)})")

    def _unwritable(self, error: Exception) -> StoreError:
        return StoreError(f"{self.url!r} cannot be written ({_told(error)})")


def _told(error: Exception) -> str:
    """Return what is wrong in a line, and what to look at."""
    kind = type(error).__name__
    if isinstance(error, FileNotFoundError):
        advice = "make the bucket first, or correct its name"
    elif isinstance(error, PermissionError) or "Credential" in kind:
        advice = "check the credentials in the environment of this process"
    else:
        advice = "check that the server is there (AWS_ENDPOINT_URL), and try again"
    return f"{first_line(error)}: {advice}"
