"""`splitd` and `splitctl`: one module per command (each has a click command of the name `command`), and their tables.

Modules are imported only when their command runs, so this room lists no names.
"""
