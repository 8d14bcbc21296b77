"""What a path means, everywhere one is given: of stores, files and folders."""

from __future__ import annotations

import os
import re
from typing import Any
from urllib.parse import unquote, urlsplit

from daskgnn.errors import InputError

# pathlib makes one slash of two.
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")
_FILE = re.compile(r"file:(//(localhost)?)?(?=/)", re.IGNORECASE)
_STORE = "zarr:"
"""May stand before the place of a store, as names of databases do."""


def _text_of(place: Any) -> str:
    """Return a place as text.

    Raises
    ------
    InputError
        If it is none.
    """
    if not isinstance(place, str | os.PathLike):
        raise InputError(f"{place!r} is no path: give one, as in 'graph.zarr'")
    return str(os.fspath(place))


def url_of(place: str | os.PathLike[str]) -> str | None:
    """Return a place if it is an address, such as that of an object store."""
    text = _text_of(place)
    found = _SCHEME.match(text)
    if found is None or _FILE.match(text):
        return None
    return text if "://" in text else text.replace(":/", "://", 1)


def is_url(place: str | os.PathLike[str]) -> bool:
    """Return whether a place is an address."""
    return url_of(place) is not None


def is_store_name(place: str | os.PathLike[str]) -> bool:
    """Return whether a place can only be a store: an address, or "zarr:" before it."""
    return os.fspath(place).startswith(_STORE) or is_url(place)


def check_no_password(url: str) -> None:
    """Refuse an address that holds a password: it would be written down with a run.

    Raises
    ------
    InputError
    """
    if urlsplit(url).password is not None:
        scheme, _, rest = url.partition("://")
        raise InputError(
            f"the address {scheme}://...@{rest.rpartition('@')[2]} holds a password, "
            "and addresses are written down: leave it out, and set it in the "
            "environment of every worker"
        )


def store_place(place: str | os.PathLike[str]) -> str:
    """Return where a store is: an address, or an absolute path; "zarr:" may precede.

    Raises
    ------
    InputError
        If it is empty, or an address with a password.
    """
    text = _text_of(place).removeprefix(_STORE)
    url = url_of(text)
    if url is None:
        return absolute_path(text)
    check_no_password(url)
    return url.rstrip("/")


def store_target(place: str | os.PathLike[str]) -> str:
    """Return where a store is written: an address, or `target_path`."""
    found = store_place(place)
    return found if is_url(found) else target_path(found)


def refuse_dangling(path: str) -> None:
    """Refuse a folder to be made that is, or lies in, a link to nothing.

    Raises
    ------
    InputError
    """
    place = os.path.abspath(path)
    while not os.path.exists(place):
        if os.path.islink(place):
            raise InputError(
                f"{place} is a link to {os.readlink(place)}, which is not there: make "
                "that folder, or give another path"
            )
        place = os.path.dirname(place)


def given_path(path: str | os.PathLike[str]) -> str:
    """Return a path, or a pattern of paths, as the file system takes it.

    ``~`` and ``~name`` are home folders, as in a shell; ``file:///a`` is ``/a``.

    Raises
    ------
    InputError
        If it is empty, an address (``s3://...``), or of a user who is not known.
    """
    text = _text_of(path)
    if not text:
        raise InputError("the path is empty: give one, as in 'graph.zarr'")
    if found := _FILE.match(text):
        return unquote(text[found.end() :])
    if found := _SCHEME.match(text):
        raise InputError(
            f"{text!r} is an address, and this is kept in files: give a path, for "
            f"instance where {found[1]}:// is mounted on every machine"
        )
    expanded = os.path.expanduser(text)
    if expanded.startswith("~") and not os.path.lexists(expanded):
        raise InputError(
            f"{text!r}: there is no user {expanded[1:].split(os.sep)[0]!r}, give "
            f"'./{text}' for a folder of that name"
        )
    return expanded


def absolute_path(path: str | os.PathLike[str]) -> str:
    """Return `given_path` as an absolute path."""
    return os.path.abspath(given_path(path))


def target_path(path: str | os.PathLike[str]) -> str:
    """Return the absolute path of what is written: a link is followed, not replaced."""
    absolute = absolute_path(path)
    return os.path.realpath(absolute) if os.path.islink(absolute) else absolute
