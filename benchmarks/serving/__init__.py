"""How fast, how small and how safe the server in a bundle is, beside its peers."""
