"""Two signed texts: who has logged in, and that a form came from a page of ours.

A form's token is bound to a random cookie of the browser and to the user, so neither a stranger's
page (which cannot read it) nor another user's token (which is of another cookie) will do.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time

from workflow_webui.security.passwords import same

__all__ = ["Signer"]

_SESSION_SECONDS = 12 * 3600


class Signer:
    """Signs and checks. Any thread.

    Args:
        secret: the same in all processes of one app; "" makes one for this process.
    """

    def __init__(self, secret: str = "") -> None:
        self._key = (secret or secrets.token_urlsafe(32)).encode()

    def form_token(self, browser: str, user: str) -> str:
        """What a form carries that was made for this browser and user."""
        return self._sign("form", browser, user)

    def is_form_token(self, token: str, browser: str, user: str) -> bool:
        """Whether a form of ours carries this."""
        return bool(browser) and same(token, self.form_token(browser, user))

    def session(self, user: str) -> str:
        """A cookie that says who has logged in, for twelve hours."""
        until = str(int(time.time()) + _SESSION_SECONDS)
        name = base64.urlsafe_b64encode(user.encode()).decode()
        return ".".join((name, until, self._sign("session", user, until)))

    def user_of(self, session: str) -> str | None:
        """Who has logged in; None where it is not signed by us, or is over."""
        name, _, rest = session.partition(".")
        until, _, signature = rest.partition(".")
        try:
            user = base64.urlsafe_b64decode(name).decode()
        except ValueError:
            return None
        if not same(signature, self._sign("session", user, until)) or int(until) < time.time():
            return None
        return user

    def _sign(self, *parts: str) -> str:
        # lengths, so that no two lists of parts are one text
        text = "".join(f"{len(part)}:{part}" for part in parts)
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()
