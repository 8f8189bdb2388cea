"""The mathematics: one question a file, each with its influence function."""
