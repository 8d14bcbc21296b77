"""The output of ``partition --compare`` and ``--estimate``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from daskgnn.train.profile.text import aligned

if TYPE_CHECKING:
    from collections.abc import Iterable

    from daskgnn.graph.memory.data import GraphData
    from daskgnn.graph.memory.partitioning import Compared


from daskgnn.paths import given_path


def table(rows: list[dict[str, str]]) -> str:
    """Return rows with the same columns as aligned text, numbers to the right."""
    if not rows:
        return ""
    header = [name.replace("_", " ") for name in rows[0]]
    right = [all(row[n][:1] in "-0123456789" for row in rows) for n in rows[0]]
    return "\n".join(aligned([header, *(list(row.values()) for row in rows)], right))


def refuse_too_large(data: GraphData, method: str) -> None:
    """Stop where a method will not fit, naming one that does."""
    from daskgnn.partition.estimate import COSTS, check_fits, estimate

    if method in COSTS:
        found = estimate(method, data.num_nodes, data.num_edges)
        check_fits(found, data.num_nodes, data.num_edges)


def print_estimates(data: GraphData, methods: Iterable[str]) -> None:
    """Print what methods will take on a graph."""
    from daskgnn.partition.estimate import COSTS, estimate

    size = f"{data.num_nodes:,} nodes, {data.num_edges:,} directed edges"
    click.echo(f"{data.name}: {size}")
    for method in methods:
        known = method if method in COSTS else "range"
        found = estimate(known, data.num_nodes, data.num_edges)
        click.echo(f"  {found}" if known == method else f"  {method}: linear")


def compare_methods(
    data: GraphData,
    methods: list[str],
    json_path: str | None,
    plot_path: str | None,
    **options: Any,
) -> None:
    """Compare methods on a graph; print a table, and write what was asked for."""
    from daskgnn.graph.memory.partitioning import compare

    rows = compare(
        data,
        methods,
        started=lambda method: click.echo(f"{method} ...", err=True),
        **options,
    )
    click.echo(table([_cells(row) for row in rows]))
    fan_outs = ",".join(map(str, options["num_neighbors"]))
    click.echo(
        f"for {rows[0].num_parts} parts; remote rows and bytes a step are estimates at "
        f"fan-outs {fan_outs}, batch {options['batch_size']}, windows of "
        f"{options['window']}, without cache; memory does not include the graph"
    )
    if json_path is not None:
        objects = ",\n".join(json.dumps(row.to_dict()) for row in rows)
        Path(given_path(json_path)).write_text(f"[{objects}]\n")
    if plot_path is not None:
        from daskgnn.plot import plot_comparison

        plot_comparison([row.to_dict() for row in rows], plot_path)


def _cells(row: Compared) -> dict[str, str]:
    """Return a row of the table."""
    return {
        "method": row.method,
        "cut": f"{row.edge_cut:.4f}",
        "halo": f"{row.halo_share:.3f}",
        "replication": f"{row.replication_factor:.3f}",
        "nodes": f"{row.node_balance:.2f}",
        "edges": f"{row.edge_balance:.2f}",
        "seeds": "-" if row.seed_balance is None else f"{row.seed_balance:.2f}",
        "remote_rows": f"{row.remote_rows_per_step:,.0f}",
        "remote_kB": f"{row.remote_bytes_per_step / 1e3:,.1f}",
        "seconds": f"{row.seconds:.2f}",
        "peak_MB": f"{row.peak_bytes / 1e6:,.1f}",
    }
