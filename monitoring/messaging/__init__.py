"""Messages to people by Telegram or webhook, and commands from a chat."""
