"""A griffe extension: the options of `Trainer`, which are declared in one place.

Griffe reads source and does not run it, so it would show them as ``**options``.
"""

import re
from typing import Any

from griffe import Class, Extension

from daskgnn.train.options.optiondocs import parameters
from daskgnn.train.options.options import TRAINER


class TrainerOptions(Extension):
    """Adds the options to the parameters in `Trainer`'s docstring."""

    def on_class(self, *, cls: Class, **_: Any) -> None:
        """Extend the docstring as the decorator ``documented`` does at run time."""
        if cls.path == "daskgnn.train.trainer.Trainer" and cls.docstring is not None:
            # Griffe would take the first of {choices} for the default, and show an
            # option without a default as required.
            options = re.sub(r" : \{(.*)\}", r" : \1", parameters(TRAINER))
            options = re.sub(r", optional$", ", default None", options, flags=re.M)
            head, mark, tail = cls.docstring.value.partition("\n\nRaises\n")
            cls.docstring.value = f"{head}\n{options}{mark}{tail}"
