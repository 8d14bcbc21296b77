"""The command ``samplers``."""

from __future__ import annotations

import click

from daskgnn.cli.comparison import table
from daskgnn.cli.errors import debug_option


@click.command()
@debug_option
def samplers() -> None:
    """List the samplers: what each draws, when to use it, and its options.

    They are chosen with "daskgnn train --sampler NAME[:OPTION=VALUE,...]".
    """
    from daskgnn.train.options.samplers import SAMPLERS, options_in_words

    rows = [
        {
            "name": name,
            "draws": known.draws,
            "use": known.use,
            "results depend on": known.keeps,
        }
        for name, known in SAMPLERS.items()
    ]
    click.echo(table(rows))
    click.echo("\noptions and their defaults:")
    for name, known in SAMPLERS.items():
        fan_outs = ["--num-neighbors"] if known.takes_fan_outs else []
        shown = [f"{o}={words}" for o, words in options_in_words(name).items()]
        click.echo(f"  {name}: {', '.join(fan_outs + shown)}")
