"""Companion process of a training: reads its journal, writes reports and samples, sends messages, answers the bot."""
