"""Events on their way to clients: WebSockets, server-sent events, and what keeps many of them in bounds."""
