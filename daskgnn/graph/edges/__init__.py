"""From what users hand over to CSR rows: arrays, ids, edges in chunks, files."""
