"""Where graphs come from at run time: stores, memory, a user's own class."""
