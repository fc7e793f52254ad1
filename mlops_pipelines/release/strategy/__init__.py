"""How a version takes the traffic step by step, and gives it back."""
