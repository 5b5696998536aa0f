"""Networks whose weights others have published, as modules that read these weights."""
