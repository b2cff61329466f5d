"""One module per `splitd` command; each exposes `command`, a click command."""
