"""`mlops demo`: the loop as a story. Its jobs are the real ones; traffic and faults are staged."""
