"""How fast, and in how much memory: each module measures one thing and writes JSON."""
