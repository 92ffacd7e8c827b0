"""The pages for people: each reads its question from the URL, asks, and fills in a template."""
