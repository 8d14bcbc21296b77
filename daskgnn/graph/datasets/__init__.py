"""Data sets by name: embedded, downloaded, from OGB, or drawn."""
