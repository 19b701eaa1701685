"""The process beside a training that shows it: report, exporters, messages, bot."""
