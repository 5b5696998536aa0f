"""A trained network played in the browser: one state, drawn by `generation`, served on this machine alone."""
