"""The adapters against real counterparts: the fake payment company, an S3 server, an HTTP receiver."""
