"""Where objects are kept: folders, S3, what fsspec opens; asked again when they do not answer."""
