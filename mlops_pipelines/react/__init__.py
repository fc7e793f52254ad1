"""What happens after a bad night."""
