"""The OCI image format: descriptors, blobs, and one reader for layouts, archives and registries."""
