"""The first few words of each server's own protocol, said over plain sockets.

Enough to know that a server answers and to clean up after a test; a test talks to it by a real
client. Every module raises OSError where nobody answers, or not in its protocol.
"""

__all__: list[str] = []
