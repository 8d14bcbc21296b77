"""Check users' own objects (samplers, sources, tasks) before any work."""

from __future__ import annotations

import inspect
import json
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from daskgnn.errors import DaskGNNError, InputError, first_line

if TYPE_CHECKING:
    from collections.abc import Iterable

F = TypeVar("F")
Fault = tuple[str, str, str]
"""What is wrong: a field, what it is, what was expected."""


def required(method: F) -> F:
    """Mark a method of a base class as one that every subclass must define."""
    method.required = True  # type: ignore[attr-defined]
    return method


def plain_attributes(given: object, what: str) -> dict[str, Any]:
    """Return the class and the attributes of an object, as JSON can hold them.

    Parameters
    ----------
    given : object
    what : str
        What it is given as, e.g. "sampler".

    Raises
    ------
    InputError
        If JSON cannot hold an attribute.
    """
    known = {what: type(given).__qualname__, **vars(given)}
    try:
        found: dict[str, Any] = json.loads(json.dumps(known))
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{type(given).__name__}.fingerprint: {error}; give it a method "
            f"fingerprint(self) that returns what tells two such {what}s apart, as "
            f"{{{what!r}: 'mine', 'k': 3}}"
        ) from error
    return found


def check_seam(what: str, given: object, wanted: type) -> None:
    """Refuse an object that lacks a method of `wanted`, or whose takes other arguments.

    Parameters
    ----------
    what : str
        The option it was given as, e.g. "task".
    given : object
        An instance of a subclass of `wanted`, or anything that has its methods.
    wanted : type
        A base class; what its `required` methods are, subclasses must define.

    Raises
    ------
    InputError
        In one line: the class, the method, and the arguments expected.
    """
    described = f"which {wanted.__module__.rpartition('.')[0]}.{wanted.__name__}"
    if isinstance(given, type):
        raise InputError(
            f"{what}={given.__name__} is a class, expected an object of it: "
            f"{what}={given.__name__}()"
        )
    name = type(given).__name__
    for method, model in inspect.getmembers(wanted):
        if method.startswith("_"):
            continue
        own = getattr(given, method, None)
        signature = inspect.signature(model) if callable(model) else None
        expected = f"{method}{'' if signature is None else _shown(signature)}"
        if own is None or getattr(own, "required", False):
            raise InputError(f"{what}: {name} lacks {expected}, {described} describes")
        if signature is not None and not _takes(own, signature):
            raise InputError(
                f"{what}: {name}.{method} is not of the form {expected}, {described} "
                "describes"
            )


def shown(value: Any) -> str:
    """Return a few words for what an object's method has returned."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {list(value.shape)}"
    if isinstance(value, list | tuple):
        return f"{len(value)} objects"
    return "None" if value is None else type(value).__name__


def is_array(value: Any, shape: tuple[int, ...], *dtypes: Any) -> bool:
    """Return whether a value is an array of a shape and one of some dtypes."""
    right = isinstance(value, np.ndarray) and value.shape == shape
    return right and value.dtype in {np.dtype(kind) for kind in dtypes}


def called(
    what: str, given: object, method: str, *arguments: Any, where: str = ""
) -> Any:
    """Call a method of a user's object; tell in one line where it fails.

    Parameters
    ----------
    what : str
        The option it was given as.
    where : str
        What it is tried on, e.g. " on a made-up graph".
    """
    try:
        return getattr(given, method)(*arguments)
    except DaskGNNError:
        raise
    except Exception as error:
        raise failed(
            f"{what}: {type(given).__name__}.{method}", error, where
        ) from error


def failed(name: str, error: Exception, where: str = "") -> InputError:
    """Return what to raise for a user's method that has raised `error`."""
    said = f"{type(error).__name__}: {first_line(error)}"
    return InputError(f"{name} fails{where}: {said}")


def refuse(described: str, faults: Iterable[Fault]) -> None:
    """Raise the first of some faults, if there is one.

    Parameters
    ----------
    described : str
        Whose fields these are, e.g. "graph: Mine.load_rows returns a block whose ".

    Raises
    ------
    InputError
    """
    for field, found, expected in faults:
        raise InputError(f"{described}{field} is {found}, expected {expected}")


def _shown(signature: inspect.Signature) -> str:
    """Return a signature without its types."""
    plain = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for parameter in signature.parameters.values()
    ]
    bare = inspect.Signature.empty
    return str(signature.replace(parameters=plain, return_annotation=bare))


def _takes(own: Any, signature: inspect.Signature) -> bool:
    """Return whether a bound method can be called as a model's signature says."""
    if not callable(own):
        return False
    needed = [
        parameter
        for parameter in list(signature.parameters.values())[1:]
        if parameter.default is inspect.Parameter.empty
    ]
    try:
        inspect.signature(own).bind(*needed)
    except TypeError:
        return False
    except ValueError:  # of built-in functions nothing is known
        return True
    return True
