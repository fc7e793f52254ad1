"""How a served model does: its predictions, labels, drift, performance and health, day by day."""
