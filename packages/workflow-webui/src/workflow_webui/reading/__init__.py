"""What pages show, read from the store and put into shape; no HTTP and no HTML in here."""
