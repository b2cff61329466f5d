"""`splitd demo`: both daemons as real processes, a shaped link between them, and every policy over the same trace."""
