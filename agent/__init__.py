"""The two daemons, the decision, the command lines and the client library; each folder here is a room."""
