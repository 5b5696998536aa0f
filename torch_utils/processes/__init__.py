"""Several processes as one: the group, its start, and what notices that one is lost or hangs."""
