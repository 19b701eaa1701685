"""Messages to people: Telegram, webhook, and commands from a chat."""
