"""Results as files of JSON and plain arrays: nothing in them can be executed."""
