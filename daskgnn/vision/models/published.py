"""Models by name: the published ones, and a small one."""

from __future__ import annotations

import difflib
import inspect
from typing import TYPE_CHECKING, Any

from daskgnn.errors import ModelError
from daskgnn.vision.models.pixels import PixelViG
from daskgnn.vision.models.vig import PyramidViG, ViG

if TYPE_CHECKING:
    from daskgnn.vision.models.vig import ImageModel

_STAGES = (2, 2, 6, 2), (2, 2, 6, 2), (2, 2, 16, 2), (2, 2, 18, 2)
MODELS: dict[str, tuple[type[ImageModel], dict[str, Any]]] = {
    "vig-mini": (ViG, {"channels": 64, "depth": 6, "k": 6, "hidden_channels": 256}),
    "vig-ti": (ViG, {"channels": 192, "depth": 12}),
    "vig-s": (ViG, {"channels": 320, "depth": 16}),
    "vig-b": (ViG, {"channels": 640, "depth": 16}),
    "pvig-ti": (PyramidViG, {"channels": (48, 96, 240, 384), "blocks": _STAGES[0]}),
    "pvig-s": (PyramidViG, {"channels": (80, 160, 400, 640), "blocks": _STAGES[1]}),
    "pvig-m": (PyramidViG, {"channels": (96, 192, 384, 768), "blocks": _STAGES[2]}),
    "pvig-b": (PyramidViG, {"channels": (128, 256, 512, 1024), "blocks": _STAGES[3]}),
    "pixel-vig": (PixelViG, {}),
}
"""By name: the class, and what it is made with."""


def make_model(name: str, **options: Any) -> ImageModel:
    """Return a new model by its name.

    "vig-ti", "vig-s" and "vig-b" are the isotropic models of Han et al. (2022),
    "pvig-ti", "pvig-s", "pvig-m" and "pvig-b" the pyramids, "vig-mini" is a small model
    for small images, and "pixel-vig" that of a published pipeline.

    Parameters
    ----------
    name : str
        One of these.
    **options : dict
        Arguments of `ViG`, `PyramidViG` or `PixelViG`.

    Returns
    -------
    ViG, PyramidViG or PixelViG
        The model, with weights from torch's generator.

    Raises
    ------
    ModelError
        If there is no such model, or it does not take an option.

    Examples
    --------
    >>> from daskgnn.vision import make_model
    >>> model = make_model("vig-mini", in_channels=1, num_classes=10, image_size=28)
    >>> sum(p.numel() for p in model.parameters())
    384202
    """
    if name not in MODELS:
        near = difflib.get_close_matches(name, MODELS, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"one of {', '.join(MODELS)}"
        raise ModelError(f"model={name!r} is unknown: {hint}")
    made, defaults = MODELS[name]
    known = inspect.signature(made).parameters
    for option in options:
        if option not in known:
            raise ModelError(
                f"model {name!r} takes no {option}: it has {', '.join(known)}"
            )
    return made(**{**defaults, **options})
