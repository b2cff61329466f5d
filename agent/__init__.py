"""The two daemons, the decision, the command line and the client library."""
