"""Parts of one training run: its folder, corpus, start, settings, supervisor and session."""
