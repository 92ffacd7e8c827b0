"""Order processing: a few thousand orders from a file, through payment and shipping."""
