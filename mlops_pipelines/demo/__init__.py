"""`mlops demo`: the whole loop as a story. The jobs are the real ones; traffic and faults are staged."""
